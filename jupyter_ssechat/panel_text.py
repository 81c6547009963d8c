"""A panel's conversation → Markdown below the panel, which stays in the notebook when the panel's kernel has gone.

A widget's output says "model not found" when a notebook is reopened without its kernel. So an output of its own,
folded, has the text of the conversation, and is renewed when an answer ends. Where a panel stands in a layout or a
sidecar it has no output of its own, and there is none for the text either.
"""

# IPython's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from IPython.display import DisplayHandle, display

from .presentation import NOTHING
from .projection import to_markdown

RULE = "\n\n---\n\n"


@dataclass(frozen=True, slots=True)
class Said:
    """One turn in words: the prompt, and the answer as Markdown that is safe to keep, and as plain text."""

    prompt: str
    markdown: str
    plain: str


def folded(turns: Iterable[Said]) -> dict[str, Any]:
    """The data of an output that has these turns folded away; empty for none."""
    said = list(turns)
    if not said:
        return NOTHING
    count = "1 question" if len(said) == 1 else f"{len(said)} questions"
    parts = [f"**You**\n\n{to_markdown(turn.prompt)}\n\n**Model**\n\n{turn.markdown}" for turn in said]
    summary = f"<summary>The conversation as text ({count})</summary>"
    return {
        "text/markdown": f"<details>\n{summary}\n\n{RULE.join(parts)}\n\n</details>",
        "text/plain": "\n\n".join(f"> {turn.prompt}\n\n{turn.plain}" for turn in said),
    }


class PanelText:
    """The text below a panel, wherever it is displayed; `tell` says to its pages what stands there."""

    def __init__(self, read: Callable[[], list[Said]], tell: Callable[[dict[str, Any]], object]) -> None:
        self._read = read
        self._tell = tell
        self._lock = threading.Lock()
        self._handles: list[DisplayHandle] = []
        self._shown: dict[str, Any] = NOTHING

    def show(self, panel: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Display the panel, and the text below it."""
        with self._lock:
            display(panel, raw=True, metadata=metadata)
            self._shown = folded(self._read())
            handle = display(self._shown, raw=True, display_id=True)
            assert handle is not None
            self._handles.append(handle)

    def renew(self, *, anew: bool = False) -> None:
        """Show what has been said by now; `anew` also if nothing has since, for a page that has just come."""
        with self._lock:
            data = folded(self._read()) if self._handles else self._shown
            if data == self._shown and not anew:
                return
            self._shown = data
            for handle in self._handles:
                handle.update(data, raw=True)
            if self._handles:
                self._tell(data)
