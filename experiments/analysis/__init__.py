"""Tables, verdicts and pages from the findings of the experiments."""
