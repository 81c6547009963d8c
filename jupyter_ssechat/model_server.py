"""A model server over HTTP as an upstream: which dialect, which model, and how an answer goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from copy import copy
from dataclasses import replace
from typing import Any

from .continuation import Afresh, Overlap
from .deadlines import Deadlines
from .dialects import DIALECTS, Call, Dialect, Manners, OpenAIChat
from .dialects.third_party import known_dialects
from .discretion import Discretion
from .errors import BadInput, ConnectionFailed, StreamError, UpstreamError
from .exchange import HANDLE, Exchange, Patience, refusal
from .patches import Patch
from .request import Continuation, Request
from .response_format import in_words, is_refused
from .transport import Transport, Wire, parsed, public_address
from .wire_json import as_list, as_object, as_text

CANCEL_SECONDS = 5.0
LIST_DEADLINES = Deadlines(first_byte=30.0, first_token=30.0, total=30.0)
CONTINUATION = "response/continuation"

# A server that cannot do what was asked in one way is asked in the next.
_OTHER_WAY = {400, 404, 405, 409, 410, 422, 501}


class ModelServer:
    """A server at `url` that speaks `dialect`, or the one told by its address and its first event.

    The key stays in here. Deadlines are in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        dialect: str | None = None,
        model: str | None = None,
        api_key: str | None = None,
        manners: Manners | None = None,
        deadlines: Deadlines | None = None,
        patience: Patience | None = None,
    ) -> None:
        told = None if dialect == "auto" else dialect
        self._dialect = dialect_of(url) if told is None else named(told)
        # What others bring is used where it is named or lives; ours may turn out to be another of ours.
        self._certain = told is not None or self._dialect.name not in DIALECTS
        self.url = self._dialect.endpoint(_checked(url))
        self.name = public_address(self.url)
        self.model = model
        self._manners = manners or self._dialect.manners
        self._deadlines = deadlines or Deadlines()
        self._patience = patience or Patience()
        self._discretion = Discretion.of(self.url, api_key)
        self._headers = self._dialect.headers(api_key)
        if self._manners.key_header and api_key:
            self._headers = {**self._dialect.headers(None), self._manners.key_header: api_key}
        self.wire: Wire = Transport(headers=self._headers, deadlines=self._deadlines)
        self._cancelling: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"ModelServer({self.name!r})"

    @property
    def dialect(self) -> str:
        """The name of the dialect in which it is asked."""
        return self._dialect.name

    @property
    def certain(self) -> bool:
        """Whether the dialect is known, and not to be told by the first event."""
        return self._certain

    @property
    def manners(self) -> Manners:
        """In what it differs from others of its wire, as far as that is known by now."""
        return self._manners

    @property
    def discretion(self) -> Discretion:
        """What knows its secrets."""
        return self._discretion

    def over(self, wire: Wire) -> ModelServer:
        """The same server, asked over another wire, such as one that records what comes."""
        other = copy(self)
        other.wire = wire
        return other

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        """Ask the server and translate its stream; see `Upstream.stream`."""
        request = self._with_handles(request)
        request = replace(request, model=request.model or self.model or await self._only_model())
        ways = list(self._ways(request)) if request.continues else [(None, request)]
        for number, (way, asking) in enumerate(ways, 1):
            begun, last = False, number == len(ways)
            try:
                async with aclosing(self._answer(asking, way)) as answer:
                    async for patches in answer:
                        if way == "native" and not begun and _refuses(patches):
                            break
                        begun = begun or bool(patches)
                        yield patches
                    else:
                        return
            except UpstreamError as error:
                if begun or last or error.status not in _OTHER_WAY:
                    raise

    async def models(self) -> list[str]:
        """The names of the models that the server offers; [] where it has no list.

        Raises UpstreamError when it cannot be reached or refuses. May be called on any event loop.
        """
        url = self._dialect.models_url(self.url)
        if url is None:
            return []
        transport = Transport(headers=self._headers, deadlines=LIST_DEADLINES)
        try:
            answer = await transport.request("GET", url)
        except ConnectionFailed as error:
            said = f"the model server cannot be reached: {self._discretion.line(str(error))}"
            raise UpstreamError(said, type=error.type) from None
        except StreamError as error:
            said = f"the list of models cannot be read: {self._discretion.line(str(error))}"
            raise UpstreamError(said, type=error.type) from None
        finally:
            await transport.aclose()
        if answer.status != 200:
            raise refusal(answer, self._discretion)
        return _model_names(answer.json())

    async def aclose(self) -> None:
        """Close every connection, when the servers have been told of what was stopped."""
        await asyncio.gather(*self._cancelling, return_exceptions=True)
        await self.wire.aclose()

    def _ways(self, request: Request) -> Iterator[tuple[Continuation, Request]]:
        """How an answer may go on, the best way first."""
        if request.handle is not None and self._dialect.go_on(self.url, request) is not None:
            yield "native", request
        if not request.content_so_far:
            yield "again", request
            return
        request = in_words(request)  # held to its schema, a server would begin the JSON anew
        if self._manners.prefill:
            yield "prefill", request.prefilled()
        yield "asked", request.asked_to_go_on()

    async def _answer(self, request: Request, way: Continuation | None) -> AsyncGenerator[list[Patch]]:
        """One way of asking; it is asked again without what a server does not know, or no longer."""
        while True:
            try:
                async with aclosing(self._exchanged(request, way)) as answer:
                    async for patches in answer:
                        yield patches
                return
            except UpstreamError as error:
                request = self._without_what_is_unknown(request, error)

    def _without_what_is_unknown(self, request: Request, error: UpstreamError) -> Request:
        """The request to make after a refusal; raises it again where nothing can be left out."""
        said = str(error)
        if self._manners.asks_usage and error.status in (400, 422) and "stream_options" in said:
            self._manners = replace(self._manners, asks_usage=False)
            return request
        if error.status in (400, 422, 501) and is_refused(request, said):
            return in_words(request)
        if error.status in (404, 410) and any(turn.handle for turn in request.turns):
            return replace(request, turns=tuple(replace(turn, handle=None) for turn in request.turns))
        raise error

    async def _exchanged(self, request: Request, way: Continuation | None) -> AsyncGenerator[list[Patch]]:
        """One exchange, to its end; the server is told when nobody wants the rest."""
        native = self._dialect.go_on(self.url, request) if way == "native" else None
        call = native or self._dialect.ask(self.url, request, self._manners)
        overlap = Overlap(
            request.content_so_far if way in ("prefill", "asked") else "", blanks_too=way == "prefill"
        )
        afresh = Afresh(request.thinking_so_far if way == "again" else "")
        told: list[Patch] = [Patch(CONTINUATION, "SET", way)] if way else []
        if native is None and request.handle is not None:  # it is of the answer that is given up
            told.append(Patch(HANDLE, "SET", None))
        exchange = self._exchange(request)
        try:
            async with aclosing(exchange.stream(call)) as stream:
                async for patches in stream:
                    told_first = (told if patches else []) + self._named_server(patches)
                    yield overlap.trim(afresh.part(told_first))
                    told = [] if patches else told
        except (GeneratorExit, asyncio.CancelledError):
            self._cancel(exchange)
            raise
        except ConnectionFailed:
            yield overlap.rest()
            raise
        yield overlap.rest()

    def _exchange(self, request: Request) -> Exchange:
        return Exchange(
            self.wire,
            self.url,
            self._dialect.reader(request),
            certain=self._certain,
            deadlines=self._deadlines,
            patience=self._patience,
            discretion=self._discretion,
        )

    def _cancel(self, exchange: Exchange) -> None:
        """Tell the server, where closing the connection does not end the generation; nobody waits for it."""
        call = exchange.reader.cancel(self.url) if exchange.running else None
        if call is not None:
            task = asyncio.get_running_loop().create_task(self._tell(call))
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)

    async def _tell(self, call: Call) -> None:
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self.wire.request(call.method, call.url, call.body, call.headers)
        except (ConnectionFailed, BadInput, TimeoutError):
            return  # it is stopped for us; the server may be the reason why

    def _with_handles(self, request: Request) -> Request:
        """The request without the handles of other servers, which may mean another answer here."""
        turns = tuple(replace(turn, handle=self._own(turn.handle)) for turn in request.turns)
        return replace(request, turns=turns, handle=self._own(request.handle))

    def _own(self, handle: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        return handle if handle and handle.get("server") == self.name else None

    def _named_server(self, patches: list[Patch]) -> list[Patch]:
        return [
            Patch(HANDLE, "SET", {**as_object(patch.value), "server": self.name})
            if patch.path == HANDLE and patch.value
            else patch
            for patch in patches
        ]

    async def _only_model(self) -> str | None:
        """The model to use when none is named: the server's only one.

        A server without a list of models gets no name; one with several is not guessed at.
        """
        try:
            names = await self.models()
        except UpstreamError as error:
            if error.status is None:
                raise
            return None
        if len(names) > 1:
            some = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise UpstreamError(
                f"this server offers several models ({some}); choose one of them as the model",
                type="no_model",
            )
        return names[0] if names else None


def _refuses(patches: list[Patch]) -> bool:
    """Whether an answer begins with its failure, as where a refusal comes with status 200."""
    return any(patch.path == "response/error" for patch in patches) and not any(
        patch.op == "APPEND" for patch in patches
    )


def dialect_of(url: str) -> type[Dialect]:
    """Tell the dialect of a server by its address; chat completions where it tells nothing."""
    parts = parsed(url)
    fitting = (
        one for one in known_dialects().values() if one.lives_at(parts.hostname or "", parts.path.rstrip("/"))
    )
    return next(fitting, OpenAIChat)


def named(name: str) -> type[Dialect]:
    """The dialect of this name; raises BadInput where there is none."""
    known = known_dialects()
    if name not in known:
        raise BadInput(f"{name!r} is not a dialect; expected auto, {', '.join(sorted(known))}")
    return known[name]


def _checked(url: str) -> str:
    if not parsed(url).hostname:
        raise BadInput(f"{url!r} has no host; expected an address such as http://127.0.0.1:11434/v1")
    return url


def _model_names(data: object) -> list[str]:
    rows = as_list(as_object(data).get("data"))
    return [name for row in rows if (name := as_text(as_object(row).get("id")))]


__all__ = ["ModelServer", "dialect_of", "named"]
