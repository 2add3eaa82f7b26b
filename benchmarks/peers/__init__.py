"""Simple peers, fitted on the very splits the models see.

A peer is a class with a grid of settings (``GRID``), ``fit(train, tables)``
and ``predict(pairs)``, on frames with columns user, item and rating.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from benchmarks.metrics import score
from benchmarks.peers.biases import DampedBiases, GlobalMean
from data.splits import Split
from data.tables import RatingTables

PEERS = {'global_mean': GlobalMean, 'damped_biases': DampedBiases}


def run_peers(tables: RatingTables, split: Split, refit: bool) -> dict[str, Any]:
    """Scores every peer: tuned on validation, tested once.

    Args:
        tables (RatingTables): Users and items.
        split (Split): Where to train, tune and test.
        refit (bool): Fit once more on training and validation ratings with the
            settings that were selected, as the models are.
    """
    return {name: _run(peer, tables, split, refit) for name, peer in PEERS.items()}


def _run(peer: type, tables: RatingTables, split: Split, refit: bool) -> dict[str, Any]:
    low, high = split.fit['rating'].min(), split.fit['rating'].max()

    def evaluate(settings: dict[str, Any], train: Any, target: Any) -> dict[str, float]:
        fitted = peer(**settings).fit(train, tables)
        return score(np.clip(fitted.predict(target), low, high), target['rating'])

    grid = [
        dict(zip(peer.GRID, values, strict=True))
        for values in product(*peer.GRID.values())
    ]
    scored = [(evaluate(s, split.train, split.validation), s) for s in grid]
    validation, settings = min(scored, key=lambda pair: pair[0]['rmse'])
    test = evaluate(settings, split.fit if refit else split.train, split.test)
    return {'settings': settings, 'metrics': {'val': validation, 'test': test}}
