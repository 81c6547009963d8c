"""The documentation that is made from the code says what the code says."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.dialects import DIALECTS, Dialect
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.profiles import PROFILES
from jupyter_ssechat.request import Request, Turn

ROOT = Path(__file__).resolve().parent.parent
REFERENCE: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "reference.py"))
PAGES: dict[str, str] = dict(REFERENCE["pages"]())


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_as_the_code_declares(name: str) -> None:
    assert (ROOT / "docs" / name).read_text("utf-8") == PAGES[name], "run: make reference"


def test_there_are_no_pages_of_profiles_that_are_gone() -> None:
    there = {f"profiles/{path.name}" for path in (ROOT / "docs" / "profiles").glob("*.md")}
    assert there == set(PAGES) - {"dialects.md"}


def test_every_dialect_has_a_row_with_all_that_it_declares() -> None:
    rows = [line for line in PAGES["dialects.md"].splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(DIALECTS)
    assert {row.count(" | ") for row in rows} == {7}


def test_every_profile_has_a_page_that_tells_how_to_connect_in_three_lines() -> None:
    for profile in PROFILES.values():
        lines = PAGES[f"profiles/{profile.name}.md"].split("```")[1].strip().splitlines()
        assert len(lines) == 3 and lines[1].startswith(f"%chat use {profile.name} ")


# ---- what the table says of a dialect is so ----

WIRE = ROOT / "tests" / "wire"
EXPECTED: dict[str, Any] = json.loads((WIRE / "expected.json").read_text("utf-8"))

every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))


def recorded(dialect: type[Dialect]) -> list[dict[str, Any]]:
    """What the recorded and the synthetic streams of a dialect come to."""
    return [one["message"] for one in EXPECTED.values() if one["dialect"] == dialect.name]


@every_dialect
def test_thinking_usage_and_errors_are_declared_where_a_stream_brings_them(dialect: type[Dialect]) -> None:
    messages, abilities = recorded(dialect), dialect.abilities
    assert any(one["thinking"] for one in messages) == bool(abilities.thinking)
    assert any(one["usage"] for one in messages) == bool(abilities.usage)
    assert any(one["error"] for one in messages) == bool(abilities.errors)


@every_dialect
def test_resume_is_declared_where_a_stream_can_be_taken_up(dialect: type[Dialect]) -> None:
    reader = type(dialect.reader(Request(turns=())))
    assert (reader.take_up is not Dialect.take_up) == bool(dialect.abilities.resume)


@every_dialect
def test_a_stop_by_a_call_is_declared_where_there_is_one(dialect: type[Dialect]) -> None:
    by_closing_alone = dialect.abilities.stop == "by closing the connection"
    reader = type(dialect.reader(Request(turns=())))
    assert (reader.cancel is Dialect.cancel) == by_closing_alone


@every_dialect
def test_images_are_declared_where_they_are_sent_and_refused_elsewhere(dialect: type[Dialect]) -> None:
    picture = "data:image/png;base64,AAAA"
    request = Request(turns=(Turn("user", "what is this?", images=(picture,)),))
    endpoint = dialect.endpoint("http://h")
    if not dialect.abilities.images:
        with pytest.raises(BadInput, match="images"):
            dialect.ask(endpoint, request, dialect.manners)
        return
    call = dialect.ask(endpoint, request, dialect.manners)
    while call.then is not None:
        call = call.then({"code": 0, "data": {"biz_code": 0, "biz_data": {"id": "s"}}})
    assert "AAAA" in json.dumps(call.body)
