"""Paired statistics: exact tests and intervals, comparisons of arms, metrics, the Pareto front."""
