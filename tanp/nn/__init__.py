"""Layers of the neural processes: embeddings, encoders, memory, attention, decoders."""

from tanp.nn.attention import EncodedSupport, SupportAttention
from tanp.nn.decoder import ModulatedDecoder
from tanp.nn.embedding import NodeEmbedding
from tanp.nn.gaussian_process import SupportGP
from tanp.nn.memory import ClusterMemory
from tanp.nn.set_encoder import Gaussian, LatentEncoder, SetEncoder

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
