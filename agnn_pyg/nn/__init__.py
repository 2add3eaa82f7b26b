"""Layers of AGNN, for any graph."""

from agnn_pyg.nn.bi_interaction import AttributeEmbedding, BiInteraction
from agnn_pyg.nn.extended_vae import EVAEOutput, ExtendedVAE
from agnn_pyg.nn.gated_conv import GatedConv
from agnn_pyg.nn.node_encoder import NodeEncoder, NodeState
from agnn_pyg.nn.rating_layer import RatingLayer, RatingState, RidgeSlopes

__all__ = [
    'AttributeEmbedding',
    'BiInteraction',
    'EVAEOutput',
    'ExtendedVAE',
    'GatedConv',
    'NodeEncoder',
    'NodeState',
    'RatingLayer',
    'RatingState',
    'RidgeSlopes',
]
