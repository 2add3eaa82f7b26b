"""Tables from reports, and from nothing else.

python -m benchmarks.tables --write README.md
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import tanp_tables
from benchmarks.layer_plots import layer_table
from benchmarks.markdown import figures, listed, markdown, mean_std
from benchmarks.report import read_reports
from benchmarks.scale_plots import scale_table
from benchmarks.serving import serving_table
from benchmarks.tanp_ablation import ablation_table

RESULTS = Path(__file__).parent / 'results'
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
    'agnn': 'AGNN',
}
TANP = {
    'lastfm': 'Last.FM',
    'lastfm-ensemble': 'Last.FM, four models averaged',
    'ml100k': 'MovieLens-100K',
    'lastfm-as-published': 'Last.FM, the published model',
}
MODES = {
    'item_cold': 'item cold',
    'user_cold': 'user cold',
    'both_cold': 'both cold',
    'warm': 'warm',
}


def run_table(reports: Sequence[dict[str, Any]]) -> str:
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


def _cells(scored: Sequence[dict[str, Any]]) -> list[str]:
    if not scored:
        return ['not run'] * len(_COLUMNS)
    return [figures([s['metrics'][part][m] for s in scored]) for part, m in _COLUMNS]


def summary_table(reports: Sequence[dict[str, Any]]) -> str:
    """Test RMSE / MAE of every model, mean over splits of the mean over seeds.

    The last rows: how far AGNN is from the best of its peers, split by split,
    and what the figures are means over.
    """
    chosen = [
        [r for r in reports if r['config']['data']['mode'] == mode] for mode in MODES
    ]
    rows = [
        (label, *(_over_splits(part, name) for part in chosen))
        for name, label in NAMES.items()
    ]
    rows.append(('RMSE, AGNN − best peer', *map(_paired, chosen)))
    rows.append(('splits × seeds', *map(_counts, chosen)))
    return markdown(('test RMSE / MAE', *MODES.values()), rows)


def hardware_line(reports: Sequence[dict[str, Any]]) -> str:
    """Where the figures were measured."""
    lines = set()
    for report in reports:
        e = report['environment']
        device = f'{e["cpu"]}, {e["threads"]} thread(s)'
        device = device if e['device'] == 'cpu' else e['device']
        lines.add(
            f'{device}; Python {e["python"]}, torch {e["torch"]}, '
            f'torch-geometric {e["torch_geometric"]}'
        )
    return 'Measured on: ' + ' | '.join(sorted(lines)) + '.'


def fill(text: str, blocks: dict[str, str]) -> str:
    """Replaces what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    for name, block in blocks.items():
        start, end = f'<!-- {name} -->', f'<!-- /{name} -->'
        if text.count(start) != 1 or text.count(end) != 1:
            raise ValueError(f"The text lacks one '{start}' and one '{end}'")
        before, rest = text.split(start)
        text = f'{before}{start}\n{block}\n{end}{rest.split(end)[1]}'
    return text


def readme_blocks(results: Path = RESULTS) -> dict[str, str]:
    """What the README shows of the committed results."""
    reports = read_reports(results / 'agnn')
    blocks = {
        'agnn results': summary_table(reports),
        'layer results': 'not run',
        'tanp results': _tanp_block(results / 'tanp'),
        'tanp-ablation results': 'not run',
        'serving results': 'not run',
        'scale results': 'not run',
    }
    if reports:
        blocks['agnn results'] += f'\n\n{hardware_line(reports)}'
    for name, table in (
        ('layer', layer_table),
        ('tanp-ablation', lambda content: ablation_table(content['runs'])),
        ('serving', serving_table),
        ('scale', scale_table),
    ):
        path = results / f'{name}.json'
        if path.exists():
            content = json.loads(path.read_text(encoding='utf-8'))
            block = f'{table(content)}\n\n{hardware_line([content])}'
            blocks[f'{name} results'] = block
    return blocks


def _tanp_block(results: Path) -> str:
    parts = []
    for name, title in TANP.items():
        reports = read_reports(results / name)
        if not reports:
            parts.append(f'**{title}**: not run.')
            continue
        seeds, splits = (
            len({r['config'][key] for r in reports}) for key in ('seed', 'split_seed')
        )
        parts += [
            f'**{title}** (splits × model seeds: {splits} × {seeds})',
            tanp_tables.summary_table(reports),
            tanp_tables.size_table(reports),
            tanp_tables.sensitivity_line(reports),
            hardware_line(reports),
        ]
    return '\n\n'.join(parts)


def _over_splits(reports: Sequence[dict[str, Any]], name: str) -> str:
    scores = [_by_split(reports, name, metric) for metric in ('rmse', 'mae')]
    if not scores[0]:
        return 'not run'
    return ' / '.join(mean_std(list(values.values())) for values in scores)


def _paired(reports: Sequence[dict[str, Any]]) -> str:
    """Differences on the same split: splits differ more than models do."""
    own = _by_split(reports, 'agnn', 'rmse')
    peers = [_by_split(reports, name, 'rmse') for name in NAMES if name != 'agnn']
    # Only a peer that ran wherever AGNN did can be the best one.
    whole = [peer for peer in peers if own and peer.keys() >= own.keys()]
    if not whole:
        return 'not run'
    best = min(whole, key=lambda peer: statistics.mean(peer.values()))
    return mean_std([own[split] - best[split] for split in own])


def _counts(reports: Sequence[dict[str, Any]]) -> str:
    seeds = {r['config']['seed'] for r in reports}
    splits = {r['config']['split_seed'] for r in reports}
    return f'{len(splits)} × {len(seeds)}' if reports else 'not run'


def _by_split(
    reports: Sequence[dict[str, Any]], name: str, metric: str
) -> dict[int, float]:
    """Test scores of each split, averaged over model seeds."""
    scores: dict[int, list[float]] = {}
    for report in reports:
        source = report if name == 'agnn' else report['peers'].get(name, {})
        if 'metrics' not in source:
            continue
        value = source['metrics']['test'][metric]
        scores.setdefault(report['config']['split_seed'], []).append(value)
    return {split: statistics.mean(values) for split, values in scores.items()}


def main(argv: list[str] | None = None) -> int:
    """Prints the tables, or writes them into a page."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.tables', description='Tables of committed results.'
    )
    parser.add_argument('--results', type=Path, default=RESULTS)
    parser.add_argument('--write', type=Path, metavar='PAGE', help='fill in a page')
    args = parser.parse_args(argv)
    blocks = readme_blocks(args.results)
    if args.write is None:
        print('\n\n'.join(blocks.values()))
        return 0
    try:
        text = fill(args.write.read_text(encoding='utf-8'), blocks)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    args.write.write_text(text, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
