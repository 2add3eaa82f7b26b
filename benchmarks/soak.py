"""Fit, predict, save and load in one process, again and again: does it leak?"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agnn_pyg.recommender import AGNNRecommender
from data.synthetic import planted_tables
from data.tastes import planted_tastes
from tanp.recommender import TaNPRecommender

WARM_UP = 60.0  # seconds in which allocators and caches may grow
TOLERANCE = 0.05
CHANNELS = {'embedding_channels': (8, 8), 'task_channels': (8, 8)}
CHANNELS |= {'decoder_channels': (8, 8), 'latent_channels': None, 'num_clusters': 0}


def soak(minutes: float, warm_up: float = WARM_UP) -> dict[str, Any]:
    """Rounds of both recommenders for some minutes, and what is left of them.

    Args:
        minutes: How long to go on.
        warm_up: Seconds after which memory must not grow any more.

    Returns:
        Rounds, memory after the warm-up and at the end (MB), the growth as a
        share, open files and threads after the first round and the last.
    """
    start = time.monotonic()
    samples = []
    with tempfile.TemporaryDirectory() as folder:
        while not samples or time.monotonic() - start < 60 * minutes:
            one_round(Path(folder), seed=len(samples))
            gc.collect()
            samples.append((time.monotonic() - start, *usage()))
    settled = [s for s in samples if s[0] >= min(warm_up, samples[-1][0])]
    # Single samples jump with the allocator: compare the means of both ends.
    tenth = max(1, len(settled) // 10)
    first, last = (
        float(np.mean([s[1] for s in part]))
        for part in (settled[:tenth], settled[-tenth:])
    )
    return {
        'minutes': round(samples[-1][0] / 60, 1),
        'rounds': len(samples),
        'memory_mb': {'after_warm_up': round(first, 1), 'at_the_end': round(last, 1)},
        'growth': round(last / first - 1, 4),
        'open_files': {'first': samples[0][2], 'last': samples[-1][2]},
        'threads': {'first': samples[0][3], 'last': samples[-1][3]},
        'leaks': leaks(last / first - 1, samples[0], samples[-1]),
    }


def one_round(folder: Path, seed: int) -> None:
    """Fits, saves, loads and asks both recommenders; the loaded must agree."""
    tables = planted_tables(40, 50, density=0.4, seed=seed)
    settings = {'epochs': 2, 'channels': 8, 'hidden_channels': 8, 'min_count': 2}
    made = AGNNRecommender(seed=seed, **settings)
    made.fit(tables.ratings, tables.users, tables.items)
    made.save(folder / 'agnn')
    again = AGNNRecommender.load(folder / 'agnn')
    pairs = tables.ratings.head(50)
    pd.testing.assert_series_equal(made.predict(pairs), again.predict(pairs))
    again.recommend(tables.users.head(3), k=5)

    rated = planted_tastes(40, 30, size=12, seed=seed).ratings
    options = {'support_size': 5, 'epochs': 2, 'model_options': CHANNELS}
    few = TaNPRecommender(seed=seed, **options).fit(rated)
    few.save(folder / 'tanp')
    loaded = TaNPRecommender.load(folder / 'tanp')
    support = rated.head(5)
    one, other = (r.adapt(support).recommend(k=5) for r in (few, loaded))
    pd.testing.assert_frame_equal(one, other)


def usage() -> tuple[float, int, int]:
    """Resident memory (MB), open files and threads of this process (Linux)."""
    status = Path('/proc/self/status').read_text(encoding='ascii')
    fields = dict(line.split(':', 1) for line in status.splitlines())
    memory = int(fields['VmRSS'].split()[0]) / 1024
    return memory, len(os.listdir('/proc/self/fd')), int(fields['Threads'])


def leaks(growth: float, first: tuple, last: tuple) -> list[str]:
    """What has grown: nothing, if all is well."""
    found = []
    if growth > TOLERANCE:
        found.append(f'memory by {growth:.1%}')
    for position, name in ((2, 'open files'), (3, 'threads')):
        if last[position] > first[position]:
            found.append(f'{name} from {first[position]} to {last[position]}')
    return found
