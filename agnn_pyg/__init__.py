"""AGNN: cold-start rating prediction on attribute graphs."""

from agnn_pyg.base import lazy_names as _lazy_names

__version__ = '0.1.0'

# Where a public name is defined. It is imported when it is asked for: `tanp` shares
# the encoding of attributes, and need not wait for PyG, nor hold it in memory.
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

# These need the extra `train`, which an import of all names does not.
_TRAINING = {'RatingModule': 'module', 'fit': 'base.training'}

__all__ = list(_HOMES)
__getattr__, __dir__ = _lazy_names(__name__, _HOMES | _TRAINING)
