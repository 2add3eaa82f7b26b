"""Layers of the neural processes: embeddings, encoders, memory, attention, decoders."""

from tanp.nn.attention import EncodedSupport, SupportAttention, SupportGP
from tanp.nn.decoder import ModulatedDecoder
from tanp.nn.embedding import NodeEmbedding
from tanp.nn.set_encoder import ClusterMemory, Gaussian, LatentEncoder, SetEncoder

__all__ = [
    'ClusterMemory',
    'EncodedSupport',
    'Gaussian',
    'LatentEncoder',
    'ModulatedDecoder',
    'NodeEmbedding',
    'SetEncoder',
    'SupportAttention',
    'SupportGP',
]
