"""Anchors on disk: built once, read by every stage."""
