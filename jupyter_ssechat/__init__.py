"""Live streamed chat with language models in Jupyter: ``%load_ext jupyter_ssechat``, then ``%%chat``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .chat import Chat
    from .deadlines import Deadlines
    from .exchange import Patience
    from .loops import run_sync
    from .message import Delta, Usage
    from .panel import ChatPanel
    from .reply import Reply
    from .tape import Cassette
    from .widget import ChatView

__version__ = "0.1.0"
__all__ = [
    "Cassette",
    "Chat",
    "ChatPanel",
    "ChatView",
    "Deadlines",
    "Delta",
    "Patience",
    "Reply",
    "Usage",
    "load_ipython_extension",
    "run_sync",
    "unload_ipython_extension",
]

_HOMES = {
    "Cassette": "tape",
    "Chat": "chat",
    "ChatPanel": "panel",
    "ChatView": "widget",
    "Deadlines": "deadlines",
    "Delta": "message",
    "Patience": "exchange",
    "Reply": "reply",
    "Usage": "message",
    "run_sync": "loops",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Register ``%%chat`` and ``%chat``; called by ``%load_ext``."""
    from .magics import load

    load(ipython)


def _jupyter_labextension_paths() -> list[dict[str, str]]:  # pyright: ignore[reportUnusedFunction]
    """Tell JupyterLab's tools where the extension is that draws saved answers."""
    return [{"src": "labextension", "dest": "jupyter-ssechat"}]


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Take the magics away and close the gateway; called by ``%unload_ext``."""
    from .magics import unload

    unload(ipython)
