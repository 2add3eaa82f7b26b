"""Sections of AGNN: results, learning, errors, and what each part is worth."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.ablation_tables import ablation_tables
from benchmarks.agnn_tables import (
    MODES,
    NAMES,
    best_peer,
    by_mode,
    by_split,
    lead_table,
    leads,
    summary_table,
)
from benchmarks.markdown import NOT_RUN, mean_std
from benchmarks.pages.charts import SIZE, error_curves, lead_dots, mode_calibration
from benchmarks.pages.parts import Card, Section, Table, Text, as_table, chart
from benchmarks.plots import ablation_bars, learning_curves

Reports = Sequence[dict[str, Any]]

OWN = (NAMES['agnn'], 'RMSE, AGNN − best peer')
BREAKDOWNS = {
    'item_popularity': 'training ratings of the film',
    'user_popularity': 'training ratings of the user',
    'item_attributes': 'attribute values of the film',
    'user_attributes': 'attribute values of the user',
}
GATES = 12  # rows of the table of gates


def cards(reports: Reports) -> list[Card]:
    """AGNN and its best peer, mode by mode."""
    found = []
    for mode, part in by_mode(reports).items():
        best = best_peer(part)
        if best is None:
            found.append(Card(f'{MODES[mode].capitalize()}, test RMSE', NOT_RUN, ''))
            continue
        own, peer = (
            mean_std(list(by_split(part, name, 'rmse').values()))
            for name in ('agnn', best)
        )
        lead = list(leads(part, best).values())
        found.append(
            Card(
                f'{MODES[mode].capitalize()}, test RMSE',
                own,
                f'{NAMES[best]}: {peer}. Difference {mean_std(lead)}; lower on '
                f'{sum(v < 0 for v in lead)} of {_number(lead, "split")}',
            )
        )
    return found


def _number(found: Sequence[Any], what: str) -> str:
    return f'{len(found)} {what}{"s" * (len(found) != 1)}'


def results_section(reports: Reports, key: str, title: str, lead: str) -> Section:
    """Tables and paired differences."""
    parts: list[Any] = [Text(lead)]
    if not reports:
        return Section(key, title, [*parts, Text('Not run.', 'note')])
    parts += [
        as_table(
            summary_table(reports),
            'Test RMSE above, MAE below; lower is better. Mean over splits of the mean '
            'over model seeds, ± sample standard deviation over splits.',
            OWN,
        ),
        as_table(
            lead_table(reports),
            'Paired on the same splits: test RMSE of AGNN minus that of the peer, ± '
            'sample standard deviation, and on how many splits AGNN is lower.',
        ),
    ]
    for mode, part in by_mode(reports).items():
        dots = lead_dots(part)
        if dots is not None:
            size = tuple(dots.get_size_inches())
            caption = f'How far peers are behind AGNN, {MODES[mode]}'
            parts.append(chart(dots, f'{key}-lead-{mode}', caption, size))
    return Section(key, title, parts)


def learning_section(reports: Reports) -> Section:
    """Learning curves, calibration, error by what is known, and gates."""
    parts: list[Any] = []
    modes = {mode: part for mode, part in by_mode(reports).items() if part}
    for mode, part in modes.items():
        split = min(r['config']['split_seed'] for r in part)
        chosen = [r for r in part if r['config']['split_seed'] == split]
        caption = (
            f'Learning, {MODES[mode]}, split {split}, {_number(chosen, "model seed")}'
        )
        parts.append(chart(learning_curves(chosen), f'learn-{mode}', caption, SIZE))
    if not modes:
        return Section('learning', 'Learning and errors', [Text('Not run.', 'note')])
    if any('gates' in r for part in modes.values() for r in part):
        parts.append(
            Text(
                'Training error is that of the network alone; validation is of the '
                'network and the messages together, which is why it moves little.',
                'note',
            )
        )
    parts.append(Text('Where predictions can be trusted', 'heading'))
    parts.append(
        chart(
            mode_calibration(modes),
            'calibration',
            'Calibration: what was given, in tenths of the test ratings by prediction. '
            'On the dashed line a prediction is right in the mean.',
            SIZE,
        )
    )
    for key, label in BREAKDOWNS.items():
        caption = f'Error by {label}; a cold node has none of the training ratings.'
        if key.endswith('attributes'):
            caption = f'Error by {label}.'
        parts.append(chart(error_curves(modes, key, label), key, caption, SIZE))
    gates = gate_table(modes)
    if gates:
        parts += [Text('Which messages are let through', 'heading'), gates]
    return Section('learning', 'Learning and errors', parts)


def gate_table(modes: Mapping[str, Reports]) -> Table | None:
    """The widest gates of messages: a user relation beside a film relation."""
    means: dict[str, dict[str, float]] = {}
    for mode, reports in modes.items():
        found = [r['gates']['gates'] for r in reports if 'gates' in r]
        for name in {name for gates in found for name in gates}:
            values = [gates.get(name, 0.0) for gates in found]
            means.setdefault(name, {})[mode] = statistics.mean(values)
    total = {mode: sum(gate.get(mode, 0) for gate in means.values()) for mode in modes}

    def share(name: str) -> float:
        # Modes differ in scale: a gate counts by its share in one of them.
        return max(value / (total[mode] or 1) for mode, value in means[name].items())

    order = sorted(means, key=share, reverse=True)[:GATES]
    if not order:
        return None
    rows = [
        (n, *(f'{means[n][m]:.4f}' if m in means[n] else '' for m in modes))
        for n in order
    ]
    caption = (
        'Learnt gates of the largest shares: user similarity | film similarity. “self” '
        'is the same node, “all” every node. Mean over splits.'
    )
    return Table(('gate', *(MODES[mode] for mode in modes)), rows, caption)


def ablation_section(ablation: Mapping[str, Reports], tanp: Table | None) -> Section:
    """What each part is worth, in all modes, and for TaNP."""
    parts: list[Any] = []
    for name, reports in ablation.items():
        parts.append(Text(f'AGNN, {name}', 'heading'))
        if not reports:
            parts.append(Text('Not run.', 'note'))
            continue
        caption = (
            'Means over splits and seeds; differences are paired, ± their standard '
            'error. Above zero: worse for the change.'
        )
        for base, table in ablation_tables(reports).items():
            parts.append(as_table(table, caption, (base,)))
        bars = ablation_bars(reports)
        if bars is not None:
            size = (4.8, bars.get_size_inches()[1])
            parts.append(
                chart(
                    bars, f'ablation-{name.replace(" ", "-")}', 'The same as bars', size
                )
            )
    parts.append(Text('TaNP on Last.FM', 'heading'))
    parts.append(tanp or Text('Not run.', 'note'))
    return Section('ablations', 'What each part is worth', parts)
