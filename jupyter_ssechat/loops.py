"""A coroutine → its result, where a loop runs already: the one home of nest-asyncio.

For people who call the async API from synchronous code inside a running loop: scripts in IPython, REPLs, other
frameworks. Nothing else here uses it; what streams has a thread and a loop of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from .errors import BadInput

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result, also inside a running event loop.

    Raises BadInput where nesting is impossible, or would break the kernel.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    try:
        _nest(loop)
    except BaseException:
        coroutine.close()
        raise
    return loop.run_until_complete(coroutine)


def _nest(loop: asyncio.AbstractEventLoop) -> None:
    """Let `loop` run within itself; nest-asyncio2 is the maintained successor, with the same interface."""
    nesting = _import("nest_asyncio2")
    if nesting is None and _breaks_kernel():
        raise BadInput("nesting would break this kernel; install nest-asyncio2, or write: await …")
    nesting = nesting or _import("nest_asyncio")
    if nesting is None:
        raise BadInput("a loop is running and nest-asyncio is not installed; install it, or write: await …")
    try:
        nesting.apply(loop)
    except ValueError as error:
        raise BadInput(f"this loop cannot be nested ({error}); write: await …") from None


def _breaks_kernel() -> bool:
    """Whether we are in a kernel of ipykernel 7.3 or later, which nest-asyncio 1.6 breaks."""
    kernel = sys.modules.get("ipykernel")
    return kernel is not None and tuple(kernel.version_info[:2]) >= (7, 3)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
