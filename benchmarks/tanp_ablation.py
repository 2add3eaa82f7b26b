"""What each part of TaNP is worth on Last.FM: one change at a time.

    python -m benchmarks.tanp_ablation --splits 2020 1 2 --seeds 0

Writes tanp-ablation.json, and goes on with it where it was interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.command import Options, plain_parser, run_command
from benchmarks.config import load_config
from benchmarks.markdown import markdown, mean_std, plus_minus
from benchmarks.records import (
    code_state,
    content_of,
    differing,
    environment,
    read_json,
    write_json,
)
from benchmarks.tanp_config import TaNPConfig
from benchmarks.tanp_experiment import episodes_of, score_tanp, train_tanp
from data.lastfm import load_lastfm
from data.tables import RatingTables
from data.tastes import planted_tastes

CONFIGS = Path(__file__).parent / 'configs' / 'tanp'
WHOLE = 'TaNP'
PUBLISHED = 'the published model'
# By name: the keys of lastfm.toml that change.
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    WHOLE: {},
    'no attention over the support': {'model': {'attention_heads': 0}},
    'four heads of attention': {'model': {'attention_heads': 4}},
    'no regression of the support': {'model': {'processes': 0}},
    'neither of the two': {'model': {'attention_heads': 0, 'processes': 0}},
    'one pool for likes and dislikes': {'model': {'signed_pools': False}},
    'gating in place of FiLM': {'model': {'modulation': 'gating'}},
    'modulation by tanh, not 1 + tanh': {'model': {'residual_modulation': False}},
    'with a latent path': {'model': {'latent_channels': (64, 64, 32, 32, 32)}},
    'with seven clusters': {'model': {'num_clusters': 7}},
    'trained item vectors beside the fixed': {'model': {'item_ids': True}},
    'trained item vectors only': {
        'statistics': {'use': False},
        'model': {
            'item_ids': True,
            'attention_heads': 0,
            'processes': 0,
            'signed_pools': False,
        },
    },
    'training users with 30 or more only': {'train': {'tasks': 'episodes'}},
    'training contexts of 20 only': {'train': {'context_sizes': (20, 20)}},
    'no average of the weights': {'train': {'ema_decay': None}},
}
METRICS = {
    'log_loss': 'log-loss',
    'tie_precision@5': 'P@5 †',
    'ndcg@5': 'nDCG@5',
    'ndcg@10': 'nDCG@10',
}
# Of which there are differences, too.
COMPARED = ('log_loss', 'ndcg@10')


def changed(config: TaNPConfig, changes: dict[str, dict[str, Any]]) -> TaNPConfig:
    """A config with some keys of its sections replaced."""
    sections = {
        name: dataclasses.replace(getattr(config, name), **values)
        for name, values in changes.items()
    }
    return dataclasses.replace(config, **sections)


def configs(smoke: bool = False) -> dict[str, TaNPConfig]:
    """All configs to compare, by name."""
    whole = load_config(CONFIGS / 'lastfm.toml', TaNPConfig)
    published = load_config(CONFIGS / 'lastfm-as-published.toml', TaNPConfig)
    made = {name: changed(whole, changes) for name, changes in CHANGES.items()}
    made[PUBLISHED] = published
    if smoke:
        small = {
            'data': {'support_size': 5, 'min_size': 15},
            'train': {'epochs': 2, 'context_sizes': (1, 5)},
        }
        made = {name: changed(config, small) for name, config in made.items()}
    return made


def run(
    tables: RatingTables, args: argparse.Namespace, path: Path
) -> list[dict[str, Any]]:
    """Trains every config on every split with every seed, unless it is done.

    What was done with other settings under the same name is done anew.
    """
    every = configs(args.smoke)
    rows = read_json(path)['runs'] if path.exists() else []
    with content_of(path):
        rows = [
            row
            for row in rows
            if row['name'] in every and not differing(row, every[row['name']])
        ]
    done = {(row['name'], row['split'], row['seed']) for row in rows}
    for split_seed in args.splits:
        for name, config in every.items():
            split = episodes_of(config, tables, split_seed)
            for seed in args.seeds:
                if (name, split_seed, seed) in done:
                    continue
                print(f'split {split_seed}, seed {seed}: {name}', file=sys.stderr)
                with TemporaryDirectory() as folder:
                    options = Options(Path(folder))
                    model, result = train_tanp(config, tables, split, seed, options)
                scores = {
                    part: score_tanp(model, getattr(split, part), config)
                    for part in ('validation', 'test')
                }
                row = {'name': name, 'split': split_seed, 'seed': seed, **scores}
                row['best_epoch'] = result.best_epoch
                row['config'] = dataclasses.asdict(config)
                row |= code_state()  # rows that are kept may be of another commit
                rows.append(row)
                write_json(path, {'environment': environment('cpu'), 'runs': rows})
    return rows


def ablation_table(rows: Sequence[dict[str, Any]]) -> str:
    """Test figures: mean ± sample standard deviation over splits and seeds.

    The last columns are differences to the whole model on the same split with
    the same seed, with their standard errors.
    """
    lines = []
    present = {row['name'] for row in rows}
    for name in (n for n in (*CHANGES, PUBLISHED) if n in present):
        cells = []
        for metric in METRICS:
            values = list(_scores(rows, name, metric).values())
            cells.append(mean_std(values) if values else '')
        for metric in COMPARED:
            own, whole = (_scores(rows, n, metric) for n in (name, WHOLE))
            differences = [own[key] - whole[key] for key in own if key in whole]
            cells.append('' if name == WHOLE else _paired(differences))
        lines.append((name, *cells))
    differing = (f'{METRICS[metric]}, difference' for metric in COMPARED)
    return markdown(('', *METRICS.values(), *differing), lines)


def _scores(
    rows: Sequence[dict[str, Any]], name: str, metric: str
) -> dict[tuple[int, int], float]:
    return {
        (row['split'], row['seed']): row['test'][metric]
        for row in rows
        if row['name'] == name and metric in row['test']
    }


def _paired(differences: Sequence[float]) -> str:
    if len(differences) < 2:
        return ', '.join(f'{value:.4f}' for value in differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return plus_minus(statistics.mean(differences), error)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = plain_parser('benchmarks.tanp_ablation', __doc__)
    parser.add_argument('--splits', type=int, nargs='+', default=[2020, 1, 2])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--out', type=Path, default=Path('runs'))
    parser.add_argument('--smoke', action='store_true', help='tiny planted data')
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    tables = planted_tastes() if args.smoke else load_lastfm()
    print(ablation_table(run(tables, args, args.out / 'tanp-ablation.json')))


if __name__ == '__main__':
    sys.exit(main())
