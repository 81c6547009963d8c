"""`%%chat` and `%chat` in real kernels, one of each kind, driven as JupyterLab drives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_ssechat.cell import Terminal

from .kernels import KINDS, Comm, Kernel
from .servers import CUT, Pause, Script, answer, chunk, finish, model_server

Kernels = Callable[[str], Kernel]
VIEW = "application/vnd.jupyter.widget-view+json"
PNG = b"\x89PNG\r\n\x1a\n a dot"
AT_ONCE = "%config ChatMagics.pace = 0"


@pytest.fixture(params=list(KINDS))
def each(request: pytest.FixtureRequest, kernel: Kernels) -> Kernel:
    """A kernel of each kind, with the extension loaded."""
    return loaded(kernel(request.param))


@pytest.fixture
def newest(kernel: Kernels) -> Kernel:
    return loaded(kernel("7.4"))


def loaded(kernel: Kernel) -> Kernel:
    assert kernel.run("%load_ext jupyter_ssechat").error is None
    return kernel


def view_of(kernel: Kernel) -> Comm:
    """Wait until the running cell has opened its view."""
    kernel.wait_until(lambda: bool(views(kernel)), what="the view opens")
    return views(kernel)[-1]


def views(kernel: Kernel) -> list[Comm]:
    return [one for one in kernel.comms.values() if str(one.state.get("_anywidget_id")).endswith(".ChatView")]


def text_seen(view: Comm) -> str:
    """The answer as a browser has it that applied every batch so far."""
    patches = [patch for batch in view.of_type("patches") for patch in batch["patches"]]
    return "".join(one["v"] for one in patches if one["p"] == "response/content" and one["o"] == "APPEND")


def until_text(kernel: Kernel, view: Comm, text: str) -> None:
    kernel.wait_until(lambda: text in text_seen(view), what=f"the view shows {text!r}")


def value(kernel: Kernel, expression: str) -> str:
    return kernel.run(f"print({expression}, end='')").text


def use(kernel: Kernel, url: str) -> None:
    assert kernel.run(f"%chat use {url}").error is None


# ---- a whole answer ----


def test_a_finished_answer_stands_as_markdown_and_its_view_has_retired(each: Kernel) -> None:
    cell = each.run(f"{AT_ONCE}\nget_ipython().run_cell_magic('chat', '-o reply', 'hello')", cell_id="a")
    assert cell.error is None
    assert cell.outputs[0].data == {"text/plain": ""}
    assert cell.data(VIEW) == []
    [markdown] = cell.data("text/markdown")
    assert "<details>" in markdown and "demo" in markdown
    assert value(each, "reply.status") == "finished"


def test_the_text_reaches_the_browser_in_order_while_the_cell_runs(each: Kernel) -> None:
    cell = each.start("%%chat\nhello", cell_id="a")
    view = view_of(each)
    each.wait_until(lambda: len(text_seen(view)) > 40, what="text grows")
    assert cell.running
    each.finish(cell)
    assert [batch["seq"] for batch in view.of_type("patches")] == list(
        range(1, len(view.of_type("patches")) + 1)
    )
    assert view.of_type("end")
    assert cell.data(VIEW) == []


def test_the_outputs_are_the_same_each_time(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    outputs = [
        [output.data for output in newest.run("%%chat --new\nhello").outputs if output.data] for _ in range(2)
    ]
    assert outputs[0] == outputs[1]


def test_volatile_figures_stand_in_the_metadata(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    output = newest.run("%%chat\nhello").outputs[-1]
    assert output.metadata["ssechat"]["status"] == "finished"
    assert output.metadata["ssechat"]["usage"]["total_tokens"] > 0


def test_braces_dollars_and_quotes_in_the_prompt_are_left_alone(newest: Kernel) -> None:
    prompt = "{x} $HOME {{y}} 'a' \"b\" \\n 你好 🎉"
    with model_server(answer("ok")) as server:
        use(newest, server.url)
        assert newest.run("x = 1\n").error is None
        assert newest.run(f"%%chat\n{prompt}").error is None
    assert server.requests[0]["messages"][-1]["content"] == prompt


# ---- stop and interrupt ----


def test_stop_in_the_view_ends_the_answer_while_the_cell_runs_and_the_cell_succeeds(each: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="partial"), pause])) as server:
        use(each, server.url)
        cell = each.start("%%chat -o reply\nx", cell_id="a")
        view = view_of(each)
        until_text(each, view, "partial")
        view.send({"type": "stop", "id": "1"})
        each.finish(cell, timeout=10)
        assert cell.status == "ok"
        assert server.left.wait(10)
    assert [ack["ok"] for ack in view.of_type("ack")] == [True]
    assert "partial" in cell.data("text/markdown")[0]
    assert cell.data(VIEW)
    assert (view.state["status"], view.state["folded"]) == ("stopped", True)
    assert value(each, "reply.status") == "stopped"


def test_stop_before_the_first_token_works_too(each: Kernel) -> None:
    pause = Pause()
    with model_server(Script([pause])) as server:
        use(each, server.url)
        cell = each.start("%%chat\nx", cell_id="a")
        view = view_of(each)
        assert pause.reached.wait(10)
        view.send({"type": "stop", "id": "1"})
        assert each.finish(cell, timeout=10).error is None
        assert server.left.wait(10)


def test_the_kernels_interrupt_stops_the_stream_keeps_the_text_and_ends_the_cell_with_one_line(
    each: Kernel,
) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="partial"), pause])) as server:
        use(each, server.url)
        cell = each.start("%%chat -o reply\nx", cell_id="a")
        until_text(each, view_of(each), "partial")
        each.interrupt()
        each.finish(cell, timeout=10)
        assert server.left.wait(10)
    assert cell.error is not None and cell.error.startswith("AnswerStopped: ")
    assert "\n" not in cell.error.strip()
    assert "partial" in cell.data("text/markdown")[0]
    assert value(each, "(reply.status, reply.content)") == "('stopped', 'partial')"


def test_after_an_interrupt_the_cells_that_were_sent_meanwhile_do_not_run(each: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="partial"), pause])) as server:
        use(each, server.url)
        cell = each.start("%%chat\nx", cell_id="a")
        later = [each.start("print('ran')"), each.start("print('ran too')")]
        until_text(each, view_of(each), "partial")
        each.interrupt()
        for one in (cell, *later):
            each.finish(one, timeout=20)
    assert cell.error is not None
    assert [one.status for one in later] == ["aborted", "aborted"]
    assert [one.text for one in later] == ["", ""]
    assert value(each, "'alive'") == "alive"


def test_after_a_failure_the_cells_that_were_sent_meanwhile_do_not_run(each: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="half"), pause, CUT])) as server:
        use(each, server.url)
        cell = each.start("%%chat\nx", cell_id="a")
        later = each.start("print('ran')")
        until_text(each, view_of(each), "half")
        pause.end()
        for one in (cell, later):
            each.finish(one, timeout=20)
    assert (cell.status, later.status) == ("error", "aborted")
    assert value(each, "'alive'") == "alive"


def test_a_second_interrupt_while_the_stop_is_pending_still_ends_with_one_line(newest: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="partial"), pause])) as server:
        use(newest, server.url)
        cell = newest.start("%%chat\nx", cell_id="a")
        until_text(newest, view_of(newest), "partial")
        newest.interrupt()
        newest.interrupt()
        newest.finish(cell, timeout=20)
    assert cell.error is not None and len(cell.error.strip().splitlines()) == 1


@pytest.mark.parametrize("code", ["%%chat\n   ", "%chat regenerate"])
def test_a_turn_that_is_refused_leaves_no_view_behind(newest: Kernel, code: str) -> None:
    cell = newest.run(code)
    assert cell.status == "error"
    assert cell.data(VIEW) == []


def test_a_refused_use_changes_nothing(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    for wrong in ("nope", "http://127.0.0.1:1/v1 --key-env NOT_SET_AT_ALL", "demo --pace -1"):
        assert newest.run(f"%chat use {wrong}").status == "error"
    assert newest.run("%%chat --session other\nhello").data("text/markdown")


def test_resume_in_the_view_continues_the_answer_after_the_cell(each: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), pause]), answer(" two")) as server:
        use(each, server.url)
        cell = each.start("%%chat -o reply\nx", cell_id="a")
        view = view_of(each)
        until_text(each, view, "one")
        view.send({"type": "stop", "id": "1"})
        each.finish(cell, timeout=10)
        view.send({"type": "resume", "id": "2"})
        each.wait_until(lambda: cell.data(VIEW) == [], what="the view retires")
        each.wait_until(lambda: "one two" in str(cell.data("text/markdown")), what="the text is whole")
    assert value(each, "reply.status") == "finished"


def test_chat_resume_continues_the_last_answer_in_a_new_cell(newest: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), pause]), answer(" two")) as server:
        use(newest, server.url)
        cell = newest.start("%%chat\nx")
        until_text(newest, view_of(newest), "one")
        newest.interrupt()
        newest.finish(cell)
        assert "one two" in newest.run("%chat resume").data("text/markdown")[0]


# ---- the browser's side of the protocol ----


def test_a_page_that_asks_for_the_state_gets_the_text_of_this_moment(each: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), chunk(content=" two"), pause])) as server:
        use(each, server.url)
        cell = each.start("%%chat\nx", cell_id="a")
        view = view_of(each)
        until_text(each, view, "two")
        assert view.state["snapshot"]["document"]["response"].get("content", "") == ""
        view.ask_state()
        each.wait_until(lambda: view.state["snapshot"]["seq"] > 0, what="the state arrives")
        snapshot = view.state["snapshot"]
        assert snapshot["document"]["response"]["content"] == "one two"
        assert snapshot["seq"] >= view.of_type("patches")[-1]["seq"]
        pause.end()
        each.finish(cell) if not cell.running else each.interrupt()
        each.finish(cell)


def test_a_view_that_missed_a_batch_gets_a_snapshot(newest: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), pause])) as server:
        use(newest, server.url)
        cell = newest.start("%%chat\nx", cell_id="a")
        view = view_of(newest)
        until_text(newest, view, "one")
        view.send({"type": "sync", "have": 0})
        newest.wait_until(lambda: bool(view.of_type("snapshot")), what="the snapshot arrives")
        assert view.of_type("snapshot")[0]["document"]["response"]["content"] == "one"
        newest.interrupt()
        newest.finish(cell)


def test_the_whole_text_is_never_sent_again(newest: Kernel) -> None:
    cell = newest.run("%%chat\nlong", timeout=120)
    [view] = views(newest)
    sent = len(json.dumps(view.received, ensure_ascii=False).encode())
    text = len(cell.data("text/markdown")[0].encode())
    assert sent <= 1.5 * text + 700 * len(view.of_type("patches"))


def test_a_view_that_says_hello_is_told_how_to_stop_its_own_stream(newest: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), pause])) as server:
        use(newest, server.url)
        cell = newest.start("%%chat\nx", cell_id="a")
        view = view_of(newest)
        view.send({"type": "hello", "origin": "http://127.0.0.1:8888"})
        newest.wait_until(lambda: bool(view.of_type("control")), what="the grant arrives")
        grant = view.of_type("control")[0]
        assert grant["url"].startswith("http://127.0.0.1:") and grant["token"]
        assert grant["token"] not in json.dumps(view.state)
        newest.interrupt()
        newest.finish(cell)


# ---- a cell is a turn ----


def test_a_view_whose_cell_runs_again_is_closed(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    newest.run("%%chat\nhello", cell_id="a")
    assert [view.closed for view in views(newest)] == [False]
    newest.run("%%chat\nhello", cell_id="a")
    assert [view.closed for view in views(newest)] == [True, False]


def test_the_same_cell_again_regenerates_and_a_changed_prompt_edits(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    newest.run("%%chat -o reply\nhello", cell_id="a")
    assert value(newest, "reply.message_id") == "2"
    newest.run("%%chat -o reply\nhello", cell_id="a")
    assert value(newest, "(reply.request_message_id, reply.message_id)") == "(1, 3)"
    newest.run("%%chat -o reply\nhello there", cell_id="a")
    assert value(newest, "(reply.request_message_id, reply.message_id)") == "(4, 5)"
    newest.run("%%chat -o reply\nnext", cell_id="b")
    assert value(newest, "reply.message_id") == "7"


def test_a_kept_view_regenerates_and_edits_after_its_cell(each: Kernel) -> None:
    each.run("%config ChatMagics.keep_view = True")
    with model_server(answer("One."), answer("Two."), answer("Three."), answer("Four.")) as server:
        use(each, server.url)
        cell = each.run("%%chat -o reply\nWhat is a?", cell_id="a")
        view = views(each)[-1]
        assert (view.state["prompt"], view.state["folded"]) == ("What is a?", True)

        def text() -> str:
            return "".join(cell.data("text/markdown"))

        assert (len(cell.outputs), text()) == (2, "One.")
        view.send({"type": "regenerate", "id": "1"})
        each.wait_until(lambda: text() == "Two.", what="the other answer stands")
        assert value(each, "(reply.request_message_id, reply.message_id, reply.content)") == "(1, 3, 'Two.')"
        view.send({"type": "edit", "id": "2", "prompt": "What is b?"})
        each.wait_until(lambda: text() == "Three.", what="the answer to the edited prompt stands")
        assert value(each, "(reply.request_message_id, reply.message_id)") == "(4, 5)"
        assert (view.state["prompt"], view.state["folded"], view.closed) == ("What is b?", True, False)
        assert [ack["ok"] for ack in view.of_type("ack")] == [True, True]

        each.run("%%chat -o reply\nWhat is b?", cell_id="a")  # the cell's turn is the edited one
        assert value(each, "(reply.request_message_id, reply.content)") == "(4, 'Four.')"
        assert view.closed


def test_a_kept_view_of_another_conversation_asks_nothing(newest: Kernel) -> None:
    newest.run(f"{AT_ONCE}\n%config ChatMagics.keep_view = True")
    newest.run("%%chat\nhello", cell_id="a")
    view = views(newest)[-1]
    newest.run("%chat new")
    view.send({"type": "edit", "id": "1", "prompt": "x"})
    newest.wait_until(lambda: bool(view.of_type("ack")), what="the view is answered")
    [ack] = view.of_type("ack")
    assert (ack["ok"], ack["message"]) == (
        False,
        "this answer is no part of the conversation; run its cell again",
    )


def test_without_a_cell_id_each_run_appends(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    newest.run("%%chat -o reply\nhello")
    newest.run("%%chat -o reply\nhello")
    assert value(newest, "reply.message_id") == "4"


def test_append_and_new_say_otherwise(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    newest.run("%%chat -o reply\nhello", cell_id="a")
    newest.run("%%chat -o reply --append\nhello", cell_id="a")
    assert value(newest, "reply.message_id") == "4"
    newest.run("%%chat -o reply --new\nhello", cell_id="a")
    assert value(newest, "reply.message_id") == "2"


def test_sessions_have_names_and_do_not_mix(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    newest.run("%%chat -o one --session one\nhello")
    newest.run("%%chat -o two --session two\nhello")
    assert value(newest, "one.message_id == two.message_id and one.session_id != two.session_id") == "True"


# ---- background ----


def test_in_the_background_the_kernel_stays_free_and_the_view_becomes_markdown(each: Kernel) -> None:
    cell = each.run("%%chat --bg -o reply\nhello", cell_id="a")
    assert cell.data(VIEW)
    assert value(each, "reply.status") == "streaming"
    each.wait_until(lambda: cell.data(VIEW) == [], what="the view retires")
    each.wait_until(lambda: len(cell.data("text/markdown")) == 1, what="the answer stands as Markdown")
    assert value(each, "reply.status") == "finished"


def test_where_nobody_can_press_a_button_it_always_waits(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    newest.run("%%chat --bg -o reply\nhello", allow_stdin=False)
    assert value(newest, "reply.status") == "finished"
    assert [view.closed for view in views(newest)] == [True]


# ---- options and commands ----


def test_options_reach_the_model_server(newest: Kernel) -> None:
    with model_server(answer("ok")) as server:
        use(newest, server.url)
        options = '-m big -s "be brief, please" --option temperature 0.5 --option stop \'["x"]\''
        assert newest.run(f"%%chat {options}\nhello").error is None
    body = server.requests[0]
    assert (body["model"], body["temperature"], body["stop"]) == ("big", 0.5, ["x"])
    assert body["messages"][0] == {"role": "system", "content": "be brief, please"}


def test_the_common_options_have_names_of_their_own(newest: Kernel) -> None:
    with model_server(answer("ok")) as server:
        use(newest, server.url)
        options = "--effort low -t 0.5 --max-tokens 9 --stop one --stop two"
        assert newest.run(f"%%chat {options}\nhello").error is None
    asked = server.requests[0]
    assert (asked["reasoning_effort"], asked["temperature"], asked["max_tokens"]) == ("low", 0.5, 9)
    assert asked["stop"] == ["one", "two"]


def test_a_picture_is_sent_from_a_variable_and_stays_with_its_turn(newest: Kernel) -> None:
    with model_server(answer("a dot")) as server:
        use(newest, server.url)
        newest.run(f"dot = {PNG!r}")
        assert newest.run("%%chat --image dot\nwhat is this?", cell_id="a").error is None
        newest.run("%%chat\nand now?", cell_id="b")
        newest.run("%%chat --image dot\nwhat is this?", cell_id="a")
        newest.run("%%chat --image dot --image dot\nwhat is this?", cell_id="a")
    pictures = [json.dumps(asked["messages"]).count("data:image/png;base64") for asked in server.requests]
    assert pictures == [1, 1, 1, 2]


def test_a_profile_at_another_address_is_asked_in_its_own_manner(newest: Kernel) -> None:
    with model_server(answer("ok"), models=["one", "two"]) as server:
        assert "using" in newest.run(f"%chat use vllm {server.url} -m one").text
        assert newest.run("%chat models").text.split() == ["one", "two"]
        status = newest.run("%chat status").text
        assert server.url in status and "openai_chat" in status and "key:" in status
        newest.run("%%chat --no-thinking\nhello")
    assert server.requests[0]["chat_template_kwargs"] == {"enable_thinking": False}


def test_deadlines_and_retries_are_set_by_config(newest: Kernel) -> None:
    with model_server(Script([Pause()])) as server:
        use(newest, server.url)
        newest.run("%config ChatMagics.deadlines = {'first_token': 0.05}")
        cell = newest.run("%%chat\nhello")
    assert cell.error is not None and "no first token within 0.05 s" in cell.error
    busy = Script(status=503, body={"error": {"message": "busy"}}, headers={"retry-after": "0"})
    with model_server(busy) as server:
        newest.run("%config ChatMagics.retries = 0")
        use(newest, server.url)
        newest.run("%%chat\nhello")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("deadlines", "said"), [("{'tea': 5}", "no deadline 'tea'"), ("{'silence': -1}", "silence is -1")]
)
def test_a_deadline_that_cannot_be_is_one_line(newest: Kernel, deadlines: str, said: str) -> None:
    newest.run(AT_ONCE)
    cell = newest.run(f"%config ChatMagics.deadlines = {deadlines}")
    assert said in cell.text
    assert newest.run("%%chat\nhello").error is None  # and nothing is changed


def test_use_alone_lists_the_profiles(newest: Kernel) -> None:
    listed = newest.run("%chat use").text
    assert all(name in listed for name in ("ollama", "vllm", "openai", "deepseek", "ANTHROPIC_API_KEY"))


def test_a_key_is_typed_in_and_kept_from_all_eyes(newest: Kernel) -> None:
    with model_server(answer("ok")) as server:
        newest.type_in("sk-typed-in-7")
        used = newest.run(f"%chat use {server.url} --ask-key")
        assert used.error is None
        shown = [used, newest.run("%chat status"), newest.run("%%chat\nhello")]
        assert server.request_headers[-1]["authorization"] == "Bearer sk-typed-in-7"
        newest.run(f"%config ChatMagics.url = '{server.url}'")
    assert "typed in" in shown[1].text
    assert "sk-typed" not in str(shown)


def test_a_key_that_nobody_can_type_in_is_asked_for_by_the_name_of_its_variable(newest: Kernel) -> None:
    cell = newest.run("%chat use openai", allow_stdin=False)
    assert cell.error is not None and "set the environment variable OPENAI_API_KEY" in cell.error
    assert len(cell.error.strip().splitlines()) == 1


def test_a_key_is_read_from_the_environment_and_never_shown(newest: Kernel) -> None:
    newest.run("import os; os.environ['MY_KEY'] = 'sk-secret-9'")
    with model_server(Script(status=401, body={"error": {"message": "bad key sk-secret-9"}})) as server:
        shown = [newest.run(f"%chat use {server.url} --key-env MY_KEY"), newest.run("%%chat\nhello")]
        shown.append(newest.run("%chat status"))
    assert server.request_headers[0]["authorization"] == "Bearer sk-secret-9"
    assert "sk-secret" not in str(shown)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%%chat --nonsense\nhello", "--nonsense"),
        ("%%chat -o 1x\nhello", "not a variable name"),
        ('%%chat -s "open\nhello', "cannot be read"),
        ("%%chat\n  ", "the prompt is empty"),
        ("%chat nonsense", "nonsense: unknown"),
        ("%chat use nonsense", "nonsense"),
        ("%chat use http://127.0.0.1:1/v1 --key-env NOT_SET_AT_ALL", "NOT_SET_AT_ALL"),
        ("%chat resume", "no answer yet"),
    ],
)
def test_bad_input_is_one_line(newest: Kernel, code: str, said: str) -> None:
    cell = newest.run(code)
    assert cell.status == "error"
    assert said in cell.text and len(cell.text.strip().splitlines()) == 1


def test_a_failing_request_fails_the_cell_with_one_line(each: Kernel) -> None:
    each.run("%chat use http://127.0.0.1:9/v1")
    cell = each.run("%%chat\nhello")
    assert cell.status == "error"
    assert cell.error is not None and cell.error.startswith("AnswerFailed: the answer failed: ")
    assert len(cell.error.strip().splitlines()) == 1


@pytest.mark.parametrize("code", ["%chat connect http://127.0.0.1:9", "%%chat\nhello"])
def test_a_gateway_that_is_not_there_fails_the_cell_with_one_line(newest: Kernel, code: str) -> None:
    newest.run("%config ChatMagics.gateway = 'http://127.0.0.1:9'")
    cell = newest.run(code)
    assert cell.error is not None and "no connection" in cell.error
    assert len(cell.error.strip().splitlines()) == 1


def test_the_line_magics_tell_and_show(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    assert "last answer: none yet" in newest.run("%chat status").text
    newest.run("%%chat\nhello")
    assert "2 messages" in newest.run("%chat status").text
    assert newest.run("%chat show").data("text/markdown")
    assert "**You**" in newest.run("%chat history").data("text/markdown")[0]
    assert newest.run("%chat regenerate").data("text/markdown")
    assert "%%chat" in newest.run("%chat help").text
    newest.run("%chat new")
    assert "0 messages" in newest.run("%chat status").text


def test_the_alias_is_there_and_unloading_takes_all_away(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    assert newest.run("%%ssechat\nhello").data("text/markdown")
    assert newest.run("%unload_ext jupyter_ssechat").error is None
    assert newest.run("%%chat\nhello").status == "error"
    assert (
        newest.run("import threading; print([t.name for t in threading.enumerate()])").text.count("gateway")
        == 0
    )


def test_a_magic_of_another_package_is_told_once(kernel: Kernels) -> None:
    one = kernel("7.4")
    one.run(
        "from IPython.core.magic import register_cell_magic\n@register_cell_magic\ndef chat(line, cell): pass"
    )
    assert "another extension" in one.run("%load_ext jupyter_ssechat").text


# ---- a plain terminal ----


def test_in_a_plain_terminal_the_answer_streams_as_text(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = tmp_path / "session.ipy"
    script.write_text(
        "get_ipython().run_line_magic('load_ext', 'jupyter_ssechat')\n"
        "get_ipython().run_line_magic('config', 'ChatMagics.pace = 0')\n"
        "get_ipython().run_cell_magic('chat', '', 'hello')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"IPYTHONDIR": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
    )
    assert "demo model" in done.stdout
    assert done.stderr == ""


def test_chat_show_opens_a_second_view_of_an_answer_that_still_streams(newest: Kernel) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one "), pause, chunk(content="two"), finish()])) as server:
        use(newest, server.url)
        first = newest.run("%%chat --bg\nx")
        until_text(newest, view_of(newest), "one")
        second = newest.start("%chat show")
        newest.wait_until(
            lambda: len(views(newest)) == 2 and bool(views(newest)[1].received), what="a second view"
        )
        pause.end()
        newest.finish(second)
        newest.wait_until(lambda: bool(first.data("text/markdown")), what="the first cell has its text too")
    for cell in (first, second):
        assert cell.data(VIEW) == []
        assert cell.data("text/markdown") == ["one two"]


# ---- prompts, data, files ----


def test_marked_expressions_are_filled_in_when_asked_for(newest: Kernel) -> None:
    with model_server(answer("ok")) as server:
        use(newest, server.url)
        newest.run("x = 20")
        assert newest.run("%%chat --vars --new\nwhat is {{x + 1}}, {x}, \\{{x}}?").status == "ok"
        assert newest.run("%%chat --new\nwhat is {{x + 1}}?").status == "ok"
        unknown = newest.run("%%chat --vars --new\nwhat is {{xx}}?")
    asked = [body["messages"][-1]["content"] for body in server.requests]
    assert asked == ["what is 21, {x}, {{x}}?", "what is {{x + 1}}?"]
    assert unknown.error is not None and "there is no variable 'xx'" in unknown.error


def test_the_last_exception_is_explained_without_what_is_secret(newest: Kernel) -> None:
    with model_server(answer("because")) as server:
        use(newest, server.url)
        newest.run("key = 'sk-0123456789abcdefghijklmnop'\ndef f():\n    raise ValueError('no ' + key)\nf()")
        assert newest.run("%%chat --explain\nWhat is wrong?").status == "ok"
        assert newest.run("%chat explain").status == "ok"
    first, second = (body["messages"][-1]["content"] for body in server.requests)
    assert "ValueError" in first and "raise ValueError('no ' + key)" in first
    assert "sk-0123456789" not in first + second
    assert first.startswith("What is wrong?") or first.endswith("What is wrong?")
    assert "ValueError" in second


def test_an_answer_as_data_is_in_the_variable_and_one_that_does_not_fit_fails_the_cell(
    newest: Kernel,
) -> None:
    newest.run("S = {'type': 'object', 'properties': {'n': {'type': 'integer'}}, 'required': ['n']}")
    with model_server(answer('{"n": 3}')) as server:
        use(newest, server.url)
        assert newest.run("%%chat --new --json S -o reply\nhow many?").status == "ok"
        assert value(newest, "reply.data") == "{'n': 3}"
    with model_server(answer('{"n": "three"}')) as server:
        use(newest, server.url)
        cell = newest.run("%%chat --new --json S -o reply\nhow many?")
    assert cell.error is not None and "n" in cell.error and "\n" not in cell.error.strip()
    assert "three" in cell.data("text/markdown")[0], "the text stays"


def test_a_kept_conversation_goes_on_after_the_kernel_was_restarted(kernel: Kernels) -> None:
    first = loaded(kernel("7.4"))
    first.run(AT_ONCE)
    assert (
        first.run("%chat keep talk.json").text == "the conversation will be kept in talk.json: 0 messages\n"
    )
    first.run("%%chat\none", cell_id="a")
    first.run("%%chat\ntwo", cell_id="b")
    first.close()
    second = loaded(kernel("7.4"))
    second.run(AT_ONCE)
    goes_on = second.run("%chat keep talk.json").text
    assert goes_on == "the conversation goes on from talk.json: 4 messages\n"
    second.run("%%chat -o reply\ntwo, edited", cell_id="b")
    assert value(second, "reply.message_id, reply.content.count('turn 2')") == "6 1"
    assert "kept in:     talk.json" in second.run("%chat status").text
    assert second.run("%chat keep off").text == "the conversation is kept in no file\n"


def test_a_conversation_is_saved_and_loaded(newest: Kernel) -> None:
    newest.run(AT_ONCE)
    newest.run("%%chat\none", cell_id="a")
    assert newest.run("%chat save talk.json").text.startswith("saved 2 messages to ")
    newest.run("%chat new")
    loaded_again = newest.run("%chat load talk.json").text
    assert loaded_again == "loaded 2 messages; the next %%chat goes on from there\n"
    assert newest.run("%chat load nowhere.json").error == (
        "BadInput: nowhere.json cannot be read: No such file or directory"
    )
    assert "one" in newest.run("%chat history").text


def test_a_file_that_is_kept_has_what_was_said_before_and_is_left_aloud(
    newest: Kernel, tmp_path: Path
) -> None:
    newest.run(AT_ONCE)
    newest.run("%%chat\none", cell_id="a")
    assert "there is no such folder" in str(newest.run("%chat keep none/talk.json").error)
    assert newest.run("%chat keep talk.json").text.endswith(" talk.json: 2 messages\n")
    assert len(json.loads((tmp_path / "talk.json").read_text())["chat_messages"]) == 2
    said = newest.run("%chat new").text
    assert said.endswith("note: talk.json keeps the conversation before; %chat keep FILE keeps this one\n")
    assert "note" not in newest.run("%%chat\ntwo", cell_id="b").text


def test_where_nobody_watches_a_resume_leaves_the_output_of_the_stopped_cell_as_it_is(newest: Kernel) -> None:
    with model_server(Script([chunk(content="half"), CUT]), answer(" and half")) as server:
        use(newest, server.url)
        stopped = newest.run("%%chat\nx", allow_stdin=False)
        before = stopped.data("text/markdown")
        resumed = newest.run("%chat resume", allow_stdin=False)
    assert resumed.error is None and "half and half" in resumed.data("text/markdown")[-1]
    assert stopped.data("text/markdown") == before and "Failed" in before[-1]


def test_what_a_history_says_does_not_control_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().show_history([{"role": "ASSISTANT", "content": "red \x1b[31m\x07"}])
    assert capsys.readouterr().out == "Model: red \ufffd[31m\ufffd\n\n"
