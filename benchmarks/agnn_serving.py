"""How long recommendations take: all users of a table, and a crowd of new ones.

    python -m benchmarks.agnn_serving --out benchmarks/results

Writes agnn-serving.json. Models are trained for an epoch: weights cost the same
whatever they are. Times are CPU seconds of one thread, from tables of attributes to
the ten best items of each user, without a warm-up. Nodes of equal attributes are
rated once, so what counts is how many differ: in one case all do.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.command import plain_parser, run_command
from benchmarks.markdown import markdown
from benchmarks.records import environment, peak_memory_mb, write_json
from data.movielens import load_ml100k
from data.synthetic import planted_tables
from data.tables import RatingTables

SETTINGS = {'epochs': 1, 'message_steps': 0}
ML100K = {
    'user_attributes': ('age', 'gender', 'occupation'),
    'item_attributes': ('genre', 'country', 'year'),
    'message_patterns': ('warm',),
}
KNOWN = 1000  # users, and items, of the table that the crowds come to
CROWDS = {'new': (10_000, 200_000), 'new, all different': (1000, 20_000)}


class Case(NamedTuple):
    """A table to fit, and who and what is to be rated then."""

    name: str
    tables: RatingTables
    users: pd.DataFrame
    items: pd.DataFrame
    settings: dict[str, Any]


def cases(smoke: bool) -> Iterator[Case]:
    """All cases, those that need most memory last."""
    if not smoke:
        tables = load_ml100k()
        yield Case('MovieLens-100K', tables, tables.users, tables.items, ML100K)
    known = planted_tables(*(2 * [40 if smoke else KNOWN]), density=0.05, seed=0)
    rng = np.random.default_rng(0)
    for name, size in reversed(CROWDS.items()):
        size = [n // (500 if smoke else 1) for n in size]
        users, items = known.users, known.items
        if name.endswith('different'):
            users, items = (f.assign(mark=rng.random(len(f))) for f in (users, items))
        tables = RatingTables(users, items, known.ratings)
        crowd = [crowd_of(f, n, rng) for f, n in zip((users, items), size, strict=True)]
        yield Case(name, tables, *crowd, {'message_patterns': ('both_cold',)})


def crowd_of(frame: pd.DataFrame, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """New nodes with ids of their own, each attribute drawn from those there are."""
    ids, *columns = frame.columns
    made = {ids: np.arange(count) + 10**6}
    for column in columns:
        made[column] = frame[column].to_numpy()[rng.integers(len(frame), size=count)]
        if column == 'mark':
            made[column] = rng.random(count)
    return pd.DataFrame(made)


def measure(case: Case) -> dict[str, Any]:
    """Seconds and memory to recommend ten items to each user of a case."""
    tables = case.tables
    model = AGNNRecommender(**SETTINGS, **case.settings)
    model.fit(tables.ratings, tables.users, tables.items)
    start = time.process_time()
    top = model.recommend(case.users, k=10, items=case.items)
    return {
        'case': case.name,
        'users': len(case.users),
        'items': len(case.items),
        'rows': len(top),
        'seconds': time.process_time() - start,
        'peak_memory_mb': peak_memory_mb(),
    }


def agnn_serving_table(content: dict[str, Any]) -> str:
    """Times and memory by case."""
    rows = [
        (
            t['case'],
            f'{t["users"]:,}',
            f'{t["items"]:,}',
            f'{t["seconds"]:.1f}',
            f'{t["peak_memory_mb"]:,.0f}' if t['peak_memory_mb'] else 'unknown',
        )
        for t in content['timings']
    ]
    header = ('users and items', 'users', 'items', 'seconds', 'peak memory, MB')
    return markdown(header, rows)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = plain_parser('benchmarks.agnn_serving', __doc__)
    parser.add_argument('--out', type=Path, default=Path('runs'))
    parser.add_argument('--smoke', action='store_true', help='tiny tables')
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    timings = [measure(case) for case in cases(args.smoke)]
    content = {'environment': environment('cpu'), 'timings': timings}
    write_json(args.out / 'agnn-serving.json', content)
    print(agnn_serving_table(content))


if __name__ == '__main__':
    sys.exit(main())
