"""Rates what nobody has rated yet: AGNN beside simple peers.

    python -m benchmarks.agnn benchmarks/configs/agnn/ml100k-item-cold.toml

Writes a report.json for each seed, a table and two plots under
OUT/agnn/CONFIG/split-S. The epoch is selected on validation; the test part is
scored once, at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

from agnn_pyg.base.frames import check_spread
from benchmarks.agnn_tables import run_table
from benchmarks.command import (
    Benchmark,
    make_parser,
    named_peers,
    run_command,
    run_seeds,
)
from benchmarks.config import AGNNConfig, load_config
from benchmarks.experiment import learn_messages, run_agnn
from benchmarks.peers import PEERS, QUICK, run_peers
from benchmarks.plots import plot_runs
from data.movielens import load_ml100k
from data.splits import Split, split, split_from_files
from data.synthetic import planted_tables
from data.tables import RatingTables

DATASETS = {'ml-100k': load_ml100k}


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = make_parser('benchmarks.agnn', __doc__)
    parser.add_argument(
        '--split-files',
        type=Path,
        nargs=2,
        metavar=('TRAIN', 'TEST'),
        help='two CSV files with user, item, rating; validation is carved out of TRAIN',
    )
    parser.add_argument(
        '--peers',
        nargs='+',
        default=['quick'],
        metavar='PEER',
        help=f'quick, all, none, or of {", ".join(PEERS)} (default: quick)',
    )
    return run_command(parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Runs all seeds of one config on one split."""
    config = load_config(args.config)
    if args.smoke:
        config, tables = smoke_config(config)
    else:
        tables = load_dataset(config.data.dataset)
    parts = _split(config, tables, args)
    check_spread(parts.train['rating'].to_numpy(), 'ratings')
    files = [path.name for path in args.split_files or []]
    peers = named_peers(args.peers, quick=QUICK, all=tuple(PEERS))
    # The same for every model seed: messages are propagated, not trained.
    messages = functools.cache(lambda: learn_messages(config, tables, parts))
    run_seeds(
        args,
        Benchmark(
            config,
            _describe(tables, parts),
            args.out / 'agnn' / args.config.stem / _split_name(args),
            lambda *seed: run_agnn(config, tables, parts, *seed, messages()),
            lambda: run_peers(tables, parts, config.train.refit, peers),
            peers,
            run_table,
            plot_runs,
            {'split_files': files or None},
        ),
    )


def _describe(tables: RatingTables, parts: Split) -> dict[str, Any]:
    fit = parts.fit
    return {
        'num_users': len(tables.users),
        'num_items': len(tables.items),
        'num_train': len(parts.train),
        'num_validation': len(parts.validation),
        'num_fit': len(fit),
        'num_test': len(parts.test),
        'num_cold_users': int((~tables.users['user'].isin(fit['user'])).sum()),
        'num_cold_items': int((~tables.items['item'].isin(fit['item'])).sum()),
    }


def load_dataset(dataset: str) -> RatingTables:
    """The tables that a config names."""
    if dataset not in DATASETS:
        raise ValueError(
            f"'data.dataset' must be one of {sorted(DATASETS)} (got '{dataset}')"
        )
    return DATASETS[dataset]()


def smoke_config(config: AGNNConfig) -> tuple[AGNNConfig, RatingTables]:
    """A tiny planted data set and two of each step: seconds, to see that all runs."""
    tables = planted_tables()

    def known(section: Any, **other: Any) -> Any:
        columns = {
            'user_attributes': tables.users.columns,
            'item_attributes': tables.items.columns,
        }
        kept = {
            key: tuple(c for c in getattr(section, key) if c in frame)
            for key, frame in columns.items()
        }
        return dataclasses.replace(section, **kept, **other)

    config = dataclasses.replace(
        config,
        data=known(config.data, min_count=1, num_knots=4),
        graph=known(config.graph),
        messages=dataclasses.replace(config.messages, steps=2, folds=2),
        train=dataclasses.replace(config.train, epochs=2, batch_size=256),
    )
    return config, tables


def _split(config: AGNNConfig, tables: RatingTables, args: argparse.Namespace) -> Split:
    options = {'validation': config.data.validation, 'seed': args.split_seed}
    mode = config.data.mode
    if args.split_files:
        return split_from_files(*args.split_files, mode, tables=tables, **options)
    return split(tables, mode, test=config.data.test, **options)


def _split_name(args: argparse.Namespace) -> str:
    if args.split_files:
        train = args.split_files[0].resolve()
        return f'files-{train.parent.name}-{train.stem}'
    return f'split-{args.split_seed}'


if __name__ == '__main__':
    sys.exit(main())
