"""Rates what nobody has rated yet: AGNN beside simple peers.

    python -m benchmarks.agnn benchmarks/configs/agnn/ml100k-item-cold.toml

Writes a report.json for each seed, a table and two plots under
OUT/agnn/CONFIG/split-S. The epoch is selected on validation; the test part is
scored once, at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.config import AGNNConfig, load_config
from benchmarks.experiment import Options, run_agnn
from benchmarks.peers import PEERS, QUICK, run_peers
from benchmarks.plots import plot_runs
from benchmarks.report import environment, peak_memory_mb, read_reports, write_json
from benchmarks.tables import run_table
from data.download import DownloadError
from data.movielens import load_ml100k
from data.splits import Split, split, split_from_files
from data.synthetic import planted_tables
from data.tables import RatingTables

DATASETS = {'ml-100k': load_ml100k}


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(arguments)
    args.command = 'python -m benchmarks.agnn ' + shlex.join(arguments)
    try:
        run(args)
    except (ValueError, OSError, DownloadError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; go on with --resume', file=sys.stderr)
        return 130
    return 0


def run(args: argparse.Namespace) -> None:
    """Runs all seeds of one config on one split."""
    torch.set_num_threads(args.threads)
    config = load_config(args.config)
    _check_device(args.device)
    if args.smoke:
        config, tables = _smoke(config)
    else:
        tables = _load(config.data.dataset)
    parts = _split(config, tables, args)
    folder = args.out / 'agnn' / args.config.stem / _split_name(args)
    peers = run_peers(tables, parts, config.train.refit, _peers(args.peers))
    for seed in args.seeds:
        path = folder / f'seed-{seed}' / 'report.json'
        if args.resume and path.exists():
            print(f'seed {seed}: done before', file=sys.stderr)
            continue
        # A run begun anew must not leave the old report beside its own.
        path.unlink(missing_ok=True)
        print(f'seed {seed}: training', file=sys.stderr)
        write_json(path, _report(config, tables, parts, peers, seed, path.parent, args))
    seeds = {f'seed-{seed}' for seed in args.seeds}
    reports = [
        r for r in read_reports(folder) if f'seed-{r["config"]["seed"]}' in seeds
    ]
    table = run_table(reports)
    (folder / 'table.md').write_text(table + '\n', encoding='utf-8')
    plot_runs(reports, folder)
    print(f'\n{table}\n\nReports and plots: {folder}')


def _report(
    config: AGNNConfig,
    tables: RatingTables,
    parts: Split,
    peers: dict[str, Any],
    seed: int,
    folder: Path,
    args: argparse.Namespace,
) -> dict[str, Any]:
    start = time.perf_counter()
    options = Options(folder, args.device, args.resume, progress=sys.stderr.isatty())
    measured = run_agnn(config, tables, parts, seed, options)
    measured['time']['total_s'] = time.perf_counter() - start
    return {
        'command': args.command,
        'config': {
            'name': args.config.stem,
            'seed': seed,
            'split_seed': args.split_seed,
            'split_files': [p.name for p in args.split_files or []] or None,
            'smoke': args.smoke,
            **dataclasses.asdict(config),
        },
        'environment': environment(args.device),
        'data': _describe(tables, parts),
        **measured,
        'peers': peers,
        'peak_memory_mb': peak_memory_mb(),
    }


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


def _load(dataset: str) -> RatingTables:
    if dataset not in DATASETS:
        raise ValueError(
            f"'data.dataset' must be one of {sorted(DATASETS)} (got '{dataset}')"
        )
    return DATASETS[dataset]()


def _smoke(config: AGNNConfig) -> tuple[AGNNConfig, RatingTables]:
    """A tiny planted data set and two epochs: seconds, to see that all runs."""
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


def _peers(names: list[str]) -> tuple[str, ...]:
    named = {'quick': QUICK, 'all': tuple(PEERS), 'none': ()}
    chosen = [peer for name in names for peer in named.get(name, (name,))]
    return tuple(dict.fromkeys(chosen))


def _check_device(device: str) -> None:
    if device != 'cpu' and not device.startswith('cuda'):
        raise ValueError(f"'--device' must be 'cpu' or 'cuda' (got '{device}')")
    if device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError("'--device cuda' needs a GPU that torch can use; none is here")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.agnn',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', type=Path, help='a TOML file of benchmarks/configs')
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0], help='model seeds (default: 0)'
    )
    parser.add_argument(
        '--split-seed', type=int, default=0, help='which split (default: 0)'
    )
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
    parser.add_argument('--device', default='cpu', help='cpu or cuda (default: cpu)')
    parser.add_argument(
        '--threads',
        type=int,
        default=1,
        help='CPU threads; the same number gives the same digits (default: 1)',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('runs'), help='folder (default: runs)'
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='keep finished seeds and continue the unfinished one',
    )
    parser.add_argument(
        '--smoke', action='store_true', help='a few seconds on tiny planted data'
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
