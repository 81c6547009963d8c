"""Who never has to wait lets the others go on all the same."""

from __future__ import annotations

import asyncio

from jupyter_ssechat.gateway.time_slice import TimeSlice


class Clock:
    """A clock that each look sets forward."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self._step = step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


def test_tasks_that_never_wait_leave_others_their_turn() -> None:
    seen: list[str] = []

    async def work(name: str, turn: TimeSlice) -> None:
        for _ in range(40):
            seen.append(name)
            await turn.share()

    async def other() -> None:
        for _ in range(3):
            seen.append("other")
            await asyncio.sleep(0)

    async def both() -> None:
        turn = TimeSlice(10, Clock(1))
        await asyncio.gather(work("a", turn), work("b", turn), other())

    asyncio.run(both())
    waits = "".join(name[0] for name in seen).split("o")
    assert len(waits) == 4
    assert all(len(between) <= 13 for between in waits[:-1]), waits


def test_who_is_within_the_time_goes_on_at_once() -> None:
    async def work() -> list[int]:
        turn, seen = TimeSlice(10, Clock(0.01)), list[int]()
        asyncio.get_running_loop().call_soon(seen.append, 1)
        for _ in range(100):
            await turn.share()
        return list(seen)

    assert asyncio.run(work()) == []


def test_a_new_turn_has_all_the_time_again() -> None:
    async def work() -> list[int]:
        turn, seen = TimeSlice(10, Clock(1)), list[int]()
        for _ in range(9):
            await turn.share()
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(seen.append, 1)
        for _ in range(9):
            await turn.share()
        return list(seen)

    assert asyncio.run(work()) == []
