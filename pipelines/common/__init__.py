"""Shared parts of the stages: parameters, the task, options, sources, trained arms, submission."""
