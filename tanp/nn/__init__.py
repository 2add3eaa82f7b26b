"""Layers of TaNP: embeddings, set encoders, cluster memory, modulated decoders."""

from tanp.nn.decoder import ModulatedDecoder
from tanp.nn.embedding import NodeEmbedding
from tanp.nn.encoder import Gaussian, LatentEncoder, SetEncoder
from tanp.nn.memory import ClusterMemory

__all__ = [
    'ClusterMemory',
    'Gaussian',
    'LatentEncoder',
    'ModulatedDecoder',
    'NodeEmbedding',
    'SetEncoder',
]
