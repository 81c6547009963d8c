"""What looks like a secret in a text, and what only talks about one."""

from __future__ import annotations

import pytest

from jupyter_ssechat.secrecy import looks_secret


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
