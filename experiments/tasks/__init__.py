"""The tasks that the experiments run, one file or folder each."""
