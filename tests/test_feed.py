"""One answer of a conversation, as its pages get it; with a whole conversation in test_panel.py."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from jupyter_ssechat.feed import Feed
from jupyter_ssechat.patches import Patch


def feed(told: list[dict[str, Any]]) -> Feed:
    return Feed(7, threading.RLock(), told.append, lambda feed, event: None)


@pytest.mark.parametrize(
    ("wire", "status"), [("FINISHED", "finished"), ("INCOMPLETE", "stopped"), ("WIP", "interrupted")]
)
def test_an_answer_of_before_has_the_state_it_was_left_in(wire: str, status: str) -> None:
    recalled = feed([])
    recalled.recall({"status": wire, "content": "Hi"})
    assert (recalled.status, recalled.said, recalled.snapshot()["seq"]) == (status, True, 0)


def test_an_answer_of_before_can_be_sent_whatever_it_holds() -> None:
    recalled = feed([])
    recalled.recall({"status": "FINISHED", "content": "a\ud83d"})
    assert recalled.snapshot()["document"]["response"]["content"] == "a\ufffd"


def test_its_batches_are_numbered_and_carry_its_own_number() -> None:
    told: list[dict[str, Any]] = []
    live = feed(told)
    for text in ("a", "b"):
        live.push([Patch("response/content", "APPEND", text)])
    patch = {"p": "response/content", "o": "APPEND"}
    assert told == [
        {"type": "patches", "number": 7, "seq": 1, "patches": [{**patch, "v": "a"}]},
        {"type": "patches", "number": 7, "seq": 2, "patches": [{**patch, "v": "b"}]},
    ]
    assert live.snapshot()["document"]["response"]["content"] == "ab"
