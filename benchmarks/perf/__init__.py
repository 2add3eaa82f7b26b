"""Measurements of speed and memory; ``python -m benchmarks.perf`` runs them.

A module has ``CASES``: the name of a benchmark, a function and its arguments. Called in
a process of its own, the function yields cases (their parameters) and their measures.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks import records


def timed(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a call returns, and its CPU seconds and the peak of the process's memory."""
    start = time.process_time()
    made = call()
    seconds = time.process_time() - start
    return made, {'cpu_seconds': seconds, 'peak_memory_mb': records.peak_memory_mb()}


def in_turn(
    calls: Mapping[Any, Callable[[], Any]], rounds: int = 3, warmup: int = 1
) -> dict[Any, list[float]]:
    """CPU seconds of calls that take turns in one process: ratios hold.

    The first rounds, whose number is :obj:`warmup`, do not count.
    """
    taken = {name: [] for name in calls}
    for _ in range(warmup + rounds):
        for name, call in calls.items():
            taken[name].append(timed(call)[1]['cpu_seconds'])
    return {name: seconds[warmup:] for name, seconds in taken.items()}


def in_new_process(call: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of a module in a process of its own, for its peak of memory."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *arguments).result()


def cases_of(call: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a function yields, without what libraries warn of."""
    warnings.simplefilter('ignore')
    return list(call(*arguments))
