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
    """Median CPU seconds of calls that take turns in one process: ratios hold."""

    def measure(calls, rounds):
        taken = {name: [] for name in calls}

        def take_turns():
            for name, call in calls.items():
                start = time.process_time()
                call()
                taken[name].append(time.process_time() - start)

        benchmark.pedantic(take_turns, rounds=rounds, warmup_rounds=1)
        return {name: statistics.median(found[1:]) for name, found in taken.items()}

    return measure


@pytest.fixture
def once(benchmark, record):
    """Records the case and the measures that a function returns in a new process."""

    def measure(name, call, *arguments):
        case, measures = benchmark.pedantic(in_new_process, (call, *arguments))
        record(name, case, **measures)
        return measures

    return measure


def timed(call):
    """What a call returns, and its CPU seconds and the peak of the process's memory."""
    start = time.process_time()
    made = call()
    seconds = time.process_time() - start
    return made, {'cpu_seconds': seconds, 'peak_memory_mb': records.peak_memory_mb()}


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
