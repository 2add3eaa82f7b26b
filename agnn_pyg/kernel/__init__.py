"""Pairwise kernel ridge regression with products of user and item kernels."""
