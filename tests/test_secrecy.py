"""What looks like a secret in a text, and what only talks about one."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.secrecy import OVERLAP, SLICE, Lookout, looks_secret


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-Ab12cd34ef56gh78ij90",
        "use sk-ant-api03-abcdEFGH0123456789 for it",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefABCDEF0123456789abcdefABCDEF01",
        "github_pat_11ABCDEFG0123456789abcdef",
        "xoxb-123456789012-abcdefGHIJKL",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "Authorization: Bearer abcDEF123456ghiJKL",
        "Basic dXNlcjpwYXNzd29yZDEyMw==",
        "secret = '9f86d081884c7d659a2feaa0c55ad015'",
        "the password is aB3dE6fG9hJ2kL5m",
        '{"api_key": "aB3dE6fG9hJ2kL5mN8"}',
        '{\\"api_key\\": \\"aB3dE6fG9hJ2kL5mN8\\"}',
        "Set-Cookie: a1b2c3d4e5f6a7b8c9",
        "https://user:hunter22@host/x",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_a_secret_is_told_without_telling_it(text: str) -> None:
    what = looks_secret(f"Look:\n{text}\nIs that right?")
    assert what is not None
    assert len(what) < 60 and not any(part in what for part in text.split() if len(part) > 9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Basic Python for beginners, and a bearer of good news",
        "set OPENAI_API_KEY, then call OpenAI(api_key='sk-...')",
        "api_key = 'sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx'",
        "api_key = 'YOUR_API_KEY_GOES_HERE_PLEASE'",
        "key: 2024-01-15-quarterly-report-final",
        "token = tokenizer.encode_something_very_long(text)",
        "the token count is 12345678901234567890",
        "password=correct-horse-battery-staple",
        "the primary key: customer_order_line_item_2",
        "ask-me-anything-about-this-2024-event",
        "https://example.com:8080/path",
        "a sha256 of 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_who_only_talks_about_secrets_tells_none(text: str) -> None:
    assert looks_secret(text) is None


def test_what_is_named_so_in_a_stream_is_rarely_a_secret() -> None:
    cursor = '{"next_page_token": "aB3dE6fG9hJ2kL5mN8"}'
    assert looks_secret(cursor) is not None
    assert looks_secret(cursor, named=False) is None


FRAGMENTS = st.sampled_from(
    [
        "sk-", "ghp_", "task-", "xoxb-", "Bearer ", "basic ", "PASSWORD: ", "api_key=", "is ", "AKIA", "AIza", "eyJ",
        "https://u:", "hunter22", "@h", "-----BEGIN ", "PRIVATE KEY-----", "Ab12cd34ef56gh78", "IOSFODNN7EXAMPLE",
        "0123456789", "abcdefgh", "zweiundzwanzig", ".", "-", " ", "\n", "İ", "你", "\\\"", "/",
    ]
)  # fmt: skip
ALL = [
    r"(?<![A-Za-z0-9])(?:sk|ghp|xoxb)[-_][A-Za-z0-9_+/=.-]{16,}",
    r"(?<![A-Za-z0-9])AKIA[0-9A-Z]{16}(?![0-9A-Za-z])",
    r"(?<![A-Za-z0-9])AIza[\w-]{30,}",
    r"(?i)\b(?:Bearer|Basic)\s+[A-Za-z0-9_+/=.-]{16,}",
    r"(?i)(?:key|password)(?:\\*[\"'`]|\s|[:=]|\bis\b){1,12}[A-Za-z0-9_+/=.-]{16,}",
    r"\bhttps?://[^\s/:@\"']+:[^\s/@\"']{6,}@",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    r"eyJ[\w-]{8,}\.eyJ",
]


@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_nothing_is_found_where_no_pattern_is(text: str) -> None:
    if looks_secret(text) is not None:
        assert any(re.search(pattern, text) for pattern in ALL)


@given(
    st.lists(FRAGMENTS, max_size=6).map("".join), st.integers(0, 2 * SLICE), st.lists(st.integers(1, 9000))
)
def test_a_text_that_comes_in_pieces_is_found_as_the_whole_is(
    text: str, before: int, sizes: list[int]
) -> None:
    whole = "word " * (before // 5) + text + " word" * 100
    lookout, at = Lookout(looks_secret), 0
    for size in sizes:
        lookout.feed(whole[at : at + size])
        at += size
    lookout.feed(whole[at:])
    assert lookout.found() == looks_secret(whole)


def test_a_word_is_no_key_because_it_was_cut_in_two() -> None:
    secret = "sk-Ab12cd34ef56gh78ij90"
    for at in range(OVERLAP - 40, OVERLAP + 40):
        words = Lookout(looks_secret)
        words.feed("x" * SLICE + f" ta{secret} ".ljust(at, "-"))
        assert words.found() is None
        keys = Lookout(looks_secret)
        keys.feed("x" * SLICE + f" {secret} ".ljust(at, "-"))
        assert keys.found() is not None


def test_a_long_text_is_looked_at_in_small_parts_and_little_of_it_at_its_end() -> None:
    looked: list[int] = []

    def looks(text: str) -> None:
        looked.append(len(text))

    lookout = Lookout(looks)
    for _ in range(100_000):
        lookout.feed("three")
    assert max(looked) <= SLICE + OVERLAP + len("three") + 1
    assert sum(looked) < 1.5 * 500_000
    before = len(looked)
    lookout.found()
    assert len(looked) == before + 1


@pytest.mark.parametrize(
    "text", ["key=", "sk-", "Bearer ", "https://a", "sk-a", "eyJaaaaaaaa.", "key \\", "-----BEGIN "]
)
def test_no_text_takes_more_than_time_in_proportion(text: str) -> None:
    def seconds(size: int) -> float:
        whole = text * (size // len(text))
        begun = time.thread_time()
        looks_secret(whole)
        return time.thread_time() - begun

    short = min(seconds(50_000) for _ in range(3))
    assert seconds(400_000) < 40 * short + 0.1  # eight times; sixty-four, if each pair counted
