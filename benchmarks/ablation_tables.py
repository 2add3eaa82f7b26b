"""What each part of AGNN is worth, from reports and from nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.markdown import NOT_RUN, markdown
from benchmarks.variants import ALONE, BASE, VARIANTS, base_of


def ablation_tables(reports: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Tables by what their variants are changes of: the whole, the network alone."""
    bases = {base_of(name) for name in by_variant(reports)}
    return {b: ablation_table(reports, b) for b in (BASE, ALONE) if b in bases}


def ablation_table(reports: Sequence[dict[str, Any]], base: str = BASE) -> str:
    """Test scores of a variant and of its changes, and their differences to it.

    A difference is the mean over pairs of equal split and seed, ± its standard
    error over splits (over seeds, where there is one split).
    """
    rows = []
    for name, scores in by_variant(reports).items():
        if name != base and base_of(name) != base:
            continue
        difference = '' if name == base else _difference(reports, name)
        means = (
            f'{statistics.mean(s[metric] for s in scores.values()):.4f}'
            for metric in ('rmse', 'mae', 'ndcg')
        )
        rows.append((name, *means, difference, str(len(scores))))
    header = ('', 'test RMSE', 'MAE', 'nDCG@10', f'RMSE − {base}', 'runs')
    return markdown(header, rows)


def differences(reports: Sequence[dict[str, Any]], name: str) -> list[float]:
    """Paired differences in test RMSE: one a split, or one a seed of one split."""
    scores = by_variant(reports)
    mine, base = scores[name], scores.get(base_of(name), {})
    pairs: dict[int, list[float]] = {}
    for key in sorted(mine.keys() & base.keys()):
        gap = mine[key]['rmse'] - base[key]['rmse']
        pairs.setdefault(key[0], []).append(gap)
    if len(pairs) == 1:
        return next(iter(pairs.values()))
    return [statistics.mean(gaps) for gaps in pairs.values()]


def by_variant(
    reports: Sequence[dict[str, Any]],
) -> dict[str, dict[tuple[int, int], dict[str, float]]]:
    """Test scores by variant, then by split and seed."""
    found: dict[str, Any] = {name: {} for name in VARIANTS}
    for report in reports:
        config = report['config']
        key = config['split_seed'], config['seed']
        found[config['variant']][key] = report['metrics']['test']
    return {name: scores for name, scores in found.items() if scores}


def _difference(reports: Sequence[dict[str, Any]], name: str) -> str:
    gaps = differences(reports, name)
    if not gaps:
        return NOT_RUN
    error = standard_error(gaps)
    text = f'{statistics.mean(gaps):+.4f}'
    return text if error is None else f'{text} ± {error:.4f}'


def standard_error(values: Sequence[float]) -> float | None:
    """Of a mean; of a single value there is none."""
    if len(values) < 2:
        return None
    return statistics.stdev(values) / len(values) ** 0.5
