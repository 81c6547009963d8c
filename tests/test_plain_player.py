"""A plain recorded stream as an upstream: every request gets it, whole, or from where an answer stands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.message import Message
from jupyter_ssechat.recording import recording
from jupyter_ssechat.replay import replay
from jupyter_ssechat.tape import Cassette

from .asking import asking, message_of, patches_of
from .test_player import NEVER, Talk

WIRE = Path(__file__).parent / "wire"
EXPECTED: dict[str, Any] = json.loads((WIRE / "expected.json").read_text("utf-8"))
STREAMS = sorted(name for name in EXPECTED if name.endswith(".sse"))


def played(name: str, dialect: str | None = None, **asked: Any) -> Message:
    try:
        return message_of(patches_of(recording(None, WIRE / name, dialect=dialect), asking(**asked)))
    except Exception as error:
        pytest.fail(f"{name}: {error!r}")


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_says_what_the_replay_command_says(name: str) -> None:
    dialect = EXPECTED[name]["dialect"]
    expected = replay([(WIRE / name).read_bytes()], dialect)
    for told in (None, dialect):
        message = played(name, told)
        message.interrupt()
        assert (message.status, message.thinking, message.content) == (
            expected.status,
            expected.thinking,
            expected.content,
        )


def test_the_json_in_place_of_a_stream_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    path.write_text(json.dumps({"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}))
    assert message_of(patches_of(recording(None, path))).content == "whole"
    assert played("synthetic_deepseek_whole_message.json").content


def test_the_ids_of_a_recorded_message_are_not_those_of_the_answer() -> None:
    assert played("deepseek_flat_b.sse").message_id is None


def test_every_request_gets_the_same_and_nothing_is_ever_recorded() -> None:
    tape = Cassette(WIRE / "openai_chat_qwen.sse", "all")
    upstream = recording(None, tape)
    assert len({message_of(patches_of(upstream, asking(text))).content for text in ("a", "b", "a")}) == 1
    assert tape.recorded == 0


def test_an_answer_that_was_stopped_goes_on_with_what_comes_after_its_text() -> None:
    async def talk() -> Talk:
        tape = Cassette(WIRE / "openai_chat_qwen.sse", pace=20)
        made = Talk(recording(None, tape))
        first = await made.ask("hello", stop_after=4)
        assert made.session.get(first).message.status == "stopped"
        tape.pace = 0
        await made.go_on(first, stop_after=NEVER)
        await made.aclose()
        return made

    message = asyncio.run(asyncio.wait_for(talk(), 30)).session.get(2).message
    assert message.content == EXPECTED["openai_chat_qwen.sse"]["message"]["content"]
    assert message.status == "finished"


def test_a_dialect_that_there_is_not_is_bad_input() -> None:
    with pytest.raises(BadInput, match="'klingon' is not a dialect"):
        recording(None, WIRE / "openai_chat_qwen.sse", dialect="klingon")
