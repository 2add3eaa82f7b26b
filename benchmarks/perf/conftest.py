"""What measurements of speed share: CPU seconds in turn, peak memory, rows."""

import multiprocessing
import statistics
import time
from pathlib import Path

import pytest

from benchmarks import records


def pytest_addoption(parser):
    """Adds the folder of results."""
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
def in_turn(benchmark):
    """Median CPU seconds of calls that take turns in one process: ratios hold.

    The first call is the one that pytest-benchmark reports; the others run before each
    of its rounds. One round of each warms up.
    """

    def measure(calls, rounds):
        first, *others = calls
        taken = {name: [] for name in others}

        def setup():
            for name in others:
                start = time.process_time()
                calls[name]()
                taken[name].append(time.process_time() - start)

        for call in calls.values():
            call()
        benchmark._timer = time.process_time
        benchmark.pedantic(calls[first], setup=setup, rounds=rounds)
        medians = {name: statistics.median(found) for name, found in taken.items()}
        return {first: benchmark.stats.stats.median, **medians}

    return measure


def growth_mb(call):
    """How much memory a call adds at its peak, beyond what the process has."""
    records.reset_peak_memory()
    before = records.peak_memory_mb()
    call()
    return records.peak_memory_mb() - before


def in_new_process(call, *arguments):
    """Calls a function of a module in a process of its own, for its peak of memory."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(call, arguments)
