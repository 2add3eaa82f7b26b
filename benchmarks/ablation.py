"""What each part of AGNN is worth: one change at a time, on the same splits.

    python -m benchmarks.ablation benchmarks/configs/agnn/ml100k-item-cold.toml

Writes a report.json for each variant, split and seed, a table of paired differences
and a chart under OUT/ablation/CONFIG. Finished runs are kept with --resume.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from benchmarks.ablation_tables import ablation_tables
from benchmarks.agnn import load_dataset, smoke_config
from benchmarks.command import make_parser, run_command
from benchmarks.config import AGNNConfig, load_config
from benchmarks.experiment import Options, learn_messages, run_agnn
from benchmarks.plots import ablation_bars, save
from benchmarks.records import environment, read_reports, write_json
from benchmarks.variants import BASE, VARIANTS, base_of, override
from data.splits import Split, split
from data.tables import RatingTables


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = make_parser('benchmarks.ablation', __doc__)
    parser.add_argument(
        '--variants',
        nargs='+',
        metavar='VARIANT',
        default=list(VARIANTS),
        help=f'of {", ".join(map(repr, VARIANTS))} (default: all)',
    )
    parser.add_argument(
        '--split-seeds', type=int, nargs='+', default=[0], help='(default: 0)'
    )
    return run_command(parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Runs all variants of one config."""
    unknown = [name for name in args.variants if name not in VARIANTS]
    if unknown:
        raise ValueError(
            f"'--variants' must be of {list(VARIANTS)} (got '{unknown[0]}')"
        )
    config = load_config(args.config)
    if args.smoke:
        config, tables = smoke_config(config)
    else:
        tables = load_dataset(config.data.dataset)
    folder = args.out / 'ablation' / args.config.stem
    for split_seed in args.split_seeds:
        data = config.data
        parts = split(
            tables,
            data.mode,
            test=data.test,
            validation=data.validation,
            seed=split_seed,
        )
        _run_split(args, config, tables, parts, split_seed, folder)
    reports = read_reports(folder)
    table = '\n\n'.join(ablation_tables(reports).values())
    (folder / 'table.md').write_text(table + '\n', encoding='utf-8')
    bars = ablation_bars(reports)
    if bars is not None:
        save(bars, folder / 'ablation.png')
    print(f'\n{table}\n\nReports and chart: {folder}')


def _run_split(
    args: argparse.Namespace,
    config: AGNNConfig,
    tables: RatingTables,
    parts: Split,
    split_seed: int,
    folder: Path,
) -> None:
    propagated: dict[Any, Any] = {}
    for name in args.variants:
        changed = override(config, VARIANTS[name])
        base = override(config, VARIANTS[base_of(name)])
        if name != BASE and changed == base:
            continue  # of this mode it is no change
        for seed in args.seeds:
            own = folder / name.replace(' ', '-') / f'split-{split_seed}/seed-{seed}'
            path = own / 'report.json'
            if args.resume and path.exists():
                continue
            print(f'{name}, split {split_seed}, seed {seed}', file=sys.stderr)
            # The same messages for all variants that differ in something else.
            key = dataclasses.replace(
                changed.messages, share=float(changed.messages.share > 0)
            )
            if key not in propagated:
                propagated[key] = learn_messages(changed, tables, parts)
            options = Options(own, args.device)
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
