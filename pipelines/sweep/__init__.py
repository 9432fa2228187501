"""`python -m pipelines.sweep`: a search over the pipeline's settings with Optuna."""
