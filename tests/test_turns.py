"""The tree of a conversation: its branches, and the one that is shown."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.turns import Tree, grown


def texts(tree: Tree) -> list[str]:
    return [turn.prompt.text for turn in tree.branch()]


def message(message_id: int, parent_id: int | None, role: str, content: str = "") -> dict[str, Any]:
    return {"message_id": message_id, "parent_id": parent_id, "role": role, "content": content}


HISTORY = [
    message(1, None, "USER", "one"),
    message(2, 1, "ASSISTANT", "Hi"),
    message(3, 2, "USER", "two"),
    message(4, 3, "ASSISTANT", "A"),
    message(5, 2, "USER", "zwei"),
    message(6, 5, "ASSISTANT", "B"),
]


def test_an_empty_tree_shows_nothing_and_ends_at_its_root() -> None:
    tree = Tree()
    assert (list(tree.branch()), tree.last) == ([], tree.root)


def test_the_newest_version_is_shown_until_another_is_chosen() -> None:
    tree = grown(HISTORY)
    assert texts(tree) == ["one", "zwei"]
    four = tree.find(4)
    assert four is not None
    tree.choose(four)
    assert (texts(tree), tree.last) == (["one", "two"], four)


def test_choosing_a_version_shows_the_rest_of_its_branch_again() -> None:
    tree = grown([*HISTORY, message(7, 1, "ASSISTANT", "Ho")])
    assert texts(tree) == ["one"]
    tree.choose(tree.last.sibling(-1))
    assert texts(tree) == ["one", "zwei"]


def test_a_message_knows_its_place_among_its_versions_and_has_no_sibling_beyond_them() -> None:
    shown = list(grown(HISTORY).branch())[1]
    assert (shown.prompt.place, shown.answer.place) == ((2, 2), (1, 1))
    assert shown.prompt.sibling(-1).text == "two"
    assert shown.prompt.sibling(1) is shown.prompt
    assert shown.prompt.sibling(-2) is shown.prompt


def test_a_turn_tells_its_prompt_and_places_and_nothing_of_its_answer() -> None:
    turn = list(grown(HISTORY).branch())[1]
    assert turn.to_wire() == {
        "prompt": {"number": 5, "text": "zwei", "place": [2, 2]},
        "answer": {"number": 6, "place": [1, 1]},
    }


def test_a_message_whose_parent_is_unknown_is_left_out() -> None:
    assert texts(grown([*HISTORY, message(9, 8, "USER", "lost")])) == ["one", "zwei"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [(0, "answer"), (1, "answer"), (2, "prompt"), (7, "prompt"), ("1", "prompt"), (None, "prompt")],
)
def test_what_is_not_there_is_refused(number: object, kind: Any) -> None:
    with pytest.raises(BadInput, match=f"no {kind} {number!r}"):
        grown(HISTORY).get(number, kind)


def test_what_is_there_is_found_by_its_number_and_by_its_id() -> None:
    tree = grown(HISTORY)
    assert tree.get(1, "prompt") is tree.find(1)
    assert tree.get(6, "answer") is tree.find(6)
    assert tree.find(None) is None


def test_a_tree_that_follows_another_goes_on_with_its_numbers() -> None:
    tree = Tree(grown(HISTORY).free)
    assert tree.add(tree.root, "again").number == 8
