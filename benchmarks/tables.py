r"""Tables of results, made only from rows.

The value after :math:`\pm` is always the standard error of :mod:`benchmarks.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import pandas as pd

from benchmarks.stats import Estimate, by_split, difference, newest, score
from benchmarks.suite import Suite

NOT_RUN = 'not run'
MAX_COLUMNS = 8  # for a table with one row per estimator
LABELS = {
    **{'rmse': 'RMSE', 'mae': 'MAE', 'mse': 'MSE', 'log_loss': 'log-loss'},
    **{'published_precision@5': 'P@5 †', 'published_ap@5': 'MAP@5 †'},
    **{'ndcg@5': 'nDCG@5', 'ndcg@10': 'nDCG@10', 'ndcg@20': 'nDCG@20'},
    **{'lastfm': 'Last.FM', 'ml-100k': 'MovieLens-100K', 'ml-1m': 'MovieLens-1M'},
    **{'ml-100k-u': 'MovieLens-100K u1', 'yahoo_music': 'YahooMusic'},
    **{'flixster': 'Flixster', 'douban': 'Douban', 'ap@10': 'MAP@10'},
}
CHANGES = {
    'flipped_labels': 'all support labels flipped',
    'another_user': "another user's support",
}
COSTS = {
    'layer': 'Forward and backward pass at 100,000 nodes with ten neighbors each.',
    'serving-tanp': 'Adapting to new users and ranking the catalogue.',
    'serving-agnn': 'Recommending ten items to each user.',
    'growth': 'Fits for warm pairs.',
    'graph': 'Attribute graphs of synthetic tables.',
}
CURVE = 'ndcg@10'  # metric of scores by support size and of few-shot differences
FEW_SHOT = ('published_precision@5', 'ndcg@5', 'published_ap@5', 'ndcg@10', 'ap@10')


class Table(NamedTuple):
    """A table of text: header, rows and caption."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ''

    def markdown(self) -> str:
        """The table as Markdown, aligned so that it is also readable as text."""
        table = [tuple(self.header), *map(tuple, self.rows)]
        width = [max(map(len, column)) for column in zip(*table, strict=True)]

        def line(cells: Sequence[str]) -> str:
            pairs = enumerate(zip(cells, width, strict=True))
            padded = [c.rjust(w) if n else c.ljust(w) for n, (c, w) in pairs]
            return '| ' + ' | '.join(padded) + ' |'

        rule = ['-' * (w + 1) + (':' if n else '-') for n, w in enumerate(width)]
        return '\n'.join([line(table[0]), f'|{"|".join(rule)}|', *map(line, table[1:])])


def words(name: str) -> str:
    """The name of a metric, a data set or a scenario in tables."""
    return LABELS.get(name, name.replace('_', ' '))


def written(found: Estimate | None, sign: str = '', gap: str = NOT_RUN) -> str:
    """Formats an estimate; the error has two digits, the mean as many decimals."""
    if found is None:
        return gap
    if found.error is None or found.error < 1e-9:
        return f'{found.mean:{sign}.4f}'
    places = min(max(1 - math.floor(math.log10(found.error)), 2), 5)
    return f'{found.mean:{sign}.{places}f} ± {found.error:.{places}f}'


def columns_of(rows: pd.DataFrame, suite: Suite) -> dict[str, pd.DataFrame]:
    """Rows of a suite by data set and scenario; names have the varying parts."""
    rows, found = newest(rows[rows['suite'] == suite.name]), {}
    for data, scenario in product(suite.data, suite.scenarios):
        names = [words(data)] * (len(suite.data) > 1)
        names += [words(scenario)] * (len(suite.scenarios) > 1 or not names)
        part = rows[(rows['data'] == data) & (rows['scenario'] == scenario)]
        found[', '.join(names)] = part
    return found


def score_table(rows: pd.DataFrame, suite: Suite) -> Table:
    """Test scores of all estimators, and ours compared with the best baseline."""
    columns, metric = columns_of(rows, suite), suite.metric
    metrics = metric, 'recall@20' if suite.has_positives else 'mae'
    parts, table = columns.values(), []
    for label in suite.labels:
        found = [[score(part, label, m) for m in metrics] for part in parts]
        cells = (' / '.join(map(written, s)) if s[0] else NOT_RUN for s in found)
        table.append((label, *cells))
    paired = [(*against_best(p, suite, metric), counts(p, suite.own)) for p in parts]
    titles = f'{words(metric)}, {suite.own} − best baseline'
    titles = titles, 'splits won', 'p', 'splits × seeds'
    table += zip(('best baseline', *titles), *paired, strict=True)
    better = 'higher' if is_higher_better(metric) else 'lower'
    caption = f'Test scores; {better} is better.'
    return Table((f'test {" / ".join(map(words, metrics))}', *columns), table, caption)


def summary_table(rows: pd.DataFrame, suites: Sequence[Suite]) -> Table:
    """Our models and the best baseline; one row per column of rating suites."""
    table, own, baselines = [], suites[-1].own, suites[-1].baselines
    labels = [x for x in suites[-1].labels if x not in (own, *baselines)] + [own]
    for suite in suites:
        for name, part in columns_of(rows, suite).items():
            best, gap, *_ = against_best(part, suite, 'rmse')
            found = [written(score(part, x, 'rmse')) for x in (best, *labels)]
            table.append((name, best, *found, gap))
    header = ('test RMSE', 'best baseline', 'its RMSE', *labels, f'{own} − baseline')
    return Table(header, table, 'Test scores; lower is better.')


def against_best(part: pd.DataFrame, suite: Suite, metric: str) -> tuple[str, ...]:
    """The baseline with the best mean, our difference, the splits that we win, and p.

    Only baselines that ran on all our splits are compared.
    """
    scores = by_split(part, metric).reindex(columns=[suite.own, *suite.baselines])
    means = scores.dropna(subset=suite.own)[suite.baselines].mean(skipna=False).dropna()
    if means.empty:
        return NOT_RUN, NOT_RUN, '', ''
    is_higher = is_higher_better(metric)
    best = means.idxmax() if is_higher else means.idxmin()
    gap = difference(part, suite.own, best, metric)
    won = gap.count - gap.negative if is_higher else gap.negative
    p = '' if gap.p is None else f'{gap.p:.3f}'.replace('0.000', '< 0.001')
    return best, written(gap, '+'), f'{won} of {gap.count}', p


def is_higher_better(metric: str) -> bool:
    """Whether higher values of a metric are better."""
    return metric.startswith('ndcg')


def counts(part: pd.DataFrame, label: str) -> str:
    """The numbers of splits and model seeds of an estimator."""
    part = part[(part['estimator'] == label) & (part['part'] == 'test')]
    return f'{part["split"].nunique()} × {part["seed"].nunique()}'


def few_shot_table(rows: pd.DataFrame, suite: Suite) -> Table:
    """Test scores of all estimators, and our lead in nDCG@10."""
    (part,) = columns_of(rows, suite).values()
    has_loss = 'log_loss' in part and part['log_loss'].notna().any()
    metrics, table = [*FEW_SHOT, 'log_loss' if has_loss else 'mse'], []
    for label in suite.labels:
        found = [score(part, label, metric) for metric in metrics]
        lead = None if label == suite.own else difference(part, suite.own, label, CURVE)
        cells = [written(x, gap='' if found[0] else NOT_RUN) for x in found]
        table.append((label, *cells, written(lead, '+', '')))
    table.append(('splits × seeds', counts(part, suite.own), *[''] * len(metrics)))
    header = ('test', *map(words, metrics), f'{suite.own} ahead by, {words(CURVE)}')
    caption = "Test scores. † by the definitions of TaNP's published code."
    return Table(header, table, caption)


def size_table(rows: pd.DataFrame, suite: Suite) -> Table:
    """Mean nDCG@10 over splits by support size."""
    (part,) = columns_of(rows, suite).values()
    means = support_means(part, suite)
    cells = means.map(lambda mean: NOT_RUN if pd.isna(mean) else f'{mean:.3f}')
    header = (f'{words(CURVE)} by support size', *map(str, means))
    caption = 'Smaller supports of the same users; means over splits.'
    return Table(header, [*cells.itertuples(name=None)], caption)


def support_means(part: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """Means of nDCG@10 over splits, :obj:`[estimators, sizes of supports]`."""
    sizes = part['part'].str.extract(r'^test/support=(\d+)$')[0].dropna().astype(int)
    scores = {n: by_split(part, CURVE, f'test/support={n}') for n in sorted({*sizes})}
    means = {size: found.mean() for size, found in scores.items()}
    return pd.DataFrame(means).reindex(suite.labels)


def sensitivity_line(rows: pd.DataFrame, suite: Suite) -> str:
    """A sentence on the loss of our model from changed supports."""
    (part,) = columns_of(rows, suite).values()
    costs = []
    for name, text in CHANGES.items():
        gap = difference(part, suite.own, suite.own, CURVE, f'test/{name}')
        costs.append(f'{text} costs {written(gap)}')
    return f'Support sensitivity of {suite.own}, {words(CURVE)}: {"; ".join(costs)}.'


def base_of(label: str, suite: Suite) -> str:
    """The base of an ablation label, which has the form ``BASE, change``."""
    prefix = label.rpartition(', ')[0]
    return prefix if prefix in suite.labels else suite.own


def ablation_tables(rows: pd.DataFrame, suite: Suite) -> Iterator[Table]:
    """For each base, its scores and the paired difference of each change."""
    columns, labels = columns_of(rows, suite), suite.labels
    metrics = ('log_loss', CURVE) if suite.is_few_shot else ('rmse',)
    header = 'test RMSE', *columns
    if suite.is_few_shot:
        header = '', *map(words, metrics)
    places = [*product(columns.values(), metrics)]
    for base in dict.fromkeys(base_of(label, suite) for label in labels):
        table = [[base, *(written(score(p, base, metric)) for p, metric in places)]]
        for label in labels:
            gaps = [difference(p, label, base, metric) for p, metric in places]
            if label != base and base_of(label, suite) == base and any(gaps):
                cells = (written(gap, '+', '') for gap in gaps)
                table.append([label.removeprefix(f'{base}, '), *cells])
        if len(table) > 1:
            caption = f'Test scores of {base}, and the difference of each change.'
            yield Table(header, table, caption)


def tables_of(rows: pd.DataFrame, suite: Suite) -> Iterator[Table]:
    """All tables of a suite."""
    if suite.is_ablation:
        yield from ablation_tables(rows, suite)
    elif suite.is_few_shot:
        yield few_shot_table(rows, suite)
        yield size_table(rows, suite)
    elif len(suite.data) * len(suite.scenarios) > MAX_COLUMNS:
        yield summary_table(rows, [suite])
    else:
        yield score_table(rows, suite)


def cases(perf: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    """Cases of a speed benchmark, with parameters and measures as columns."""
    rows = perf[perf['benchmark'] == benchmark]
    wide = rows.pivot_table('value', 'case', 'measure', sort=False)
    pairs = [[p.split('=', 1) for p in case.split('; ')] for case in wide.index]
    parameters = pd.DataFrame(map(dict, pairs), index=wide.index)
    for name in parameters:
        number = pd.to_numeric(parameters[name], errors='coerce')
        if number.notna().all():
            parameters[name] = number
    return parameters.join(wide).reset_index(drop=True)


def cost_table(perf: pd.DataFrame, benchmark: str) -> Table:
    """The columns that differ between cases, with three significant digits."""
    found = cases(perf, benchmark)
    if benchmark == 'layer':
        chosen = (found['vary'] == 'order') & (found['sorted'] == 'True')
        found = found[chosen & (found['torch_scatter'] == 'False')]
    found = found[[name for name in found if found[name].nunique(dropna=False) > 1]]
    header = [name.replace('_', ' ').replace(' mb', ', MB') for name in found]
    rows = [[*map(_cell, row)] for row in found.to_numpy().tolist()]
    return Table(header, rows, COSTS[benchmark])


def _cell(value: object) -> str:
    if not isinstance(value, float | int):
        return str(value)
    if math.isnan(value):
        return ''
    return f'{value:,.0f}' if value >= 100 or value == int(value) else f'{value:.3g}'
