"""A name or an address → an upstream: the model servers that people use, and how each likes to be asked."""

from __future__ import annotations

import os

from .errors import BadInput
from .model_server import ModelServer
from .transport import sendable_in_header
from .upstream import Demo, Upstream


def open_upstream(
    spec: str,
    *,
    model: str | None = None,
    api_key_env: str | None = None,
    dialect: str | None = None,
    pace: float = 1.0,
) -> Upstream:
    """Open the upstream that `spec` names: ``demo``, or the address of a model server.

    The key is read from the environment variable `api_key_env`, and sent to this server alone.
    """
    if spec == "demo":
        return Demo(pace)
    if not spec.lower().startswith(("http://", "https://")):
        raise BadInput(
            f"{spec!r} is not an upstream; expected demo or an address such as http://127.0.0.1:11434/v1"
        )
    return ModelServer(spec, model=model, dialect=dialect, api_key=_key_from(api_key_env))


def _key_from(name: str | None) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise BadInput(f"the environment variable {name} is empty or not set; put the API key into it")
    if not sendable_in_header(key):
        raise BadInput(f"the environment variable {name} holds characters that no API key has; set it anew")
    return key


__all__ = ["open_upstream"]
