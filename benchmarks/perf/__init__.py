"""Measurements of speed and memory, on pytest-benchmark.

    python -m pytest benchmarks/perf/bench_layer.py --benchmark-only

Results go to ``perf.csv``: a row a measure of a case.
"""
