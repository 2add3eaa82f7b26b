"""Layers: gated convolution, rating messages, attributes, the extended VAE."""

from agnn_pyg.nn.bi_interaction import AttributeEmbedding, BiInteraction
from agnn_pyg.nn.extended_vae import ExtendedVAE, Generated
from agnn_pyg.nn.gated_conv import GatedConv
from agnn_pyg.nn.node_encoder import NodeEncoder, NodeState

__all__ = [
    'AttributeEmbedding',
    'BiInteraction',
    'ExtendedVAE',
    'GatedConv',
    'Generated',
    'NodeEncoder',
    'NodeState',
]
