"""Weighted neighbor sampling, and batches of rated pairs."""
