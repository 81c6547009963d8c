"""What goes wrong, as a status and OpenAI's error object (protocols section 6)."""

from __future__ import annotations

import pytest

from jupyter_ssechat.errors import (
    BadInput,
    ConnectionFailed,
    EventTooLarge,
    InvalidRequest,
    LimitExceeded,
    Redirected,
    TimedOut,
    UpstreamError,
)
from jupyter_ssechat.gateway.openai_error import Fault, fault_of, not_whole
from jupyter_ssechat.message import Failure


def test_the_object_has_the_fields_that_clients_read() -> None:
    fault = Fault(status=429, type="rate_limit_reached", message="too many", retry_after=0.2)
    said = {"message": "too many", "type": "rate_limit_reached", "param": None, "code": "429"}
    assert fault.to_wire() == {"error": said}
    assert fault.headers() == {"cache-control": "no-store", "retry-after": "1"}


def test_without_a_wish_to_wait_no_time_is_named() -> None:
    assert "retry-after" not in Fault(status=500, type="x", message="y").headers()


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (UpstreamError("no", status=400), 400, "upstream_error"),
        (UpstreamError("no", status=404, type="not_found"), 404, "not_found"),
        (UpstreamError("no", status=429, type="rate_limit_reached"), 429, "rate_limit_reached"),
        (UpstreamError("no", status=500), 500, "upstream_error"),
        (UpstreamError("no", status=529), 529, "upstream_error"),
        (UpstreamError("no", status=401, type="authentication_error"), 502, "authentication_error"),
        (UpstreamError("no", status=403), 502, "upstream_error"),
        (UpstreamError("no", status=407), 502, "upstream_error"),
        (UpstreamError("a page", status=200, type="not_an_event_stream"), 502, "not_an_event_stream"),
        (UpstreamError("moved", status=307), 502, "upstream_error"),
        (UpstreamError("gone", type="connection_failed"), 502, "connection_failed"),
        (ConnectionFailed("gone"), 502, "connection_failed"),
        (Redirected("moved"), 502, "redirected"),
        (TimedOut("slow"), 504, "timeout"),
        (EventTooLarge("large"), 502, "event_too_large"),
        (BadInput("no images here"), 400, "invalid_request_error"),
        (LimitExceeded("full", status=429), 429, "invalid_request_error"),
        (KeyError("oops"), 500, "internal_error"),
    ],
)
def test_each_error_has_its_status(error: Exception, status: int, kind: str) -> None:
    fault = fault_of(error)
    assert (fault.status, fault.type) == (status, kind)
    assert fault.timed_out is (status == 504)


@pytest.mark.parametrize("status", [302, 407, 600, 999])
def test_a_status_that_cannot_be_ours_is_a_bad_gateways(status: int) -> None:
    assert fault_of(UpstreamError("no", status=status)).status == 502


def test_the_wish_of_the_server_to_wait_goes_on() -> None:
    assert fault_of(UpstreamError("no", status=429, retry_after=7.0)).headers()["retry-after"] == "7"


def test_a_connection_that_breaks_in_mid_answer_is_another_fault_than_one_never_made() -> None:
    assert fault_of(ConnectionFailed("cut"), begun=True).type == "upstream_interrupted"
    assert fault_of(TimedOut("slow"), begun=True).type == "timeout"


def test_a_model_that_must_be_named_is_a_wrong_field() -> None:
    fault = fault_of(UpstreamError("several models", type="no_model"))
    assert (fault.status, fault.type, fault.param) == (400, "invalid_request_error", "model")


@pytest.mark.parametrize(
    ("said", "param"),
    [("messages[0].role: wrong", "messages[0].role"), ("n: too many", "n"), ("the body: it is odd", None)],
)
def test_a_refused_body_names_its_field(said: str, param: str | None) -> None:
    fault = fault_of(InvalidRequest(said, status=422))
    assert (fault.status, fault.message, fault.param) == (400, said, param)


def test_a_body_that_is_too_large_keeps_its_status() -> None:
    assert fault_of(InvalidRequest("body: too large", status=413)).status == 413


def test_what_fails_inside_of_the_gateway_is_not_shown_to_strangers() -> None:
    assert fault_of(RuntimeError("the key is sk-secret")).message == "the gateway failed: RuntimeError"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("rate_limit_reached", 429),
        ("invalid_request_error", 400),
        ("overloaded_error", 503),
        ("timeout", 504),
        ("429", 429),
        ("401", 502),
        ("299", 502),
        ("whatever", 502),
    ],
)
def test_a_failure_told_in_a_stream_has_the_status_it_would_have_had(kind: str, status: int) -> None:
    fault = not_whole(Failure(kind, "no"))
    assert (fault.status, fault.type, fault.message) == (status, kind, "no")


def test_an_answer_that_somebody_stopped_is_not_whole() -> None:
    assert not_whole(None).type == "upstream_stopped"
