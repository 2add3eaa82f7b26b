"""AGNN: cold-start rating prediction on attribute graphs."""

from agnn_pyg.base import lazy_names as _lazy_names

__version__ = '0.1.0'

# The module of each public name. Names are imported on first use: `tanp` uses the
# encoding of attributes without importing PyG.
_HOMES = {
    'AGNN': 'model',
    'AGNNConfig': 'agnn_config',
    'AGNNRecommender': 'recommender',
    'AGNNScorer': 'agnn_scorer',
    'AddAttributeKNN': 'graph.transform',
    'AttributeEncoder': 'base.encoder',
    'ColdDropout': 'sampling.cold_dropout',
    'ExtendedVAE': 'nn',
    'FullGraphLoader': 'sampling.full_graph',
    'GatedConv': 'nn',
    'KernelScorer': 'kernel.scorer',
    'PairwiseKernelRegressor': 'kernel.regressor',
    'ProximitySampler': 'sampling.sampler',
    'RatingBatch': 'sampling.batch',
    'TokenBags': 'base.encoder',
    'agnn_loss': 'loss',
    'attribute_graph': 'graph.build',
    'predict': 'prediction',
}

# These names need the extra `train`, so `from agnn_pyg import *` leaves them out.
_TRAINING = {'RatingModule': 'module', 'fit': 'base.training'}

__all__ = list(_HOMES)
__getattr__, __dir__ = _lazy_names(__name__, _HOMES | _TRAINING)
