"""AGNN: cold-start rating prediction on attribute graphs."""

from agnn_pyg.batch import NodeBatch, RatingBatch
from agnn_pyg.features import AttributeEncoder, Attributes
from agnn_pyg.graph import attribute_graph, rating_graph
from agnn_pyg.inference import predict
from agnn_pyg.link_loader import LinkRatingLoader, rating_loader
from agnn_pyg.loader import RatingLoader
from agnn_pyg.loss import agnn_loss
from agnn_pyg.model import AGNN
from agnn_pyg.nn import ExtendedVAE, GatedConv
from agnn_pyg.propagation import RatingPropagation
from agnn_pyg.relations import attribute_relations
from agnn_pyg.sampler import ProximitySampler

__version__ = '0.1.0'

__all__ = [
    'AGNN',
    'AttributeEncoder',
    'Attributes',
    'ExtendedVAE',
    'GatedConv',
    'LinkRatingLoader',
    'NodeBatch',
    'ProximitySampler',
    'RatingBatch',
    'RatingLoader',
    'RatingPropagation',
    'agnn_loss',
    'attribute_graph',
    'attribute_relations',
    'predict',
    'rating_graph',
    'rating_loader',
]
