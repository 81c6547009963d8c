"""One question at a model server → patches of its answer, over all the connections that it takes.

Before the first event a call is made again where that may help; after it only where the wire can take the stream
up where it broke. Closing the generator ends the generation at the server.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from .deadlines import Deadlines, retry_after
from .dialects import DIALECTS, Body, Call, Dialect
from .discretion import Discretion
from .errors import ConnectionFailed, Redirected, SSEChatError, StreamError, TimedOut, UpstreamError
from .message import ends
from .patches import Patch
from .transport import Answer, Source, Wire
from .wire_json import as_object

Failing = TypeVar("Failing", bound=SSEChatError)

MAX_WHOLE_BYTES = 16 * 2**20
NOTICE, HANDLE = "response/notice", "response/upstream"

PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
_ADVICE = {
    401: "; check the API key, and that it is read from the right variable (--key-env, api_key_env)",
    403: "; check the API key, and that it is read from the right variable (--key-env, api_key_env)",
    404: "; check the address and the model's name",
    429: "; wait a while and ask again",
}
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found", 429: "rate_limit_reached"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often to try again, and how long to wait for it at most, in seconds.

    `retries` are those before the first event; `take_ups` the fruitless ones in a row after it.
    """

    retries: int = 2
    take_ups: int = 5
    first: float = 0.3
    longest: float = 60.0

    def wait(self, tries: int, asked: float | None) -> float | None:
        """The seconds before try number `tries` (from 1); None where the server asks for more than can be waited."""
        own = min(self.first * 2 ** (tries - 1), self.longest) * (1 + random.random() / 4)
        if asked is None:
            return own
        return max(own, asked) if asked <= self.longest else None


class Exchange:
    """One question and its answer; for one use."""

    def __init__(
        self,
        wire: Wire,
        endpoint: str,
        reader: Dialect,
        *,
        certain: bool = True,
        deadlines: Deadlines,
        patience: Patience,
        discretion: Discretion,
    ) -> None:
        self._wire = wire
        self._endpoint = endpoint
        self._reader = reader
        self._certain = certain
        self._deadlines = deadlines
        self._started = time.monotonic()
        self._patience = patience
        self._discretion = discretion
        self._begun = self._ended = False
        self._noticed = self._handled = False
        self._retry = 0.0

    @property
    def reader(self) -> Dialect:
        """What the answer is read with; another than was expected, where the server speaks another dialect."""
        return self._reader

    @property
    def running(self) -> bool:
        """Whether the server may still generate."""
        return self._begun and not self._ended

    async def stream(self, call: Call) -> AsyncGenerator[list[Patch]]:
        """Make the call and yield patches; [] when the server has begun to answer.

        Ends without a terminal status when the stream broke and cannot be taken up. Raises UpstreamError when
        the server refuses, ConnectionFailed when it was never reached.
        """
        tries, asking = 0, call
        while True:
            failure: UpstreamError | ConnectionFailed | None = None
            try:
                async with aclosing(self._connection(asking)) as connection:
                    async for patches in connection:
                        # A snapshot alone is no progress: a server may send the same one for ever.
                        tries = 0 if any(patch.op == "APPEND" for patch in patches) else tries
                        yield patches
            except (UpstreamError, ConnectionFailed) as error:
                failure = self._discreet(error)
            except StreamError as error:
                raise self._discreet(error) from None
            if self._ended:
                return
            tries += 1
            again = self._reader.take_up(self._endpoint) if self._begun else call
            wait = self._wire.again(None if again is None else self._wait(failure, tries))
            if again is None or wait is None:
                break
            yield [Patch(NOTICE, "SET", self._notice(failure, wait))]
            self._noticed = True
            await self._wire.pause(wait)
            asking = again
        if self._begun:
            yield self._last_words()
        if failure is not None and (not self._begun or isinstance(failure, TimedOut)):
            raise failure

    def _wait(self, failure: UpstreamError | ConnectionFailed | None, tries: int) -> float | None:
        """The seconds before the next call, after a connection that brought no end; None for no patience."""
        if tries > (self._patience.take_ups if self._begun else self._patience.retries):
            return None
        if isinstance(failure, UpstreamError) and failure.status not in PASSING:
            return None
        if not self._begun and isinstance(failure, TimedOut | Redirected):
            return None
        wait = self._patience.wait(tries, _asked(failure))
        return None if wait is None else max(wait, self._retry)

    async def _connection(self, call: Call) -> AsyncGenerator[list[Patch]]:
        """One connection, to the end of its body."""
        while call.then is not None:
            answer = await self._wire.request(call.method, call.url, call.body, call.headers)
            if answer.status >= 400:
                raise self._refusal(answer)
            call = self._next(call.then, answer)
        self._reader.called(call)
        opening = self._wire.events(
            call.method, call.url, call.body, call.headers, deadlines=self._time_left()
        )
        async with opening as source:
            if source.status == 204:
                yield self._nothing_more()
            elif not source.is_event_stream:
                yield await self._not_a_stream(source)
            else:
                first, self._begun = not self._begun, True
                yield []
                body = Body(self._reader, or_else=first and not self._certain)
                async with aclosing(self._read(source, body)) as patches:
                    async for each in patches:
                        yield each

    def _next(self, then: Callable[[object], Call], answer: Answer) -> Call:
        """The next call; what the dialect finds wrong with the answer may quote it."""
        try:
            return then(answer.json())
        except SSEChatError as error:
            error.args = (self._discretion.line(str(error)),)
            raise

    def _discreet(self, error: Failing) -> Failing:
        """The same error, which may quote what the server says of us."""
        error.args = (self._discretion.hide(str(error)),)
        return error

    async def _read(self, source: Source, body: Body) -> AsyncGenerator[list[Patch]]:
        broken: ConnectionFailed | StreamError | None = None
        try:
            async with aclosing(source.chunks(source.watch)) as chunks:
                async for chunk in chunks:
                    patches = body.feed(chunk)
                    self._reader = body.dialect or self._reader
                    if self._reader.finishing:
                        source.watch.finishing()
                    if patches:
                        source.watch.token()
                        yield self._said(patches)
        except (ConnectionFailed, StreamError) as error:
            broken = error
        if patches := self._said(body.finish()):
            yield patches
        self._retry = min((body.retry or 0) / 1000, self._patience.longest)
        if broken is not None:
            raise broken

    def _time_left(self) -> Deadlines:
        """The deadlines of one more connection: the whole has one end, however many there are."""
        total = self._deadlines.total
        if total is None:
            return self._deadlines
        return replace(self._deadlines, total=max(total - (time.monotonic() - self._started), 0.001))

    def _said(self, patches: list[Patch]) -> list[Patch]:
        self._ended = self._ended or any(map(ends, patches))
        return self._in_step() + self._discretion.patches(patches) if patches else []

    def _notice(self, failure: UpstreamError | ConnectionFailed | None, wait: float) -> str:
        if isinstance(failure, UpstreamError):
            said = f"the model server answered {failure.status}"
        else:
            said = str(failure) if failure is not None else "the model server's stream broke"
        return f"{self._discretion.line(said)}; trying again in {wait:.1f} s"

    def _in_step(self) -> list[Patch]:
        """What the record of the answer has to know besides the answer."""
        patches = [Patch(NOTICE, "SET", None)] if self._noticed else []
        self._noticed = False
        if self._reader.handle is not None and not self._handled:
            self._handled = True
            patches.append(Patch(HANDLE, "SET", self._reader.handle))
        return patches

    def _last_words(self) -> list[Patch]:
        """Where a later call may take up what broke here."""
        self._handled = False
        return self._in_step()

    def _nothing_more(self) -> list[Patch]:
        """A 204: the end of a stream that was taken up, but no answer to a question."""
        if self._begun:
            return self._said(self._reader.nothing_more())
        raise UpstreamError("the model server answered 204 (nothing) instead of a stream", status=204)

    async def _not_a_stream(self, source: Source) -> list[Patch]:
        """Read an answer that is no stream: a whole one is taken as it is, all else is refused."""
        answer = await source.read(MAX_WHOLE_BYTES)
        if answer.status < 400 and (patches := self._whole(answer.json())):
            self._begun = True
            return self._said(patches)
        raise self._refusal(answer, source)

    def _whole(self, answer: object) -> list[Patch]:
        others = [] if self._certain else [dialect() for dialect in DIALECTS.values()]
        for one in (self._reader, *others):
            if patches := one.whole(answer):
                return patches
        return []

    def _refusal(self, answer: Answer, source: Source | None = None) -> UpstreamError:
        if source is not None and answer.status < 400 and not as_object(answer.json()).get("error"):
            error = source.not_an_event_stream()
            return UpstreamError(self._discretion.line(str(error)), type=error.type, status=answer.status)
        return refusal(answer, self._discretion)


def refusal(answer: Answer, discretion: Discretion) -> UpstreamError:
    """What a model server said in place of an answer, as an error of one line."""
    said = discretion.line(_error_text(answer))
    wait = retry_after(answer.headers, time.time())
    advice = _ADVICE.get(answer.status, "") if wait is None else f"; it asks to wait {wait:.0f} s"
    return UpstreamError(
        f"the model server answered {answer.status}: {said}{advice}",
        type=TYPES.get(answer.status, "upstream_error"),
        status=answer.status,
        retry_after=wait,
    )


def _asked(failure: UpstreamError | ConnectionFailed | None) -> float | None:
    return failure.retry_after if isinstance(failure, UpstreamError) else None


def _error_text(answer: Answer) -> str:
    """What the server said, in the shapes that servers use: errors, messages, details, envelopes, text."""
    fields = as_object(answer.json())
    error, inner = fields.get("error"), as_object(fields.get("data"))
    for said in (
        as_object(error).get("message"),
        error,
        fields.get("message"),
        fields.get("detail"),
        inner.get("biz_msg"),
        fields.get("msg"),
    ):
        if said:
            return str(said)
    return answer.body.decode("utf-8", "replace").strip() or "(nothing)"


__all__ = ["Exchange", "Patience", "refusal"]
