"""The suite: every reading of the layers, and its rivals, on real tasks, from one command; see `cases.py`."""
