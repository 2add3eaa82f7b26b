"""Attribute graphs: proximities, candidate sets, k-NN edges, new nodes."""
