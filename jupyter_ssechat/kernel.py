"""A running cell → the kernel around it: the one door to ipykernel and jupyter_ui_poll.

A `%%chat` cell blocks the main thread while its answer streams. Whether Stop, pressed in the view, reaches
the kernel meanwhile depends on ipykernel: before 7 the waiting cell must pump messages itself; 7.0 to 7.3 do
it on a subshell; 7.4 sends comm messages to the shell that last published on the comm, which is the
one that waits, unless the comm says otherwise.
"""

from __future__ import annotations

import threading
from typing import Any, cast

POLL_SECONDS = 0.05
PUMP_SECONDS = 0.03


class Kernel:
    """The kernel that an IPython shell runs in."""

    def __init__(self, shell: Any) -> None:
        self._kernel = shell.kernel

    @property
    def cell_id(self) -> str | None:
        """The id of the running cell, where the front end sends one (JupyterLab, Notebook 7)."""
        found = self._parent().get("metadata", {}).get("cellId")
        return found if isinstance(found, str) else None

    @property
    def attended(self) -> bool:
        """Whether somebody may press a button: nbclient, nbval and papermill forbid stdin."""
        return bool(self._parent().get("content", {}).get("allow_stdin", True))

    def _parent(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self._kernel.get_parent("shell") or {})

    def wait(self, over: threading.Event) -> None:
        """Wait for `over` while widget messages get through; KeyboardInterrupt passes."""
        if _version() >= (7,):
            while not over.wait(POLL_SECONDS):
                pass
            return
        from jupyter_ui_poll import ui_events  # pyright: ignore[reportMissingTypeStubs]

        with ui_events() as poll:  # pyright: ignore[reportUnknownVariableType]
            while not over.is_set():
                poll(10)  # pyright: ignore[reportUnknownMemberType]
                over.wait(PUMP_SECONDS)

    def abort_queue(self) -> None:
        """Let the cells that were sent while this one waited not run, since it fails.

        From ipykernel 7 on the kernel does so itself; before, they are kept by the pump, which knows nothing of it.
        """
        if _version() >= (7,):
            return
        from jupyter_ui_poll import _poll  # pyright: ignore[reportMissingTypeStubs, reportPrivateUsage]

        pump: Any = getattr(_poll.KernelWrapper, "_current", None)
        kept: list[tuple[Any, Any, dict[str, Any]]] = getattr(pump, "_events", [])
        for event in [one for one in kept if one[2]["content"].get("stop_on_error", True)]:
            kept.remove(event)
            self._abort(*event)

    def _abort(self, stream: Any, ident: Any, request: dict[str, Any]) -> None:
        """Answer one request as the kernel answers those behind a cell that failed."""
        kernel = self._kernel
        own = kernel._parent_ident, self._parent()
        kernel.set_parent(ident, request)
        kernel._send_abort_reply(stream, request, ident)
        kernel._publish_status("idle", "shell")
        kernel.set_parent(own[0]["shell"] if isinstance(own[0], dict) else own[0], own[1])


def open_route(comm: Any) -> None:
    """Let messages of this comm reach the subshell while a cell waits (ipykernel 7.4: a private method)."""
    if hasattr(comm, "_reply_subshell_for"):

        def default_route(_: Any, default: Any) -> Any:
            return default

        comm._reply_subshell_for = default_route


def kernel_of(shell: Any) -> Kernel | None:
    """The kernel around a shell; None in a plain IPython terminal."""
    return Kernel(shell) if getattr(shell, "kernel", None) is not None else None


def _version() -> tuple[int, ...]:
    from ipykernel._version import version_info

    return tuple(part for part in version_info if isinstance(part, int))
