"""Measurements of speed and memory: ``make perf``, or pytest on one of these files."""
