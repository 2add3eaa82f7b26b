r"""Tables from rows of results, and from nothing else.

Behind :math:`\pm` stands the standard error of :mod:`benchmarks.stats`, everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from benchmarks.stats import Estimate, best, by_split, difference, newest, score
from benchmarks.suite import Suite

NOT_RUN = 'not run'
LABELS = {
    'rmse': 'RMSE',
    'mae': 'MAE',
    'mse': 'MSE',
    'log_loss': 'log-loss',
    'published_precision@5': 'P@5 †',
    'published_ap@5': 'MAP@5 †',
    'ndcg@5': 'nDCG@5',
    'ndcg@10': 'nDCG@10',
    'ap@10': 'MAP@10',
    'lastfm': 'Last.FM',
    'ml-100k': 'MovieLens-100K',
    'ml-100k-u': 'MovieLens-100K',
    'ml-1m': 'MovieLens-1M',
    'flixster': 'Flixster',
    'douban': 'Douban',
    'yahoo_music': 'YahooMusic',
}
CHANGES = {
    'flipped_labels': 'all support labels flipped',
    'another_user': "another user's support",
}
CURVE = 'ndcg@10'  # of quality by support size, and of few-shot differences
FEW_SHOT = ('published_precision@5', 'ndcg@5', 'published_ap@5', 'ndcg@10', 'ap@10')


class Table(NamedTuple):
    """Header and rows of texts."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as Markdown, aligned for reading as text, too."""
        table = [tuple(self.header), *map(tuple, self.rows)]
        width = [max(len(row[c]) for row in table) for c in range(len(self.header))]

        def line(cells: Sequence[str]) -> str:
            pairs = enumerate(zip(cells, width, strict=True))
            padded = [c.rjust(w) if n else c.ljust(w) for n, (c, w) in pairs]
            return '| ' + ' | '.join(padded) + ' |'

        rule = ['-' * (w + 1) + (':' if n else '-') for n, w in enumerate(width)]
        return '\n'.join([line(table[0]), f'|{"|".join(rule)}|', *map(line, table[1:])])


def words(name: str) -> str:
    """How tables write a metric, a data set or a scenario."""
    return LABELS.get(name, name.replace('_', ' '))


def written(found: Estimate | None, sign: str = '') -> str:
    """An estimate: two significant digits of the error, the mean to the same place.

    Args:
        found: The estimate, if there is one.
        sign: :obj:`'+'` to write it in front of positive means.
    """
    if found is None:
        return NOT_RUN
    if found.error is None or found.error < 1e-9:
        return f'{found.mean:{sign}.4f}'
    places = min(max(1 - math.floor(math.log10(found.error)), 2), 5)
    return f'{found.mean:{sign}.{places}f} ± {found.error:.{places}f}'


def columns_of(rows: pd.DataFrame, suite: Suite) -> dict[str, pd.DataFrame]:
    """Rows of a suite by data set and scenario, named by what differs."""
    rows = newest(rows[rows['suite'] == suite.name])
    found = {}
    for data in suite.data:
        for scenario in suite.scenarios:
            part = rows[(rows['data'] == data) & (rows['scenario'] == scenario)]
            names = [words(data)] * (len(suite.data) > 1)
            names += [words(scenario)] * (len(suite.scenarios) > 1 or not names)
            found[', '.join(names)] = part
    return found


def score_table(
    rows: pd.DataFrame, suite: Suite, metrics: Sequence[str] = ('rmse', 'mae')
) -> Table:
    """Test scores of every estimator; own against the best baseline; splits x seeds."""
    columns = columns_of(rows, suite)
    ran = {name for part in columns.values() for name in part['estimator']}
    labels = [x for x in suite.labels if x in ran or len(metrics) > 1]
    table = [
        (label, *(_scores(part, label, metrics) for part in columns.values()))
        for label in labels
    ]
    first = f'{words(metrics[0])}, {suite.own} − best baseline'
    gaps = [_to_best(part, suite, metrics[0]) for part in columns.values()]
    table.append((first, *(written(gap, '+') for gap in gaps)))
    table.append(('splits × seeds', *(counts(p, suite.own) for p in columns.values())))
    title = ' / '.join(words(metric) for metric in metrics)
    return Table((f'test {title}', *columns), table)


def _scores(part: pd.DataFrame, label: str, metrics: Sequence[str]) -> str:
    found = [score(part, label, metric) for metric in metrics] if len(part) else [None]
    return NOT_RUN if found[0] is None else ' / '.join(map(written, found))


def _to_best(part: pd.DataFrame, suite: Suite, metric: str) -> Estimate | None:
    name = best(part, suite.baselines, metric, suite.own)
    return None if name is None else difference(part, suite.own, name, metric)


def counts(part: pd.DataFrame, label: str) -> str:
    """Numbers of splits and of model seeds that an estimator was run with."""
    part = part[(part['estimator'] == label) & (part['part'] == 'test')]
    return f'{part["split"].nunique()} × {part["seed"].nunique()}'


def lead_table(rows: pd.DataFrame, suite: Suite, metric: str = 'rmse') -> Table:
    """Our score minus each other's, paired, and on how many splits ours is lower."""
    columns = columns_of(rows, suite)
    table = []
    for label in suite.labels:
        gaps = [
            difference(part, suite.own, label, metric) if len(part) else None
            for part in columns.values()
        ]
        if label != suite.own and any(gaps):
            cells = [
                f'{written(gap, "+")} ({gap.negative} of {gap.count})'
                if gap
                else NOT_RUN
                for gap in gaps
            ]
            table.append((label, *cells))
    return Table((f'{words(metric)}, {suite.own} − other', *columns), table)


def paired_table(rows: pd.DataFrame, suite: Suite, metric: str = 'rmse') -> Table:
    """Ours beside the baseline that is best in the mean, with a paired test."""
    table = []
    for name, part in columns_of(rows, suite).items():
        other = best(part, suite.baselines, metric, suite.own) if len(part) else None
        if other is None:
            table.append((name, *[NOT_RUN] * 6))
            continue
        gap = difference(part, suite.own, other, metric)
        splits = by_split(part, suite.own, metric).keys()
        scores = by_split(part, other, metric)
        mean = sum(scores[split] for split in splits) / len(splits)
        p = '' if gap.p is None else f'{gap.p:.3f}'
        table.append(
            (
                name,
                f'{score(part, suite.own, metric).mean:.4f}',
                other,
                f'{mean:.4f}',
                written(gap, '+'),
                f'{gap.negative} of {gap.count}',
                '< 0.001' if p == '0.000' else p,
            )
        )
    header = (
        f'test {words(metric)}',
        suite.own,
        'best baseline',
        f'its {words(metric)}',
    )
    return Table((*header, 'difference', 'splits won', 'p'), table)


def few_shot_table(
    rows: pd.DataFrame, suite: Suite, metrics: Sequence[str] | None = None
) -> Table:
    """Test scores of every estimator, and how far ours is ahead in nDCG@10."""
    (part,) = columns_of(rows, suite).values()
    loss = 'log_loss' if 'log_loss' in part and part['log_loss'].any() else 'mse'
    metrics = [*(metrics or FEW_SHOT), loss]
    table = []
    for label in suite.labels:
        found = [score(part, label, metric) for metric in metrics]
        ran = found[0] is not None
        cells = ['' if f is None and ran else written(f) for f in found]
        gap = difference(part, suite.own, label, CURVE)
        cells.append(written(gap, '+') if label != suite.own and ran else '')
        table.append((label, *cells))
    header = ('test', *map(words, metrics), f'{suite.own} ahead by, {words(CURVE)}')
    return Table(header, table)


def size_table(rows: pd.DataFrame, suite: Suite) -> Table:
    """nDCG@10 by the size of the support: means over splits."""
    (part,) = columns_of(rows, suite).values()
    sizes = support_sizes(part)
    table = [
        (label, *(f'{found.mean:.3f}' if found else NOT_RUN for found in cells))
        for label in suite.labels
        for cells in [
            [score(part, label, CURVE, f'test/support={size}') for size in sizes]
        ]
    ]
    return Table((f'{words(CURVE)} by support size', *map(str, sizes)), table)


def support_sizes(part: pd.DataFrame) -> list[int]:
    """Sizes of supports that rows have, ascending."""
    found = part['part'].str.extract(r'^test/support=(\d+)$')[0].dropna().unique()
    return sorted(map(int, found))


def sensitivity_line(rows: pd.DataFrame, suite: Suite) -> str:
    """What changing the supports costs our model, as a sentence."""
    (part,) = columns_of(rows, suite).values()
    costs = [
        f'{text} costs {written(gap)}'
        for name, text in CHANGES.items()
        for gap in [
            difference(part, suite.own, suite.own, CURVE, 'test', f'test/{name}')
        ]
    ]
    return f'Support sensitivity of {suite.own}, {words(CURVE)}: {"; ".join(costs)}.'


def base_of(label: str, suite: Suite) -> str:
    """The label that an ablation's label is a single change of: ``BASE, change``."""
    prefix = label.rpartition(', ')[0]
    return prefix if prefix in suite.labels else suite.own


def ablation_table(
    rows: pd.DataFrame, suite: Suite, base: str, metrics: Sequence[str] = ('rmse',)
) -> Table:
    """Scores of a base, and what each change of it adds to them, paired."""
    columns = columns_of(rows, suite)
    header, table = [''], [[base]]
    for name, part in columns.items():
        for metric in metrics:
            title = [name] * (len(columns) > 1) + [words(metric)] * (len(metrics) > 1)
            header.append(', '.join(title) or words(metric))
            table[0].append(written(score(part, base, metric)))
    for label in suite.labels:
        if label != base and base_of(label, suite) == base:
            gaps = [
                difference(part, label, base, metric)
                for part in columns.values()
                for metric in metrics
            ]
            name = label.removeprefix(f'{base}, ')
            if any(gaps):
                table.append(
                    [name, *('' if g is None else written(g, '+') for g in gaps)]
                )
    return Table(header, table)


def ablation_bases(rows: pd.DataFrame, suite: Suite) -> list[str]:
    """Labels of which other labels with rows are single changes."""
    ran = set(rows[rows['suite'] == suite.name]['estimator'])
    found = dict.fromkeys(base_of(label, suite) for label in suite.labels)
    return [base for base in found if base in ran]


def suite_table(rows: pd.DataFrame, suite: Suite) -> str:
    """What a run prints."""
    if suite.scenarios == ['few_shot']:
        return few_shot_table(rows, suite).markdown()
    metrics = (
        ('rmse',) if len(suite.data) * len(suite.scenarios) > 2 else ('rmse', 'mae')
    )
    return score_table(rows, suite, metrics).markdown()
