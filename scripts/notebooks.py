"""Execute notebooks anew and save them as they stand then, so that the same notebook always gives the same bytes.

Usage: python scripts/notebooks.py [NOTEBOOK ...]; without names all of notebooks/.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
CELL_SECONDS = 120
WIDGET = "application/vnd.jupyter.widget-view+json"
# What differs from run to run.
TIMES = ("ttft", "elapsed", "thinking_seconds")


def executed(path: Path) -> Any:
    """Read a notebook and run its cells in order; an error that no cell announces by its tag ends it."""
    notebook: Any = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    return client.execute()


def settled(notebook: Any) -> Any:
    """Take away what the next run would write otherwise: times, the ids of widgets, the version of Python."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info.pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
            for time in TIMES:
                output.get("metadata", {}).get("ssechat", {}).pop(time, None)
    return notebook


def main(names: list[str]) -> None:
    """Execute and save; a line for each."""
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        print(path.name, flush=True)
        before = path.read_text("utf-8")
        after = nbformat.writes(settled(executed(path))) + "\n"
        if after != before:
            path.write_text(after, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
