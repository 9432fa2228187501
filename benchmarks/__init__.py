"""`python -m benchmarks.run`: what resonance costs, beside what else one could do, on the machine at hand."""
