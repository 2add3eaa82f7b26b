"""What each part of AGNN is worth: one change at a time, on the same splits.

    python -m benchmarks.ablation benchmarks/configs/agnn/ml100k-item-cold.toml

Writes a report.json for each variant, split and seed, a table of paired differences
and a chart under OUT/ablation/CONFIG. Finished runs are kept with --resume.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.agnn import load_dataset, smoke_config
from benchmarks.command import make_parser, run_command
from benchmarks.config import AGNNConfig, load_config
from benchmarks.experiment import Options, learn_messages, run_agnn
from benchmarks.markdown import markdown
from benchmarks.records import environment, read_reports, write_json
from data.splits import Split, split
from data.tables import RatingTables

BASE = 'as configured'
# One change each, as SECTION.KEY and the value it is given.
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    'no messages': {'messages.share': 0.0},
    'messages only': {'messages.share': 1.0},
    'no messages from the user': {'messages.kinds': ('item', 'attribute')},
    'no messages to the item': {'messages.kinds': ('user', 'attribute')},
    'no messages between attributes': {'messages.kinds': ('user', 'item')},
    'no neighbours': {'graph.num_neighbors': 0},
    'plain mean': {'model.aggregate_gate': False, 'model.filter_gate': False},
    'no aggregate gate': {'model.aggregate_gate': False},
    'no filter gate': {'model.filter_gate': False},
    'GCNConv': {'model.conv': 'gcn'},
    'GATConv': {'model.conv': 'gat'},
    'SAGEConv': {'model.conv': 'sage'},
    'ResGatedGraphConv': {'model.conv': 'res_gated'},
    'no preference proximity': {'graph.preference': False},
    'no extended VAE': {
        'model.generate': False,
        'model.generate_bias': False,
        'train.kl_weight': 0.0,
        'train.reconstruction_weight': 0.0,
    },
    'no generated bias': {'model.generate_bias': False},
    'no simulated cold nodes': {'train.cold_users': 0.0, 'train.cold_items': 0.0},
}


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
    table = ablation_table(reports)
    (folder / 'table.md').write_text(table + '\n', encoding='utf-8')
    plot_ablation(reports, folder / 'ablation.png')
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


def override(config: AGNNConfig, changes: dict[str, Any]) -> AGNNConfig:
    """The config with some values changed, given as SECTION.KEY."""
    for name, value in changes.items():
        section, key = name.split('.')
        part = dataclasses.replace(getattr(config, section), **{key: value})
        config = dataclasses.replace(config, **{section: part})
    return config


def ablation_table(reports: Sequence[dict[str, Any]]) -> str:
    """Test scores of each variant, and differences to the model as configured.

    A difference is the mean over pairs of equal split and seed, ± its standard
    error over splits (over seeds, where there is one split).
    """
    rows = []
    for name, scores in _by_variant(reports).items():
        difference = '' if name == BASE else _difference(reports, name)
        means = (
            f'{statistics.mean(s[metric] for s in scores.values()):.4f}'
            for metric in ('rmse', 'mae', 'ndcg')
        )
        rows.append((name, *means, difference, str(len(scores))))
    header = ('', 'test RMSE', 'MAE', 'nDCG@10', 'RMSE − as configured', 'runs')
    return markdown(header, rows)


def differences(reports: Sequence[dict[str, Any]], name: str) -> list[float]:
    """Paired differences in test RMSE: one a split, or one a seed of one split."""
    scores = _by_variant(reports)
    pairs: dict[int, list[float]] = {}
    for key in sorted(scores[name].keys() & scores.get(BASE, {}).keys()):
        gap = scores[name][key]['rmse'] - scores[BASE][key]['rmse']
        pairs.setdefault(key[0], []).append(gap)
    if len(pairs) == 1:
        return next(iter(pairs.values()))
    return [statistics.mean(gaps) for gaps in pairs.values()]


def plot_ablation(reports: Sequence[dict[str, Any]], path: Path) -> None:
    """A bar for each variant: how much worse (right) it is than the whole."""
    from benchmarks.plots import LINE_COLOR, MODEL_COLOR, new_figure, save

    names = [n for n in _by_variant(reports) if n != BASE and differences(reports, n)]
    if not names:
        return
    figure, axes = new_figure((6.4, 1.2 + 0.3 * len(names)))
    gaps = [differences(reports, name) for name in names]
    means = [statistics.mean(values) for values in gaps]
    axes.barh(names, means, xerr=[_error(v) or 0 for v in gaps], color=MODEL_COLOR)
    axes.axvline(0, color=LINE_COLOR, lw=1)
    axes.invert_yaxis()
    axes.set(xlabel='test RMSE minus that of the model as configured')
    save(figure, path)


def _by_variant(
    reports: Sequence[dict[str, Any]],
) -> dict[str, dict[tuple[int, int], dict[str, float]]]:
    found: dict[str, Any] = {name: {} for name in VARIANTS}
    for report in reports:
        config = report['config']
        key = config['split_seed'], config['seed']
        found[config['variant']][key] = report['metrics']['test']
    return {name: scores for name, scores in found.items() if scores}


def _difference(reports: Sequence[dict[str, Any]], name: str) -> str:
    gaps = differences(reports, name)
    if not gaps:
        return 'not run'
    error = _error(gaps)
    text = f'{statistics.mean(gaps):+.4f}'
    return text if error is None else f'{text} ± {error:.4f}'


def _error(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    return statistics.stdev(values) / len(values) ** 0.5


if __name__ == '__main__':
    sys.exit(main())
