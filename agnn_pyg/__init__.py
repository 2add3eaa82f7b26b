"""AGNN: cold-start rating prediction on attribute graphs."""

from agnn_pyg.base.lazy import lazy_names as _lazy_names

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
__getattr__, __dir__ = _lazy_names(__name__, _HOMES)
