"""AGNN against its strongest peer on fresh splits: a paired test."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.agnn_tables import MODES, NAMES, best_peer, by_mode, by_split, leads
from benchmarks.markdown import NOT_RUN, markdown

# Of all ratings (or nodes), as every config has it.
TEST_SHARE = 0.2
HEADER = (
    'test RMSE',
    'AGNN',
    'strongest peer',
    'its RMSE',
    'difference',
    'splits won',
    'p',
)


def paired_table(reports: Sequence[dict[str, Any]]) -> str:
    """AGNN minus the peer that is best in the mean, in each mode.

    Differences are means over splits ± :func:`corrected_error`; p is two-sided, by
    Student's distribution.
    """
    rows = []
    for mode, part in by_mode(reports).items():
        best = best_peer(part)
        own = by_split(part, 'agnn', 'rmse')
        if best is None or len(own) < 2:
            rows.append((MODES[mode], *[NOT_RUN] * (len(HEADER) - 1)))
            continue
        peer, gaps = by_split(part, best, 'rmse'), list(leads(part, best).values())
        mean, error = statistics.mean(gaps), corrected_error(gaps)
        rows.append(
            (
                MODES[mode],
                f'{statistics.mean(own.values()):.4f}',
                NAMES[best],
                f'{statistics.mean(peer[split] for split in own):.4f}',
                f'{mean:+.4f} ± {error:.4f}',
                f'{sum(gap < 0 for gap in gaps)} of {len(gaps)}',
                p_value(mean, error, len(gaps)),
            )
        )
    return markdown(HEADER, rows)


def corrected_error(gaps: Sequence[float], test_share: float = TEST_SHARE) -> float:
    r"""Standard error of a mean difference over random splits of the same data.

    Splits share most of their training ratings, so differences are not independent:
    the variance has a factor :math:`1/n + n_{test} / n_{train}` in place of
    :math:`1/n` (`"Inference for the Generalization Error"
    <https://doi.org/10.1023/A:1024068626366>`_, Nadeau and Bengio, 2003).

    Args:
        gaps (sequence): A difference a split.
        test_share (float, optional): Of what is trained and tested on, the share that
            is tested on. (default: :data:`TEST_SHARE`)
    """
    factor = 1 / len(gaps) + test_share / (1 - test_share)
    return math.sqrt(factor) * statistics.stdev(gaps)


def p_value(mean: float, error: float, count: int) -> str:
    """Of a mean difference being zero."""
    from scipy.stats import t

    if error == 0:
        return ''
    value = 2 * float(t.sf(abs(mean) / error, count - 1))
    return '< 0.001' if value < 0.001 else f'{value:.3f}'
