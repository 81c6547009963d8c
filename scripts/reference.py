"""The code's own declarations → docs/dialects.md and docs/profiles/: run it after changing them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from jupyter_ssechat.dialects import DIALECTS, Dialect
from jupyter_ssechat.profiles import PROFILES, Profile

DOCS = Path(__file__).resolve().parent.parent / "docs"
COLUMNS = ("thinking", "usage", "stop", "resume", "errors", "images", "goes_on")
TITLES = {"goes_on": "goes on after a stop or a cut"}


def pages() -> Iterator[tuple[str, str]]:
    """Every page: its path below docs/, its text."""
    yield "dialects.md", dialects_page()
    yield "profiles/README.md", profiles_page()
    for profile in PROFILES.values():
        yield f"profiles/{profile.name}.md", profile_page(profile)


def dialects_page() -> str:
    """What comes over each wire, and what its servers can do."""
    return "\n".join(
        [
            "# Dialects",
            "",
            (
                "A dialect is the wire of a model server. `auto` tells it by the address, and then by the first event;"
                " `%chat use URL --dialect NAME` says it. Where a wire cannot resume or stop by itself, the gateway"
                " does: it keeps the stream and closes the connection."
            ),
            "",
            *_table(("dialect", *(TITLES.get(name, name) for name in COLUMNS)), map(_row, DIALECTS.values())),
            "",
            (
                "Other packages add a dialect by an entry point in the group `jupyter_ssechat.dialects`: a subclass of"
                " `jupyter_ssechat.dialects.Dialect`."
            ),
            "",
        ]
    )


def _row(dialect: type[Dialect]) -> tuple[str, ...]:
    cells = (getattr(dialect.abilities, name) or "–" for name in COLUMNS)
    return f"`{dialect.name}`", *(cell.replace("<", "&lt;").replace("|", "\\|") for cell in cells)


def profiles_page() -> str:
    """All profiles, a line each."""
    rows = (
        (
            f"[{profile.name}]({profile.name}.md)",
            profile.title,
            f"`{profile.url}`" if profile.url else "yours",
            f"`{profile.key_env}`" if profile.key_env else "none",
            f"`{profile.dialect}`",
        )
        for profile in PROFILES.values()
    )
    table = _table(("profile", "server", "address", "key", "dialect"), rows)
    return "\n".join(["# Profiles", "", *table, ""])


def profile_page(profile: Profile) -> str:
    """Three lines to connect, and what differs from other servers."""
    address = f" {_example(profile)}" if not profile.url else ""
    use = f"%chat use {profile.name}{address} -m {profile.model}"
    lines = [f"# {profile.title}", "", "```", "%load_ext jupyter_ssechat", use, "%chat models", "```", ""]
    lines += [_where(profile), ""]
    if profile.note:
        lines += [profile.note, ""]
    manners = profile.manners or DIALECTS[profile.dialect].manners
    ways = {
        "": "asked to go on",
        "trailing": "continued from its own text, given as the last message",
        "prefix": "continued from its own text, given as the last message with `prefix: true`",
        "partial": "continued from its own text, given as the last message with `partial: true`",
        "continue_final_message": "continued from its own text with `continue_final_message: true`",
    }
    off = ", ".join(f"`{name}: {json.dumps(value)}`" for name, value in manners.thinking_off.items())
    lines += [
        f"- Wire: [`{profile.dialect}`](../dialects.md).",
        f"- An answer that was stopped or cut is {ways[manners.prefill]}.",
    ]
    if profile.dialect == "openai_chat":
        lines.append(f"- `--no-thinking` sends {off}.")
    return "\n".join([*lines, ""])


def _where(profile: Profile) -> str:
    if profile.local:
        there = f"`%chat use {profile.name} http://HOST:PORT/v1`"
        return f"It is looked for at `{profile.url}`; for one elsewhere give its address: {there}."
    where = f"The address is `{profile.url}`. " if profile.url else ""
    return (
        f"{where}The key is read from the environment variable `{profile.key_env}`; if that is not set, you are asked"
        " for it, and it is kept in memory alone."
    )


def _example(profile: Profile) -> str:
    return next(word.rstrip(";,") for word in profile.note.split() if word.startswith("https://"))


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | map[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def main() -> None:
    """Write every page; pages of profiles that are gone go too."""
    written = set()
    for name, text in pages():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        written.add(path)
    for stale in set((DOCS / "profiles").glob("*.md")) - written:
        stale.unlink()
    sys.stdout.write(f"{len(written)} pages\n")


if __name__ == "__main__":
    main()
