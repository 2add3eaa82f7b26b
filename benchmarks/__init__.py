"""Benchmarks: a config in, a report, tables and plots out.

Run from the root of the repository, as in ``python -m benchmarks.agnn``.
"""
