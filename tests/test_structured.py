"""Structured answers, end to end: over each wire a question for data becomes data, or one line that says why not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from jupyter_ssechat import Chat
from jupyter_ssechat.dialects import DIALECTS, Manners
from jupyter_ssechat.errors import AnswerFailed, BadInput
from jupyter_ssechat.gateway.server import close_embedded, embedded
from jupyter_ssechat.partial_json import partial_value
from jupyter_ssechat.profiles import PROFILES
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.response_format import response_format
from jupyter_ssechat.schema import schema_of

from .aimock import reply_with
from .kernels import Kernel
from .servers import CUT, DONE, Pause, Script, answer, chunk, finish, model_server
from .test_aimock import CHAT, Wire, serve, wire
from .test_partial_json import grows_into

if TYPE_CHECKING:
    from .test_aimock import Serve

__all__ = ["serve", "wire"]


class City(BaseModel):
    name: str
    people: int


class Cities(BaseModel):
    cities: list[City]


ULM = '{"cities": [{"name": "Ulm", "people": 126000}]}'
SCHEMA = schema_of(Cities).response_format["json_schema"]
NAMELESS = {"status": 400, "body": {"error": {"message": "This response_format type is unavailable now"}}}


@pytest.fixture(autouse=True, scope="module")
def _closed_in_the_end() -> Iterator[None]:
    yield
    close_embedded()


def is_ulm(data: Any) -> bool:
    return data == Cities(cities=[City(name="Ulm", people=126000)])


# ---- how it is asked for, over each wire ----


def body_of(dialect: str, *, manners: Manners | None = None, **fields: Any) -> dict[str, Any]:
    options = {"response_format": schema_of(Cities).response_format, **fields.pop("options", {})}
    request = Request(turns=(Turn("user", "Which?"),), options=options, **fields)
    kind = DIALECTS[dialect]
    call = kind.ask(kind.endpoint("http://h"), request, manners or kind.manners)
    return call.body if isinstance(call.body, dict) else {"url": call.url}


def test_chat_completions_have_a_response_format() -> None:
    body = body_of("openai_chat")
    assert body["response_format"] == {"type": "json_schema", "json_schema": SCHEMA}
    assert SCHEMA["strict"] is True and body["messages"] == [{"role": "user", "content": "Which?"}]


def test_deepseek_is_held_to_json_and_told_the_schema() -> None:
    body = body_of("openai_chat", manners=PROFILES["deepseek"].manners)
    assert body["response_format"] == {"type": "json_object"}
    [system, user] = body["messages"]
    assert system["role"] == "system" and json.dumps("cities") in system["content"]
    assert user == {"role": "user", "content": "Which?"}


def test_a_server_without_any_format_is_told_in_words() -> None:
    body = body_of("openai_chat", manners=Manners(json=""), system="Be brief.")
    assert "response_format" not in body
    assert body["messages"][0]["content"].startswith("Be brief.\n\nAnswer with JSON alone")


def test_responses_have_it_in_text_beside_what_else_is_there() -> None:
    body = body_of("openai_responses", options={"text": {"verbosity": "low"}})
    assert "response_format" not in body
    assert body["text"] == {"verbosity": "low", "format": {"type": "json_schema", **SCHEMA}}


def test_messages_have_an_output_config_beside_the_effort() -> None:
    body = body_of("anthropic_messages", model="claude-opus-4-6", options={"reasoning_effort": "low"})
    format = {"type": "json_schema", "schema": SCHEMA["schema"]}
    assert "response_format" not in body
    assert body["output_config"] == {"format": format, "effort": "low"}


def test_messages_are_told_in_words_where_a_schema_cannot_be_closed() -> None:
    counts = response_format("counts", {"type": "object", "additionalProperties": {"type": "integer"}})
    body = body_of("anthropic_messages", options={"response_format": counts})
    assert "output_config" not in body and "additionalProperties" in body["system"]


@pytest.mark.parametrize("dialect", ["plain_text", "plain_content"])
def test_plain_wires_are_told_in_words(dialect: str) -> None:
    said = json.dumps(body_of(dialect))
    assert "JSON" in said and "cities" in said and "response_format" not in said


def test_another_gateway_is_asked_as_it_was_asked_itself() -> None:
    kind = DIALECTS["deepseek"]
    handle = {"chat_session_id": "s", "message_id": 2}
    turns = (Turn("user", "x"), Turn("assistant", "y", handle=handle), Turn("user", "Which?"))
    options = {"response_format": schema_of(Cities).response_format}
    call = kind.ask(kind.endpoint("http://h"), Request(turns=turns, options=options), kind.manners)
    assert isinstance(call.body, dict) and call.body["options"] == options


# ---- by other people's servers ----


def test_an_answer_becomes_what_was_asked_for(serve: Serve, wire: Wire) -> None:
    server = serve(reply_with({"content": f"```json\n{ULM}\n```", "reasoning": 'It may be {"cities": []}.'}))
    reply = wire.chat(server).ask("Which?", schema=Cities)
    assert is_ulm(reply.data) and reply.data_error is None and reply.status == "finished"
    assert reply.partial_data == json.loads(ULM)


def test_the_server_sees_that_json_of_a_schema_is_wanted(serve: Serve) -> None:
    wanted = {"match": {"responseFormat": "json_schema"}, "response": {"content": ULM}}
    server = serve(wanted, reply_with({"content": "words"}))
    chat = CHAT.chat(server)
    assert is_ulm(chat.ask("Which?", schema=Cities).data)
    assert chat.ask("And now?").content == "words"


def test_a_server_that_refuses_the_format_is_asked_in_words(serve: Serve, wire: Wire) -> None:
    no = reply_with(
        {"status": 400, "error": {"message": "json_schema is not supported", "type": "invalid"}}, nth=0
    )
    server = serve(no, reply_with({"content": ULM}))
    assert is_ulm(wire.chat(server).ask("Which?", schema=Cities).data)
    first, second = server.journal()
    assert (first.status, second.status) == (400, 200)
    assert "Answer with JSON alone" in json.dumps(second.body)
    assert "Answer with JSON alone" not in json.dumps(first.body)


# ---- refusals ----


def test_what_a_strict_server_does_not_know_is_left_out_one_after_the_other() -> None:
    no_usage = Script(status=422, body={"detail": [{"loc": ["body", "stream_options"], "msg": "extra"}]})
    no_format = Script(**NAMELESS)
    with model_server(no_usage, no_format, answer(ULM)) as server:
        reply = Chat(server.url).ask("Which?", schema=Cities)
        assert is_ulm(reply.data)
    known = [{"stream_options", "response_format"} & set(asked) for asked in server.requests]
    assert known == [{"stream_options", "response_format"}, {"response_format"}, set()]


def test_a_refusal_that_is_about_something_else_is_told() -> None:
    with model_server(Script(status=400, body={"error": {"message": "no such model"}})) as server:
        reply = Chat(server.url).ask("Which?", schema=Cities)
    assert len(server.requests) == 1 and reply.status == "failed" and reply.data_error is None
    with pytest.raises(AnswerFailed, match="no such model, so that its data are not whole"):
        _ = reply.data


# ---- what the reply says ----


def test_an_answer_that_does_not_fit_keeps_its_text_and_says_where() -> None:
    text = '{"cities": [{"name": "Ulm", "people": "many"}]}'
    with model_server(answer(text)) as server:
        reply = Chat(server.url).ask("Which?", schema=Cities)
    assert (reply.status, reply.content) == ("finished", text)
    assert (
        reply.data_error is not None
        and "at cities[0].people" in reply.data_error
        and "'many'" in reply.data_error
    )
    with pytest.raises(AnswerFailed) as error:
        _ = reply.data
    assert str(error.value) == reply.data_error and "\n" not in reply.data_error
    assert reply.partial_data == json.loads(text)


def test_an_answer_that_was_cut_at_its_length_says_so() -> None:
    with model_server(Script([chunk(content=ULM[:20]), finish("length"), DONE])) as server:
        reply = Chat(server.url).ask("Which?", schema=Cities)
    assert reply.status == "finished" and str(reply.data_error).endswith("allow a larger max_tokens")


def test_data_grow_while_the_answer_streams() -> None:
    pause = Pause()
    with model_server(
        Script([chunk(content=ULM[:30]), pause, chunk(content=ULM[30:]), finish(), DONE])
    ) as server:
        reply = Chat(server.url).send("Which?", schema=Cities)
        assert pause.reached.wait(10)
        while not reply.content:
            assert not reply.over.wait(0.01)
        assert reply.partial_data == {"cities": [{"name": "Ulm"}]}
        with pytest.raises(BadInput, match="still streaming"):
            _ = reply.data
        assert reply.data_error is None
        pause.end()
        assert is_ulm(reply.wait(10).data)


def test_an_answer_that_was_cut_has_no_data_until_it_went_on() -> None:
    rest = answer(ULM[30:])
    with model_server(Script([chunk(content=ULM[:30]), CUT]), rest) as server:
        reply = Chat(server.url).ask("Which?", schema=Cities)
        with pytest.raises(AnswerFailed, match="resume to have it continued, so that its data are not whole"):
            _ = reply.data
        assert reply.partial_data == {"cities": [{"name": "Ulm"}]}
        assert is_ulm(reply.resume().wait(10).data)
    asked = server.requests[-1]
    assert "response_format" not in asked, "held to its schema, the server would begin anew"
    assert "Answer with JSON alone" in asked["messages"][0]["content"]


def test_without_a_schema_there_are_no_data() -> None:
    reply = Chat(pace=0).ask("hello")
    assert reply.data_error is None
    with pytest.raises(BadInput, match="ask with schema=MODEL"):
        _ = reply.data


def test_what_is_no_schema_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(BadInput, match="3 is no schema"):
        Chat(pace=0).send("x", schema=3)


def test_a_cell_fails_in_one_line_where_the_answer_does_not_fit_and_its_text_stays(
    kernel: Callable[[str], Kernel],
) -> None:
    here = kernel("7.4")
    with model_server(answer('{"name": 3}')) as server:
        here.run(f"%load_ext jupyter_ssechat\n%chat use {server.url}")
        here.run("import pydantic\nclass City(pydantic.BaseModel):\n    name: str")
        cell = here.run("%%chat --json City -o reply\nWhich?", cell_id="a")
    assert cell.error is not None and cell.error.strip() == (
        "AnswerFailed: the answer does not fit City: at name: Input should be a valid string, got 3"
    )
    assert '{"name": 3}' in str(cell.data("text/markdown") or cell.data("text/plain"))
    assert here.run("print(reply.status, reply.content, reply.partial_data)").text.strip() == (
        "finished {\"name\": 3} {'name': 3}"
    )


# ---- the demo model, and through the gateway ----


def test_the_demo_model_answers_with_what_fits_and_the_same_each_time() -> None:
    replies = [Chat(pace=0).ask("Which?", schema=Cities) for _ in range(2)]
    assert replies[0].content == replies[1].content and replies[0].thinking
    assert isinstance(replies[0].data, Cities)


def test_all_ways_to_ask_take_a_schema() -> None:
    chat = Chat(pace=0)
    first = chat.ask("Which?", schema=Cities)
    assert isinstance(chat.regenerate(first, schema=Cities).wait(10).data, Cities)
    assert isinstance(asyncio.run(chat.aask("Which?", schema=Cities)).data, Cities)
    with chat.stream("Which?", schema=Cities) as deltas:
        seen = [deltas.reply.partial_data for _ in deltas]
    assert seen and isinstance(deltas.reply.data, Cities)


def test_a_json_schema_in_a_file_gives_plain_values_for_pandas(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    row = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}}}
    file.write_text(json.dumps({"type": "array", "items": {**row, "required": ["city", "people"]}}))
    table = pd.DataFrame(Chat(pace=0).ask("Which?", schema=file).data)
    assert list(table.columns) == ["city", "people"] and len(table) == 2


def test_a_stop_and_a_resume_leave_the_data_whole() -> None:
    chat = Chat(pace=0.05)
    with chat.stream("Which?", schema=Cities) as deltas:
        for delta in deltas:
            if delta.kind == "content":
                deltas.reply.ask_to_stop()
                break
        reply = deltas.reply.wait(10)
    if reply.status == "stopped":
        with pytest.raises(AnswerFailed, match="stopped, so that its data are not whole"):
            _ = reply.data
        reply.resume().wait(10)
    assert reply.data == Chat(pace=0).ask("Which?", schema=Cities).data


def test_an_openai_client_gets_data_through_the_gateway() -> None:
    here = embedded()
    with openai.OpenAI(base_url=f"{here.url}/v1", api_key=here.token) as client:
        asked = client.chat.completions.parse(
            model="demo", messages=[{"role": "user", "content": "Which?"}], response_format=Cities
        )
    assert isinstance(asked.choices[0].message.parsed, Cities)


@given(st.lists(st.tuples(st.text(), st.integers()), max_size=4), st.integers(1, 9))
def test_every_state_of_an_answer_grows_into_its_data(cities: list[tuple[str, int]], size: int) -> None:
    whole = Cities(cities=[City(name=name, people=people) for name, people in cities])
    text = "Sure:\n```json\n" + whole.model_dump_json(indent=1) + "\n```"
    for end in range(0, len(text), size):
        part = partial_value(text[:end])
        assert part is None or grows_into(part, whole.model_dump())
    assert schema_of(Cities).read(text) == whole
