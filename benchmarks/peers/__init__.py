"""Peers, fitted on the very splits the models see.

A peer is a class with a grid of settings (``GRID``), ``fit(train, tables)``
and ``predict(pairs)``, on frames with columns user, item and rating. The library
that it stands on is imported when it is fitted; without it, the peer is not run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from benchmarks.metrics import evaluate as measure
from benchmarks.peers.biases import DampedBiases, GlobalMean
from benchmarks.peers.boosting import BoostedTrees
from benchmarks.peers.factorization import (
    BayesianFM,
    BayesianFMImplicit,
    CollectiveMF,
    SVDPlusPlus,
)
from benchmarks.peers.ridge import Ridge, SlopeRidge
from data.splits import Split
from data.tables import RatingTables

PEERS = {
    'global_mean': GlobalMean,
    'damped_biases': DampedBiases,
    'ridge': Ridge,
    'slope_ridge': SlopeRidge,
    'lightgbm': BoostedTrees,
    'cmfrec': CollectiveMF,
    'svdpp': SVDPlusPlus,
    'myfm': BayesianFM,
    'myfm_implicit': BayesianFMImplicit,
}
# Seconds together; the others take minutes.
QUICK = ('global_mean', 'damped_biases', 'ridge', 'slope_ridge')


def run_peers(
    tables: RatingTables, split: Split, refit: bool, names: Sequence[str] = QUICK
) -> dict[str, Any]:
    """Scores peers: tuned on validation, tested once.

    Args:
        tables (RatingTables): Users and items.
        split (Split): Where to train, tune and test.
        refit (bool): Fit once more on training and validation ratings with the
            settings that were selected, as the models are.
        names (sequence, optional): Which of :data:`PEERS`.
            (default: :data:`QUICK`)

    Returns:
        For each peer its :obj:`settings` and :obj:`metrics`, or :obj:`not_run` with
        the reason.

    Raises:
        ValueError: If a peer is unknown.
    """
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise ValueError(f"'peers' must be of {sorted(PEERS)} (got '{unknown[0]}')")
    return {name: _run(name, tables, split, refit) for name in names}


def _run(name: str, tables: RatingTables, split: Split, refit: bool) -> dict[str, Any]:
    try:
        return _tune(PEERS[name], tables, split, refit)
    except ImportError as error:
        print(f'{name} is not run: {error}', file=sys.stderr)
        return {'not_run': str(error)}


def _tune(
    peer: type, tables: RatingTables, split: Split, refit: bool
) -> dict[str, Any]:
    low, high = split.fit['rating'].min(), split.fit['rating'].max()

    def evaluate(settings: dict[str, Any], train: Any, target: Any) -> dict[str, float]:
        fitted = peer(**settings).fit(train, tables)
        return measure(np.clip(fitted.predict(target), low, high), target)

    grid = [
        dict(zip(peer.GRID, values, strict=True))
        for values in product(*peer.GRID.values())
    ]
    scored = [(evaluate(s, split.train, split.validation), s) for s in grid]
    validation, settings = min(scored, key=lambda pair: pair[0]['rmse'])
    test = evaluate(settings, split.fit if refit else split.train, split.test)
    return {'settings': settings, 'metrics': {'val': validation, 'test': test}}
