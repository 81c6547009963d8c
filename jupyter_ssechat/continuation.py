"""A continuation → what it adds to the text that stands, without what the model says twice."""

from __future__ import annotations

from .patches import Patch

CONTENT = "response/content"
SHORTEST = 12
LONGEST = 400


class Overlap:
    """Drops from a continuation the words that the model says twice.

    The text before the cut is never altered; an overlap below 12 characters may be chance and stays.
    Holds back at most as much text as could still be repetition.
    """

    def __init__(self, before: str) -> None:
        self._tail = before[-LONGEST:]
        self._held = ""
        self._open = len(self._tail) >= SHORTEST

    def trim(self, patches: list[Patch]) -> list[Patch]:
        """Pass patches on, with the text that may be repetition held back."""
        if not self._open:
            return patches
        passed: list[Patch] = []
        for patch in patches:
            if self._open and patch.path == CONTENT and patch.op == "APPEND" and isinstance(patch.value, str):
                self._held += patch.value
                passed += self._decide()
            elif self._open and patch.path in ("response/status", "response/finish_reason"):
                passed += [*self.rest(), patch]
            else:
                passed.append(patch)
        return passed

    def _decide(self) -> list[Patch]:
        undecided = len(self._held) < len(self._tail) and self._held in self._tail
        return [] if undecided else self.rest()

    def rest(self) -> list[Patch]:
        """Give out what was held, without the longest repetition."""
        if not self._open:
            return []
        self._open = False
        longest = min(len(self._held), len(self._tail))
        cut = next((n for n in range(longest, SHORTEST - 1, -1) if self._tail.endswith(self._held[:n])), 0)
        text, self._held = self._held[cut:], ""
        return [Patch(CONTENT, "APPEND", text)] if text else []
