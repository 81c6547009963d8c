"""Sessions: ids, parents, branches, and what a store gets of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.errors import InvalidRequest, NotFound
from jupyter_ssechat.gateway.bodies import Asking, Completion, SavedMessage
from jupyter_ssechat.gateway.sessions import TITLE_LENGTH, Record, Session, restored
from jupyter_ssechat.gateway.stores.store import Entry, Position
from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Patch


class Calendar:
    """Seconds since the epoch, one more each time somebody looks."""

    def __init__(self) -> None:
        self._seconds = itertools.count(1000)

    def __call__(self) -> float:
        return float(next(self._seconds))


@pytest.fixture
def session() -> Session:
    return Session("s", Calendar())


def answered(session: Session, prompt: Record) -> Record:
    return session.add_answer(prompt.message_id, model="m", thinking=True, search=False)


# ---- one session ----


def test_messages_are_numbered_from_one_on_and_know_their_parents(session: Session) -> None:
    first = session.add_prompt("one", None)
    answer = answered(session, first)
    second = session.add_prompt("two", answer.message_id)
    assert [(one.message_id, one.parent_id, one.role) for one in session.records.values()] == [
        (1, None, "USER"),
        (2, 1, "ASSISTANT"),
        (3, 2, "USER"),
    ]
    assert session.path_to(second) == [first, answer, second]


@given(st.lists(st.integers(0), max_size=30))
def test_the_path_to_a_message_is_its_branch_and_no_other(choices: list[int]) -> None:
    session = Session("s", Calendar())
    for choice in choices:
        answers = [None, *(one.message_id for one in session.records.values() if one.role == "ASSISTANT")]
        prompt = session.add_prompt("x", answers[choice % len(answers)])
        answered(session, prompt)
    for record in session.records.values():
        path = session.path_to(record)
        assert path[-1] is record and path[0].parent_id is None
        assert [one.parent_id for one in path[1:]] == [one.message_id for one in path[:-1]]


def test_an_answer_is_a_record_before_there_is_a_word_of_it(session: Session) -> None:
    record = answered(session, session.add_prompt("one", None))
    wire = record.to_wire()
    assert (record.message.status, record.message.started, record.epoch) == ("streaming", True, 0)
    assert (wire["status"], wire["content"], wire["thinking_content"]) == ("WIP", "", None)
    assert (wire["message_id"], wire["parent_id"], wire["role"]) == (2, 1, "ASSISTANT")
    assert (wire["model"], wire["thinking_enabled"], wire["search_enabled"]) == ("m", True, False)


def test_a_prompt_is_a_message_that_is_finished(session: Session) -> None:
    wire = session.add_prompt("what is it?", None).to_wire()
    assert (wire["status"], wire["content"], wire["role"]) == ("FINISHED", "what is it?", "USER")


def test_what_a_message_shows_is_a_copy(session: Session) -> None:
    record = answered(session, session.add_prompt("one", None))
    record.to_wire()["files"].append("mine")
    assert record.to_wire()["files"] == []


def test_a_record_takes_patches(session: Session) -> None:
    record = answered(session, session.add_prompt("one", None))
    record.apply([Patch("response/content", "APPEND", "yes"), *finished()])
    assert (record.message.content, record.to_wire()["status"]) == ("yes", "FINISHED")


def test_only_an_answer_can_be_followed_by_a_prompt(session: Session) -> None:
    prompt = session.add_prompt("one", None)
    with pytest.raises(InvalidRequest, match="parent_message_id: message 1 is a prompt") as error:
        session.add_prompt("two", prompt.message_id)
    assert (error.value.status, error.value.code) == (422, 42200)


@pytest.mark.parametrize("message_id", [0, -1, 3, 10**30])
def test_a_message_that_is_not_there_is_not_found(session: Session, message_id: int) -> None:
    answered(session, session.add_prompt("one", None))
    with pytest.raises(NotFound, match=f"message {message_id} is not in session s; it has 2") as error:
        session.get(message_id)
    assert (error.value.status, error.value.biz_code) == (404, 26)
    with pytest.raises(NotFound):
        session.add_prompt("two", message_id)
    assert len(session.records) == 2


@pytest.mark.parametrize(
    ("prompt", "title"),
    [("  one\n\ttwo ", "one two"), ("x" * 100, "x" * TITLE_LENGTH), ("🎉" * 100, "🎉" * TITLE_LENGTH)],
)
def test_the_first_prompt_is_the_title_on_one_short_line(session: Session, prompt: str, title: str) -> None:
    answer = answered(session, session.add_prompt(prompt, None))
    session.add_prompt("another", answer.message_id)
    assert session.to_wire()["title"] == title


def test_every_change_is_dated(session: Session) -> None:
    dates = [session.updated_at]
    prompt = session.add_prompt("one", None)
    dates.append(session.updated_at)
    answered(session, prompt)
    dates.append(session.updated_at)
    session.touch()
    dates.append(session.updated_at)
    assert dates == sorted(set(dates))
    assert session.to_wire() == {"id": "s", "title": "one", "updated_at": dates[-1]}


# ---- a saved conversation ----


def saved(message_id: int, parent_id: int | None = None, **fields: Any) -> SavedMessage:
    role = "USER" if message_id % 2 else "ASSISTANT"
    return SavedMessage(**{"message_id": message_id, "parent_id": parent_id, "role": role, **fields})


def put_back(*messages: SavedMessage) -> Session:
    return restored(Session("r", Calendar()), messages)


def test_a_saved_conversation_is_a_session_with_the_old_ids() -> None:
    session = put_back(saved(1, content="one  two"), saved(4, 1, content="x"), saved(7, 4))
    assert [(one.message_id, one.parent_id) for one in session.records.values()] == [
        (1, None),
        (4, 1),
        (7, 4),
    ]
    assert session.title == "one two"
    assert session.fork().add_prompt("next", 4).message_id == 8


def test_a_saved_answer_has_every_field_of_an_answer_and_is_over(session: Session) -> None:
    found = put_back(saved(1), saved(2, 1, content="x", model="m"))
    fresh = answered(session, session.add_prompt("one", None))
    assert set(found.get(2).to_wire()) == set(fresh.to_wire())
    assert set(found.get(1).to_wire()) == set(session.get(1).to_wire())
    assert (found.get(2).message.status, found.get(2).message.content) == ("finished", "x")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (saved(1), r"chat_messages\[1\]\.message_id: message 1 stands there already"),
        (saved(2, 9), r"chat_messages\[1\]\.parent_id: message 9 is not above"),
        (saved(2, 2), r"chat_messages\[1\]\.parent_id: message 2 is not above"),
        (saved(2), r"chat_messages\[1\]\.role: a prompt stands at the root"),
        (saved(3, 1), r"chat_messages\[1\]\.role: a prompt stands at the root"),
        (saved(2, 1, images=["ftp://x"]), r"chat_messages\[1\]\.images: number 1 is not an image"),
    ],
)
def test_a_saved_message_without_a_place_is_refused(second: SavedMessage, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        put_back(saved(1), second)


def test_a_saved_message_that_is_nested_too_deeply_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"in": deep}
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        put_back(saved(1, verbatim=[deep]))


# ---- for a store ----


def test_a_message_is_the_same_after_it_was_stored(session: Session) -> None:
    record = answered(session, session.add_prompt("one", None))
    record.apply([Patch("response/content", "APPEND", "yes"), *finished()])
    record.epoch, record.fence, record.stream_id, record.upstream = 2, 3, "s", "u"
    record.asked = Completion(chat_session_id="s", prompt="one", model="m", images=["x"], options={"a": 1})
    again = Record.stored(record.to_row())
    assert again.to_row() == record.to_row()
    assert again.message.content == "yes"
    assert again.asked == Asking(chat_session_id="s", model="m", options={"a": 1})


def test_a_message_that_runs_is_its_document_and_its_log(session: Session) -> None:
    row = answered(session, session.add_prompt("one", None)).to_row()
    said = [Entry(Position(1, n), [Patch("response/content", "APPEND", str(n))]) for n in (1, 2)]
    record = Record.stored(replace(row, running=True, tail=said))
    assert (record.message.content, record.position) == ("12", Position(1, 2))


def test_a_copy_changes_for_itself(session: Session) -> None:
    record = answered(session, session.add_prompt("one", None))
    record.copy().apply([Patch("response/content", "APPEND", "no")])
    assert record.message.content == ""


def test_a_fork_knows_what_it_has_changed_and_changes_for_itself(session: Session) -> None:
    first = session.add_prompt("one", None)
    fork = session.fork()
    answer = answered(fork, first)
    assert (fork.changed, list(session.records)) == ({2: answer}, [1])
    assert fork.path_to(answer) == [first, answer]
    assert (fork.title, fork.id) == (session.title, session.id)
