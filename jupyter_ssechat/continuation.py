"""A continuation → what it adds to the text that stands, without what the model says twice."""

from __future__ import annotations

from itertools import takewhile

from .patches import Patch

CONTENT, THINKING = "response/content", "response/thinking_content"
SHORTEST = 12
SHORTEST_HAN = 4
SHORTEST_WORD = 3
LONGEST = 400


class Afresh:
    """Sets a new line of thought apart from the one that stands when a question is asked again."""

    def __init__(self, thinking_so_far: str) -> None:
        self._pending = bool(thinking_so_far)

    def part(self, patches: list[Patch]) -> list[Patch]:
        """Pass patches on, with a blank line before the first new thought."""
        first = next((n for n, patch in enumerate(patches) if patch.path == THINKING), None)
        if first is None or not self._pending:
            return patches
        self._pending = False
        return [*patches[:first], Patch(THINKING, "APPEND", "\n\n"), *patches[first:]]


class Overlap:
    """Drops from a continuation the words that the model says twice.

    The text before the cut is never altered. What repeats 12 characters is no chance, nor are 4 of Chinese, nor a
    whole word right after itself, with no blank between; all that is shorter stays. Holds back at most as much
    text as could still be repetition. With `blanks_too` the model was not shown the last blanks, and may give
    them itself.
    """

    def __init__(self, before: str, *, blanks_too: bool = False) -> None:
        self._blanks_too = blanks_too
        self._tail = before[-LONGEST:]
        self._held = ""
        self._said = self._tail.rstrip()
        self._open = bool(self._said)

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
        undecided = self._held in self._tail
        return [] if undecided else self.rest()

    def rest(self) -> list[Patch]:
        """Give out what was held, without the longest repetition."""
        if not self._open:
            return []
        self._open = False
        text, self._held = self._without_repetition(self._held), ""
        return [Patch(CONTENT, "APPEND", text)] if text else []

    def _without_repetition(self, text: str) -> str:
        for n in range(min(len(text), len(self._tail)), 0, -1):
            if self._tail.endswith(text[:n]) and self._is_no_chance(self._tail, text, n):
                return text[n:]
            if self._said.endswith(text[:n]) and self._is_no_chance(self._said, text, n):
                return self._after_blanks(text[n:])
        return self._after_blanks(text) if self._blanks_too else text

    def _is_no_chance(self, before: str, text: str, n: int) -> bool:
        """Whether the first `n` characters of `text` repeat the end of `before` on purpose."""
        repeated = text[:n]
        if n >= SHORTEST or (n >= SHORTEST_HAN and all(char >= "\u2e80" for char in repeated)):
            return True
        glued = repeated[0].isalnum() and repeated[-1].isalnum() and not before[-n - 1 : -n].isalnum()
        return n >= SHORTEST_WORD and glued and not text[n : n + 1].isalnum()

    def _after_blanks(self, text: str) -> str:
        """The rest after repeated words, without the blanks that stand already behind those."""
        blanks = self._tail[len(self._said) :]
        common = takewhile(lambda pair: pair[0] == pair[1], zip(blanks, text, strict=False))
        return text[len(list(common)) :]
