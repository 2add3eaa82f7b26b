"""Sections on what the figures rest on: what was not run, and how the rest was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.agnn_tables import MODES, NAMES, by_mode
from benchmarks.pages.parts import Code, Section, Table, Text
from benchmarks.variants import VARIANTS

Reports = Sequence[dict[str, Any]]
Content = dict[str, Any] | None

FRESH = 10  # further splits


def not_run_section(
    agnn: Reports,
    fresh: Reports,
    tanp: Mapping[str, Reports],
    ablation: Mapping[str, Reports],
    single: Mapping[str, Content],
) -> Section:
    """All that is missing, so that nobody takes a gap for a result."""
    rows = [*_agnn_gaps(agnn, 'AGNN'), *_fresh_gaps(fresh)]
    rows += [(f'TaNP, {name}', 'all splits', '') for name, r in tanp.items() if not r]
    for name, reports in ablation.items():
        ran = {r['config']['variant'] for r in reports}
        lacking = [variant for variant in VARIANTS if variant not in ran]
        what = 'all variants' if not ran else ', '.join(lacking)
        rows += [(f'ablation, {name}', what, '')] if lacking else []
    rows += [(name, 'all', '') for name, content in single.items() if content is None]
    reports = [*agnn, *fresh, *(r for part in tanp.values() for r in part)]
    if all(r['environment']['device'] == 'cpu' for r in reports):
        rows.append(('CUDA', 'every training run above is one of a CPU', ''))
    table = Table(('result', 'not run', 'why'), rows, words=(1, 2))
    return Section('not-run', 'What was not run', [table])


def _agnn_gaps(reports: Reports, title: str) -> list[tuple[str, str, str]]:
    rows = []
    for mode, part in by_mode(reports).items():
        name = f'{title}, {MODES[mode]}'
        if not part:
            rows.append((name, 'all splits', ''))
            continue
        peers: dict[str, list[str]] = {}
        for peer, label in NAMES.items():
            why = _why_not(part, peer)
            if peer != 'agnn' and why:
                peers.setdefault(why, []).append(label)
        rows += [(name, ', '.join(labels), why) for why, labels in peers.items()]
    return rows


def _why_not(reports: Reports, peer: str) -> str:
    """Why a peer lacks scores, or nothing if it has them in all reports."""
    found = [r['peers'].get(peer, {}) for r in reports]
    why = {p.get('not_run', 'left out') for p in found if 'metrics' not in p}
    return '; '.join(sorted(why))


def _fresh_gaps(reports: Reports) -> list[tuple[str, str, str]]:
    rows = []
    for mode, part in by_mode(reports).items():
        lacking = FRESH - len({r['config']['split_seed'] for r in part})
        if lacking > 0:
            what = f'{lacking} of {FRESH} splits'
            rows.append((f'AGNN on fresh splits, {MODES[mode]}', what, ''))
    return rows


def origin_section(groups: Mapping[str, Sequence[dict[str, Any]]]) -> Section:
    """Where, when in the code's history and by what command figures were made."""
    rows = []
    for name, reports in groups.items():
        if not reports:
            continue
        environments = [r['environment'] for r in reports]
        commits = {str(e['git_commit'])[:8] for e in environments}
        dirty = sum(bool(e['git_dirty']) for e in environments)
        minutes = sum(r.get('time', {}).get('total_s', 0) for r in reports) / 60
        peak = [r['peak_memory_mb'] for r in reports if r.get('peak_memory_mb')]
        rows.append(
            (
                name,
                str(len(reports)),
                f'{minutes:.0f}' if minutes else '',
                f'{max(peak):,.0f}' if peak else '',
                ', '.join(sorted(commits)) + (f' ({dirty} changed)' if dirty else ''),
                _machine(environments),
            )
        )
    header = ('result', 'files', 'minutes', 'peak, MB', 'commits', 'measured on')
    caption = (
        'Minutes of training and scoring our model, peers not counted; peak memory of '
        'the whole process. “Changed”: files of the code differed from the commit.'
    )
    parts: list[Any] = [Table(header, rows, caption, words=(4, 5))]
    every = [report for reports in groups.values() for report in reports]
    commands = [r['command'] for r in every if 'command' in r]
    if commands:
        parts.append(Code(_shortened(commands)))
    parts.append(
        Text(
            'Settings and epochs are selected on validation only; each test part is '
            'scored once by the model so selected. Every figure on this page is read '
            'from a JSON file in benchmarks/results.',
            'note',
        )
    )
    return Section('origin', 'Where the figures come from', parts)


def _machine(environments: Sequence[dict[str, Any]]) -> str:
    found = set()
    for e in environments:
        device = e['cpu'] if e['device'] == 'cpu' else e['device']
        threads = f'{e["threads"]} thread{"s" * (e["threads"] != 1)}'
        versions = f'torch {e["torch"]}, PyG {e["torch_geometric"]}'
        found.add(f'{device}, {threads}, Python {e["python"]}, {versions}')
    return '; '.join(sorted(found))


def _shortened(commands: Sequence[str]) -> list[str]:
    """Commands that differ in the split alone, once."""
    return sorted({_without_split(command) for command in commands})


def _without_split(command: str) -> str:
    words = command.split()
    for number, word in enumerate(words[:-1]):
        if word == '--split-seed':
            words[number + 1] = 'SPLIT'
    return ' '.join(words)
