"""What each part of AGNN is worth: one change at a time, on the same splits.

    python -m benchmarks.ablation benchmarks/configs/agnn/ml100k-item-cold.toml

Writes a report.json for each variant, split and seed, a table of paired differences
and a chart under OUT/ablation/CONFIG. Finished runs are kept with --resume; tables are
of all runs in the folder, which must have the same settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Collection, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from agnn_pyg.base.rules import check_rule, one_of
from benchmarks.ablation_tables import ablation_tables
from benchmarks.agnn import load_dataset, smoke_config
from benchmarks.command import make_parser, run_command
from benchmarks.config import AGNNConfig, load_config
from benchmarks.experiment import Options, learn_messages, run_agnn
from benchmarks.plots import ablation_bars, save
from benchmarks.records import (
    check_settings,
    environment,
    read_reports,
    write_json,
    write_text,
)
from benchmarks.variants import BASE, VARIANTS, base_of, override
from data.splits import Split, split
from data.tables import RatingTables


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = make_parser('benchmarks.ablation', __doc__, several_splits=True)
    parser.add_argument(
        '--variants',
        nargs='+',
        metavar='VARIANT',
        default=list(VARIANTS),
        help=f'of {", ".join(map(repr, VARIANTS))} (default: all)',
    )
    return run_command(parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Runs all variants of one config."""
    config = load_config(args.config)
    for name in args.variants:
        check_rule(name, '--variants', one_of(VARIANTS))
    if args.smoke:
        config, tables = smoke_config(config)
    else:
        tables = load_dataset(config.data.dataset)
    variants = _variants(args.variants, config)
    folder = args.out / 'ablation' / args.config.stem
    _check_others(args, config, folder, variants)
    for split_seed in args.split_seeds:
        data = config.data
        parts = split(
            tables,
            data.mode,
            test=data.test,
            validation=data.validation,
            seed=split_seed,
        )
        _run_split(args, variants, tables, parts, split_seed, folder)
    reports = read_reports(folder)
    table = '\n\n'.join(ablation_tables(reports).values())
    write_text(folder / 'table.md', table + '\n')
    bars = ablation_bars(reports)
    if bars is not None:
        save(bars, folder / 'ablation.png')
    print(f'\n{table}\n\nReports and chart: {folder}')


def _variants(names: Sequence[str], config: AGNNConfig) -> dict[str, AGNNConfig]:
    """Configs by name, but for those that are no change in this mode."""
    made = {name: override(config, VARIANTS[name]) for name in names}
    for name, changed in list(made.items()):
        if name != BASE and changed == override(config, VARIANTS[base_of(name)]):
            del made[name]
    if not made:
        raise ValueError(
            f"'--variants' must name one that changes something here (got "
            f'{list(names)}, which change nothing of this config)'
        )
    return made


def _check_others(
    args: argparse.Namespace,
    config: AGNNConfig,
    folder: Path,
    variants: Collection[str],
) -> None:
    """Raises ``ValueError`` if what stays in the folder is not of these settings."""
    runs = product(variants, args.split_seeds, args.seeds)
    anew = () if args.resume else {_path(folder, *run) for run in runs}
    for record in read_reports(folder):
        if record.path not in anew:
            variant = record['config']['variant']
            if variant not in VARIANTS:
                raise ValueError(
                    f"'{record.path}' is of a variant '{variant}', which there is none "
                    f'of; delete its folder, or choose another --out'
                )
            changed = override(config, VARIANTS[variant])
            check_settings(record, changed, smoke=args.smoke)


def _path(folder: Path, name: str, split_seed: int, seed: int) -> Path:
    part = f'split-{split_seed}/seed-{seed}/report.json'
    return folder / name.replace(' ', '-') / part


def _run_split(
    args: argparse.Namespace,
    variants: dict[str, AGNNConfig],
    tables: RatingTables,
    parts: Split,
    split_seed: int,
    folder: Path,
) -> None:
    propagated: dict[Any, Any] = {}
    for name, changed in variants.items():
        for seed in args.seeds:
            path = _path(folder, name, split_seed, seed)
            if args.resume and path.exists():
                continue
            print(f'{name}, split {split_seed}, seed {seed}', file=sys.stderr)
            # The same messages for all variants that differ in something else.
            key = dataclasses.replace(
                changed.messages, share=float(changed.messages.share > 0)
            )
            if key not in propagated:
                propagated[key] = learn_messages(changed, tables, parts)
            options = Options(path.parent, args.device)
            measured = run_agnn(changed, tables, parts, seed, options, propagated[key])
            write_json(
                path,
                {
                    'command': args.command,
                    'config': {
                        'name': args.config.stem,
                        'variant': name,
                        'seed': seed,
                        'split_seed': split_seed,
                        'smoke': args.smoke,
                        **dataclasses.asdict(changed),
                    },
                    'environment': environment(args.device),
                    **measured,
                },
            )


if __name__ == '__main__':
    sys.exit(main())
