"""A chat → its file, kept up to date: when a question is asked, now and then while it streams, when it has ended."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from . import conversation_file
from .chat import Chat
from .errors import BadInput, SSEChatError
from .gateway.bodies import SavedMessage
from .patches import Patch
from .reply import Reply
from .talk import Asked
from .transcript import Transcript

LAST_SECONDS = 5.0
EVERY_SECONDS = 5.0


class Autosave:
    """Keeps the conversation of a chat in a file, from now on until a new one begins or `close()`.

    A file holds one conversation: when another begins, or another is taken up, this one stays in its file, and
    `active` is False. What somebody else has added to the file is not replaced. `cells` gives what `Chat.save`
    takes. It is written on a thread of its own, while an answer streams every so many seconds; `error` is why that
    failed the last time, or None.
    """

    def __init__(
        self,
        chat: Chat,
        path: str | os.PathLike[str],
        *,
        cells: Callable[[], Mapping[str, int]] = dict,
        every: float = EVERY_SECONDS,
    ) -> None:
        self.path = Path(path)
        self.error: SSEChatError | None = None
        self.active = True
        self._chat = chat
        self._cells = cells
        self._every = every
        self._known: dict[str, int] = {}
        self._left: tuple[int, ...] | None = None
        self._streaming: Reply | None = None
        self._asked_at = -every
        self._changed = threading.Condition()
        self._pending: Reply | None = None
        self._writing = False
        self._thread = threading.Thread(target=self._work, name="ssechat-autosave", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        chat.follow(self)

    def __repr__(self) -> str:
        return f"Autosave({str(self.path)!r})"

    def save_soon(self, reply: Reply | None = None) -> None:
        """Write the conversation of `reply`, the last one by default, without waiting; safe from any thread."""
        with self._changed:
            self._pending = reply or self._chat.last
            self._asked_at = time.monotonic()
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until what was asked for is written, or could not be; whether that was in time (seconds)."""
        with self._changed:
            return self._changed.wait_for(lambda: self._pending is None and not self._writing, timeout)

    def close(self) -> None:
        """Write what is pending, and keep the file no longer; safe to call twice."""
        self._leave()
        self.wait(LAST_SECONDS)
        atexit.unregister(self.close)

    def _leave(self) -> None:
        self._chat.unfollow(self)
        with self._changed:
            self.active = False
            self._changed.notify_all()

    def _work(self) -> None:
        while (reply := self._next()) is not None:
            try:
                self._save(reply)
            finally:
                with self._changed:
                    self._writing = False
                    self._changed.notify_all()

    def _next(self) -> Reply | None:
        """Wait for what is to be saved; None when nothing will be any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending is not None or not self.active)
            reply, self._pending = self._pending, None
            self._writing = reply is not None
            return reply

    def _save(self, reply: Reply) -> None:
        self._known.update(self._cells())
        try:
            transcript = self._chat.transcript(of=reply, cells=self._known)
            if transcript.messages:  # a question that was refused is no reason to empty a file
                self._expect_ours(transcript)
                conversation_file.save(self.path, transcript)
                self._left = _state_of(self.path)
            self.error = None
        except SSEChatError as error:
            self.error = error

    def _expect_ours(self, transcript: Transcript) -> None:
        """BadInput where the file, since this left it, has got what the conversation does not have."""
        now = _state_of(self.path)
        if now is None or now == self._left:
            return
        conversation_file.check_place(self.path)
        known = {one.message_id: one for one in transcript.messages}
        if not all(
            _is_within(known.get(one.message_id), one) for one in conversation_file.load(self.path).messages
        ):
            raise BadInput(
                f"{self.path} has messages that this conversation has not, as when two notebooks keep one file;"
                " it is not replaced: %chat keep ANOTHER_FILE keeps this one"
            )

    # ---- what a chat tells those who follow it ----

    def asked(self, asked: Asked) -> Autosave:
        """An answer begins: this follows it too."""
        return self

    def renewed(self) -> None:
        """Another conversation begins, and does not overwrite this one."""
        self._leave()

    def begin(self, reply: Reply) -> None:
        """The question is not at the gateway yet."""

    def ready(self, reply: Reply) -> None:
        """The question is asked: should the process die now, it is not lost."""
        self._streaming = reply
        self.save_soon(reply)

    def push(self, patches: list[Patch]) -> None:
        """There is more of the answer; it is saved now and then."""
        if self._streaming is not None and time.monotonic() - self._asked_at >= self._every:
            self.save_soon(self._streaming)

    def end(self, reply: Reply) -> None:
        """The answer has ended, for now."""
        self._streaming = None
        self.save_soon(reply)


def _state_of(path: Path) -> tuple[int, ...] | None:
    """What tells whether a file is as it was; None where there is nothing in it."""
    try:
        found = path.expanduser().stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size) if found.st_size else None


def _is_within(ours: SavedMessage | None, saved: SavedMessage) -> bool:
    """Whether nothing is lost of a saved message where ours takes its place; an answer may have grown."""
    if ours is None or (ours.role, ours.parent_id) != (saved.role, saved.parent_id):
        return False
    return ours.content.startswith(saved.content)


__all__ = ["Autosave"]
