"""Tables of AGNN and its peers, from reports and from nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import NOT_RUN, figures, listed, markdown, mean_std
from benchmarks.records import read_reports

Reports = Sequence[dict[str, Any]]

NAMES = {
    'global_mean': 'global mean',
    'damped_biases': 'damped biases',
    'ridge': 'ridge',
    'slope_ridge': 'ridge, slopes a user',
    'lightgbm': 'LightGBM',
    'cmfrec': 'collective MF (cmfrec)',
    'svdpp': 'SVD++ (surprise)',
    'myfm': 'Bayesian FM (myfm)',
    'myfm_implicit': 'Bayesian FM, implicit',
    'published': 'AGNN as published',
    'agnn': 'AGNN',
}
MODES = {
    'item_cold': 'item cold',
    'user_cold': 'user cold',
    'both_cold': 'both cold',
    'warm': 'warm',
}


def read_agnn(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Reports of AGNN beside its peers, and those of fresh splits."""
    agnn, published, fresh = (
        read_reports(folder / part) for part in ('agnn', 'published/agnn', 'fresh/agnn')
    )
    return with_published(agnn, published), fresh


def run_table(reports: Reports) -> str:
    """The models of one split side by side, as Markdown.

    Peers have no seed; AGNN's figures are mean ± sample standard deviation over
    model seeds, and the figures themselves where there are fewer than three.
    """
    first = reports[0]
    rows = [
        (NAMES[name], *_cells([peer] if 'metrics' in peer else []))
        for name, peer in first['peers'].items()
    ]
    rows.append((NAMES['agnn'], *_cells(reports)))
    data, seeds = first['data'], [r['config']['seed'] for r in reports]
    title = (
        f'{first["config"]["name"]}: {data["num_fit"]:,} ratings to train and select '
        f'on, {data["num_test"]:,} to test; model seeds {listed(seeds)}'
    )
    header = ('', 'validation RMSE', 'test RMSE', 'test MAE')
    return f'{title}\n\n{markdown(header, rows)}'


_COLUMNS = (('val', 'rmse'), ('test', 'rmse'), ('test', 'mae'))


def _cells(scored: Reports) -> list[str]:
    if not scored:
        return [NOT_RUN] * len(_COLUMNS)
    return [figures([s['metrics'][part][m] for s in scored]) for part, m in _COLUMNS]


def summary_table(reports: Reports) -> str:
    """Test RMSE / MAE of every model, mean over splits of the mean over seeds.

    The last rows: how far AGNN is from the best of its peers, split by split,
    and what the figures are means over.
    """
    chosen = by_mode(reports).values()
    rows = [
        (label, *(_over_splits(part, name) for part in chosen))
        for name, label in NAMES.items()
    ]
    rows.append(('RMSE, AGNN − best peer', *map(_paired, chosen)))
    rows.append(('splits × seeds', *map(_counts, chosen)))
    return markdown(('test RMSE / MAE', *MODES.values()), rows)


def rmse_table(reports: Reports) -> str:
    """The same in short: test RMSE, and AGNN's lead over the best peer."""
    chosen = by_mode(reports)
    rows = [
        (label, *(_over_splits(part, name, ('rmse',)) for part in chosen.values()))
        for name, label in NAMES.items()
        if by_split(reports, name, 'rmse')
    ]
    rows.append(('AGNN − best peer', *map(_paired, chosen.values())))
    return markdown(('test RMSE', *MODES.values()), rows)


def lead_table(reports: Reports) -> str:
    """AGNN's test RMSE minus each peer's, and on how many splits it is lower."""
    chosen = by_mode(reports)
    rows = [
        (label, *(_lead(part, name) for part in chosen.values()))
        for name, label in NAMES.items()
        if name != 'agnn'
    ]
    return markdown(('RMSE, AGNN − peer', *MODES.values()), rows)


def _lead(reports: Reports, name: str) -> str:
    values = list(leads(reports, name).values())
    if not values:
        return NOT_RUN
    return f'{mean_std(values)} ({sum(v < 0 for v in values)} of {len(values)})'


def by_mode(reports: Reports) -> dict[str, list[dict[str, Any]]]:
    """Reports of each of the four modes, in their order."""
    return {
        mode: [r for r in reports if r['config']['data']['mode'] == mode]
        for mode in MODES
    }


def _over_splits(
    reports: Reports,
    name: str,
    metrics: Sequence[str] = ('rmse', 'mae'),
) -> str:
    scores = [by_split(reports, name, metric) for metric in metrics]
    if not scores[0]:
        return NOT_RUN
    return ' / '.join(mean_std(list(values.values())) for values in scores)


def _paired(reports: Reports) -> str:
    best = best_peer(reports)
    if best is None:
        return NOT_RUN
    return mean_std(list(leads(reports, best).values()))


def best_peer(reports: Reports) -> str | None:
    """The peer of the lowest test RMSE in the mean over all of AGNN's splits."""
    own = by_split(reports, 'agnn', 'rmse')
    peers = {n: by_split(reports, n, 'rmse') for n in NAMES if n != 'agnn'}
    # Only a peer that ran wherever AGNN did can be the best one.
    whole = {n: peer for n, peer in peers.items() if own and peer.keys() >= own.keys()}
    return min(whole, key=lambda n: statistics.mean(whole[n].values()), default=None)


def leads(reports: Reports, name: str) -> dict[int, float]:
    """AGNN's test RMSE minus a peer's, by split: splits differ more than models."""
    own, peer = (by_split(reports, n, 'rmse') for n in ('agnn', name))
    return {split: own[split] - peer[split] for split in own if split in peer}


def with_published(reports: Reports, published: Reports) -> list[dict[str, Any]]:
    """Reports in which AGNN as published is one more peer.

    Args:
        reports (sequence): Of AGNN.
        published (sequence): Of configs as published: of the same modes, splits and
            seeds, as far as they were run.
    """
    found = {_run(report): {'metrics': report['metrics']} for report in published}
    return [
        {**report, 'peers': report['peers'] | {'published': found[_run(report)]}}
        if _run(report) in found
        else report
        for report in reports
    ]


def _run(report: dict[str, Any]) -> tuple[str, int, int]:
    config = report['config']
    return config['data']['mode'], config['split_seed'], config['seed']


def _counts(reports: Reports) -> str:
    seeds = {r['config']['seed'] for r in reports}
    splits = {r['config']['split_seed'] for r in reports}
    return f'{len(splits)} × {len(seeds)}' if reports else NOT_RUN


def by_split(reports: Reports, name: str, metric: str) -> dict[int, float]:
    """Test scores of each split, averaged over model seeds."""
    scores: dict[int, list[float]] = {}
    for report in reports:
        source = report if name == 'agnn' else report['peers'].get(name, {})
        if 'metrics' not in source:
            continue
        value = source['metrics']['test'][metric]
        scores.setdefault(report['config']['split_seed'], []).append(value)
    return {split: statistics.mean(values) for split, values in scores.items()}
