"""How long a new user waits: encode a support, score the whole catalogue.

    python -m benchmarks.serving --out benchmarks/results

Writes serving.json. The model is that of a config, untrained: weights cost the
same whatever they are. Times are CPU seconds of one thread, after as many calls to
warm up, as in a process that serves: the middle call, and the quickest, which what
else the host does has slowed the least.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import plain_parser, run_command
from benchmarks.config import load_config
from benchmarks.markdown import markdown
from benchmarks.records import environment, peak_memory_mb, write_json
from benchmarks.tanp_config import TaNPConfig
from benchmarks.tanp_experiment import build_model, episodes_of
from data.lastfm import load_lastfm
from data.tables import RatingTables
from data.tastes import planted_tastes
from tanp import CatalogueScorer, Episodes, TaNP, recommend
from tanp.episodes import offsets

CONFIG = Path(__file__).parent / 'configs' / 'tanp' / 'lastfm.toml'
USERS = (1, 10, 100, 1000)
FEW_USERS = 100  # calls of one user, as many fewer of more
SUPPORT = 20
# A row beyond any table of users.
NOBODY = 2**31


def strangers(num_users: int, num_items: int, seed: int = 0) -> Episodes:
    """Users never seen, each with a support of random items and labels."""
    generator = torch.Generator().manual_seed(seed)
    item = torch.rand(num_users, num_items, generator=generator).topk(SUPPORT).indices
    count = torch.full((num_users,), SUPPORT)
    return Episodes(
        user=torch.full((num_users,), NOBODY),
        ptr=offsets(count),
        item=item.flatten(),
        label=torch.randint(2, (item.numel(),), generator=generator).float(),
        num_support=count,
        query_start=count,
    )


def measure(model: TaNP, num_items: int, users: int, repeats: int) -> dict[str, Any]:
    """Seconds to rank the catalogue for users who come together."""
    episodes = strangers(users, num_items)
    scorer = CatalogueScorer(model.eval())
    # The first dozens of calls are slower, so there are more of what takes little.
    repeats = max(repeats, FEW_USERS // users)
    taken = timed(lambda: recommend(model, episodes, scorer=scorer), repeats)
    seconds = statistics.median(taken)
    return {
        'users': users,
        'seconds': seconds,
        'quickest_seconds': taken[0],
        'per_user_ms': 1e3 * seconds / users,
    }


def timed(function: Callable[[], Any], repeats: int) -> list[float]:
    """CPU times in seconds, the shortest first, after as many that do not count."""
    for _ in range(repeats):
        function()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        taken.append(time.process_time() - start)
    return sorted(taken)


def run(tables: RatingTables, repeats: int) -> dict[str, Any]:
    """The content of serving.json."""
    config = load_config(CONFIG, TaNPConfig)
    split = episodes_of(config, tables, seed=2020)
    torch.manual_seed(0)
    model = build_model(config, tables, split, seed=0)
    num_items = len(tables.items)
    return {
        'environment': environment('cpu'),
        'num_items': num_items,
        'support': SUPPORT,
        'timings': [measure(model, num_items, n, repeats) for n in USERS],
        'peak_memory_mb': peak_memory_mb(),
    }


def serving_table(content: dict[str, Any]) -> str:
    """Times by how many users come together."""
    rows = [
        (
            f'{t["users"]:,}',
            f'{t["seconds"]:.4f}',
            f'{t["per_user_ms"]:.1f}',
            f'{t["quickest_seconds"]:.4f}',
        )
        for t in content['timings']
    ]
    return markdown(
        ('users at once', 'seconds', 'ms a user', 'quickest, seconds'), rows
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = plain_parser('benchmarks.serving', __doc__)
    parser.add_argument('--out', type=Path, default=Path('runs'))
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--smoke', action='store_true', help='a tiny catalogue')
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    if args.repeats < 1:
        raise ValueError(f'--repeats must be at least 1 (got {args.repeats})')
    tables = planted_tastes(size=30) if args.smoke else load_lastfm()
    content = run(tables, args.repeats)
    write_json(args.out / 'serving.json', content)
    print(serving_table(content))


if __name__ == '__main__':
    sys.exit(main())
