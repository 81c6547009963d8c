"""The readers of one stream: who is there, and what happens when nobody is."""

from __future__ import annotations

import asyncio
import re

import pytest

from jupyter_ssechat.gateway.audience import GO_ON, Audience, OnDisconnect
from jupyter_ssechat.gateway.metrics import Metrics


class Loop(asyncio.SelectorEventLoop):
    """A loop with a clock that jumps to the next timer, so that minutes take no time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    async def pass_by(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(3):
            await asyncio.sleep(0)


def deserted_after(*story: float | str, grace: float = 10.0) -> int:
    """How often an audience was found missing in a story of seconds, and of readers who come: +a, or go: -a."""
    calls: list[None] = []

    async def tell() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        audience = Audience()
        for step in story:
            if isinstance(step, float | int):
                await loop.pass_by(step)
            elif step == "watch":
                audience.await_return(grace, lambda: calls.append(None))
            elif step == "dismiss":
                audience.dismiss()
            elif step.startswith("+"):
                audience.came(step[1:])
            else:
                audience.left(step[1:], whole=False)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(tell())
    return len(calls)


@pytest.mark.parametrize(
    ("story", "calls"),
    [
        (("+a", "watch", 100.0), 0),
        (("+a", "watch", "-a", 9.9), 0),
        (("+a", "watch", "-a", 10.0), 1),
        (("+a", "+b", "watch", "-a", 20.0), 0),
        (("+a", "+b", "watch", "-a", 20.0, "-b", 10.0), 1),
        (("+a", "watch", "-a", 9.0, "+b", 20.0), 0),
        (("+a", "watch", "-a", 9.0, "+b", 20.0, "-b", 9.0), 0),
        (("+a", "watch", "-a", 9.0, "+b", 20.0, "-b", 10.0), 1),
        (("watch", 10.0), 1),
        (("+a", "watch", "-a", "-a", 5.0, "-a", 5.0), 1),
        (("+a", "watch", "dismiss", "-a", 20.0), 0),
        (("+a", "watch", "-a", 9.0, "dismiss", 20.0), 0),
        (("+a", "-a", 20.0), 0),
    ],
)
def test_an_audience_is_missed_when_the_last_one_has_been_gone_for_the_grace(
    story: tuple[float | str, ...], calls: int
) -> None:
    assert deserted_after(*story) == calls


def test_without_a_grace_it_is_missed_at_once() -> None:
    assert deserted_after("+a", "watch", "-a", 0.0, grace=0.0) == 1


def test_readers_are_counted_and_those_who_leave_before_the_end_are_lost() -> None:
    metrics = Metrics()
    audience = Audience(lambda: metrics.reader("patches"))

    def counts() -> tuple[str, str]:
        found = dict(re.findall(r'^ssechat_(\w+)\{api="patches"\} (\S+)$', metrics.text().decode(), re.M))
        return found["readers"], found["disconnects_total"]

    for reader in ("a", "b"):
        audience.came(reader)
    assert counts() == ("2.0", "0.0")
    audience.left("a", whole=True)
    audience.left("a", whole=False)
    assert counts() == ("1.0", "0.0")
    audience.left("b", whole=False)
    assert counts() == ("0.0", "1.0")


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (GO_ON, "nobody has read this answer for 10 min, so it was ended"),
        (OnDisconnect("continue", 90.0), "nobody has read this answer for 1.5 min, so it was ended"),
        (OnDisconnect("cancel", 15.0), "the answer was cancelled 15 s after its last reader had left"),
        (OnDisconnect("cancel", 0.0), "the answer was cancelled when its last reader had left"),
    ],
)
def test_the_farewell_says_what_happened(policy: OnDisconnect, said: str) -> None:
    assert policy.farewell == said
