"""Attribute relations of nodes that come later: the same features, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.old.relations import (
    MAX_FEATURES,
    Relations,
    bounded_features,
    similarity_features,
    singular_vectors,
)

if TYPE_CHECKING:
    import scipy.sparse

# Nodes that are mapped at a time.
BLOCK_NODES = 2**14


class _Part(NamedTuple):
    """How one relation is made: columns, a projection of them, and a scale."""

    name: str
    column: np.ndarray
    projection: np.ndarray | None
    scale: float

    @property
    def width(self) -> int:
        full = self.projection is None
        return len(self.column) if full else self.projection.shape[1]

    def __call__(self, x: scipy.sparse.csr_matrix) -> np.ndarray:
        x = x[:, self.column]
        x = x.toarray() if self.projection is None else x @ self.projection
        return self.scale * x


class RelationMap:
    r"""Makes a node's relation features from its own attributes alone.

    :func:`.attribute_relations` looks at all nodes at once: its
    leading singular vectors and its scales depend on which nodes there are. A map
    takes them from the nodes that it is fitted on, those with ratings, and is the
    same for any other node, whether it was there at the time or comes later. Values
    that are not in the vocabulary, or that no fitted node has, make a node like
    nobody; it is like all others by the relation "all".

    Args:
        encoder (AttributeEncoder): A fitted encoder.
        attributes (TokenBags): What it made of the nodes to fit on.
        rank (int, optional): The most features of a relation. (default: :obj:`64`)
        max_features (int, optional): The most features of all relations together; see
            :func:`.attribute_relations` for which are left out.
            (default: :obj:`577`)

    Raises:
        ValueError: If :obj:`max_features` is not positive.
    """

    def __init__(
        self,
        encoder: AttributeEncoder,
        attributes: TokenBags,
        rank: int = 64,
        max_features: int = MAX_FEATURES,
    ) -> None:
        self.encoder = encoder
        self.parts: list[_Part] = []
        for name, x, column, width in bounded_features(
            encoder.column_encoders, attributes, rank, max_features
        ):
            part = _Part(name, column, None, 1.0)
            if not len(part.column):
                continue
            if len(part.column) > width:
                right = singular_vectors(x[:, part.column], width)[2]
                part = part._replace(projection=np.ascontiguousarray(right))
            length = np.square(part(x)).sum(axis=1).mean() ** 0.5
            self.parts.append(part._replace(scale=1 / max(length, 1e-6)))

    def __call__(self, attributes: TokenBags) -> Relations:
        """The relations of N nodes, by attributes of the same encoder."""
        width = [part.width for part in self.parts]
        relation = np.repeat(np.arange(len(width) + 1), [1, *width])
        x = np.ones((attributes.num_nodes, len(relation)), np.float32)
        for start in range(0, len(x), BLOCK_NODES):
            block = slice(start, start + BLOCK_NODES)
            some = attributes.take(block)
            # In the order of the parts; what comes after the last is never made.
            made = similarity_features(self.encoder.column_encoders, some)
            for k, part in enumerate(self.parts, start=1):
                found = next(found for name, found in made if name == part.name)
                x[block, relation == k] = part(found)
        names = ('all', *(part.name for part in self.parts))
        return Relations(torch.from_numpy(x), torch.from_numpy(relation), names)

    def to_dict(self) -> dict[str, Any]:
        """All but the encoder and tensors as plain data, ready for JSON."""
        return {
            'parts': [{'name': p.name, 'scale': float(p.scale)} for p in self.parts]
        }

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that :meth:`to_dict` leaves out."""
        made = {}
        for k, part in enumerate(self.parts):
            made[f'{k}.column'] = torch.from_numpy(part.column.astype(np.int64))
            if part.projection is not None:
                made[f'{k}.projection'] = torch.from_numpy(part.projection)
        return made

    @classmethod
    def from_dict(
        cls,
        encoder: AttributeEncoder,
        state: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> RelationMap:
        """The inverse of :meth:`to_dict` and :meth:`tensors`."""
        made = cls.__new__(cls)
        made.encoder, made.parts = encoder, []
        for k, part in enumerate(state['parts']):
            projection = tensors.get(f'{k}.projection')
            if projection is not None:
                projection = projection.numpy()
            column = tensors[f'{k}.column'].numpy()
            made.parts.append(_Part(part['name'], column, projection, part['scale']))
        return made
