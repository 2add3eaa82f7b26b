"""What attribute graphs and epochs cost as tables grow.

    python -m benchmarks.scale --out benchmarks/results

Writes scale.json and scale.png; points that are there already are kept. Each point is
measured in a process of its own, for its peak of memory. Seconds are CPU seconds of
one thread; where the search is approximate, some twenty of them are what numba takes
to compile it. Tables are made from seeds (data/zipf.py).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.graph.build import attribute_graph
from agnn_pyg.graph.recall import pool_recall
from benchmarks.command import plain_parser, run_command
from benchmarks.records import (
    content_of,
    environment,
    peak_memory_mb,
    read_json,
    write_json,
)
from benchmarks.scale_epoch import measure_epoch
from benchmarks.scale_plots import plot_scale, scale_table
from data.zipf import FILMS, PEOPLE, zipf_bags, zipf_ratings

FIELDS = {'films': FILMS, 'people': PEOPLE}
NODES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
SMOKE = (300, 1000)
# Users, items, ratings, whether gradients of tables are sparse, and pairs a batch:
# the published code's, and what is quick.
EPOCHS = tuple(
    (*sizes, batch_size)
    for batch_size in (128, 1024)
    for sizes in (
        (943, 1682, 100_000, False),
        (1_000_000, 200_000, 10_000_000, False),
        (1_000_000, 200_000, 10_000_000, True),
    )
)
SMOKE_EPOCHS = ((100, 100, 900, True, 128),)
MOST_RATED = 100_000


def points(
    nodes: tuple[int, ...], epochs: tuple[tuple[int, int, int, bool, int], ...] = EPOCHS
) -> Iterator[dict[str, Any]]:
    """What is measured: one dictionary a point."""
    for table in FIELDS:
        yield from ({'part': 'graph', 'table': table, 'nodes': n} for n in nodes)
    # Five users a film, and twenty ratings a user.
    few = [n for n in nodes if n <= MOST_RATED]
    yield from ({'part': 'preference', 'table': 'films', 'nodes': n} for n in few)
    names = ('users', 'items', 'ratings', 'sparse', 'batch_size')
    for epoch in epochs:
        yield {'part': 'epoch', 'pool': 30, **dict(zip(names, epoch, strict=True))}


def attributes_of(table: str, nodes: int, seed: int = 0) -> TokenBags:
    """Encoded attributes of a synthetic table."""
    bags, num_tokens = zipf_bags(nodes, FIELDS[table], seed)
    index = torch.from_numpy(bags)
    is_value = torch.ones(num_tokens, dtype=torch.bool)
    is_value[0] = False
    return TokenBags(index, (index > 0).float(), is_value)


def measure(point: dict[str, Any]) -> dict[str, Any]:
    """Seconds, peak memory and recall of one point, in this process."""
    if point['part'] == 'epoch':
        return measure_epoch(point)
    attributes = attributes_of(point['table'], point['nodes'])
    ratings = None
    if point['part'] == 'preference':
        ratings = ratings_of(attributes)
    matrix = attributes.multi_hot()
    start = time.process_time()
    graph = attribute_graph(matrix, ratings)
    seconds = time.process_time() - start
    peak = peak_memory_mb()
    return {
        **point,
        'seconds': seconds,
        'peak_memory_mb': peak,
        'edges': graph.num_edges,
        'recall': pool_recall(graph, matrix, ratings),
    }


def ratings_of(items: TokenBags) -> Any:
    """A matrix of ratings, a row an item."""
    import scipy.sparse

    users, _ = zipf_bags(5 * items.num_nodes, PEOPLE, seed=1)
    (user, item), rating = zipf_ratings(
        users, items.index.numpy(), 20 * len(users), seed=2
    )
    return scipy.sparse.csr_matrix(
        (rating, (item, user)), shape=(items.num_nodes, len(users))
    )


def in_a_process(point: dict[str, Any]) -> dict[str, Any]:
    """Measures a point in a process of its own."""
    ran = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', __spec__.name, '--point'],
        input=json.dumps(point),
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = plain_parser('benchmarks.scale', __doc__)
    parser.add_argument('--out', type=Path, default=Path('runs'))
    parser.add_argument(
        '--nodes', type=int, nargs='+', default=NODES, help='sizes of the tables'
    )
    parser.add_argument(
        '--again',
        choices=('graph', 'preference', 'epoch'),
        nargs='+',
        default=(),
        help='parts to measure anew',
    )
    parser.add_argument('--smoke', action='store_true', help='tiny tables')
    parser.add_argument('--point', action='store_true', help=argparse.SUPPRESS)
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    if args.point:
        print(json.dumps(measure(json.load(sys.stdin))))
        return
    if min(args.nodes) < 2:
        raise ValueError(f'--nodes must be at least 2 (got {args.nodes})')
    path = args.out / 'scale.json'
    # Points that were measured before are kept, so that a run may be cut in parts.
    content = {'environment': environment('cpu'), 'points': []}
    if path.exists():
        known = read_json(path)['points']
        with content_of(path):
            content['points'] = [p for p in known if p['part'] not in args.again]
    sizes = (SMOKE, SMOKE_EPOCHS) if args.smoke else (tuple(args.nodes), EPOCHS)
    for point in points(*sizes):
        if not any(point.items() <= known.items() for known in content['points']):
            content['points'].append(in_a_process(point))
            write_json(path, content)
            print(content['points'][-1], flush=True)
    plot_scale(content, args.out / 'scale.png')
    print(scale_table(content))


if __name__ == '__main__':
    sys.exit(main())
