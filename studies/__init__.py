"""Experiments that answer the questions of docs/when-it-pays.md: many tasks, many seeds, each fit a job of its own.

`python -m studies.run STUDY` trains what is missing; `python -m studies.page STUDY` writes what was found.
"""
