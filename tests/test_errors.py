"""The error tree, as its docstring draws it and as a notebook shows it."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jupyter_ssechat import errors
from jupyter_ssechat.errors import GatewayError, LimitExceeded, SSEChatError, StreamError, UpstreamError

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
HTTP = {401: "Unauthorized", 404: "NotFound", 410: "Expired", 422: "InvalidRequest", 429: "LimitExceeded"}


def drawn() -> Iterator[tuple[str, str, str]]:
    """Name, parent and description of every line of the docstring's tree."""
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.fullmatch(r"([│├└─ ]*)(\w+)(?:  +(.+))?", line):
            depth = len(found[1]) // 4
            yield found[2], above[depth - 1] if depth else "Exception", found[3] or ""
            above[depth:] = [found[2]]


@pytest.fixture(scope="module")
def shell() -> Any:
    """A real IPython without a kernel."""
    config = Config()
    config.HistoryManager.enabled = False
    module = types.ModuleType("a_shell_of_the_tests")
    return InteractiveShell(config=config, colors="nocolor", user_module=module)


def shown(shell: Any, error: BaseException, capsys: pytest.CaptureFixture[str]) -> str:
    """What stands below a cell that raised `error`."""
    shell.user_ns["error"] = error
    assert not shell.run_cell("raise error").success
    return capsys.readouterr().out


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert {name: parent for name, parent, _ in drawn()} == {
        one.__name__: one.__base__.__name__ for one in CLASSES if one.__base__
    }


def test_the_tree_says_which_http_status_is_which_error() -> None:
    told = {int(text[:3]): name for name, _, text in drawn() if re.match("[0-9]{3}:", text)}
    assert told == HTTP


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_one_line_in_a_notebook(
    kind: type[SSEChatError], shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = shown(shell, kind("it broke; expected better; try again"), capsys)
    assert said == f"{kind.__name__}: it broke; expected better; try again\n"


def test_a_text_of_several_lines_is_still_one_line_in_a_notebook(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = shown(shell, GatewayError("the gateway refused:\n  a page\r\n\n of text"), capsys)
    assert said == "GatewayError: the gateway refused: a page of text\n"


def test_an_error_of_others_still_shows_its_traceback(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Traceback" in shown(shell, ValueError("no error of ours"), capsys)


@pytest.mark.parametrize("kind", [one for one in CLASSES if issubclass(one, StreamError)])
def test_an_error_of_the_stream_has_a_word_for_programs(kind: type[StreamError]) -> None:
    assert re.fullmatch("[a-z_]+", kind.type)
    assert kind.type not in [one.type for one in CLASSES if issubclass(one, StreamError) and one is not kind]


def test_a_gateway_error_keeps_the_numbers_of_its_envelope() -> None:
    error = LimitExceeded("too many", status=429, code=42900, biz_code=3)
    assert (error.status, error.code, error.biz_code, error.retry_after) == (429, 42900, 3, None)
    assert str(error) == "too many"


def test_an_upstream_error_keeps_its_type_and_status() -> None:
    error = UpstreamError("slow down", type="rate_limit_reached", status=429)
    assert (error.type, error.status) == ("rate_limit_reached", 429)
    assert (UpstreamError("x").type, UpstreamError("x").status) == ("upstream_error", None)
