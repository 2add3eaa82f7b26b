"""Figures that only a page has room for, drawn from reports."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.agnn_tables import MODES, NAMES, leads
from benchmarks.layer_plots import draw_panel
from benchmarks.plots import LINE_COLOR, MODEL_COLOR, PEER_COLOR, new_figure

Reports = Sequence[dict[str, Any]]

SIZE = (4.5, 3.1)  # inches, of most charts
MODE_COLORS = dict(
    zip(MODES, ('#1f6f8b', '#c98f4a', '#c0504d', '#8d6cab'), strict=True)
)


def lead_dots(reports: Reports) -> Any | None:
    """How far each peer is behind AGNN in test RMSE: mean, and a dot a split."""
    gaps = {n: leads(reports, n) for n in NAMES if n != 'agnn'}
    gaps = {name: [-v for v in gap.values()] for name, gap in gaps.items() if gap}
    if not gaps:
        return None
    figure, axes = new_figure((4.5, 0.9 + 0.27 * len(gaps)))
    labels = [NAMES[name] for name in gaps]
    means = [statistics.mean(values) for values in gaps.values()]
    axes.barh(labels, means, color=PEER_COLOR, height=0.55)
    for row, values in enumerate(gaps.values()):
        axes.plot(values, [row] * len(values), 'o', color=MODEL_COLOR, ms=3.5, lw=0)
    axes.axvline(0, color=LINE_COLOR, lw=1)
    axes.invert_yaxis()
    axes.locator_params(axis='x', nbins=5)
    axes.set(xlabel='test RMSE above AGNN; dots are splits')
    return figure


def mode_calibration(by_mode: Mapping[str, Reports]) -> Any:
    """Mean rating against mean prediction, in tenths of the test ratings."""
    figure, axes = new_figure(SIZE)
    ends = []
    for mode, reports in by_mode.items():
        bins = [r['breakdown']['calibration'] for r in reports if 'breakdown' in r]
        if not bins:
            continue
        predicted, observed = (
            [
                statistics.mean(b[key] for b in tenth)
                for tenth in zip(*bins, strict=False)
            ]
            for key in ('predicted', 'observed')
        )
        ends += [min(*predicted, *observed), max(*predicted, *observed)]
        style = {'color': MODE_COLORS[mode], 'label': MODES[mode]}
        axes.plot(predicted, observed, 'o-', ms=3.5, lw=1.2, **style)
    if ends:
        axes.axline((min(ends),) * 2, slope=1, color=LINE_COLOR, lw=1, ls='--')
        _legend_above(figure)
    axes.set(xlabel='predicted rating', ylabel='mean rating given')
    return figure


def error_curves(by_mode: Mapping[str, Reports], key: str, label: str) -> Any:
    """Test RMSE in the buckets of a breakdown, over all reports of a mode."""
    figure, axes = new_figure(SIZE)
    curves = {mode: _buckets(reports, key) for mode, reports in by_mode.items()}
    bounds = sorted({bound for curve in curves.values() for bound in curve})
    place = {bound: number for number, bound in enumerate(bounds)}
    for mode, curve in curves.items():
        if curve:
            axes.plot(
                [place[bound] for bound in curve],
                list(curve.values()),
                'o-',
                color=MODE_COLORS[mode],
                label=MODES[mode],
                ms=3.5,
                lw=1.2,
            )
    axes.set_xticks(range(len(bounds)), [f'{bound:g}+' for bound in bounds])
    axes.grid(True, axis='y', color='#e6e6e6', lw=0.6)
    axes.set(xlabel=label, ylabel='test RMSE (axis cut)')
    _legend_above(figure)
    return figure


def _legend_above(figure: Any) -> None:
    figure.legend(frameon=False, loc='outside upper center', ncols=4, fontsize=8)


def _buckets(reports: Reports, key: str) -> dict[float, float]:
    """Root of the mean squared error of each bucket, all its ratings counted."""
    squares: dict[float, float] = {}
    counts: dict[float, int] = {}
    for report in reports:
        for row in report.get('breakdown', {}).get(key, []):
            bound, number = row['from'], row['ratings']
            squares[bound] = squares.get(bound, 0) + number * row['rmse'] ** 2
            counts[bound] = counts.get(bound, 0) + number
    return {bound: (squares[bound] / counts[bound]) ** 0.5 for bound in sorted(counts)}


def layer_cost(results: dict[str, Any], vary: str) -> Any:
    """One panel of the layer's figure by itself."""
    figure, axes = new_figure(SIZE)
    draw_panel(axes, results, vary)
    axes.set_ylabel('forward + backward, CPU seconds')
    axes.legend(frameon=False, fontsize=8)
    return figure
