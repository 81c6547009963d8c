"""``kill -9`` of the kernel in mid-answer: the next kernel finds all of the text, and the answer goes on to its end.

Each kernel opens the conversation of the one before, then asks anew and is killed at a random moment.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jupyter_ssechat.message import Message
from jupyter_ssechat.patches import Patch

from .kernels import Comm, Kernel
from .whole_answer import CONTENT, PROMPT, Comparison

SETTINGS = "%load_ext jupyter_ssechat\n%config ChatMagics.{setting}\n%config ChatMagics.pace = {pace}"
KEEPERS = {"store": "store = 'sqlite:talks.db'", "gateway": "gateway = 'process'"}
PACES = {"store": 0.3, "gateway": 1.2}  # the gateway goes on while the next kernel starts
SECONDS_AT_PACE_1 = 3.0


def looked_at(view: Comm) -> Message:
    """What a view was sent, compared patch by patch."""
    comparison, message = Comparison(), Message()
    for content in view.received:
        match content["type"]:
            case "patches":
                patches = [Patch(one["p"], one["o"], one["v"]) for one in content["patches"]]
            case "snapshot":
                patches = [Patch("", "SET", content["document"])]
            case _:
                continue
        for patch in patches:
            message.apply(patch)
            comparison.see(message.thinking, message.content)
    return message


def killed_in_mid_answer(kernel: Kernel, seconds: float, counts: Counter[str]) -> Message:
    """Ask, kill the kernel so many seconds after the first word, and return what was seen until then."""
    asking = kernel.start(f"%%chat --new\n{PROMPT}")
    kernel.wait_until(lambda: bool(asking.outputs), what="the view is there")
    view = kernel.widget("ChatView")
    kernel.wait_until(lambda: bool(looked_at(view).thinking), what="the first word is shown")
    moment = time.monotonic() + seconds
    kernel.wait_until(lambda: time.monotonic() > moment, what="the moment has come")
    kernel.kill()
    counts["killed"] += 1
    counts["in mid-answer"] += asking.running
    return looked_at(view)


def found_again(kernel: Kernel, seen: Message, counts: Counter[str]) -> None:
    """Open the newest conversation, and follow its answer to the end."""
    sessions = kernel.run("%chat sessions").text
    assert sessions.splitlines()[0].endswith(f"  {PROMPT}"), sessions
    views = len(kernel.comms)
    opened = kernel.run(f"%chat open {sessions.split()[0]}")
    assert opened.error is None, opened.error
    if len(kernel.comms) > views:
        shown = looked_at(kernel.widget("ChatView"))
        counts["gone on"] += 1
        counts[f"ended {shown.status}"] += 1
        assert shown.thinking.startswith(seen.thinking) and shown.content.startswith(seen.content)
    else:
        counts["had ended"] += 1
    history = kernel.run(
        "import json\nprint(json.dumps(get_ipython().magics_manager.registry['ChatMagics']._chat().history()))"
    )
    *_, record = json.loads(history.text)
    assert (record["status"], record["content"]) == ("FINISHED", CONTENT)
    assert record["thinking_content"].startswith(seen.thinking)


@contextmanager
def gateways_of(folder: Path) -> Iterator[None]:
    """The gateways that tell of themselves in this folder end with the block."""
    try:
        yield
    finally:
        for file in folder.glob("jupyter-ssechat-*.json"):
            os.kill(json.loads(file.read_text())["pid"], signal.SIGTERM)


@pytest.mark.parametrize("keeper", KEEPERS)
@pytest.mark.parametrize("times", [1, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])])
def test_when_the_kernel_is_killed_the_next_one_finds_the_answer(
    keeper: str, times: int, tmp_path: Path, kernelspecs: None
) -> None:
    chance, counts = random.Random(f"6 kernel {keeper}"), Counter[str]()
    runtime = tmp_path / "runtime"
    started: list[Kernel] = []

    def start() -> Kernel:
        number = len(started)
        env = {"JUPYTER_RUNTIME_DIR": str(runtime)}
        started.append(Kernel("7.4", tmp_path / f"kernel-{number}.log", env=env, cwd=tmp_path))
        settings = SETTINGS.format(setting=KEEPERS[keeper], pace=PACES[keeper])
        assert started[-1].run(settings).error is None
        return started[-1]

    with gateways_of(runtime):
        try:
            kernel = start()
            for _ in range(times):
                seconds = chance.uniform(0, SECONDS_AT_PACE_1 * PACES[keeper])
                seen = killed_in_mid_answer(kernel, seconds, counts)
                kernel = start()
                found_again(kernel, seen, counts)
        finally:
            started[-1].close()
    print(f"kernel, {keeper}: {dict(sorted(counts.items()))}")
    assert counts["killed"] == times == counts["gone on"] + counts["had ended"]
    assert counts["in mid-answer"] >= 0.9 * times
