"""What can go wrong, as one tree; every leaf prints as one line in a notebook.

SSEChatError
├── StreamError              what came over the wire cannot be read
│   ├── EventTooLarge        one event is above the decoder's cap
│   ├── InvalidData          a ``data:`` that is not JSON
│   ├── NotAnEventStream     an answer of another content type
│   ├── BodyTooLarge         an answer is above its cap, unpacked
│   └── UndecodableBody      an answer is compressed in a way that cannot be read
├── ConnectionFailed         nobody answered, or the connection broke for good
│   ├── TimedOut             a deadline was missed
│   └── Redirected           the server is somewhere else
├── GatewayError             the gateway said no
│   ├── Unauthorized         401: no token, or a wrong one
│   ├── NotFound             404: no such session or message
│   ├── Expired              410: known once
│   ├── InvalidRequest       422: a field is missing, unknown or of the wrong type
│   └── LimitExceeded        429: try again later
├── UpstreamError            the model server said no
├── AnswerFailed             an answer ended as failed or interrupted
├── AnswerStopped            the kernel was interrupted while an answer streamed
└── BadInput                 a name, an option or a value that cannot be used
"""

from __future__ import annotations


class SSEChatError(Exception):
    """The root; its text says what happened, what was expected and what to do."""

    def _render_traceback_(self) -> list[str]:
        """Show one line in IPython, where a traceback would be a wall."""
        return [" ".join(f"{type(self).__name__}: {self}".split())]


class StreamError(SSEChatError):
    """What came over the wire cannot be read."""

    type = "stream_error"


class EventTooLarge(StreamError):
    """One event grew above the decoder's cap."""

    type = "event_too_large"


class InvalidData(StreamError):
    """A ``data:`` field holds something other than JSON."""

    type = "invalid_data"


class NotAnEventStream(StreamError):
    """The answer's content type is not ``text/event-stream``."""

    type = "not_an_event_stream"


class BodyTooLarge(StreamError):
    """A body grew above its cap, counted as it is when unpacked."""

    type = "body_too_large"


class UndecodableBody(StreamError):
    """A body is compressed in a coding that nobody asked for, or is broken."""

    type = "undecodable_body"


class ConnectionFailed(SSEChatError):
    """Nobody answered, or the connection broke and could not be taken up again."""

    type = "connection_failed"


class TimedOut(ConnectionFailed):
    """A deadline was missed; the text says which."""

    type = "timeout"


class Redirected(ConnectionFailed):
    """The server points to another address, where a request with a key does not follow by itself."""

    type = "redirected"


class GatewayError(SSEChatError):
    """The gateway refused a call (protocols section 6); ``retry_after`` is in seconds, or None."""

    retry_after: float | None = None

    def __init__(self, message: str, *, status: int = 0, code: int = 0, biz_code: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.biz_code = biz_code


class Unauthorized(GatewayError):
    """No token, or a wrong one."""


class NotFound(GatewayError):
    """No such session or message."""


class Expired(GatewayError):
    """The session or message was known once."""


class InvalidRequest(GatewayError):
    """A field is missing, unknown, or of the wrong type."""


class LimitExceeded(GatewayError):
    """A limit is reached."""


class UpstreamError(SSEChatError):
    """The model server refused, or cannot be reached.

    ``status`` is its HTTP status, or None; ``retry_after`` the seconds that it asks to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str = "upstream_error",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.status = status
        self.retry_after = retry_after


class AnswerFailed(SSEChatError):
    """An answer ended as failed or interrupted; what arrived of it is kept."""


class AnswerStopped(SSEChatError):
    """The kernel was interrupted while an answer streamed; what arrived of it is kept."""


class BadInput(SSEChatError):
    """A name, an option or a value that cannot be used."""
