"""Accuracy under corruptions of the images."""
