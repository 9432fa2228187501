"""What the stages share: parameters, the task, options, sources, trained arms, submission."""
