"""TaNP: few-shot cold-start recommendation with task-adaptive neural processes."""

from agnn_pyg.base import lazy_names as _lazy_names

# The module in which a public name is defined.
_HOMES = {
    'AttentiveTaNP': 'attentive',
    'EpisodeBatch': 'loader',
    'EpisodeLoader': 'loader',
    'Episodes': 'episodes',
    'ItemStatistics': 'item_statistics',
    'Prediction': 'prediction',
    'TaNP': 'model',
    'TaNPRecommender': 'recommender',
    'TaskOutput': 'model',
    'evaluate': 'prediction',
    'predict': 'prediction',
    'tanp_loss': 'loss',
}

# This needs the extra `train`, which an import of all names does not.
_TRAINING = {'TaskModule': 'module'}

__all__ = list(_HOMES)
__getattr__, __dir__ = _lazy_names(__name__, _HOMES | _TRAINING)
