"""Several views of one reply, as one."""

from __future__ import annotations

from dataclasses import dataclass

from .patches import Patch
from .reply import Reply, View


@dataclass(frozen=True, slots=True)
class Views:
    """Several views of one reply."""

    views: list[View]

    def begin(self, reply: Reply) -> None:
        for view in self.views:
            view.begin(reply)

    def ready(self, reply: Reply) -> None:
        for view in self.views:
            view.ready(reply)

    def push(self, patches: list[Patch]) -> None:
        for view in self.views:
            view.push(patches)

    def end(self, reply: Reply) -> None:
        for view in self.views:
            view.end(reply)

    def close(self) -> None:
        for view in self.views:
            view.close()


def together(views: list[View]) -> View | None:
    """One view that is all of these; None for none."""
    return Views(views) if len(views) > 1 else next(iter(views), None)


__all__ = ["together"]
