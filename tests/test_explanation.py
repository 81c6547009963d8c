"""Explanations: the traceback of an exception as a prompt has it, short and without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.explanation import explained, without_secrets


def told(call: Callable[[], Any], environ: Mapping[str, str] | None = None) -> str:
    """What is said of the exception that a call raises."""
    try:
        call()
    except BaseException as error:
        return explained(error, lambda _: None, environ or {})
    raise AssertionError("nothing was raised")


def parse() -> Any:
    return json.loads("{")


def divide(by: int) -> float:
    return 1 / by


def test_the_frames_of_ones_own_code_have_their_lines_and_the_message_stands_last() -> None:
    said = told(lambda: divide(0)).splitlines()
    assert said[-1] == "ZeroDivisionError: division by zero"
    assert any(line.startswith("-->") and line.endswith("return 1 / by") for line in said)
    assert any("test_explanation.py, line" in line and line.endswith("in divide:") for line in said)


def test_of_a_library_only_the_place_that_raised_is_named() -> None:
    said = told(parse)
    assert "\nraised in json/decoder.py, line " in said and said.count("-->") == 2
    assert "json/__init__.py" not in said and "def raw_decode" not in said


def test_what_led_to_it_comes_first() -> None:
    def wrap() -> None:
        try:
            divide(0)
        except ZeroDivisionError as error:
            raise ValueError("no ratio") from error

    said = told(wrap)
    assert said.index("ZeroDivisionError") < said.index("which led to:") < said.index("ValueError: no ratio")


def test_an_endless_recursion_is_short() -> None:
    def deeper(n: int) -> int:
        return deeper(n + 1)

    said = told(lambda: deeper(0))
    assert "frames are left out)" in said and len(said) < 4000


def test_a_long_message_is_cut_and_says_so() -> None:
    def fail() -> None:
        raise ValueError("x" * 10_000)

    assert "characters are left out]" in told(fail)


def test_a_long_line_of_code_is_cut_and_says_so_and_its_secret_is_hidden_before(tmp_path: Path) -> None:
    file, secret = tmp_path / "long.py", "pilut"[::-1]
    for line in (
        f"data = '{'x' * 2_480}'; password = '{secret}{'y' * 100_000}'",
        f"data = '{'password' * 5_000}'",
    ):
        file.write_text(f"{line}; 1 / 0; '{'z' * 3_000}'\n")
        said = told(lambda: exec(compile(file.read_text(), str(file), "exec"), {}))
        assert secret not in said and len(said) < 6_000
        assert "characters of this line are left out]" in said


def test_notes_and_groups_are_told() -> None:
    def fail() -> None:
        error = ExceptionGroup("several", [ValueError(str(n)) for n in range(7)])
        error.add_note("look at the third")
        raise error

    said = told(fail)
    assert "look at the third" in said and "ValueError: 4" in said and "(2 exceptions are left out)" in said


def test_an_error_of_syntax_shows_its_line() -> None:
    said = told(lambda: compile("x = = 1", "here.py", "exec"))
    assert "x = = 1" in said and "SyntaxError: invalid syntax" in said


def test_an_error_of_syntax_shows_the_lines_around_it_and_no_place_of_a_library(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("x = 1\ny = (x +\nz = 2\n")
    said = told(lambda: compile(file.read_text(), str(file), "exec"))
    assert "       1 x = 1\n-->    2 y = (x +\n       3 z = 2\n" in said
    assert "\nraised in " not in said


def test_code_has_the_title_that_the_user_knows(tmp_path: Path) -> None:
    file = tmp_path / "12345.py"
    file.write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError) as raised:
        exec(compile(file.read_text(), str(file), "exec"), {})
    said = explained(raised.value, lambda name: "cell In[3]" if name == str(file) else None, {})
    assert "cell In[3], line 1:\n-->    1 1 / 0\n" in said and str(file) not in said


# ---- secrets ----

SECRETS = [
    "sk-proj-abcdefghijklmnop",
    "Bearer abcdef123456",
    "postgres://me:hunter2secret@db/x",
    "https://user:pass1234@host/",
    'password = "hunter2"',
    "db_password='h'",
    'os.environ["MY_TOKEN"] = "abc"',
    "{'api_key': 'abc123'}",
    "AKIAABCDEFGHIJKLMNOP",
    "github_pat_11ABCDEFG0123456789abcd",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
    "https://api.example.com/v1?user=me&token=tulip7&page=2",
    "GET /files?X-Amz-Signature=orange HTTP/1.1",
    "connect('host=db user=me password=tulip7 dbname=x')",
]
SECRET_PARTS = [
    "abcdefghij",
    "abcdef123456",
    "hunter2",
    "pass1234",
    "'h'",
    '"abc"',
    "abc123",
    "MIIabc",
    "11ABC",
    "tulip",
    "orange",
]


@pytest.mark.parametrize("text", SECRETS)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    hidden = without_secrets(f"before {text} after", {})
    assert hidden.startswith("before") and hidden.endswith("after") and "***" in hidden
    assert not any(part in hidden for part in SECRET_PARTS)


def test_values_of_the_environment_that_are_named_like_secrets_are_hidden() -> None:
    environ = {"DEPLOY_KEY": "tulip-garden", "HOME": "/home/somebody", "DB_PASS": "orange-juice"}
    assert without_secrets("tulip-garden /home/somebody orange-juice", environ) == "*** /home/somebody ***"


def test_a_secret_without_quotes_does_not_pass_in_a_message_or_a_note() -> None:
    def fail() -> None:
        error = ValueError("login failed: user=me password=tulip7")
        error.add_note("retried with api_key=tulip8, secret: tulip9")
        raise error

    said = told(fail)
    assert "user=me password=***" in said and "tulip" not in said


def test_ordinary_code_stays() -> None:
    code = (
        "total = price * 3  # tokens: 12\nkeys = sorted(data)\nfor token in tokens: print(token)\n"
        "login('me', password=ask(), token=self.token)\nassert token == '}', 'unexpected token: }'"
    )
    assert without_secrets(code, {}) == code


def test_a_secret_in_a_source_line_does_not_pass() -> None:
    def fail() -> None:
        password = "hunter2"
        raise ValueError(len(password))

    said = told(fail)
    assert "password = '***'" in said and "hunter2" not in said
