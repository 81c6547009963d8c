"""Measurements of what the project promises; ``python -m benchmarks`` runs them.

A file here that has ``run() -> list[Row]`` is a benchmark, known by its name.
"""
