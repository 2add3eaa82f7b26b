"""Sections of TaNP: results by support size, sensitivity, learning, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import NOT_RUN
from benchmarks.pages.charts import SIZE
from benchmarks.pages.parts import Card, Section, Table, Text, as_table, chart
from benchmarks.tanp_ablation import WHOLE, ablation_table
from benchmarks.tanp_plots import (
    calibration_curve,
    cluster_assignments,
    learning_curves,
    support_sizes,
)
from benchmarks.tanp_tables import (
    CURVE,
    NAMES,
    NOTE,
    closest_peer,
    lead,
    over_splits,
    sensitivity_line,
    size_table,
    summary_table,
)

Reports = Sequence[dict[str, Any]]

OWN = (NAMES['tanp'],)


def cards(tanp: Mapping[str, Reports], titles: Mapping[str, str]) -> list[Card]:
    """TaNP and its closest peer, on each data set."""
    found = []
    for name, reports in tanp.items():
        title = f'{titles[name]}, nDCG@10'
        if not reports:
            found.append(Card(title, NOT_RUN, ''))
            continue
        peer = closest_peer(reports)
        text = (
            f'{NAMES[peer]}: {over_splits(reports, peer, CURVE)}. TaNP ahead by '
            f'{lead(reports, peer)} (its standard error, as splits share users)'
        )
        found.append(Card(title, over_splits(reports, 'tanp', CURVE), text))
    return found


def results_section(tanp: Mapping[str, Reports], titles: Mapping[str, str]) -> Section:
    """All data sets: a table of models, quality by support size, sensitivity."""
    parts: list[Any] = [
        Text(
            'A new user tells a few things; what next? None of the test users was '
            'trained on, and nothing is trained for them.'
        )
    ]
    for name, reports in tanp.items():
        parts.append(Text(titles[name], 'heading'))
        if not reports:
            parts.append(Text('Not run.', 'note'))
            continue
        seeds, splits = (
            len({r['config'][key] for r in reports}) for key in ('seed', 'split_seed')
        )
        parts += [
            as_table(
                summary_table(reports),
                f'Test scores; splits × model seeds: {splits} × {seeds}. Mean over '
                f'splits, ± sample standard deviation; leads are paired, ± their '
                f'standard error, as splits share users. {NOTE}',
                OWN,
            ),
            as_table(
                size_table(reports),
                'After fewer interactions of the same users: means over splits.',
                OWN,
            ),
            Text(sensitivity_line(reports)),
            *_charts(name, reports),
        ]
    return Section('tanp', 'TaNP: a few interactions', parts)


def _charts(name: str, reports: Reports) -> list[Any]:
    split = min(r['config']['split_seed'] for r in reports)
    one = [r for r in reports if r['config']['split_seed'] == split]
    drawn = [
        (support_sizes(reports), 'sizes', 'nDCG@10 by the size of the support'),
        (learning_curves(one), 'learn', f'Learning, split {split}'),
    ]
    if 'calibration' in one[0]:
        caption = f'Calibration, split {split}; areas are counts'
        drawn.append((calibration_curve(one), 'calibration', caption))
    if 'clusters' in one[0]:
        caption = f'Cluster of each test user, split {split}'
        drawn.append((cluster_assignments(one[0]), 'clusters', caption))
    return [
        chart(figure, f'tanp-{name}-{key}', caption, SIZE)
        for figure, key, caption in drawn
    ]


def ablation(content: dict[str, Any] | None) -> Table | None:
    """One change at a time on Last.FM."""
    if content is None:
        return None
    caption = (
        'Test scores: mean over splits and seeds, ± sample standard deviation; '
        'differences are paired, ± their standard error.'
    )
    return as_table(ablation_table(content['runs']), caption, (WHOLE,))
