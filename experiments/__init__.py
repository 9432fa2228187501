"""The experiments behind docs/results/when-it-pays.md: many tasks and seeds, with one job per fit.

`python -m experiments.run EXPERIMENT` trains missing fits. `python -m experiments.collect` gathers their results, and
`python -m experiments.analysis.page` writes the pages.
"""
