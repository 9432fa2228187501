"""From findings to tables, verdicts and pages."""
