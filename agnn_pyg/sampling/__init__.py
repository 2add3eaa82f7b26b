"""Weighted neighbour sampling, and batches of rated pairs."""
