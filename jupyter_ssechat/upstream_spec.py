"""Who shall answer, as a value: opened here, or told to a gateway in another process, which opens it there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .deadlines import Deadlines
from .exchange import Patience
from .profiles import key_of, open_upstream
from .upstream import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSpec:
    """What `open_upstream` takes; see there. The key is never shown."""

    spec: str = "demo"
    url: str | None = None
    model: str | None = None
    dialect: str | None = None
    api_key_env: str | None = None
    api_key: str | None = field(default=None, repr=False)
    pace: float = 1.0
    deadlines: Deadlines = field(default_factory=Deadlines)
    patience: Patience = field(default_factory=Patience)

    def open(self) -> Upstream:
        """Open the upstream; BadInput, one line, for what cannot be opened."""
        return open_upstream(
            self.spec,
            url=self.url,
            model=self.model,
            dialect=self.dialect,
            api_key_env=self.api_key_env,
            api_key=self.api_key,
            pace=self.pace,
            deadlines=self.deadlines,
            patience=self.patience,
        )

    def with_key(self) -> UpstreamSpec:
        """The same with its key instead of the variable that holds it, which another process may not have."""
        key = self.api_key or key_of(self.spec, url=self.url, api_key_env=self.api_key_env)
        return replace(self, api_key=key, api_key_env=None)

    def to_wire(self) -> dict[str, Any]:
        """All of it, the key too: for the user's own gateway alone."""
        return asdict(self)


__all__ = ["UpstreamSpec"]
