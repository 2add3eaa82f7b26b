"""Peers of TaNP, fitted on the very users and tested on the very episodes.

A peer is a class with a grid of settings (``GRID``), ``fit(warm, num_items,
seed)`` and ``predict(episodes)``, which gives one score a query interaction.
``likelihood`` says whether scores estimate labels, so that errors mean something.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from benchmarks.episode_metrics import score_episodes
from benchmarks.episode_peers.knn import ItemKNN
from benchmarks.episode_peers.popularity import Popularity, Random
from benchmarks.episode_peers.ratings import ItemMean, SupportMean
from benchmarks.episode_peers.residual_knn import ResidualKNN
from benchmarks.episode_peers.residual_svd import ResidualSVD
from benchmarks.episode_peers.stack import LogisticStack
from benchmarks.episode_peers.svd import SVDFoldIn
from benchmarks.episode_peers.trees import BoostedRatingTrees, BoostedTrees
from benchmarks.support import truncated
from tanp import Episodes, EpisodeSplit

# By the likelihood of the labels: 0 and 1, or ratings.
PEERS: dict[str, dict[str, type]] = {
    'bernoulli': {
        'random': Random,
        'popularity': Popularity,
        'item_knn': ItemKNN,
        'svd': SVDFoldIn,
        'logistic_stack': LogisticStack,
        'boosted_trees': BoostedTrees,
    },
    'gaussian': {
        'random': Random,
        'item_mean': ItemMean,
        'support_mean': SupportMean,
        'residual_knn': ResidualKNN,
        'residual_svd': ResidualSVD,
        'boosted_trees': BoostedRatingTrees,
    },
}
# What settings are chosen by on validation, and whether less of it is better.
CRITERIA = {'bernoulli': ('ndcg@10', False), 'gaussian': ('mse', True)}


def run_episode_peers(
    split: EpisodeSplit,
    num_items: int,
    likelihood: str,
    relevant: float,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Scores every peer: fitted on warm users, tuned on validation, tested once.

    Args:
        split: Whom to fit on, tune on and test on.
        num_items: Rows in the table of items.
        likelihood: ``'bernoulli'`` or ``'gaussian'``.
        relevant: Labels above it count as relevant.
        names: Which of :data:`PEERS`. (default: all of them)

    Raises:
        ValueError: If there is no such peer of this likelihood.
    """
    known = PEERS[likelihood]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(
            f"'peers' must be of {sorted(known)} for these labels (got '{unknown[0]}')"
        )

    def score(peer: Any, episodes: Episodes) -> dict[str, float | None]:
        estimates = likelihood if peer.likelihood else None
        return score_episodes(episodes, peer.predict(episodes), relevant, estimates)

    metric, lower = CRITERIA[likelihood]

    def run(kind: type) -> dict[str, Any]:
        best: tuple[Any, ...] | None = None
        for settings in grid(kind):
            peer = kind(**settings).fit(split.warm, num_items)
            validation = score(peer, split.validation)
            # One that estimates no labels has no error, nor settings to choose.
            value = validation.get(metric, 0) * (1 if lower else -1)
            # The others are let go: some hold a matrix of all pairs of items.
            if best is None or value < best[0]:
                best = value, validation, settings, peer
        _, validation, settings, peer = best
        sizes = truncated(split.test)
        return {
            'settings': settings,
            'metrics': {'val': validation, 'test': score(peer, split.test)},
            'support_sizes': {k: score(peer, cut) for k, cut in sizes.items()},
        }

    return {name: run(known[name]) for name in (known if names is None else names)}


def grid(kind: type) -> list[dict[str, Any]]:
    """All combinations of a peer's settings."""
    return [
        dict(zip(kind.GRID, values, strict=True))
        for values in product(*kind.GRID.values())
    ]
