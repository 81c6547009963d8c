"""Cells → a real kernel → their outputs: kernels of the three kinds of ipykernel, driven as JupyterLab drives them.

`python -m tests.kernels` installs the three kinds beside the checkout's own packages, each in its own folder.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"6.29": "6.29.5", "7.2": "7.2.0", "7.4": "7.4.0"}
"""A kind of kernel → its version of ipykernel. They differ in how a message reaches a busy kernel."""


def provide(kind: str) -> Path:
    """Install this kind of ipykernel, unless it is there; returns its folder."""
    folder = ROOT / ".kernels" / f"ipykernel-{KINDS[kind]}"
    if not (folder / "ipykernel_launcher.py").exists():
        requirement = f"ipykernel=={KINDS[kind]}"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(folder), requirement], check=True)
    return folder


def kernel_name(kind: str) -> str:
    """The name of the kernelspec of this kind."""
    return f"ipykernel-{kind}"


def write_kernelspecs(data_dir: Path) -> None:
    """Write a kernelspec for each kind into a Jupyter data folder."""
    for kind in KINDS:
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": f"ipykernel {kind}",
            "language": "python",
            "env": {"PYTHONPATH": os.pathsep.join([str(provide(kind)), str(ROOT)])},
        }
        folder = data_dir / "kernels" / kernel_name(kind)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.json").write_text(json.dumps(spec))


@dataclass
class Output:
    """One output of a cell, as a front end would hold it now."""

    type: Literal["stream", "display_data", "execute_result", "error"]
    data: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    display_id: str | None = None


@dataclass
class Cell:
    """A cell that was sent to the kernel, and what has come of it so far."""

    id: str
    outputs: list[Output] = field(default_factory=list)
    idle: bool = False
    reply: dict[str, Any] = field(default_factory=dict)
    _clear: bool = False

    @property
    def running(self) -> bool:
        """Whether its reply or its idle state is still to come; either may be first."""
        return not (self.idle and self.reply)

    @property
    def status(self) -> str:
        """`ok`, `error`, `aborted`, or `running`."""
        return "running" if self.running else self.reply["status"]

    @property
    def text(self) -> str:
        """All that a terminal would show: streams, results, errors' last lines."""
        return "".join(output.text or output.data.get("text/plain", "") for output in self.outputs)

    @property
    def error(self) -> str | None:
        """The traceback as shown, without colours; None when the cell succeeded."""
        return next((output.text for output in self.outputs if output.type == "error"), None)

    def data(self, mime: str) -> list[Any]:
        """What stands under this MIME type, in order."""
        return [output.data[mime] for output in self.outputs if mime in output.data]


@dataclass
class Comm:
    """The browser's end of a comm that the kernel opened."""

    id: str
    target: str
    state: dict[str, Any]
    _send: Callable[[Comm, dict[str, Any]], None]
    received: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False

    def send(self, content: Mapping[str, Any]) -> None:
        """Send a custom message, as `model.send(content)` does in the browser."""
        self._send(self, {"method": "custom", "content": dict(content)})

    def set(self, **state: Any) -> None:
        """Set traits from the browser, as `model.save_changes()` does."""
        self._send(self, {"method": "update", "state": state, "buffer_paths": []})

    def ask_state(self) -> None:
        """Ask for the whole state, as a page does that was just opened."""
        self._send(self, {"method": "request_state"})

    def of_type(self, message_type: str) -> list[dict[str, Any]]:
        """The custom messages received with this `type`."""
        return [content for content in self.received if content.get("type") == message_type]


class Kernel:
    """A real kernel; messages are taken in while something is waited for."""

    def __init__(self, kind: str, log: Path, *, env: Mapping[str, str], cwd: Path) -> None:
        self.kind = kind
        self.log_path = log
        self.cells: dict[str, Cell] = {}
        self.comms: dict[str, Comm] = {}
        self._typed: list[str] = []
        self._subshells: dict[str, str | None] = {}
        self._manager = KernelManager(kernel_name=kernel_name(kind))
        with log.open("wb") as sink:
            self._manager.start_kernel(stdout=sink, stderr=sink, cwd=str(cwd), env={**os.environ, **env})
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    # ---- cells ----

    def run(
        self, code: str, *, allow_stdin: bool = True, cell_id: str | None = None, timeout: float = 60
    ) -> Cell:
        """Run a cell and wait for its end."""
        return self.finish(self.start(code, allow_stdin=allow_stdin, cell_id=cell_id), timeout=timeout)

    def start(self, code: str, *, allow_stdin: bool = True, cell_id: str | None = None) -> Cell:
        """Send a cell, without waiting; `allow_stdin` is false where nobody sits in front of the notebook."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": True,
        }
        metadata = {} if cell_id is None else {"cellId": cell_id}
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        self._client.shell_channel.send(message)
        cell = self.cells[message["header"]["msg_id"]] = Cell(message["header"]["msg_id"])
        return cell

    def finish(self, cell: Cell, *, timeout: float = 60) -> Cell:
        """Wait for the end of a cell."""
        self.wait_until(lambda: not cell.running, timeout=timeout, what="the cell ends")
        self._catch_up()
        return cell

    def _catch_up(self) -> None:
        """Take in all that was published before now.

        While a cell waits, the pump of older kernels says "idle" of it for every message that it puts aside: that
        the cell is idle does not mean that its outputs have come.
        """
        message = self._client.session.msg("kernel_info_request", {})
        asked = self.cells[message["header"]["msg_id"]] = Cell(message["header"]["msg_id"])
        self._converse(message)
        self.wait_until(lambda: asked.idle, what="the kernel has said what it had to say")
        del self.cells[asked.id]

    def interrupt(self) -> None:
        """Press the kernel's ■."""
        self._manager.interrupt_kernel()

    # ---- widgets ----

    def widget(self, name: str) -> Comm:
        """The newest anywidget of this class that the kernel has opened."""
        found = [c for c in self.comms.values() if str(c.state.get("_anywidget_id", "")).endswith(f".{name}")]
        if not found:
            raise LookupError(f"the kernel has opened no {name}; it has opened {len(self.comms)} comms")
        return found[-1]

    def _send_to_comm(self, comm: Comm, data: dict[str, Any]) -> None:
        content = {"comm_id": comm.id, "data": data}
        message = self._client.session.msg("comm_msg", content)
        if (subshell := self._subshell(comm.target)) is not None:
            message["header"]["subshell_id"] = subshell
        self._client.shell_channel.send(message)

    def _subshell(self, target: str) -> str | None:
        """One subshell for each comm target, where there are subshells: JupyterLab's own default."""
        if target not in self._subshells:
            self._subshells[target] = self._create_subshell() if self._has_subshells() else None
        return self._subshells[target]

    def _has_subshells(self) -> bool:
        reply = self._ask("kernel_info_request", {})
        return "kernel subshells" in reply.get("supported_features", [])

    def _create_subshell(self) -> str:
        return self._ask("create_subshell_request", {})["subshell_id"]

    def _ask(self, message_type: str, content: dict[str, Any]) -> dict[str, Any]:
        """Ask on the control channel, which a busy kernel answers too."""
        return self._converse(self._client.session.msg(message_type, content))

    def _converse(self, message: dict[str, Any]) -> dict[str, Any]:
        self._client.control_channel.send(message)
        while True:
            reply = self._client.get_control_msg(timeout=20)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return reply["content"]

    # ---- waiting ----

    def wait_until(self, condition: Callable[[], bool], *, timeout: float = 30, what: str = "") -> None:
        """Take messages in until the condition holds."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(
                    f"waited {timeout:g} s until {what or 'a condition holds'}; {self._situation()}"
                )
            self._take_in(0.05)

    def type_in(self, *answers: str) -> None:
        """What is typed when the kernel next asks, one answer for each question."""
        self._typed += answers

    def _take_questions(self) -> None:
        while self._client.stdin_channel.msg_ready():
            self._client.get_stdin_msg(timeout=1)
            self._client.input(self._typed.pop(0))

    def _take_in(self, timeout: float) -> None:
        self._take_questions()
        self._take_replies()
        try:
            message = self._client.get_iopub_msg(timeout=timeout)
        except queue.Empty:
            if not self._manager.is_alive():
                raise RuntimeError(f"the kernel died; {self._situation()}") from None
            return
        if message["header"]["msg_type"].startswith("comm_"):
            self._take_comm(message["header"]["msg_type"], message["content"])
        elif message["header"]["msg_type"] == "update_display_data":
            self._update_displays(message["content"])  # whatever request it answers, as in JupyterLab
        elif (cell := self.cells.get(message["parent_header"].get("msg_id", ""))) is not None:
            self._take_output(cell, message["header"]["msg_type"], message["content"])

    def _take_output(self, cell: Cell, message_type: str, content: dict[str, Any]) -> None:
        match message_type:
            case "status" if content["execution_state"] == "idle":
                cell.idle = True
            case "clear_output":
                cell._clear = bool(content["wait"])
                cell.outputs = cell.outputs if cell._clear else []
            case "stream" | "display_data" | "execute_result" | "error":
                if cell._clear:
                    cell.outputs, cell._clear = [], False
                _add_output(cell.outputs, message_type, content)
            case _:
                pass

    def _take_replies(self) -> None:
        while self._client.shell_channel.msg_ready():
            reply = self._client.get_shell_msg(timeout=1)
            if (cell := self.cells.get(reply["parent_header"].get("msg_id", ""))) is not None:
                cell.reply = reply["content"]

    def _update_displays(self, content: dict[str, Any]) -> None:
        """An update reaches every output with its display id, in whatever cell."""
        for output in (output for cell in self.cells.values() for output in cell.outputs):
            if output.display_id is not None and output.display_id == content["transient"]["display_id"]:
                output.data, output.metadata = content["data"], content["metadata"]

    def _take_comm(self, message_type: str, content: dict[str, Any]) -> None:
        comm_id, data = content["comm_id"], content["data"]
        if message_type == "comm_open":
            comm = Comm(comm_id, content["target_name"], dict(data.get("state", {})), self._send_to_comm)
            self.comms[comm_id] = comm
        elif (known := self.comms.get(comm_id)) is not None:
            if message_type == "comm_close":
                known.closed = True
            elif data.get("method") == "custom":
                known.received.append(data["content"])
            else:
                known.state.update(data.get("state", {}))

    def _situation(self) -> str:
        running = [cell.text[-400:] for cell in self.cells.values() if cell.running]
        return f"running cells show {running!r}; the kernel's log ends with {self.log()[-600:]!r}"

    def log(self) -> str:
        """What the kernel's process has written to its own stdout and stderr."""
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """End its process as a crash would, without the interrupt that comes before a shutdown."""
        self._manager.signal_kernel(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """End the kernel."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


def _add_output(outputs: list[Output], message_type: Any, content: dict[str, Any]) -> None:
    match message_type:
        case "stream":
            metadata = {"name": content["name"]}
            if not outputs or outputs[-1].type != "stream" or outputs[-1].metadata != metadata:
                outputs.append(Output("stream", metadata=metadata))
            outputs[-1].text += content["text"]
        case "error":
            outputs.append(Output("error", text=_plain("\n".join(content["traceback"]))))
        case _:
            display_id = content.get("transient", {}).get("display_id")
            output = Output(message_type, content["data"], content["metadata"], display_id=display_id)
            outputs.append(output)


def _plain(coloured: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", coloured)


if __name__ == "__main__":
    for each in KINDS:
        provide(each)
