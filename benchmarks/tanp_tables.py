"""Tables of TaNP and its peers, from reports and from nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.markdown import figures, listed, markdown, mean_std, plus_minus
from benchmarks.paired import corrected_error

Reports = Sequence[dict[str, Any]]

# Of training and test users, 70 and 20 of a hundred; validation only selects.
TEST_SHARE = 0.2 / 0.9

NAMES = {
    'random': 'random',
    'popularity': 'popularity',
    'item_knn': 'item-kNN',
    'svd': 'SVD, folded in',
    'logistic_stack': 'logistic stack',
    'boosted_trees': 'boosted trees',
    'item_mean': 'item mean',
    'support_mean': 'support mean + item bias',
    'residual_knn': 'item-kNN on residuals',
    'residual_svd': 'SVD of residuals, folded in',
    'tanp': 'TaNP',
}
# The first three by the definitions of TaNP's published code, which count ties.
RANKING = {
    'tie_precision@5': 'P@5 †',
    'ndcg@5': 'nDCG@5',
    'tie_ap@5': 'MAP@5 †',
    'ndcg@10': 'nDCG@10',
    'ap@10': 'MAP@10',
    'auc': 'AUC',
}
METRICS = {
    'implicit': {**RANKING, 'log_loss': 'log-loss'},
    'ratings': {**RANKING, 'mse': 'MSE'},
}
CURVE = 'ndcg@10'  # of quality by support size, and of leads
CHANGES = {
    'flipped_labels': 'all support labels flipped',
    'another_user': "another user's support",
}
NOTE = "† by the published code's definitions, which count equal labels as hits."


def run_tables(reports: Reports) -> str:
    """One split: the models, their quality by support size, and sensitivity."""
    first = reports[0]
    data, config = first['data'], first['config']
    seeds = listed([r['config']['seed'] for r in reports])
    title = (
        f'{config["name"]}, split {config["split_seed"]}: {data["num_warm_users"]:,} '
        f'training users, {data["num_test_episodes"]} test users with '
        f'{config["data"]["support_size"]} support interactions; model seeds {seeds}'
    )
    metrics = METRICS[data['labels']]
    models = markdown(
        ('test', *metrics.values()),
        _rows(reports, metrics, lambda n, m: figures(_values(reports, n, m))),
    )
    curve = _by_size(reports, lambda n, k: figures(_values(reports, n, CURVE, k)))
    return '\n\n'.join([title, models, NOTE, curve, sensitivity_line(reports)])


def summary_table(reports: Reports) -> str:
    """All splits: mean ± sample standard deviation over splits of the test means.

    The last column is the difference to TaNP in nDCG@10 on the same splits, ±
    :func:`~benchmarks.paired.corrected_error`.
    """
    metrics = dict(METRICS[reports[0]['data']['labels']])
    del metrics['auc']  # the table is wide enough
    return _summary(reports, metrics)


def short_table(reports: Reports) -> str:
    """The same in short: a published metric, a usual one, the loss and the lead."""
    metrics = METRICS[reports[0]['data']['labels']]
    chosen = ('tie_precision@5', CURVE, next(reversed(metrics)))
    return _summary(reports, {name: metrics[name] for name in chosen})


def _summary(reports: Reports, metrics: dict[str, str]) -> str:
    columns = (*metrics, 'lead')

    def cell(name: str, metric: str) -> str:
        return (
            lead(reports, name)
            if metric == 'lead'
            else over_splits(reports, name, metric)
        )

    header = ('test', *metrics.values(), 'TaNP ahead by, nDCG@10')
    return markdown(header, _rows(reports, columns, cell))


def size_table(reports: Reports) -> str:
    """All splits: nDCG@10 by support size, means over splits."""

    def cell(name: str, size: str) -> str:
        return f'{statistics.mean(_by_split(reports, name, CURVE, size).values()):.3f}'

    return _by_size(reports, cell)


def _by_size(reports: Reports, cell: Callable[[str, str], str]) -> str:
    sizes = list(reports[0]['support_sizes'])
    return markdown(('nDCG@10 by support size', *sizes), _rows(reports, sizes, cell))


def _rows(
    reports: Reports, columns: Sequence[str], cell: Callable[[str, str], str]
) -> list[tuple[str, ...]]:
    """A row a model; of a peer that some report lacks, it says that it was not run."""
    run = models_of(reports)
    names = dict.fromkeys(name for report in reports for name in report['peers'])
    return [
        (NAMES[n], *(cell(n, c) if n in run else 'not run' for c in columns))
        for n in (*names, 'tanp')
    ]


def models_of(reports: Reports) -> tuple[str, ...]:
    """The peers of all reports, and the model."""
    first, *others = (report['peers'] for report in reports)
    return *(name for name in first if all(name in o for o in others)), 'tanp'


def _source(report: dict[str, Any], name: str) -> dict[str, Any]:
    return report if name == 'tanp' else report['peers'][name]


def _values(
    reports: Reports, name: str, metric: str, size: str | None = None
) -> list[float]:
    """One test score a report, or a single one of a peer, which has no seed."""
    chosen = reports if name == 'tanp' else reports[:1]
    values = [_score(_source(report, name), metric, size) for report in chosen]
    return [value for value in values if value is not None]


def _score(source: dict[str, Any], metric: str, size: str | None) -> float | None:
    scores = source['support_sizes'][size] if size else source['metrics']['test']
    return scores.get(metric)


def sensitivity_line(reports: Reports) -> str:
    """What changing the supports costs, as a sentence."""
    drops = [
        f'{label} costs {figures(sensitivity(reports, change))}'
        for change, label in CHANGES.items()
    ]
    return f'Support sensitivity, nDCG@10: {"; ".join(drops)}.'


def sensitivity(reports: Reports, change: str) -> list[float]:
    """What changing the supports costs in nDCG@10: a figure a split.

    Of a single split it is one a model seed.
    """
    drops: dict[int, list[float]] = {}
    for report in reports:
        drop = report['metrics']['test'][CURVE] - report['sensitivity'][change][CURVE]
        drops.setdefault(report['config']['split_seed'], []).append(drop)
    if len(drops) == 1:
        return next(iter(drops.values()))
    return [statistics.mean(values) for values in drops.values()]


def _by_split(
    reports: Reports, name: str, metric: str, size: str | None = None
) -> dict[int, float]:
    """Test scores of each split, averaged over model seeds."""
    scores: dict[int, list[float]] = {}
    for report in reports:
        value = _score(_source(report, name), metric, size)
        if value is not None:
            scores.setdefault(report['config']['split_seed'], []).append(value)
    return {split: statistics.mean(values) for split, values in scores.items()}


def closest_peer(reports: Reports) -> str:
    """The peer of the highest nDCG@10 in the mean over splits."""
    means = {
        name: statistics.mean(_by_split(reports, name, CURVE).values())
        for name in models_of(reports)[:-1]
    }
    return max(means, key=lambda name: means[name])


def over_splits(reports: Reports, name: str, metric: str) -> str:
    """Mean ± sample standard deviation of a test score."""
    values = list(_by_split(reports, name, metric).values())
    return mean_std(values) if values else ''


def lead(reports: Reports, name: str) -> str:
    """Mean of the paired differences, and its error as splits share users."""
    if name == 'tanp':
        return ''
    own, peer = (_by_split(reports, n, CURVE) for n in ('tanp', name))
    differences = [own[split] - peer[split] for split in own]
    if len(differences) == 1:
        return f'{differences[0]:.4f}'
    error = corrected_error(differences, TEST_SHARE)
    return plus_minus(statistics.mean(differences), error)
