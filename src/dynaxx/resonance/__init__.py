"""The formula."""
