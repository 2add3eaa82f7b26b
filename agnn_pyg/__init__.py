"""AGNN: cold-start rating prediction on attribute graphs."""

from __future__ import annotations

import importlib

__version__ = '0.1.0'

# Where a public name is defined. It is imported when it is asked for: `tanp` shares
# the encoding of attributes, and need not wait for PyG, nor hold it in memory.
_HOMES = {
    'AGNN': 'model',
    'AGNNRecommender': 'recommender',
    'AttributeEncoder': 'features',
    'Attributes': 'features',
    'ExtendedVAE': 'nn',
    'GatedConv': 'nn',
    'LinkRatingLoader': 'link_loader',
    'NodeBatch': 'batch',
    'ProximitySampler': 'sampler',
    'RatingBatch': 'batch',
    'RatingLoader': 'loader',
    'RatingPropagation': 'propagation',
    'agnn_loss': 'loss',
    'attribute_graph': 'graph',
    'attribute_relations': 'relations',
    'predict': 'inference',
    'rating_graph': 'graph',
    'rating_loader': 'link_loader',
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
