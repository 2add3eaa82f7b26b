"""AGNN: cold-start rating prediction on attribute graphs."""

from __future__ import annotations

import importlib

__version__ = '0.1.0'

# Where a public name is defined. It is imported when it is asked for: `tanp` shares
# the encoding of attributes, and need not wait for PyG, nor hold it in memory.
_HOMES = {
    'AGNN': 'model',
    'AGNNRecommender': 'recommender',
    'AttributeEncoder': 'base.encoder',
    'ExtendedVAE': 'nn',
    'GatedConv': 'nn',
    'LinkRatingLoader': 'sampling.link_loader',
    'NodeBatch': 'sampling.batch',
    'ProximitySampler': 'sampling.sampler',
    'RatingBatch': 'sampling.batch',
    'RatingLoader': 'sampling.loader',
    'RatingPropagation': 'kernel.regressor',
    'TokenBags': 'base.encoder',
    'agnn_loss': 'loss',
    'attribute_graph': 'graph.build',
    'attribute_relations': 'kernel.features',
    'predict': 'inference',
    'rating_graph': 'graph.build',
    'rating_loader': 'sampling.link_loader',
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
