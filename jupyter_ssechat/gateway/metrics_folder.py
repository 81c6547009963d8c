"""One folder for the figures of several processes, which is what makes prometheus_client count them together."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_folder() -> Generator[Path]:
    """Open a folder that nobody else can read, and remove it at the end.

    The library looks for its variable when it is imported: so this comes before, and the forks after it.
    """
    folder = tempfile.mkdtemp(prefix="jupyter-ssechat-figures-")
    os.environ[VARIABLE] = folder
    try:
        yield Path(folder)
    finally:
        del os.environ[VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)


__all__ = ["shared_folder"]
