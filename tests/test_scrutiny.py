"""What is asked, heard and told of an episode: where a secret is in it, it is found, whatever it comes in."""

from __future__ import annotations

import json

import pytest

from jupyter_ssechat.discretion import Discretion
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.scrutiny import Scrutiny

from .asking import KEY

THEIRS = "ghp_abcdefABCDEF0123456789abcdefABCDEF01"
SECRETS = [KEY, THEIRS]


def scrutiny() -> Scrutiny:
    return Scrutiny(Discretion(KEY))


def why(*patches: Patch) -> str | None:
    looked = scrutiny()
    for patch in patches:
        looked.told([patch])
    return looked.why({}, ())


def appended(path: str, text: str, size: int = 4) -> list[Patch]:
    return [Patch(path, "APPEND", text[at : at + size]) for at in range(0, len(text), size)]


@pytest.mark.parametrize("secret", SECRETS)
def test_it_is_found_in_what_is_asked_and_in_what_is_said_besides(secret: str) -> None:
    assert "the request holds" in str(scrutiny().why({"turns": [{"user": f"mine is {secret}"}]}, ()))
    assert "the answer holds" in str(scrutiny().why({}, ["http://h/v1", f"error: {secret}"]))
    assert scrutiny().why({"turns": [{"user": "hello"}]}, ["http://h/v1"]) is None


@pytest.mark.parametrize("secret", SECRETS)
def test_it_is_found_in_bytes_however_they_are_cut(secret: str) -> None:
    body = f'data: {{"你": "{secret}"}}\n\n'.encode()
    for size in (1, 7, 1000):
        looked = scrutiny()
        looked.opened()
        for at in range(0, len(body), size):
            looked.heard(body[at : at + size])
        assert "the stream holds" in str(looked.why({}, ()))


@pytest.mark.parametrize("secret", SECRETS)
def test_it_is_found_where_json_spells_its_letters(secret: str) -> None:
    for spelled in (
        "".join(f"\\u{ord(char):04x}" for char in secret),
        f"\\u{ord(secret[0]):04X}{secret[1:]}",
    ):
        assert json.loads(f'"{spelled}"') == secret
        looked = scrutiny()
        looked.heard(f'data: {{"unread": "{spelled}"}}\n\n'.encode())
        assert "the stream holds" in str(looked.why({}, ()))


def test_two_connections_are_not_one_text() -> None:
    looked = scrutiny()
    for half in (b"ta", b"sk-Ab12cd34ef56gh78ij90"):
        looked.opened()
        looked.heard(half)
    assert looked.why({}, ()) is not None


CALL = "response/tool_calls"


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("kind", ["snapshot", "call", "fragment"])
def test_it_is_found_in_a_text_that_begins_inside_of_something_larger(secret: str, kind: str) -> None:
    def opening(text: str) -> tuple[Patch, str]:
        match kind:
            case "snapshot":
                return Patch("", "SET", {"response": {"content": text}}), "response/content"
            case "call":
                return Patch(
                    CALL, "APPEND", [{"function": {"arguments": text}}]
                ), f"{CALL}/0/function/arguments"
            case _:
                fragment = {"type": "RESPONSE", "content": text}
                return Patch("response/fragments", "APPEND", [fragment]), "response/fragments/-1/content"

    begun, path = opening(f"it is {secret[:9]}")
    assert why(begun, *appended(path, secret[9:])) is not None
    assert why(begun, *appended(path, "nothing at all")) is None


def test_it_is_found_though_the_text_was_replaced_later() -> None:
    text = appended("response/fragments/-1/content", f"it is {THEIRS} ")
    opened = Patch("response/fragments", "SET", [{"type": "RESPONSE", "content": ""}])
    recalled = Patch("response/fragments", "SET", [{"type": "TEMPLATE_RESPONSE", "content": "no"}])
    assert why(opened, *text, recalled) is not None


def test_each_fragment_is_a_text_of_its_own() -> None:
    patches = [
        patch
        for word in ("task-", "ghp_", "Ab12cd34ef56gh78")
        for patch in (
            Patch("response/fragments", "APPEND", [{"type": "RESPONSE", "content": ""}]),
            Patch("response/fragments/-1/content", "APPEND", word),
        )
    ]
    assert why(*patches) is None
