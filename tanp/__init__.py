"""TaNP: few-shot cold-start recommendation with task-adaptive neural processes."""

from agnn_pyg.base import lazy_names as _lazy_names

# The module in which a public name is defined.
_HOMES = {
    'CatalogueScorer': 'catalogue',
    'EpisodeBatch': 'loader',
    'EpisodeLoader': 'loader',
    'EpisodeSplit': 'split',
    'Episodes': 'episodes',
    'InteractionStatistics': 'statistics',
    'Prediction': 'inference',
    'Recommendation': 'ranking',
    'TaNP': 'model',
    'TaskOutput': 'model',
    'evaluate': 'inference',
    'load_model': 'serialization',
    'predict': 'inference',
    'predict_ensemble': 'inference',
    'recommend': 'ranking',
    'save_model': 'serialization',
    'split_episodes': 'split',
    'tanp_loss': 'loss',
}

__all__ = list(_HOMES)
__getattr__, __dir__ = _lazy_names(__name__, _HOMES)
