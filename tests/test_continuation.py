"""Continuations: what the model says twice goes, everything else stays, however it arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jupyter_ssechat.continuation import LONGEST, SHORTEST, SHORTEST_WORD, Overlap
from jupyter_ssechat.message import finished, stopped
from jupyter_ssechat.patches import Patch

CONTENT = "response/content"
# Few letters, so that chance repeats them often; a line end, and an emoji of two UTF-16 units.
texts = st.text("ab \n🎉", max_size=80)
# Words that repeat themselves nowhere.
WORDS = "".join(f"<{number}>" for number in range(200))


def cuts(text: str, places: list[int]) -> Iterator[str]:
    """The text in pieces, some of them empty."""
    at = sorted(place % (len(text) + 1) for place in places)
    for begin, end in zip([0, *at], [*at, len(text)], strict=True):
        yield text[begin:end]


def trimmed(before: str, pieces: list[str], *, blanks_too: bool = False) -> str:
    """What is left of a continuation that arrives in these pieces, and then ends."""
    overlap = Overlap(before, blanks_too=blanks_too)
    patches = [patch for piece in pieces for patch in overlap.trim([Patch(CONTENT, "APPEND", piece)])]
    return text_of(patches + overlap.rest())


def text_of(patches: list[Patch]) -> str:
    return "".join(patch.value for patch in patches if patch.path == CONTENT)


def repetition(before: str, continuation: str) -> int:
    """How much of a continuation goes, found in the plainest way."""
    tail = before[-LONGEST:]
    for n in range(min(len(tail), len(continuation)), 0, -1):
        for end in (tail, tail.rstrip()):
            if end.endswith(continuation[:n]) and no_chance(end[: len(end) - n], continuation, n):
                return n + common(continuation[n:], tail[len(end) :])
    return 0


def common(one: str, other: str) -> int:
    return max(n for n in range(min(len(one), len(other)) + 1) if one[:n] == other[:n])


def no_chance(before: str, continuation: str, n: int) -> bool:
    if n >= SHORTEST:
        return True
    word = re.fullmatch(r"[^\W_](.*[^\W_])?", continuation[:n], re.S) is not None
    starts, ends = not before[-1:].isalnum(), not continuation[n : n + 1].isalnum()
    return n >= SHORTEST_WORD and word and starts and ends


@given(st.text(min_size=SHORTEST), st.text(), st.integers(SHORTEST, LONGEST), st.lists(st.integers(0)))
def test_a_repetition_is_dropped_and_nothing_else(
    before: str, rest: str, length: int, places: list[int]
) -> None:
    repeated = before[-length:]
    assume(repetition(before, repeated + rest) == len(repeated))  # no longer one by chance
    assert trimmed(before, list(cuts(repeated + rest, places))) == rest


@given(texts, texts, st.integers(0, 40), st.lists(st.integers(0, 200)))
def test_the_longest_repetition_goes_whatever_the_text_and_however_it_arrives(
    before: str, rest: str, length: int, places: list[int]
) -> None:
    continuation = before[len(before) - length :] + rest
    left = continuation[repetition(before, continuation) :]
    assert trimmed(before, [continuation]) == left
    assert trimmed(before, list(continuation)) == left
    assert trimmed(before, list(cuts(continuation, places))) == left


@given(st.integers(0, SHORTEST - 1), texts)
def test_a_repetition_too_short_to_be_sure_of_stays(length: int, rest: str) -> None:
    continuation = WORDS[len(WORDS) - length :] + "|" + rest
    assert trimmed(WORDS, list(continuation)) == continuation


@pytest.mark.parametrize(
    ("before", "continuation", "left"),
    [
        ("The quick brown", "brown fox", " fox"),
        ("The quick brown ", "brown fox", "fox"),
        ("The quick brown\n\n", "brown fox", " fox"),
        ("say bye", " bye", " bye"),
        ("1, 2, 3", "3, 4", "3, 4"),
        ("in the mid", "middle of", "middle of"),
        ("in the amid", "mid of", "mid of"),
        ("so it is", "is it", "is it"),
        ("今天天气很好", "天气很好，所以", "，所以"),
        ("今天天气很好", "很好，所以", "很好，所以"),
        ("def f(", "f(x)", "f(x)"),
        ("   ", "   x", "   x"),
    ],
)
def test_a_word_said_twice_without_a_blank_between_is_no_chance(
    before: str, continuation: str, left: str
) -> None:
    assert trimmed(before, [continuation]) == trimmed(before, list(continuation)) == left


@pytest.mark.parametrize(
    ("before", "continuation", "left"),
    [
        ("is ", " blue", "blue"),
        ("is ", "blue", "blue"),
        ("end.\n\n", "\n\n  - a", "  - a"),
        ("end.\n\n", "\n- a", "- a"),
        ("end.\n", "  a", "  a"),
        ("is", " blue", " blue"),
    ],
)
def test_blanks_that_the_model_was_not_shown_do_not_stand_twice(
    before: str, continuation: str, left: str
) -> None:
    for pieces in ([continuation], list(continuation)):
        assert trimmed(before, pieces, blanks_too=True) == left
        assert trimmed(before, pieces) == continuation


@given(texts, texts, st.integers(0, 40))
def test_what_has_been_given_out_and_what_is_held_is_always_all_that_came(
    before: str, rest: str, length: int
) -> None:
    """Whenever the stream breaks, `rest()` gives what was held back, but for a repetition."""
    continuation = before[len(before) - length :] + rest
    for end in range(len(continuation) + 1):
        so_far = continuation[:end]
        assert trimmed(before, list(so_far)) == so_far[repetition(before, so_far) :]


@pytest.mark.parametrize("length", [SHORTEST, 100, LONGEST])
def test_a_repetition_is_found_in_a_long_answer(length: int) -> None:
    before = WORDS * 100
    assert trimmed(before, list(f"{before[-length:]} and on")) == " and on"


@pytest.mark.parametrize("before", ["", "  \n"])
def test_after_no_text_nothing_is_held_back(before: str) -> None:
    overlap = Overlap(before)
    patches = [Patch(CONTENT, "APPEND", "x")]
    assert overlap.trim(patches) == patches
    assert overlap.rest() == []


def test_text_that_is_no_repetition_is_given_out_with_the_token_that_shows_it() -> None:
    overlap = Overlap("The quick brown fox")
    assert overlap.trim([Patch(CONTENT, "APPEND", "qui")]) == []
    assert overlap.trim([Patch(CONTENT, "APPEND", "et")]) == [Patch(CONTENT, "APPEND", "quiet")]
    assert overlap.trim([Patch(CONTENT, "APPEND", "fox")]) == [Patch(CONTENT, "APPEND", "fox")]


def test_all_other_patches_pass_and_the_text_comes_before_the_end() -> None:
    overlap = Overlap("The quick brown fox jumps")
    thinking = Patch("response/thinking_content", "APPEND", "brown fox jumps")
    usage = Patch("response/usage", "SET", {"total_tokens": 3})
    held = [Patch(CONTENT, "APPEND", "brown"), thinking, usage, Patch(CONTENT, "APPEND", " fox")]
    assert overlap.trim(held) == [thinking, usage]
    assert overlap.trim(stopped()) == [Patch(CONTENT, "APPEND", "brown fox"), *stopped()]
    assert overlap.rest() == []


def test_a_repetition_and_nothing_more_leaves_only_the_end() -> None:
    overlap = Overlap("The quick brown fox jumps")
    assert overlap.trim([Patch(CONTENT, "APPEND", "brown fox jumps"), *finished()]) == finished()
