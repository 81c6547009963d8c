"""`run_sync`: the async API from synchronous code, with and without a running loop, in every kernel."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

import pytest

from jupyter_ssechat import run_sync
from jupyter_ssechat.errors import BadInput

from .kernels import Kernel


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


def test_without_a_loop_it_simply_runs() -> None:
    assert run_sync(answer()) == 42


NESTED = """
import asyncio
from jupyter_ssechat import run_sync

async def answer():
    await asyncio.sleep(0)
    return 42

async def outer():
    return run_sync(answer()) + 1

print(asyncio.run(outer()))
"""


def test_inside_a_running_loop_it_nests() -> None:
    # In a process of its own: nesting changes asyncio for good.
    done = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("43\n", "")


def test_a_coroutine_that_raises_raises() -> None:
    async def fails() -> None:
        raise LookupError("why")

    with pytest.raises(LookupError, match="why"):
        run_sync(fails())


def test_where_nesting_would_break_the_kernel_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    import ipykernel

    async def outer() -> None:
        run_sync(answer())

    monkeypatch.setitem(sys.modules, "ipykernel", ipykernel)
    monkeypatch.setattr(ipykernel, "version_info", (7, 3, 0))
    monkeypatch.setitem(sys.modules, "nest_asyncio2", None)
    with pytest.raises(BadInput, match="nest-asyncio2"):
        asyncio.run(outer())


def test_it_works_in_a_cell_of_every_kind_of_kernel(kind: str, kernel: Callable[[str], Kernel]) -> None:
    one = kernel(kind)
    code = "from jupyter_ssechat import Chat, run_sync\nprint(run_sync(Chat('demo', pace=0).aask('hello')).status)"
    assert one.run(code).text == "finished\n"
    assert one.run("print(6 * 7)").text == "42\n"
