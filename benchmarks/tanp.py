"""Ranks for users with a handful of interactions: TaNP beside strong peers.

    python -m benchmarks.tanp benchmarks/configs/tanp/lastfm.toml --seeds 0 1 2

Writes a report.json for each seed, tables and plots under
OUT/tanp/CONFIG/split-S. The epoch is selected on validation users; test users
are scored once, at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from agnn_pyg.base.frames import check_spread
from benchmarks.command import (
    Benchmark,
    make_parser,
    named_peers,
    run_command,
    run_seeds,
)
from benchmarks.config import load_config
from benchmarks.episode_peers import PEERS, run_episode_peers
from benchmarks.tanp_config import EpisodesConfig, TaNPConfig
from benchmarks.tanp_experiment import episodes_of, run_tanp
from benchmarks.tanp_plots import plot_tanp
from benchmarks.tanp_tables import run_tables
from data.lastfm import load_lastfm
from data.movielens import load_ml100k
from data.movielens_1m import load_ml1m
from data.readers import read_tables
from data.synthetic import planted_tables
from data.tables import RatingTables
from data.tastes import planted_tastes
from tanp import EpisodeSplit

DATASETS = {'lastfm': load_lastfm, 'ml-100k': load_ml100k, 'ml-1m': load_ml1m}


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = make_parser('benchmarks.tanp', __doc__)
    parser.add_argument(
        '--peers',
        nargs='+',
        default=['all'],
        metavar='PEER',
        help='all, none, or names as reports have them (default: all)',
    )
    return run_command(parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Runs all seeds of one config on one split."""
    config = load_config(args.config, TaNPConfig)
    if args.smoke:
        config, tables = _smoke(config)
    else:
        tables = _load(config.data)
    _check_relevant(config.data.relevant, tables)
    split = episodes_of(config, tables, args.split_seed)
    likelihood = 'bernoulli' if set(tables.ratings['rating']) <= {0, 1} else 'gaussian'
    labels = likelihood, config.data.relevant
    peers = named_peers(args.peers, all=tuple(PEERS[likelihood]))
    run_seeds(
        args,
        Benchmark(
            config,
            _describe(tables, split, likelihood),
            args.out / 'tanp' / args.config.stem / f'split-{args.split_seed}',
            lambda seed, options: run_tanp(config, tables, split, seed, options),
            lambda: run_episode_peers(split, len(tables.items), *labels, peers),
            peers,
            run_tables,
            plot_tanp,
        ),
    )


def _check_relevant(relevant: float, tables: RatingTables) -> None:
    """Raises ``ValueError`` unless some ratings are relevant and others are not."""
    ratings = tables.ratings['rating'].to_numpy()
    check_spread(ratings, 'ratings')
    low, high = float(ratings.min()), float(ratings.max())
    if not low <= relevant < high:
        raise ValueError(
            f"'data.relevant' must be from {low:g} to below {high:g}, so that some "
            f'ratings are above it and some are not (got {relevant})'
        )


def _describe(
    tables: RatingTables, split: EpisodeSplit, likelihood: str
) -> dict[str, Any]:
    return {
        'num_users': len(tables.users),
        'num_items': len(tables.items),
        'num_interactions': len(tables.ratings),
        'labels': 'implicit' if likelihood == 'bernoulli' else 'ratings',
        'num_warm_users': len(split.warm),
        **{
            f'num_{part}_episodes': len(getattr(split, part))
            for part in ('train', 'validation', 'test')
        },
        'left_out': split.left_out,
    }


def _load(data: EpisodesConfig) -> RatingTables:
    if data.dataset == 'files':
        if data.ratings is None:
            raise ValueError("'data.dataset' is 'files', but 'data.ratings' is lacking")
        return read_tables(
            data.ratings, data.users, data.items, multi_valued=data.multi_valued
        )
    if data.dataset not in DATASETS:
        raise ValueError(
            f"'data.dataset' must be one of {sorted([*DATASETS, 'files'])} (got "
            f"'{data.dataset}')"
        )
    return DATASETS[data.dataset]()


def _smoke(config: TaNPConfig) -> tuple[TaNPConfig, RatingTables]:
    """Tiny planted data and three epochs: seconds, to see that all runs."""
    ratings = config.data.relevant > 1
    tables = planted_tables(num_users=120) if ratings else planted_tastes()
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            support_size=5,
            min_size=15,
            min_count=1,
            num_knots=4,
            user_attributes=_known(config.data.user_attributes, tables.users),
            item_attributes=_known(config.data.item_attributes, tables.items),
        ),
        train=dataclasses.replace(
            config.train,
            epochs=3,
            batch_size=16,
            context_sizes=(min(config.train.context_sizes[0], 3), 5),
        ),
    )
    return config, tables


def _known(columns: tuple[str, ...], frame: Any) -> tuple[str, ...]:
    return tuple(column for column in columns if column in frame)


if __name__ == '__main__':
    sys.exit(main())
