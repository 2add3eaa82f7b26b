"""What an epoch of AGNN costs on a synthetic table, for benchmarks.scale."""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg import AGNN, RatingLoader
from agnn_pyg.rating_module import RatingModule
from benchmarks.records import peak_memory_mb
from data.zipf import FILMS, PEOPLE, zipf_bags, zipf_ratings

RATED = 40_960  # pairs, whose mean stands for all


def measure_epoch(point: dict[str, Any]) -> dict[str, Any]:
    """Seconds of an epoch, from its start and some steps, and peak memory.

    Candidates are random nodes, for a search is measured by itself: no two nodes of
    a batch are likely to share neighbours, which is the most work that there can be.
    How much it is, the number of nodes that are embedded for a rating says.
    """
    graph, index, rating, tokens = rated_graph(
        point['users'], point['items'], point['ratings'], point['pool']
    )
    loader = RatingLoader(
        graph,
        index,
        rating,
        batch_size=point['batch_size'],
        shuffle=True,
        cold_rate=(0.2, 0.2),
    )
    torch.manual_seed(0)
    model = AGNN(point['users'], point['items'], *tokens, sparse=point['sparse'])
    module = RatingModule(model)
    optimizer = module.configure_optimizers()['optimizer']
    start = time.process_time()
    batches = iter(loader)
    batch = next(batches)  # the order and the neighbours of the epoch come with it
    first = time.process_time() - start
    _step(module, optimizer, batch)
    start, rated, nodes = time.process_time(), 0, 0
    for batch in itertools.islice(batches, RATED // point['batch_size']):
        _step(module, optimizer, batch)
        rated += len(batch.edge_label)
        nodes += len(batch.user.n_id) + len(batch.item.n_id)
    per_rating = (time.process_time() - start) / rated
    seconds = first + per_rating * len(rating)
    return {
        **point,
        'seconds': seconds,
        'start_seconds': first,
        'ratings_per_second': len(rating) / seconds,
        'nodes_per_rating': nodes / rated,
        'peak_memory_mb': peak_memory_mb(),
    }


def _step(module: RatingModule, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    module.training_step(batch, 0).backward()
    optimizer.step()
    optimizer.zero_grad()


def rated_graph(
    num_users: int, num_items: int, num_ratings: int, pool: int, seed: int = 0
) -> tuple[HeteroData, Tensor, Tensor, list[int]]:
    """A rating graph with random pools, its ratings, and tokens of either side."""
    generator = torch.Generator().manual_seed(seed)
    graph, tokens, bags = HeteroData(), [], []
    for side, count, fields in (
        ('user', num_users, PEOPLE),
        ('item', num_items, FILMS),
    ):
        bag, num_tokens = zipf_bags(count, fields, seed)
        tokens.append(num_tokens)
        bags.append(bag)
        store = graph[side]
        store.num_nodes, store.attr = count, torch.from_numpy(bag)
        store.attr_weight = (store.attr > 0).float()
        source = torch.randint(count, (count * pool,), generator=generator)
        target = torch.arange(count).repeat_interleave(pool)
        for relation in ('similar', 'alike'):
            graph[side, relation, side].edge_index = torch.stack([source, target])
            graph[side, relation, side].edge_weight = torch.ones(len(source))
    pairs, rating = zipf_ratings(*bags, num_ratings, seed)
    index = torch.from_numpy(pairs)
    for side, row in zip(('user', 'item'), index, strict=True):
        graph[side].cold = torch.bincount(row, minlength=graph[side].num_nodes) == 0
    return graph, index, torch.from_numpy(rating).float(), tokens
