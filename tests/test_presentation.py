"""What stands in a cell when an answer has ended: text, a word on how it ended, figures."""

from __future__ import annotations

import pytest

from jupyter_ssechat import Chat
from jupyter_ssechat.presentation import figures, markdown, note, plain
from jupyter_ssechat.reply import Reply

from .servers import CUT, Pause, Script, chunk, finish, model_server


def ended(*steps: object) -> Reply:
    with model_server(Script(list(steps))) as server:
        return Chat(server.url).ask("x")


@pytest.fixture(scope="module")
def finished() -> Reply:
    return ended(chunk(reasoning_content="hm"), chunk(content="all"), finish())


def test_a_whole_answer_needs_no_note(finished: Reply) -> None:
    assert note(finished) == ""
    assert plain(finished) == "all"


def test_thinking_is_folded_above_the_answer(finished: Reply) -> None:
    head, _, tail = markdown(finished).partition("</details>")
    assert head.startswith("<details>") and "hm" in head
    assert tail.strip() == "all"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([chunk(content="half"), CUT], "Failed: "),
        ([chunk(content="half"), finish("length")], "Cut: "),
        ([chunk(content="half"), finish("content_filter")], "Filtered: "),
    ],
)
def test_what_is_not_whole_says_so_below_its_text(steps: list[object], said: str) -> None:
    reply = ended(*steps)
    assert note(reply).startswith(said)
    assert plain(reply).startswith("half\n\n[" + said)
    assert "half" in markdown(reply) and said in markdown(reply)


def test_a_stopped_answer_says_so() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="half"), pause])) as server:
        deltas = Chat(server.url).stream("x")
        next(deltas)
        assert note(deltas.reply.stop()).startswith("Stopped: ")


def test_figures_hold_all_but_the_texts(finished: Reply) -> None:
    shown = figures(finished)["ssechat"]
    assert shown["status"] == "finished"
    assert {"ttft", "elapsed", "usage", "model"} <= set(shown)
    assert not {"content", "thinking"} & set(shown)
