"""AGNN against each peer on splits that nothing was chosen on: a paired test."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.markdown import markdown


def paired_table(
    scores: dict[str, dict[str, dict[int, float]]],
    peers: Sequence[str],
    names: dict[str, str],
    modes: dict[str, str],
    test_share: float = 0.2,
) -> str:
    """AGNN minus its strongest peers, split by split.

    Args:
        scores (dict): Test RMSE by mode, model and split; the model is "agnn".
        peers (sequence): Peers to look for the strongest among.
        names (dict): What tables call a model.
        modes (dict): What tables call a mode.
        test_share (float, optional): See :func:`corrected_error`.
    """
    rows = []
    for mode, label in modes.items():
        found = scores.get(mode, {})
        own = found.get('agnn', {})
        whole = [p for p in peers if own and found.get(p, {}).keys() >= own.keys()]
        if len(own) < 2 or not whole:
            rows.append((label, *['not run'] * 6))
            continue
        best = min(whole, key=lambda p: statistics.mean(found[p][s] for s in own))
        gaps = [own[s] - found[best][s] for s in own]
        mean, error = statistics.mean(gaps), corrected_error(gaps, test_share)
        rows.append(
            (
                label,
                f'{statistics.mean(own.values()):.4f}',
                names[best],
                f'{statistics.mean(found[best][s] for s in own):.4f}',
                f'{mean:+.4f} ± {error:.4f}',
                f'{sum(gap < 0 for gap in gaps)} of {len(gaps)}',
                p_value(mean, error, len(gaps)),
            )
        )
    header = (
        'test RMSE',
        'AGNN',
        'strongest peer',
        'its RMSE',
        'difference',
        'splits won',
        'p',
    )
    return markdown(header, rows)


def corrected_error(gaps: Sequence[float], test_share: float) -> float:
    r"""Standard error of a mean difference over random splits of the same data.

    Splits share most of their training ratings, so differences are not independent:
    the variance has a factor :math:`1/n + n_{test} / n_{train}` in place of
    :math:`1/n` (`"Inference for the Generalization Error"
    <https://doi.org/10.1023/A:1024068626366>`_, Nadeau and Bengio, 2003).
    """
    factor = 1 / len(gaps) + test_share / (1 - test_share)
    return math.sqrt(factor) * statistics.stdev(gaps)


def p_value(mean: float, error: float, count: int) -> str:
    """Two-sided, by Student's distribution."""
    from scipy.stats import t

    if error == 0:
        return ''
    value = 2 * float(t.sf(abs(mean) / error, count - 1))
    return '< 0.001' if value < 0.001 else f'{value:.3f}'


def by_split(
    reports: Sequence[dict[str, Any]], metric: str = 'rmse'
) -> dict[str, dict[str, dict[int, float]]]:
    """Test scores by mode, model and split, means over model seeds."""
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for report in reports:
        mode, split = report['config']['data']['mode'], report['config']['split_seed']
        models = {'agnn': report, **report['peers']}
        for name, scored in models.items():
            if 'metrics' in scored:
                values = found.setdefault(mode, {}).setdefault(name, {})
                values.setdefault(split, []).append(scored['metrics']['test'][metric])
    return {
        mode: {
            name: {split: statistics.mean(v) for split, v in splits.items()}
            for name, splits in models.items()
        }
        for mode, models in found.items()
    }
