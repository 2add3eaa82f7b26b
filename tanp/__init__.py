"""TaNP: few-shot cold-start recommendation with task-adaptive neural processes."""

from agnn_pyg.base import lazy_names as _lazy_names

# The module that defines each public name.
_HOMES = {
    'AdaptedUsers': 'recommender',
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

# Needs the extra `train`, so `import *` leaves it out.
_TRAINING = {'TaskModule': 'module'}

__all__ = list(_HOMES)
__getattr__, __dir__ = _lazy_names(__name__, _HOMES | _TRAINING)
