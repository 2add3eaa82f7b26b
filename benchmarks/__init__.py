"""Benchmarks: suites of estimators to rows of results to tables."""
