"""Experiments that answer the questions of docs/results/when-it-pays.md:
many tasks, many seeds, each fit a job of its own.

`python -m experiments.run STUDY` trains what is missing; `python -m experiments.analysis.page STUDY` writes what was
found.
"""
