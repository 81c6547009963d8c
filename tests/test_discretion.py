"""Discretion: what strangers say becomes one line, and no secret stands in it in any of its forms."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.discretion import LONGEST, Discretion
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.wire_json import dumps

KEY = 'a/key+with "quotes"&=ünd'
printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=40)


@pytest.mark.parametrize(
    "form",
    [KEY, quote(KEY, safe=""), '"a/key+with \\"quotes\\"&=ünd"', b64encode(KEY.encode()).decode()],
)
def test_a_secret_is_hidden_in_every_form_that_it_is_sent_in(form: str) -> None:
    said = Discretion(KEY).line(f"no such key: {form}!")
    assert form.strip('"') not in said
    assert "***" in said


@pytest.mark.parametrize(
    "form",
    [
        KEY.upper(),
        KEY.replace("/", "\\/"),
        KEY.replace("+", "\\u002B").replace("ü", "\\u00fc"),
        quote(KEY, safe="").lower(),
        quote(quote(KEY, safe="")),
        KEY.replace('"', "&quot;").replace("&=", "&amp;&#61;").replace("+", "&#x2B;"),
        '{"said": "{\\"key\\": \\"a/key+with \\\\\\"quotes\\\\\\"&=ünd\\"}"}',
    ],
)
def test_a_secret_is_hidden_however_it_is_escaped(form: str) -> None:
    said = Discretion(KEY).line(f"no such key: {form}!")
    assert "***" in said
    assert "key+with" not in said and "quotes" not in said


@pytest.mark.parametrize("length", range(6, len(KEY)))
@pytest.mark.parametrize("end", ["", "…"])
def test_the_first_half_of_a_secret_is_hidden_where_the_text_was_cut(length: int, end: str) -> None:
    assert Discretion(KEY).line(f"no such key: {KEY[:length]}{end}") == "no such key: ***"


@given(key=printable, before=st.text(max_size=700), after=st.text(max_size=20))
def test_no_secret_passes_wherever_it_stands(key: str, before: str, after: str) -> None:
    assert key not in Discretion(key).line(before + key + after)


@pytest.mark.parametrize(
    "strange",
    [
        "sk-proj-abcdefgh12345678",
        "sk-ant-api03-abc_def-123456",
        "gsk_abcdefghijklmnop",
        "hf_abcdefghijklmnop",
        "Bearer abcdef123456",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "https://me:password@host/v1",
        'api_key="abcdef123456"',
        "x-api-key: abcdef123456",
    ],
)
def test_what_looks_like_a_key_is_hidden_also_when_it_is_not_ours(strange: str) -> None:
    said = Discretion().line(f"Incorrect: {strange} was given")
    assert "***" in said
    assert not any(part in said for part in ("abcdef", "password@", "c2lnbmF0"))


@pytest.mark.parametrize(
    "plain", ["the task-force is at risk", "a token is needed", "max_tokens: 4096", "basic"]
)
def test_plain_words_stay(plain: str) -> None:
    assert Discretion("unrelated-secret").line(plain) == plain


def test_the_user_and_the_query_of_an_address_are_secrets_too() -> None:
    discretion = Discretion.of("https://me:open%20sesame@h/v1?key=0123456789&v=1", None)
    assert discretion.line("me, open sesame, open%20sesame, 0123456789, v 1") == "me, ***, ***, ***, v 1"


def test_a_user_without_a_password_is_a_secret_and_so_is_the_header_made_of_both() -> None:
    header = b64encode(b"me:open sesame").decode()
    assert Discretion.of("https://me:open%20sesame@h/", None).line(f"it was {header}") == "it was ***"
    alone = b64encode(b"a-token-of-mine:").decode()
    discretion = Discretion.of("https://a-token-of-mine@h/", None)
    assert discretion.line(f"A-token-of-mine, {alone}") == "***, ***"


def test_a_plus_in_a_query_may_be_a_plus() -> None:
    assert Discretion.of("https://h/?key=abc+defghi", None).line("abc+defghi, abc defghi") == "***, ***"


def test_what_is_said_is_one_line_of_bounded_length_without_controls() -> None:
    assert Discretion().line("a\n\x1b[31mb\u2028c\x00  d") == "a [31mb c d"
    assert len(Discretion().line("x " * 100_000)) == LONGEST


def test_an_error_and_an_end_among_patches_are_made_discreet_and_text_is_left_alone() -> None:
    text = Patch("response/content", "APPEND", "my key is secret-1234")
    error = Patch("response/error", "SET", {"message": "no secret-1234\nhere", "more": [1, "secret-1234"]})
    status = Patch("response/status", "SET", "no_secret-1234")
    reason = Patch("response/finish_reason", "SET", None)
    assert Discretion("secret-1234").patches([text, error, status, reason]) == [
        text,
        Patch("response/error", "SET", {"message": "no *** here", "more": [1, "***"]}),
        Patch("response/status", "SET", "no_***"),
        reason,
    ]


def test_a_discretion_does_not_show_what_it_knows() -> None:
    assert "secret" not in repr(Discretion("secret-1234"))


def test_a_secret_is_found_in_a_long_text_in_every_notation_and_inside_of_base64() -> None:
    secret = "abc-def+ghi/1234567"
    discretion = Discretion(secret)
    ways = [secret, secret.upper(), quote(secret, safe=""), dumps(secret).replace("+", "\\u002b")]
    for lead in range(6):
        coded = b"x" * lead + secret.encode() + b" and more"
        ways += [b64encode(coded).decode(), urlsafe_b64encode(coded).decode()]
    assert all(discretion.finds(f"{'word ' * 1000}{way}{' word' * 1000}") for way in ways)
    assert not discretion.finds("abc-def and ghi, and 1234567 " * 1000)
    assert not Discretion().finds("anything")
