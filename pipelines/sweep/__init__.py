"""`python -m pipelines.sweep`: Optuna over the pipeline's settings."""
