"""Batches of rated pairs through PyG's own link loader."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg.base.randomness import salted
from agnn_pyg.old.batch import NodeBatch, RatingBatch
from agnn_pyg.old.blocks import treat_as_cold
from agnn_pyg.old.loader import (
    SIDES,
    RatingLoader,
    batch_key,
    check_options,
    check_pairs,
    epoch_order,
    sharded,
)
from agnn_pyg.old.sampler import ProximitySampler

RATES = ('user', 'rates', 'item')


class LinkRatingLoader(LinkNeighborLoader):
    r"""The batches of :class:`~agnn_pyg.old.loader.RatingLoader`, by PyG's loader.

    Slower where a table of neighbours fits in memory; for graphs where it does
    not, and for whom wants worker processes or pinned memory.

    Args:
        graph (HeteroData): See :func:`~agnn_pyg.old.graph_build.rating_graph`.
        index (Tensor): Pairs of user and item rows, :obj:`[2, R]`.
        rating (Tensor, optional): Their ratings, :obj:`[R]`.
        batch_size (int, optional): Pairs a batch. (default: :obj:`2048`)
        num_neighbors (int, optional): Neighbours a node. (default: :obj:`10`)
        shuffle (bool, optional): (default: :obj:`False`)
        cold_rate (tuple, optional): The share of warm users and of warm items
            in a batch that are treated as cold. (default: :obj:`(0, 0)`)
        seed (int, optional): (default: :obj:`0`)
        **kwargs (optional): Additional arguments of
            :class:`~torch_geometric.loader.LinkNeighborLoader`, such as
            :obj:`num_workers`.

    Raises:
        ValueError: If a pair lies outside the graph, or an argument outside
            its range.
    """

    def __init__(
        self,
        graph: HeteroData,
        index: Tensor,
        rating: Tensor | None = None,
        *,
        batch_size: int = 2048,
        num_neighbors: int = 10,
        shuffle: bool = False,
        cold_rate: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
        **kwargs,
    ) -> None:
        check_pairs(graph, index, rating)
        check_options(batch_size, num_neighbors, cold_rate)
        fan_out = {
            (side, relation, side): [num_neighbors]
            for side, rate in zip(SIDES, cold_rate, strict=True)
            for relation in (('similar', 'alike') if rate else ('similar',))
        }
        self.shuffle = shuffle
        self.rating = rating
        sampler = ProximitySampler(graph, fan_out, seed=seed)
        super().__init__(
            graph,
            num_neighbors=fan_out,
            edge_label_index=(RATES, index),
            edge_label=rating,
            neighbor_sampler=sampler,
            transform=_ToRatingBatch(cold_rate, sampler),
            batch_size=batch_size,
            sampler=_EpochOrder(index.size(1), batch_size, shuffle, sampler.seed),
            **kwargs,
        )

    @property
    def epoch(self) -> int:
        return self.link_sampler.epoch

    def set_epoch(self, epoch: int) -> None:
        """See :meth:`~agnn_pyg.old.loader.RatingLoader.set_epoch`."""
        self.link_sampler.set_epoch(epoch)
        self.sampler.epoch = self.epoch

    def shard(self, rank: int, world_size: int) -> None:
        """See :meth:`RatingLoader.shard <agnn_pyg.old.loader.RatingLoader.shard>`."""
        self.sampler.rank, self.sampler.world_size = rank, world_size


def rating_loader(
    graph: HeteroData,
    index: Tensor,
    rating: Tensor | None = None,
    *,
    num_neighbors: int = 10,
    max_table: int = 100_000_000,
    **kwargs,
) -> RatingLoader | LinkRatingLoader:
    r"""The faster loader that fits: by a table of neighbours, or by PyG.

    Args:
        graph (HeteroData): See :func:`~agnn_pyg.old.graph_build.rating_graph`.
        index (Tensor): Pairs of user and item rows, :obj:`[2, R]`.
        rating (Tensor, optional): Their ratings, :obj:`[R]`.
        num_neighbors (int, optional): Neighbours a node. (default: :obj:`10`)
        max_table (int, optional): Entries, of 8 bytes, that the tables of
            neighbours of both sides may have together; beyond, PyG's loader
            draws batch by batch. (default: :obj:`100_000_000`)
        **kwargs (optional): Additional arguments of either loader.
    """
    # Two relations: one for nodes as they are, one for those treated as cold.
    entries = 2 * num_neighbors * sum(graph[side].num_nodes for side in SIDES)
    loader = RatingLoader if entries <= max_table else LinkRatingLoader
    return loader(graph, index, rating, num_neighbors=num_neighbors, **kwargs)


class _EpochOrder(Sampler):
    """Positions of pairs in the order of the current epoch."""

    def __init__(self, size: int, batch_size: int, shuffle: bool, seed: int) -> None:
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self.seed, self.epoch = seed, 0
        self.rank, self.world_size = 0, 1

    def __len__(self) -> int:
        return len(self._share(torch.arange(self.size)))

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self.size, self.shuffle, self.seed, self.epoch)
        return iter(self._share(order).tolist())

    def _share(self, order: Tensor) -> Tensor:
        return sharded(order, self.batch_size, self.rank, self.world_size)


class _ToRatingBatch:
    """Turns what PyG's link loader returns into a `RatingBatch`."""

    def __init__(
        self, cold_rate: tuple[float, float], sampler: ProximitySampler
    ) -> None:
        self.cold_rate = cold_rate
        self.sampler = sampler

    def __call__(self, data: HeteroData) -> RatingBatch:
        pairs = data[RATES].edge_label_index
        key = batch_key(self.sampler.seed, self.sampler.epoch, data[RATES].input_id[0])
        nodes = [
            self._nodes(data, side, int(index.max()) + 1, rate, key)
            for side, index, rate in zip(SIDES, pairs, self.cold_rate, strict=True)
        ]
        return RatingBatch(*nodes, pairs, data[RATES].get('edge_label'))

    def _nodes(
        self, data: HeteroData, side: str, num_targets: int, rate: float, key: int
    ) -> NodeBatch:
        store = data[side]
        treated = treat_as_cold(store.n_id[:num_targets], rate, salted(key, side))
        edge_index = data[side, 'similar', side].edge_index
        if rate:
            alike = data[side, 'alike', side].edge_index
            edge_index = torch.cat(
                [edge_index[:, ~treated[edge_index[1]]], alike[:, treated[alike[1]]]],
                dim=1,
            )
        cold = store.cold.clone()
        cold[:num_targets] |= treated
        return NodeBatch(
            store.n_id, store.attr, store.attr_weight, cold, edge_index, num_targets
        )
