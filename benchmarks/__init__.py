"""`python -m benchmarks.run`: the cost of resonance and of its alternatives on the current machine."""
