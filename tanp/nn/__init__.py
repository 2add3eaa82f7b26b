"""Layers of TaNP: embeddings, set encoders, memory, attention, regression, decoders."""

from tanp.nn.attention import SupportAttention
from tanp.nn.decoder import ModulatedDecoder
from tanp.nn.embedding import NodeEmbedding
from tanp.nn.encoder import Gaussian, LatentEncoder, SetEncoder
from tanp.nn.memory import ClusterMemory
from tanp.nn.regression import SupportRegression

__all__ = [
    'ClusterMemory',
    'Gaussian',
    'LatentEncoder',
    'ModulatedDecoder',
    'NodeEmbedding',
    'SetEncoder',
    'SupportAttention',
    'SupportRegression',
]
