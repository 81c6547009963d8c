"""A reply → the cell that asked for it: shown while it arrives, waited for, stopped by an interrupt."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from .deltas import DeltaStream
from .errors import AnswerFailed, AnswerStopped, BadInput
from .kernel import Kernel, kernel_of, open_route
from .presentation import Presentation, note, show_history, show_text
from .reply import Reply
from .widget import Action, ChatView

INTERRUPTED = "stopped by the kernel's interrupt; what arrived is kept, and %chat resume lets it go on"
STOP_SECONDS = 5.0
# What would control the terminal instead of standing in it.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# Opens a reply; takes the keywords `view` and `on_delta` of `Chat.send`.
Send = Callable[..., Reply]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a view that stays needs: the prompt it shows, and how to ask anew in the place of a reply.

    `again` takes that reply, the prompt, and the keyword `view`.
    """

    prompt: str
    again: Callable[..., Reply]


class Cell(Protocol):
    """Where an answer is shown: a cell of a notebook, or a line of a terminal."""

    @property
    def id(self) -> str | None:
        """The id of the running cell, where there is one."""
        ...

    @property
    def attended(self) -> bool:
        """Whether somebody may press a button while it runs."""
        ...

    def run(
        self,
        send: Send,
        keep: Callable[[Reply], None],
        *,
        background: bool = False,
        kept: Kept | None = None,
    ) -> None:
        """Show the reply that `send` opens; unless in the background, until it has ended.

        With `kept` its view stays when it has finished, and can ask anew.
        Raises AnswerStopped after an interrupt, AnswerFailed for an answer that failed or was interrupted.
        """
        ...

    def show(self, reply: Reply) -> None:
        """Show a reply anew."""
        ...

    def show_history(self, messages: list[dict[str, Any]]) -> None:
        """Show a branch of a conversation."""
        ...


class NotebookCell:
    """A cell of a notebook: the live view, then native Markdown."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    @property
    def id(self) -> str | None:
        return self._kernel.cell_id

    @property
    def attended(self) -> bool:
        return self._kernel.attended

    def run(
        self,
        send: Send,
        keep: Callable[[Reply], None],
        *,
        background: bool = False,
        kept: Kept | None = None,
    ) -> None:
        view = ChatView(prompt=kept.prompt if kept else "")
        open_route(view.comm)
        presentation = Presentation(
            view, background=background, attended=self.attended, kept=kept is not None
        )
        try:
            reply = send(view=presentation)
        except BaseException:
            presentation.discard()
            raise
        _Buttons(reply, view, presentation, kept)
        keep(reply)
        if not background:
            self._finish(reply, presentation)

    def _finish(self, reply: Reply, presentation: Presentation) -> None:
        try:
            self._kernel.wait(reply.over)
        except KeyboardInterrupt:
            with _interrupts(reply.let_go):
                _stop_for_good(reply)
                presentation.settle(reply)
                self._kernel.abort_queue()
            raise AnswerStopped(INTERRUPTED) from None
        presentation.settle(reply)
        fault = reply.data_error or (reply.one_line() if reply.status in ("failed", "interrupted") else None)
        if fault is not None:
            self._kernel.abort_queue()
            raise AnswerFailed(fault)

    def show(self, reply: Reply) -> None:
        if reply.done:
            show_text(reply)
            return

        def shown(view: Presentation) -> Reply:
            reply.show_in(view)
            return reply

        self.run(shown, lambda _: None)

    def show_history(self, messages: list[dict[str, Any]]) -> None:
        show_history(messages)


class _Buttons:
    """What the buttons of a view do: always to the reply that it shows now."""

    def __init__(self, reply: Reply, view: ChatView, presentation: Presentation, kept: Kept | None) -> None:
        self._reply = reply
        self._view = view
        self._presentation = presentation
        view.on_action(self._act)
        if kept is not None:
            view.on_ask(partial(self._ask, kept.again))

    def _act(self, action: Action) -> None:
        if action == "stop":
            self._reply.ask_to_stop()
        else:
            self._reply.resume()

    def _ask(self, again: Callable[..., Reply], prompt: str) -> None:
        if not self._reply.done:
            raise BadInput("the answer is still streaming; stop it, or wait for its end")
        self._reply = again(self._reply, prompt, view=self._presentation)
        self._view.prompt = prompt


class Terminal:
    """A plain IPython terminal: the text as it arrives."""

    id = None
    attended = False

    def run(
        self,
        send: Send,
        keep: Callable[[Reply], None],
        *,
        background: bool = False,
        kept: Kept | None = None,
    ) -> None:
        deltas = DeltaStream()
        deltas.reply = send(on_delta=deltas.put)
        keep(deltas.reply)
        try:
            _print(deltas)
        except KeyboardInterrupt:
            raise AnswerStopped(INTERRUPTED) from None
        if said := note(deltas.reply):
            print(f"[{said}]")
        if deltas.reply.data_error:
            raise AnswerFailed(deltas.reply.data_error)

    def show(self, reply: Reply) -> None:
        print(CONTROL.sub("\ufffd", reply.content))

    def show_history(self, messages: list[dict[str, Any]]) -> None:
        for one in messages:
            said = CONTROL.sub("\ufffd", one.get("content") or "")
            print(f"{'You' if one['role'] == 'USER' else 'Model'}: {said}\n")


def cell_of(shell: Any) -> Cell:
    """The kind of cell that a shell has."""
    kernel = kernel_of(shell)
    return NotebookCell(kernel) if kernel is not None else Terminal()


@contextmanager
def _interrupts(call: Callable[[], object]) -> Generator[None]:
    """Let further interrupts call this instead of breaking into what the first one began."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_: int, __: object) -> None:
        call()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stop_for_good(reply: Reply) -> None:
    """Stop a reply; where the gateway does not confirm in time, let go of it."""
    reply.ask_to_stop()
    if not reply.over.wait(STOP_SECONDS):
        reply.let_go()
        reply.over.wait(STOP_SECONDS)


def _print(deltas: DeltaStream) -> None:
    kind = ""
    try:
        for delta in deltas:
            if delta.kind != kind:
                lead = "\x1b[2m" if delta.kind == "thinking" else "\x1b[0m"
                sys.stdout.write(f"\n\n{lead}" if kind else lead)
                kind = delta.kind
            sys.stdout.write(CONTROL.sub("\ufffd", delta.text))
            sys.stdout.flush()
    finally:
        sys.stdout.write("\x1b[0m\n" if kind else "")
