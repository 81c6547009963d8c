"""The documentation that is made from the code says what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.dialects import DIALECTS
from jupyter_ssechat.profiles import PROFILES

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
