"""Regression: by which angle digits are turned."""
