"""Figures of TaNP and its peers, drawn from reports and from nothing else.

python -m benchmarks.tanp_plots benchmarks/results/tanp/lastfm
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import plain_parser, run_command
from benchmarks.plots import MODEL_COLOR, new_figure, save, title_of
from benchmarks.records import read_reports
from benchmarks.tanp_tables import NAMES, models_of

Reports = Sequence[dict[str, Any]]

# Peers keep their colour from figure to figure.
COLORS = {
    'random': '#c4c4c4',
    'popularity': '#9a9a9a',
    'item_mean': '#9a9a9a',
    'item_knn': '#7a9e62',
    'residual_knn': '#7a9e62',
    'svd': '#8d6cab',
    'residual_svd': '#8d6cab',
    'logistic_stack': '#c98f4a',
    'support_mean': '#c98f4a',
    'boosted_trees': '#c0504d',
    'tanp': MODEL_COLOR,
}


FLAT = ('popularity', 'item_mean')  # do not read the support


def plot_tanp(reports: Reports, folder: Path) -> list[Path]:
    """Learning curves, quality by support size, calibration and clusters.

    Args:
        reports (list): Reports of one split, one a seed.
        folder (Path): Where to write PNG files.
    """
    # Figures are files here: no window system is needed, nor looked for.
    import matplotlib

    matplotlib.use('Agg')
    figures = {
        'learning-curves.png': learning_curves(reports),
        'support-size.png': support_sizes(reports),
    }
    if 'calibration' in reports[0]:
        figures['calibration.png'] = calibration_curve(reports)
    if 'clusters' in reports[0]:
        figures['clusters.png'] = cluster_assignments(reports[0])
    return [save(figure, folder / name) for name, figure in figures.items()]


def learning_curves(reports: Reports) -> Any:
    """Losses and nDCG@10 by epoch."""
    figure, axes = new_figure((6.4, 4))
    ranking = axes.twinx()
    ranking.spines[['top']].set_visible(False)
    for number, report in enumerate(reports):
        history = report['history']
        epochs = [row['epoch'] + 1 for row in history]
        for panel, key, style, color, label in (
            (axes, 'train_prediction', ':', MODEL_COLOR, 'training loss'),
            (axes, 'val_loss', '-', MODEL_COLOR, 'validation loss'),
            (ranking, 'val_ndcg@10', '-', '#c98f4a', 'validation nDCG@10 (right)'),
        ):
            values = [row[key] for row in history]
            panel.plot(
                epochs,
                values,
                style,
                color=color,
                alpha=0.8,
                label=label if number == 0 else None,
            )
        best = history[report['best_epoch']]
        axes.plot(
            best['epoch'] + 1,
            best['val_loss'],
            'o',
            color=MODEL_COLOR,
            label='selected epoch' if number == 0 else None,
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel='epoch', ylabel='prediction loss', title=title_of(reports))
    ranking.set_ylabel('nDCG@10')
    figure.legend(frameon=False, loc='outside lower center', ncols=2, fontsize=8)
    return figure


def support_sizes(reports: Reports) -> Any:
    """nDCG@10 after supports of each size; points are means over reports."""
    figure, axes = new_figure((6.4, 4.2))
    floor = 1.0
    sizes = [int(k) for k in reports[0]['support_sizes']]
    for name in models_of(reports):
        if name == 'random':  # far below, it would flatten all others
            continue
        curve = [
            statistics.mean(
                (r if name == 'tanp' else r['peers'][name])['support_sizes'][str(k)][
                    'ndcg@10'
                ]
                for r in reports
            )
            for k in sizes
        ]
        own = name == 'tanp'
        if own or name in FLAT:
            floor = min(floor, *curve)
        axes.plot(
            range(len(sizes)),
            curve,
            'o-',
            color=COLORS[name],
            label=NAMES[name],
            lw=2.4 if own else 1.3,
            ms=5 if own else 3.5,
            zorder=3 if own else 2,
        )
    # What is worse than no support at all may leave the picture.
    axes.set_ylim(bottom=floor - 0.01)
    axes.set_xticks(range(len(sizes)), [str(k) for k in sizes])
    axes.grid(True, axis='y', color='#e6e6e6', lw=0.6)
    axes.set(
        xlabel='support interactions of a new user',
        ylabel='test nDCG@10 (axis cut)',
        title=title_of(reports),
    )
    axes.legend(frameon=False, fontsize=8)
    return figure


def calibration_curve(reports: Reports) -> Any:
    """Observed shares against predicted probabilities; areas are counts."""
    figure, axes = new_figure((4.6, 4.4))
    axes.plot([0, 1], [0, 1], color='#b8b8b8', lw=1, ls='--')
    for report in reports:
        bins = report['calibration']
        total = sum(bins['count'])
        axes.plot(
            bins['predicted'], bins['observed'], color=MODEL_COLOR, lw=1, alpha=0.6
        )
        axes.scatter(
            bins['predicted'],
            bins['observed'],
            s=[600 * count / total + 4 for count in bins['count']],
            color=MODEL_COLOR,
            alpha=0.5,
            lw=0,
        )
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        aspect='equal',
        xlabel='predicted probability',
        ylabel='observed share',
        title=title_of(reports),
    )
    return figure


def cluster_assignments(report: dict[str, Any]) -> Any:
    """Assignments of the test users, sorted by their cluster."""
    figure, axes = new_figure((6.4, 3.2))
    rows = sorted(report['clusters'], key=lambda row: (row.index(max(row)), -max(row)))
    image = axes.imshow(
        list(zip(*rows, strict=True)),
        aspect='auto',
        interpolation='nearest',
        cmap='GnBu',
        vmin=0,
        vmax=1,
    )
    axes.set_yticks(range(len(rows[0])), [str(c + 1) for c in range(len(rows[0]))])
    axes.spines[:].set_visible(False)
    config = report['config']
    axes.set(
        xlabel='test users, sorted by their first cluster',
        ylabel='cluster',
        title=f'{config["name"]}, split {config["split_seed"]}, seed {config["seed"]}',
    )
    figure.colorbar(image, ax=axes, label='assignment')
    return figure


def main(argv: list[str] | None = None) -> int:
    """Draws quality by support size over all splits of a config."""
    parser = plain_parser('benchmarks.tanp_plots', main.__doc__)
    parser.add_argument('folders', type=Path, nargs='+', help='of reports of a config')
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    for folder in args.folders:
        reports = read_reports(folder)
        if not reports:
            raise ValueError(f"no report.json in '{folder}'")
        if any('support_sizes' not in report for report in reports):
            raise ValueError(f"'{folder}' must hold reports of benchmarks.tanp alone")
        print(save(support_sizes(reports), folder / 'support-size.png'))


if __name__ == '__main__':
    sys.exit(main())
