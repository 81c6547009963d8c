"""Who answers a notebook, in a real kernel: cassettes that are put in, taken out, and named by the process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from .kernels import Cell, Kernel
from .servers import DONE, Pause, Script, answer, chunk, finish, model_server

Kernels = Callable[..., Kernel]


@pytest.fixture
def notebook(kernel: Kernels) -> Kernel:
    """A kernel with the extension; the demo model answers at once."""
    newest = kernel("7.4")
    assert newest.run("%load_ext jupyter_ssechat\n%config ChatMagics.pace = 0").error is None
    return newest


def text(cell: Cell) -> str:
    assert cell.error is None, cell.error
    return cell.data("text/markdown")[-1]


def test_what_was_recorded_is_replayed_without_the_server_that_said_it(
    notebook: Kernel, tmp_path: Path
) -> None:
    tape = tmp_path / "tape.jsonl"
    with model_server(answer("from the server")) as server:
        notebook.run(f"%chat use {server.url}")
        assert notebook.run(f"%chat record {tape}").text == f"recording to {tape}; %chat record off ends it\n"
        assert text(notebook.run("%%chat\nwho are you?")) == "from the server"
    assert (
        "cassette:    tape.jsonl, new_episodes: 1 recorded, 0 replayed" in notebook.run("%chat status").text
    )
    assert "from the server" in tape.read_text()
    notebook.run("%chat record off\n%chat use demo\n%chat new")
    assert notebook.run(f"%chat replay {tape}").text.startswith(f"replaying {tape}; ")
    assert text(notebook.run("%%chat\nwho are you?")) == "from the server"
    other = notebook.run("%%chat\nwho am I?")
    assert other.error is not None and "who am I?" in other.error and "\n" not in other.error.strip()
    notebook.run("%chat replay off\n%chat new")
    assert text(notebook.run("%%chat\nwho are you?")) != "from the server"


def test_a_cell_may_have_a_cassette_of_its_own(notebook: Kernel, tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    first = text(notebook.run(f"%%chat --new --record {tape}\nhello"))
    assert notebook.run("%config ChatMagics.cassette").text == "''"
    size = tape.stat().st_size
    notebook.run("%%chat --new\nnot recorded")
    assert text(notebook.run(f"%%chat --new --replay {tape}\nhello")) == first
    assert tape.stat().st_size == size


def test_the_process_may_name_the_cassette_of_its_notebooks(kernel: Kernels, tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    env = {"JUPYTER_SSECHAT_CASSETTE": str(tape), "JUPYTER_SSECHAT_RECORD_MODE": "once"}
    said = []
    for _ in range(2):
        notebook = kernel("7.4", **env)
        notebook.run("%load_ext jupyter_ssechat\n%config ChatMagics.pace = 0")
        said.append(text(notebook.run("%%chat\nhello")))
        said.append(notebook.run("%chat status").text.partition("cassette:")[2].splitlines()[0].strip())
    assert said[0] == said[2]
    assert said[1::2] == [
        "tape.jsonl, once: 1 recorded, 0 replayed",
        "tape.jsonl, once: 0 recorded, 1 replayed",
    ]


def test_what_was_configured_stands_when_the_extension_is_loaded_again(notebook: Kernel) -> None:
    notebook.run(
        "%config ChatMagics.upstream = 'http://127.0.0.1:9/v1'\n%config ChatMagics.system = 'be brief'"
    )
    assert notebook.run("%reload_ext jupyter_ssechat").text == ""
    configured = "c = get_ipython().config.ChatMagics\nc.upstream, c.pace = 'http://127.0.0.1:7/v1', 0.5"
    assert notebook.run(f"{configured}\n%reload_ext jupyter_ssechat").text == ""
    assert "127.0.0.1:7" in notebook.run("%chat status").text


def test_what_cannot_be_configured_is_said_in_one_line_and_the_old_stays(notebook: Kernel) -> None:
    for name, bad, said in [
        ("upstream", "nowhere", "'nowhere' is not an upstream"),
        ("cassette", "none/tape.jsonl", "there is no folder"),
        ("gateway", "nowhere", "'nowhere' is no gateway; expected thread, process, or an address"),
        ("deadlines", {"total": -1}, "expected seconds above 0"),
    ]:
        before = notebook.run(f"%config ChatMagics.{name}").text
        cell = notebook.run(f"%config ChatMagics.{name} = {bad!r}")
        assert said in cell.text and "Traceback" not in cell.text
        assert notebook.run(f"%config ChatMagics.{name}").text == before
    assert text(notebook.run("%%chat --new\nhello"))
    again = notebook.run("%reload_ext jupyter_ssechat")
    assert again.error is None and again.text.startswith(
        "note: the configuration of ChatMagics is left out: "
    )
    assert text(
        notebook.run("%config ChatMagics.pace = 0\nget_ipython().run_cell_magic('chat', '', 'hello')")
    )


def test_an_interrupt_before_anything_was_asked_is_one_line(notebook: Kernel) -> None:
    notebook.run("import time")
    cell = notebook.start("%%chat --vars\n{{print('here', flush=True) or time.sleep(60)}}")
    notebook.wait_until(lambda: "here" in cell.text, what="the expression is evaluated")
    notebook.interrupt()
    assert notebook.finish(cell).error == "AnswerStopped: stopped by the kernel's interrupt"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%chat replay nowhere.jsonl", "nowhere.jsonl does not exist; record it first"),
        ("%chat record no/folder/tape.jsonl", "there is no folder"),
        ("%config ChatMagics.record_mode = 'twice'", "twice"),
    ],
)
def test_a_cassette_that_cannot_be_used_is_said_to_be_in_one_line(
    notebook: Kernel, line: str, said: str
) -> None:
    cell = notebook.run(line)
    assert said in (cell.error or cell.text)
    assert "Traceback" not in cell.text
    assert text(notebook.run("%%chat\nhello")), "the notebook goes on as it was"


# ---- a store that outlives the kernel ----


def test_a_half_finished_answer_survives_its_kernel_in_a_store_on_disk(kernel: Kernels) -> None:
    keeps = "%load_ext jupyter_ssechat\n%config ChatMagics.store = 'sqlite:talks.db'"
    pause = Pause()
    with model_server(Script([chunk(content="one "), pause]), answer("and two")) as server:
        first = kernel("7.4")
        first.run(f"{keeps}\n%chat use {server.url}")
        first.run("%%chat --bg\ncount")
        view = first.widget("ChatView")
        first.wait_until(lambda: "one " in str(view.of_type("patches")), what="the text is shown")
        first.close()
        second = kernel("7.4")
        second.run(f"{keeps}\n%chat use {server.url}")
        session = second.run("%chat sessions").text
        assert session.endswith("  count\n")
        opened = second.run(f"%chat open {session.split()[0]}")
        if opened.error is not None:  # the answer was sealed before anybody could say who goes on with it
            opened = second.run("%chat resume")
    assert opened.data("text/markdown")[-1] == "one and two"


def test_a_store_that_cannot_be_used_is_said_to_be_in_one_line(notebook: Kernel) -> None:
    cell = notebook.run("%config ChatMagics.store = 'mongodb://here'")
    said = cell.error or cell.text
    assert "mongodb" in said and "sqlite:PATH" in said and "Traceback" not in said


# ---- a gateway of the user's own ----

BLOCKED = "import ctypes\nctypes.PyDLL(None).sleep(3)"
"""Holds the interpreter's lock, as C code does."""


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of kernels that share a gateway, which ends with the test."""
    folder = tmp_path / "runtime"
    yield {"JUPYTER_RUNTIME_DIR": str(folder)}
    for file in folder.glob("jupyter-ssechat-*.json"):
        os.kill(json.loads(file.read_text())["pid"], signal.SIGTERM)


def sharing(kernel: Kernel) -> Kernel:
    assert kernel.run("%load_ext jupyter_ssechat\n%config ChatMagics.gateway = 'process'").error is None
    return kernel


def test_a_stop_gets_through_while_c_code_holds_the_kernel(kernel: Kernels, runtime: dict[str, str]) -> None:
    busy = sharing(kernel("7.4", **runtime))
    pause = Pause()
    with model_server(Script([chunk(content="half"), pause])) as server:
        busy.run(f"%chat use {server.url}\n%config ChatMagics.gateway = 'process'")
        busy.run("%%chat --bg -o reply\nhello")
        view = busy.widget("ChatView")
        view.send({"type": "hello", "origin": "http://127.0.0.1:8888"})
        busy.wait_until(lambda: bool(view.of_type("control")), what="the view can stop by itself")
        assert pause.reached.wait(20)
        blocked = busy.start(BLOCKED)
        [control, *_] = view.of_type("control")
        body = {name: control[name] for name in ("chat_session_id", "message_id", "stream_id")}
        headers = {"authorization": f"Bearer {control['token']}", "origin": "http://127.0.0.1:8888"}
        answered = httpx.post(f"{control['url']}/api/v0/chat/stop_stream", json=body, headers=headers)
        assert answered.status_code == 200
        assert server.left.wait(20), "the model server is let go of"
        assert blocked.running, "and the kernel was blocked all the while"
        busy.finish(blocked)
    assert busy.run("print(reply.wait().status, reply.content)").text == "stopped half\n"


def test_a_kernel_that_was_restarted_finds_the_answer_that_went_on(
    kernel: Kernels, runtime: dict[str, str]
) -> None:
    first = sharing(kernel("7.4", **runtime))
    pause = Pause()
    with model_server(Script([chunk(content="one "), pause, chunk(content="two"), finish(), DONE])) as server:
        first.run(f"%chat use {server.url}\n%config ChatMagics.gateway = 'process'")
        first.run("%%chat --bg\ncount")
        assert pause.reached.wait(20)
        first.close()
        second = sharing(kernel("7.4", **runtime))
        session = second.run("%chat sessions").text
        assert session.endswith("  count\n")
        opening = second.start(f"%chat open {session.split()[0]}")
        second.wait_until(lambda: "opened" in opening.text, what="the conversation is open")
        pause.end()
        second.finish(opening)
    assert opening.data("text/markdown") == ["one two"]
    assert "no conversation begins with 'x'" in str(second.run("%chat open x").error)
