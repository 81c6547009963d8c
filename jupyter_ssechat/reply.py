"""Signals → one reply: its text, its state, its controls, its view."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, aclosing, suppress
from typing import Any, Protocol, get_args

from .client import GENERATING, GatewayClient, Patched, Ready, Reconnecting, Signal
from .consumer import Batcher, Consumer, sendable
from .errors import AnswerFailed, BadInput, ConnectionFailed, InvalidData, SSEChatError
from .message import Delta, Failure, Kind, Message, Source, Status, Usage, failed, stopped
from .partial_json import partial_value, whole_value
from .patches import Patch, mend
from .request import Continuation
from .schema import Schema

STALLED_SECONDS = 10.0
STOP_SECONDS = 5.0
UNBORN_SECONDS = 2.0
POLL_SECONDS = 0.05

Call = tuple[GENERATING, dict[str, Any]]
"""Makes a token for a page, given its origin, a session and a message; it is told to the last one, now or soon."""


class View(Protocol):
    """What shows a reply while it arrives; called on the consumer's thread, `begin` on the caller's."""

    def begin(self, reply: Reply) -> None:
        """The reply streams, for the first time or again."""
        ...

    def ready(self, reply: Reply) -> None:
        """The reply has its ids."""
        ...

    def push(self, patches: list[Patch]) -> None:
        """Take a batch of patches to the view's document."""
        ...

    def end(self, reply: Reply) -> None:
        """The reply has ended, for now."""
        ...

    def close(self) -> None:
        """The reply is shown no more."""
        ...


class Reply:
    """An answer, from the moment it is asked for.

    Attributes and properties may be read at any time and from any thread; `wait()` returns when the answer has
    ended. Times are in seconds. An answer that failed says so in `status` and `error`; `raise_for_status()`
    raises.
    """

    def __init__(
        self,
        consumer: Consumer,
        client: GatewayClient,
        prompt: str,
        *,
        view: View | None = None,
        on_delta: Callable[[Delta | None], None] | None = None,
        on_ready: Callable[[Reply], object] = lambda reply: None,
        on_end: Callable[[Reply], object] = lambda reply: None,
        schema: Schema | None = None,
    ) -> None:
        self._schema = schema
        self._reading: tuple[Any, str | None] | None = None
        self.prompt = prompt
        self.session_id: str | None = None
        self.request_message_id: int | None = None
        self.stream_id: str | None = None
        self.ttft: float | None = None
        self._consumer = consumer
        self._client = client
        self._views = [] if view is None else [view]
        self._on_delta = on_delta
        self._on_ready = on_ready
        self._on_end = on_end
        self._message = Message()
        self._message_id: int | None = None
        self._lock = threading.RLock()
        self._ended = True
        self.over = threading.Event()
        self._phase = "connecting"
        self._stop_asked = False
        self._started_at = self._heard_at = time.monotonic()
        self._before = 0.0  # the seconds of the earlier legs
        self._elapsed: float | None = None
        self._refusal: SSEChatError | None = None
        self._run: Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._batcher: Batcher | None = None
        self._halves: dict[Kind, str] = {}

    def __repr__(self) -> str:
        text = " ".join(self.content[:200].split())
        shown = text if len(text) <= 60 else text[:59] + "…"
        return f"Reply(status={self.status!r}, content={shown!r})"

    @property
    def content(self) -> str:
        """The answer, as far as it has arrived."""
        with self._lock:
            return self._message.content

    @property
    def thinking(self) -> str:
        """The thinking, as far as it has arrived."""
        with self._lock:
            return self._message.thinking

    @property
    def status(self) -> Status:
        """One of streaming, finished, stopped, filtered, failed, interrupted (protocols section 6)."""
        if not self._ended:
            return "streaming"
        with self._lock:
            return "failed" if self._refusal is not None else self._message.status

    @property
    def phase(self) -> str:
        """While it streams: connecting, waiting, thinking, answering, stalled, reconnecting; then the status."""
        if self._ended:
            return self.status
        silent = time.monotonic() - self._heard_at
        return "stalled" if silent > STALLED_SECONDS and self._phase != "reconnecting" else self._phase

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: stop, length, stopped, content_filter, tool_calls, error; None before."""
        with self._lock:
            return "error" if self._refusal is not None else self._message.finish_reason

    @property
    def usage(self) -> Usage | None:
        """Tokens, where the server counts them."""
        with self._lock:
            return self._message.usage

    @property
    def thinking_seconds(self) -> float | None:
        """How long it thought."""
        with self._lock:
            return self._message.thinking_seconds

    @property
    def model(self) -> str | None:
        """The model that answered, as the server names it."""
        with self._lock:
            return self._message.model

    @property
    def notice(self) -> str | None:
        """What is being done about an answer that does not come, such as trying again; None otherwise."""
        with self._lock:
            said = self._message.document.get("response/notice")
        return said if isinstance(said, str) and said and not self._ended else None

    @property
    def continuation(self) -> Continuation | None:
        """How it went on after a stop or a cut: native, prefill, asked or again; None if it did not."""
        with self._lock:
            word = self._message.document.get("response/continuation")
        return word if word in get_args(Continuation) else None

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The calls that the model asks for, in the shape of an OpenAI-compatible message; [] for none."""
        with self._lock:
            return self._message.tool_calls

    @property
    def sources(self) -> list[Source]:
        """The pages that were found and read on the way to the answer; [] for none."""
        with self._lock:
            return self._message.sources

    @property
    def data(self) -> Any:
        """The answer as data that fit the schema which was asked for.

        Raises AnswerFailed, one line, where the answer is not whole or does not fit, and BadInput while it streams
        or where no schema was asked for.
        """
        if self._schema is None:
            raise BadInput("this answer was not asked for as data; ask with schema=MODEL, or --json MODEL")
        if not self._ended:
            raise BadInput("the answer is still streaming; wait() for its end, or look at partial_data")
        if self.status != "finished":
            raise AnswerFailed(f"{self.one_line()}, so that its data are not whole")
        value, fault = self._read(self._schema)
        if fault is not None:
            raise AnswerFailed(fault)
        return value

    @property
    def data_error(self) -> str | None:
        """Why an answer that has finished does not fit the schema, in one line; None where it does."""
        if self._schema is None or self.status != "finished":
            return None
        return self._read(self._schema)[1]

    @property
    def partial_data(self) -> Any:
        """The JSON of the answer as far as it has come, as plain values that nobody has checked; None before any.

        Every access reads the whole text anew: do not look at each token of a very long answer.
        """
        text = self.content
        if self._ended:
            try:
                return whole_value(text)[0]
            except InvalidData:
                pass
        return partial_value(text)

    def _read(self, schema: Schema) -> tuple[Any, str | None]:
        """The data, or why there are none; read once."""
        if self._reading is None:
            try:
                self._reading = schema.read(self.content), None
            except AnswerFailed as error:
                cut = "; it was cut at its greatest length, allow a larger max_tokens"
                self._reading = None, f"{error}{cut if self.finish_reason == 'length' else ''}"
        return self._reading

    @property
    def error(self) -> Failure | None:
        """What went wrong, if it failed."""
        if self._refusal is not None:
            return Failure(getattr(self._refusal, "type", type(self._refusal).__name__), str(self._refusal))
        with self._lock:
            return self._message.error

    @property
    def elapsed(self) -> float:
        """Seconds from the question to the end, or until now; without the time before it was resumed."""
        return (
            self._elapsed if self._elapsed is not None else self._before + time.monotonic() - self._started_at
        )

    @property
    def message_id(self) -> int | None:
        """The answer's id in its session; None until the gateway has given one."""
        return self._message_id

    @property
    def done(self) -> bool:
        """Whether it has ended, for now."""
        return self.over.is_set()

    @property
    def refusal(self) -> SSEChatError | None:
        """Why the gateway never began the answer, if it did not."""
        return self._refusal

    async def ended(self) -> None:
        """Wait on the consumer's loop until it has ended."""
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task])

    def to_dict(self) -> dict[str, Any]:
        """The object of protocols section 6."""
        with self._lock:
            fields = self._message.to_dict()
        error = self.error
        own = {"status": self.status, "finish_reason": self.finish_reason, "message_id": self._message_id}
        return {**fields, **own, "error": error.to_dict() if error else None}

    def raise_for_status(self) -> Reply:
        """Raise AnswerFailed for an answer that failed or was interrupted; else return the reply."""
        if self.status in ("failed", "interrupted"):
            raise AnswerFailed(self.one_line())
        return self

    def one_line(self) -> str:
        """How it ended, in one line for people."""
        if self.error is not None:
            return " ".join(f"the answer failed: {self.error.message}".split())
        if self.status == "interrupted":
            return "the answer was interrupted: the connection broke before its end; resume it"
        return f"the answer is {self.phase}"

    def wait(self, timeout: float | None = None) -> Reply:
        """Block until it has ended, `timeout` seconds at most; an interrupt stops the answer and is passed on."""
        if self._consumer.is_current:
            raise BadInput("wait() would block the thread that streams; use the async twins here")
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            # Short waits: an interrupt gets through, and no thread is ever joined (ipykernel on Python ≤ 3.12).
            while not self.over.wait(POLL_SECONDS):
                if deadline is not None and time.monotonic() >= deadline:
                    break
        except KeyboardInterrupt:
            self.ask_to_stop()
            raise
        return self

    def stop(self, timeout: float = STOP_SECONDS) -> Reply:
        """Stop the generation and keep the text; waits until it has ended, `timeout` seconds at most."""
        self.ask_to_stop()
        return self if self._consumer.is_current else self.wait(timeout)

    def ask_to_stop(self) -> None:
        """Stop without waiting; safe from any thread and as often as one likes."""
        if not self._ended:  # else it might reach the answer when it has been resumed
            self._consumer.call_soon(self._stop_soon)

    def let_go(self) -> None:
        """End it here, as interrupted, without waiting for the gateway any longer."""
        if self._task is not None:
            self._consumer.call_soon(self._task.cancel)

    def dismiss(self) -> None:
        """Stop it and take its views away: another reply stands in its place."""
        self.ask_to_stop()
        for view in self._views:
            view.close()

    def show_in(self, view: View | None, on_delta: Callable[[Delta | None], None] | None = None) -> None:
        """Let `view` too show this reply from now on, beginning with the text that stands."""
        self._on_delta = on_delta
        if view is not None:
            self._consumer.submit(self._join(view)).result(STOP_SECONDS)

    async def _join(self, view: View) -> None:
        """On the loop, in one step: what is pending goes to the others only, the snapshot has it already."""
        if self._batcher is not None:
            self._batcher.flush()
        document = {**self._message.document.snapshot(), "phase": self.phase, "timing": {"ttft": self.ttft}}
        self._views = [*self._views, view]
        view.begin(self)
        view.push([Patch("", "SET", sendable(document))])
        if self._message_id is not None and not self._ended:
            view.ready(self)

    def grant(self, origin: str, then: Callable[[dict[str, Any]], object]) -> None:
        """Tell `then` soon, on another thread, what a view at `origin` needs to stop this stream by itself.

        Nothing is told where the gateway gives no such token.
        """
        session_id, message_id, stream_id = self.session_id, self._message_id, self.stream_id
        if session_id is None or message_id is None:
            return
        control = {"chat_session_id": session_id, "message_id": message_id, "stream_id": stream_id}

        async def grant() -> None:
            with suppress(SSEChatError):
                if token := await self._client.grant(origin, session_id, message_id):
                    then({"url": self._client.url, "token": token, **control})

        self._consumer.submit(grant())

    def resume(self) -> Reply:
        """Take it up again: reattach after a broken connection, continue after a stop, a cut or a failure."""
        if not self.over.is_set():
            return self
        if self.session_id is None or self._message_id is None:
            raise BadInput("this answer never began, so there is nothing to resume; ask again")
        if self.status in ("finished", "filtered") and self.finish_reason != "length":
            raise BadInput(f"this answer is {self.status}; regenerate it for another one")
        call: GENERATING = "resume_stream" if self.status == "interrupted" else "continue"
        body = {"chat_session_id": self.session_id, "message_id": self._message_id}
        if call == "continue":
            body["fallback_to_resume"] = True
        self.start(call, body)
        return self

    def start(self, call: GENERATING, body: dict[str, Any]) -> None:
        """Make a generating call whose body is known."""

        async def known() -> Call:
            return call, body

        self.start_with(known)

    def start_with(self, prepare: Callable[[], Any]) -> None:
        """Make the generating call that the coroutine function `prepare` returns."""
        self._ended = False
        self._reading = None
        self.over.clear()
        self._stop_asked = False
        self._refusal = None
        self._before, self._elapsed = self._elapsed or 0.0, None
        self._started_at = self._heard_at = time.monotonic()
        self._message.resume()
        for view in self._views:
            view.begin(self)
        self._run = self._consumer.submit(self._stream(prepare))

    async def _stream(self, prepare: Callable[[], Any]) -> None:
        self._task = asyncio.current_task()
        self._batcher = Batcher(self._push)
        try:
            self._set_phase("connecting")
            if self.ttft is not None:
                self._show([Patch("continued", "SET", True)])
            call, body = await prepare()
            self.session_id = body["chat_session_id"]
            signals = self._client.follow(call, body, self._message, guard=self._lock)
            async with aclosing(signals):
                async for signal in signals:
                    self._take(signal)
        except SSEChatError as error:
            self._refuse(error)
        except asyncio.CancelledError:
            self._cut_short()
        except Exception as error:  # a bug must still end the reply in a visible state
            self._refuse(ConnectionFailed(f"the stream broke: {type(error).__name__}: {error}"))
        finally:
            self._end()

    def _take(self, signal: Signal) -> None:
        self._heard_at = time.monotonic()
        match signal:
            case Ready():
                self._ready(signal)
            case Patched(patches, deltas):
                self._patched(list(patches), deltas)
            case Reconnecting():
                self._set_phase("reconnecting")

    def _ready(self, ready: Ready) -> None:
        self.stream_id = ready.stream_id
        self.request_message_id = ready.request_message_id or self.request_message_id
        if self._phase != "reconnecting":  # else what stands tells what it is doing
            self._set_phase("waiting")
        self._named(ready.response_message_id)

    def _named(self, message_id: int | None) -> None:
        """Take the answer's id, as soon as the stream says it: in `ready`, or in the snapshot."""
        if message_id is None:
            return
        self._message_id = message_id
        self._on_ready(self)
        for view in self._views:
            view.ready(self)
        if self._stop_asked:
            self._stop_soon()

    def _patched(self, patches: list[Patch], deltas: tuple[Delta, ...]) -> None:
        if self._message_id is None:
            self._named(self._message.message_id)
        first = bool(deltas) and self.ttft is None
        if first:
            self.ttft = time.monotonic() - self._started_at
            patches.append(Patch("timing/ttft", "SET", round(self.ttft, 3)))
        if deltas:
            phase = "thinking" if deltas[-1].kind == "thinking" else "answering"
            patches += self._phase_patch(phase)
        elif self._phase == "reconnecting":
            patches += self._phase_patch(self._phase_of_text())
        self._show(patches, at_once=first)
        if self._on_delta is not None:
            for delta in deltas:
                self._tell(self._on_delta, delta)

    def _tell(self, on_delta: Callable[[Delta | None], None], delta: Delta) -> None:
        """Pass text on without halves of surrogate pairs, which can be neither printed nor encoded."""
        before = self._halves.pop(delta.kind, "")
        text, held = mend(delta.text if delta.replaces else before + delta.text)
        if held:
            self._halves[delta.kind] = held
        if text or delta.replaces:
            on_delta(Delta(delta.kind, text, delta.replaces))

    def _tell_the_end(self, on_delta: Callable[[Delta | None], None]) -> None:
        halves, self._halves = self._halves, {}
        for kind in halves:
            on_delta(Delta(kind, "\ufffd"))
        on_delta(None)

    def _phase_of_text(self) -> str:
        if self._message.content:
            return "answering"
        return "thinking" if self._message.thinking else "waiting"

    def _phase_patch(self, phase: str) -> list[Patch]:
        if phase == self._phase:
            return []
        self._phase = phase
        return [Patch("phase", "SET", phase)]

    def _set_phase(self, phase: str) -> None:
        self._phase = phase
        self._show([Patch("phase", "SET", phase)])

    def _refuse(self, error: SSEChatError) -> None:
        self._refusal = error
        self._show(failed(getattr(error, "type", type(error).__name__), str(error)))

    def _show(self, patches: list[Patch], *, at_once: bool = False) -> None:
        if self._views and self._batcher is not None:
            self._batcher.add(patches, at_once=at_once)

    def _push(self, patches: list[Patch]) -> None:
        for view in self._views:
            view.push(patches)

    def _end(self) -> None:
        self._elapsed = self.elapsed
        self._ended = True
        with ExitStack() as last:  # from the last to the first, each whatever the others do: somebody waits
            if self._on_delta is not None:
                last.callback(self._tell_the_end, self._on_delta)
            last.callback(self.over.set)
            last.callback(self._on_end, self)
            self._finish_view()

    def _finish_view(self) -> None:
        if self._batcher is None:
            return
        local = failed(self.error.type, self.error.message) if self.error and self._message.error else []
        figures = [Patch("timing/elapsed", "SET", round(self.elapsed, 3)), Patch("phase", "SET", self.status)]
        self._show([*local, *figures])
        self._batcher.flush(last=True)
        for view in self._views:
            view.end(self)

    def _cut_short(self) -> None:
        """End here what the gateway cannot end: never begun is stopped, begun and lost is interrupted."""
        if self._message_id is None:
            for patch in stopped():
                self._message.apply(patch)
        self._message.interrupt()

    def _stop_soon(self) -> None:
        """On the loop: ask the gateway to stop; before it has given an id, as soon as it has."""
        if self._ended:
            return
        self._stop_asked = True
        if self.session_id is not None and self._message_id is not None:
            stopping = self._stop_now(self.session_id, self._message_id, self.stream_id)
            self._stopping = asyncio.ensure_future(stopping)
        else:
            wait = UNBORN_SECONDS if self.session_id is not None else 0
            asyncio.get_running_loop().call_later(wait, self._give_up)

    def _give_up(self) -> None:
        if self._task is not None and not self._ended and self._message_id is None:
            self._task.cancel()

    async def _stop_now(self, session_id: str, message_id: int, stream_id: str | None) -> None:
        try:
            await self._client.stop(session_id, message_id, stream_id)
        except SSEChatError:
            # The gateway is gone: nothing more will come, and what stands is kept.
            if self._task is not None:
                self._task.cancel()
