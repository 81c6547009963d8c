"""Calls → one thread with an SQLite connection. What waits together is committed together."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...errors import BadInput
from .sqlite_schema import VERSION
from .store import StoreUnavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
BUSY_SECONDS = 20.0


class _Job:
    """One call, and where its result goes."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()

    def settle(self, result: object, error: BaseException | None) -> None:
        """Give the result to the loop that asked, if it is still there."""
        try:
            self._loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:
            return

    def _settle(self, result: object, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class SQLiteThread:
    """A connection to the file at `path` in WAL mode, in a thread of its own; BadInput when it cannot be opened.

    Each call is atomic. A thread that `writes` takes all calls that wait into one transaction: one write to
    the disk, which is what takes time.
    """

    def __init__(self, path: Path, *, schema: str = "", writes: bool = True) -> None:
        self._path = path
        self._writes = writes
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection = self._open(schema)
        self._thread = threading.Thread(target=self._run, name="ssechat-sqlite", daemon=True)
        self._thread.start()

    def _open(self, schema: str) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._prepare(connection, schema)
        except sqlite3.Error as error:
            raise BadInput(f"{self._path} cannot be used as a store: {error}") from None
        return connection

    def _prepare(self, connection: sqlite3.Connection, schema: str) -> None:
        """Make the tables, all at once, unless they are there; those of another version are left alone."""
        if not schema:
            return
        [version] = connection.execute("PRAGMA user_version").fetchone()
        [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and version != VERSION:
            raise BadInput(
                f"{self._path} holds tables of another program or version; expected a new file, or one of this version"
            )
        connection.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {VERSION}; COMMIT;")

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` with the connection; StoreUnavailable when the database cannot."""
        job = _Job(work)
        self._jobs.put(job)
        return await job.future

    async def aclose(self) -> None:
        """Do what waits, then close."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            jobs = self._waiting()
            done = [job for job in jobs if job is not None]
            if self._writes and done:
                self._together(done)
            else:
                for job in done:
                    job.settle(*self._outcome(job.work))
            if len(done) < len(jobs):
                self._connection.close()
                return

    def _waiting(self) -> list[_Job | None]:
        jobs = [self._jobs.get()]
        while not self._jobs.empty():
            jobs.append(self._jobs.get())
        return jobs

    def _together(self, jobs: list[_Job]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._apart(job.work) for job in jobs]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            outcomes = [(None, _unavailable(error))] * len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.settle(*outcome)

    def _apart(self, work: Work) -> tuple[object, BaseException | None]:
        """Do `work` so that it can fail without the others."""
        self._connection.execute("SAVEPOINT one")
        result, error = self._outcome(work)
        if error is not None:
            self._connection.execute("ROLLBACK TO one")
        self._connection.execute("RELEASE one")
        return result, error

    def _outcome(self, work: Work) -> tuple[object, BaseException | None]:
        try:
            return work(self._connection), None
        except sqlite3.Error as error:
            return None, _unavailable(error)
        except Exception as error:  # the caller's own
            return None, error


def _unavailable(error: sqlite3.Error) -> StoreUnavailable:
    return StoreUnavailable(f"the store's file cannot be written or read now: {error}")


__all__ = ["SQLiteThread"]
