"""Measurements of what the project promises; ``python -m benchmarks`` runs them.

A file here that has ``run() -> list[Row]`` is a benchmark, known by its name. One that needs more than the
package has ``prepare()`` too, which is called when it is asked for by its name, and not when all of them run.
"""
