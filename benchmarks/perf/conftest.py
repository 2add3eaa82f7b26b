"""Shared parts of the speed measurements: new processes, peak memory, result rows.

Results go to ``perf.csv`` in the folder ``--results``, one row per case and measure.
"""

import multiprocessing
import time
from pathlib import Path

import pytest

from benchmarks import records


def pytest_addoption(parser):
    """Adds the option for the folder of results."""
    parser.addoption('--results', type=Path, default=Path('runs'))


@pytest.fixture
def record(request):
    """Adds a case and its measures to ``perf.csv``."""
    folder = request.config.getoption('--results')

    def add(name, case, **measures):
        text = '; '.join(f'{key}={value}' for key, value in case.items())
        row = {'benchmark': name, 'case': text, **records.origin(folder)}
        rows = [{**row, 'measure': k, 'value': v} for k, v in measures.items()]
        records.add_rows(folder, rows, records.PERF)

    return add


@pytest.fixture
def once(benchmark, record):
    """Records the case and the measures that a function returns in a new process."""

    def measure(name, call, *arguments):
        case, measures = benchmark.pedantic(in_new_process, (call, *arguments))
        record(name, case, **measures)

    return measure


def timed(call):
    """The result of a call, with its CPU seconds and the peak memory of the process."""
    start = time.process_time()
    made = call()
    seconds = time.process_time() - start
    return made, {'cpu_seconds': seconds, 'peak_memory_mb': records.peak_memory_mb()}


def in_new_process(call, *arguments):
    """Calls a module-level function in a new process, to measure its peak memory."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(call, arguments)
