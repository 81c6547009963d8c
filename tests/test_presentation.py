"""What stands in a cell: the view while an answer streams, then its text, a word on how it ended, figures."""

from __future__ import annotations

import json
import time
import types
from collections.abc import Iterator
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from traitlets.config import Config

from jupyter_ssechat import Chat, ChatView
from jupyter_ssechat.gateway.server import close_embedded
from jupyter_ssechat.message import Source
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.presentation import (
    ANSWER,
    Presentation,
    bundle,
    figures,
    markdown,
    note,
    plain,
    show_history,
    show_text,
)
from jupyter_ssechat.projection import to_markdown
from jupyter_ssechat.reply import Reply

from .servers import CUT, Pause, Script, Served, chunk, finish, model_server, usage

LONG = 20.0
VIEW = "application/vnd.jupyter.widget-view+json"
SAYS = {
    "finished": "",
    "cut": "Cut: the limit of tokens was reached.",
    "filtered": "Filtered: the model server withheld the rest.",
    "failed": "Failed: the model server's stream ended before the answer was complete; resume to have it continued",
    "refused": "Failed: the model server answered 500: out of memory",
    "stopped": "Stopped: this answer is not complete.",
    "interrupted": "Interrupted: the connection broke, this answer is not complete.",
}


# ---- replies that ended in each way ----


def ended(*steps: Any) -> Reply:
    with model_server(Script(list(steps))) as server:
        return Chat(server.url).ask("x")


def stopped() -> Reply:
    with model_server(Script([chunk(content="half"), Pause()])) as server:
        deltas = Chat(server.url).stream("x")
        next(deltas)
        return deltas.reply.stop()


def refused() -> Reply:
    with model_server(Script(status=500, body={"error": "out of\nmemory"})) as server:
        return Chat(server.url).ask("x")


def interrupted() -> Reply:
    """A reply of a gateway whose connection breaks and that knows nothing of it afterwards."""
    begun = {"v": {"response": {"message_id": 2, "status": "WIP", "content": ""}}}
    return asked_elsewhere(begun, {"v": "half", "p": "response/content", "o": "APPEND"})


def asked_elsewhere(*frames: Any) -> Reply:
    """A reply of another gateway, which sends these frames."""
    events = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames)

    async def answer(request: Request) -> Response:
        match request.url.path.rpartition("/")[2]:
            case "create":
                data = {"biz_code": 0, "biz_msg": "", "biz_data": {"id": "s"}}
                return JSONResponse({"code": 0, "msg": "", "data": data})
            case "completion":
                return Response(events, media_type="text/event-stream")
            case _:
                return Response(status_code=404)

    served = Served(Starlette(routes=[Route("/{rest:path}", answer, methods=["POST"])]))
    try:
        return Chat(gateway=served.url).ask("x")
    finally:
        served.close()


@pytest.fixture(autouse=True, scope="module")
def _closed_in_the_end() -> Iterator[None]:
    yield
    close_embedded()


@pytest.fixture(scope="module")
def replies() -> dict[str, Reply]:
    """A reply for each way to end."""
    half = chunk(content="half")
    return {
        "finished": ended(chunk(reasoning_content="hm"), chunk(content="all"), finish(), usage(3, 2)),
        "cut": ended(half, finish("length")),
        "filtered": ended(half, finish("content_filter")),
        "failed": ended(half, CUT),
        "refused": refused(),
        "stopped": stopped(),
        "interrupted": interrupted(),
    }


# ---- its text, in words ----


@pytest.mark.parametrize("way", SAYS)
def test_how_it_ended_is_one_sentence_and_a_whole_answer_needs_none(
    way: str, replies: dict[str, Reply]
) -> None:
    assert note(replies[way]) == SAYS[way]


def test_an_answer_in_mid_stream_has_no_note() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="half"), pause])) as server:
        reply = Chat(server.url).send("x")
        assert pause.reached.wait(LONG)
        assert (reply.status, note(reply)) == ("streaming", "")
        reply.stop()


@pytest.mark.parametrize("way", SAYS)
def test_what_is_not_whole_says_so_below_its_text(way: str, replies: dict[str, Reply]) -> None:
    reply, said = replies[way], SAYS[way]
    assert plain(reply) == (f"{reply.content}\n\n[{said}]" if said else "all")
    assert markdown(reply) == to_markdown(reply.content, reply.thinking, status_note=said)
    assert reply.content in markdown(reply)
    last = markdown(reply).rstrip().splitlines()[-1]
    assert last == (f"<em>{said}</em>" if said else "all")


def test_thinking_is_folded_above_the_answer(replies: dict[str, Reply]) -> None:
    head, _, tail = markdown(replies["finished"]).partition("</details>")
    assert head.startswith("<details>") and "hm" in head
    assert tail.strip() == "all"
    assert "hm" not in plain(replies["finished"])


@pytest.mark.parametrize("way", SAYS)
def test_an_output_holds_each_text_once_and_nothing_that_differs_from_run_to_run(
    way: str, replies: dict[str, Reply]
) -> None:
    reply = replies[way]
    assert bundle(reply) == {ANSWER: {}, "text/markdown": markdown(reply), "text/plain": plain(reply)}


def test_the_pages_that_were_searched_stand_below_the_answer_as_links() -> None:
    a, b = {"title": "A [1]", "url": "https://a.example/?q=1&r"}, {"title": "B", "url": "javascript:x"}
    search = {"type": "TOOL_SEARCH", "content": "", "results": [a, b]}
    said = {"type": "RESPONSE", "content": "So."}
    answer = {"message_id": 2, "status": "WIP", "fragments": [search, said]}
    reply = asked_elsewhere({"v": {"response": answer}}, {"p": "response/status", "v": "FINISHED"})
    assert reply.sources == [Source("A [1]", "https://a.example/?q=1&r"), Source("B", "javascript:x")]
    listed = "**Sources**\n\n1. [A &#91;1&#93;](https://a.example/?q=1&amp;r)"
    assert markdown(reply) == f"So.\n\n{listed}"
    assert plain(reply) == "So."


# ---- figures ----


@pytest.mark.parametrize("way", SAYS)
def test_figures_are_all_but_the_texts_and_are_json(way: str, replies: dict[str, Reply]) -> None:
    reply = replies[way]
    shown = figures(reply)
    assert list(shown) == ["ssechat"]
    fields = {name: value for name, value in reply.to_dict().items() if name not in ("content", "thinking")}
    more = {"ttft", "elapsed", "continuation"}
    assert {name: value for name, value in shown["ssechat"].items() if name not in more} == fields
    assert set(shown["ssechat"]) == {*fields, *more}
    assert json.loads(json.dumps(shown)) == shown


def test_times_are_rounded_and_null_where_there_are_none(replies: dict[str, Reply]) -> None:
    finished, refused = figures(replies["finished"])["ssechat"], figures(replies["refused"])["ssechat"]
    assert finished["ttft"] == round(replies["finished"].ttft or 0, 3)
    assert finished["elapsed"] == round(replies["finished"].elapsed, 3)
    assert refused["ttft"] is None and refused["elapsed"] > 0
    assert finished["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert refused["error"]["type"] == "upstream_error"


# ---- the outputs of a cell ----


class Outputs:
    """What a front end shows of a cell: displays in their order, each as it was updated last."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher

    @property
    def now(self) -> list[dict[str, Any]]:
        shown: dict[str, dict[str, Any]] = {}
        for output in self._publisher.outputs:
            display_id = output["transient"]["display_id"]
            assert output["update"] == (display_id in shown)
            shown[display_id] = output
        return list(shown.values())

    @property
    def data(self) -> list[dict[str, Any]]:
        return [output["data"] for output in self.now]

    @property
    def views(self) -> list[str]:
        return [data[VIEW]["model_id"] for data in self.data if VIEW in data]

    @property
    def texts(self) -> list[str]:
        return [data["text/markdown"] for data in self.data if "text/markdown" in data]


class Sent(BaseComm):
    """A comm that keeps the custom messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.custom: list[dict[str, Any]] = []
        self.closed = False
        super().__init__(*args, **kwargs)

    def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
        self.closed = self.closed or msg_type == "comm_close"
        if msg_type == "comm_msg" and data["method"] == "custom":
            self.custom.append(data["content"])


@pytest.fixture(scope="module")
def publisher() -> Iterator[Any]:
    """A real IPython whose displays are kept."""
    config = Config()
    config.HistoryManager.enabled = False
    module = types.ModuleType("a_notebook_of_the_tests")
    shell: Any = InteractiveShell.instance(config=config, user_module=module)
    shell.display_pub = CapturingDisplayPublisher()
    yield shell.display_pub
    InteractiveShell.clear_instance()


@pytest.fixture
def outputs(publisher: Any, monkeypatch: pytest.MonkeyPatch) -> Outputs:
    monkeypatch.setattr(comm, "create_comm", Sent)
    publisher.outputs.clear()
    return Outputs(publisher)


class Turn:
    """A turn of a cell whose reply has just begun."""

    def __init__(
        self, reply: Reply, *, background: bool = False, attended: bool = True, kept: bool = False
    ) -> None:
        self.reply = reply
        self.view = ChatView()
        self.comm: Any = self.view.comm
        self.presentation = Presentation(self.view, background=background, attended=attended, kept=kept)
        self.presentation.begin(reply)
        self.presentation.ready(reply)
        self.presentation.push([Patch("response/content", "APPEND", reply.content)])

    def end(self) -> Turn:
        self.presentation.end(self.reply)
        return self


def test_while_it_streams_there_is_a_view_and_nothing_for_nbval_to_compare(
    outputs: Outputs, replies: dict[str, Reply]
) -> None:
    turn = Turn(replies["finished"])
    reference = {"version_major": 2, "version_minor": 0, "model_id": turn.view.model_id}
    assert outputs.data == [{VIEW: reference, "text/plain": ""}]


@pytest.mark.parametrize("way", SAYS)
def test_a_finished_answer_stands_as_text_and_any_other_keeps_its_view_folded(
    way: str, outputs: Outputs, replies: dict[str, Reply]
) -> None:
    reply = replies[way]
    turn = Turn(reply).end()
    assert outputs.texts == []
    turn.presentation.settle(reply)
    whole = way in ("finished", "cut", "filtered")
    assert outputs.views == ([] if whole else [turn.view.model_id])
    assert (turn.view.folded, turn.comm.closed) == (not whole, False)
    assert outputs.texts == [markdown(reply)]
    assert outputs.data[1] == bundle(reply)
    assert outputs.now[1]["metadata"] == figures(reply)


@pytest.mark.parametrize("way", ["finished", "stopped"])
def test_where_nobody_looks_the_view_goes_however_it_ended(
    way: str, outputs: Outputs, replies: dict[str, Reply]
) -> None:
    turn = Turn(replies[way], attended=False).end()
    turn.presentation.settle(replies[way])
    assert outputs.views == []
    assert turn.comm.closed
    assert outputs.texts == [markdown(replies[way])]


def test_a_view_that_is_kept_stays_folded_above_the_text(outputs: Outputs, replies: dict[str, Reply]) -> None:
    turn = Turn(replies["finished"], kept=True).end()
    turn.presentation.settle(replies["finished"])
    assert (outputs.views, turn.view.folded) == ([turn.view.model_id], True)
    assert outputs.texts == [markdown(replies["finished"])]


def test_a_view_that_is_kept_goes_where_nobody_looks(outputs: Outputs, replies: dict[str, Reply]) -> None:
    turn = Turn(replies["finished"], kept=True, attended=False).end()
    turn.presentation.settle(replies["finished"])
    assert (outputs.views, turn.comm.closed) == ([], True)


@pytest.mark.parametrize("pages", [1, 2])
def test_after_a_reload_the_view_stays_open_for_the_page_does_not_get_the_text(
    pages: int, outputs: Outputs, replies: dict[str, Reply]
) -> None:
    turn = Turn(replies["stopped"])
    for _ in range(pages):
        greets(turn.comm)
    turn.end().presentation.settle(replies["stopped"])
    assert turn.view.folded is (pages == 1)


def test_a_page_of_after_a_reload_is_told_what_stands_there_and_folds_the_view_when_it_has_put_it(
    outputs: Outputs, replies: dict[str, Reply]
) -> None:
    reply = replies["stopped"]
    turn = Turn(reply, background=True)
    greets(turn.comm)
    turn.end()
    assert placed(turn.comm) == []
    greets(turn.comm)
    told = {"widget": turn.view.model_id, "retired": False, "metadata": figures(reply)}
    assert placed(turn.comm) == [{"type": "outputs", **told, "data": bundle(reply)}]
    turn.view.folded = False
    turn.comm.handle_msg(
        {"content": {"data": {"method": "custom", "content": {"type": "placed"}}}, "buffers": []}
    )
    assert turn.view.folded
    turn.presentation.begin(reply)
    assert placed(turn.comm)[-1]["data"] == {"text/plain": ""}


def test_a_page_of_after_a_reload_is_told_that_the_view_has_retired(
    outputs: Outputs, replies: dict[str, Reply]
) -> None:
    turn = Turn(replies["finished"])
    for _ in range(2):
        greets(turn.comm)
    turn.end().presentation.settle(replies["finished"])
    [told] = placed(turn.comm)
    assert (told["retired"], told["data"]) == (True, bundle(replies["finished"]))


def test_in_the_background_the_text_has_its_place_from_the_start(
    outputs: Outputs, replies: dict[str, Reply]
) -> None:
    turn = Turn(replies["finished"], background=True)
    assert [data["text/plain"] for data in outputs.data] == ["", ""]
    turn.end()
    assert outputs.views == []
    assert outputs.texts == [markdown(replies["finished"])]
    assert len(outputs.now) == 2


def test_an_answer_that_goes_on_opens_its_view_and_its_text_is_renewed_in_place(
    outputs: Outputs, replies: dict[str, Reply]
) -> None:
    turn = Turn(replies["stopped"]).end()
    turn.presentation.settle(replies["stopped"])
    turn.presentation.begin(replies["finished"])
    assert (turn.view.folded, outputs.views, outputs.texts) == (False, [turn.view.model_id], [])
    turn.presentation.end(replies["finished"])
    assert (outputs.views, outputs.texts) == ([], [markdown(replies["finished"])])
    assert len(outputs.now) == 2


def test_settling_twice_shows_the_text_once(outputs: Outputs, replies: dict[str, Reply]) -> None:
    turn = Turn(replies["finished"]).end()
    for _ in range(2):
        turn.presentation.settle(replies["finished"])
    assert (outputs.views, len(outputs.texts), len(outputs.now)) == ([], 1, 2)


def test_a_turn_that_never_began_leaves_nothing(outputs: Outputs, replies: dict[str, Reply]) -> None:
    turn = Turn(replies["refused"])
    turn.presentation.discard()
    assert outputs.data == [{"text/plain": ""}]
    assert turn.comm.closed


def test_a_cell_that_runs_again_closes_its_old_view(outputs: Outputs, replies: dict[str, Reply]) -> None:
    turn = Turn(replies["stopped"])
    turn.presentation.close()
    assert turn.comm.closed


def greets(sent: Any) -> None:
    """Let a page open the view with this comm."""
    hello = {"method": "custom", "content": {"type": "hello", "origin": "http://page"}}
    sent.handle_msg({"content": {"data": hello}, "buffers": []})


def placed(sent: Any) -> list[dict[str, Any]]:
    return [content for content in sent.custom if content["type"] == "outputs"]


def controls(sent: Any) -> list[dict[str, Any]]:
    return [message for message in sent.custom if message["type"] == "control"]


@pytest.mark.parametrize("page_first", [True, False])
def test_a_page_is_told_how_to_stop_the_stream_whoever_comes_first(
    page_first: bool, outputs: Outputs
) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="half"), pause])) as server:
        reply = Chat(server.url).send("x")
        assert pause.reached.wait(LONG)
        view = ChatView()
        presentation = Presentation(view, background=False, attended=True)
        if page_first:
            greets(view.comm)
        assert controls(view.comm) == []
        presentation.begin(reply)
        presentation.ready(reply)
        if not page_first:
            greets(view.comm)
        while not (found := controls(view.comm)):  # the gateway makes the token
            time.sleep(0.005)
        [control] = found
        reply.stop()
    assert control["message_id"] == reply.message_id and control["token"]


def test_of_an_answer_that_is_over_a_page_is_told_nothing(
    outputs: Outputs, replies: dict[str, Reply]
) -> None:
    turn = Turn(replies["finished"]).end()
    greets(turn.comm)
    assert controls(turn.comm) == []


def test_a_reply_is_shown_anew_as_it_stands(outputs: Outputs, replies: dict[str, Reply]) -> None:
    show_text(replies["stopped"])
    [output] = outputs.now
    assert output["data"] == bundle(replies["stopped"])
    assert output["metadata"] == figures(replies["stopped"])


def test_a_conversation_is_shown_from_its_beginning_and_as_safely(outputs: Outputs) -> None:
    image = "![](http://example.org/?q=secret)"
    show_history(
        [
            {"role": "USER", "message_id": 1, "content": "one"},
            {"role": "ASSISTANT", "message_id": 2, "content": image},
            {"role": "USER", "message_id": 3, "content": None},
        ]
    )
    [data] = outputs.data
    parts = data["text/markdown"].split("\n\n---\n\n")
    assert [part.splitlines()[0] for part in parts] == ["**You** · 1", "**Model** · 2", "**You** · 3"]
    assert parts[1] == f"**Model** · 2\n\n{to_markdown(image)}"
    assert image not in data["text/markdown"]
    assert data["text/plain"] == f"one\n\n{image}\n\n"


def test_an_empty_conversation_is_told_in_words(outputs: Outputs, capsys: pytest.CaptureFixture[str]) -> None:
    show_history([])
    assert (outputs.now, capsys.readouterr().out) == ([], "nothing has been said yet\n")
