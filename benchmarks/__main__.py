"""``python -m benchmarks [NAME …] [--json FILE]``: a table, and the same as JSON.

Exit status: 0 when every bound holds, 1 when one does not.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __path__ as here
from .measure import Row

Results = dict[str, list[dict[str, Any]]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks named, or all."""
    names = [module.name for module in pkgutil.iter_modules(here) if _is_benchmark(module.name)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(names)} (default: all)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results as JSON; - is standard output"
    )
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.names) - set(names)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    for name in args.names:
        _prepare(name)
    quiet = args.json is not None and str(args.json) == "-"
    results: Results = {}
    for name in args.names or names:
        results[name] = [dict(row) for row in _load(name)()]
        if not quiet:
            print(table(name, results[name]), flush=True)
    if args.json is not None:
        write(args.json, results)
    return 0 if all(row.get("holds") is not False for rows in results.values() for row in rows) else 1


def _is_benchmark(name: str) -> bool:
    return name != "__main__" and hasattr(importlib.import_module(f"benchmarks.{name}"), "run")


def _prepare(name: str) -> None:
    """Let a benchmark that was asked for by its name get what it needs."""
    getattr(importlib.import_module(f"benchmarks.{name}"), "prepare", lambda: None)()


def _load(name: str) -> Callable[[], list[Row]]:
    return importlib.import_module(f"benchmarks.{name}").run


def table(name: str, rows: list[dict[str, Any]]) -> str:
    """Format one benchmark's rows."""
    width = max(len(row["case"]) for row in rows)
    lines = [f"\n{name}", "-" * len(name)]
    for row in rows:
        verdict = {None: "", True: "holds", False: "DOES NOT HOLD"}[row.get("holds")]
        value = "–" if row["value"] is None else f"{row['value']:,.2f}"
        figure = f"{value:>12} {row['unit']:<12}"
        lines.append(f"{row['case']:<{width}} {figure} {row.get('bound') or '':<8} {verdict}".rstrip())
    return "\n".join(lines)


def write(path: Path, results: Results) -> None:
    """Write results and where they were measured as JSON."""
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
    }
    text = json.dumps({**machine, "results": results}, ensure_ascii=False, indent=1) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
