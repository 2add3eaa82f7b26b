"""The table of what a training step costs."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import markdown

PARTS = ('loader', 'forward', 'backward', 'optimizer', 'engine')


def profile_table(content: dict[str, Any]) -> str:
    """CPU milliseconds of a training step, by part."""
    rows = [
        (
            case['name'],
            f'{case["batch_size"]:,}',
            *(f'{case["parts_ms"][part]:.2f}' for part in PARTS),
            f'{case["step_ms"]:.2f}',
            f'{case["floor_ms"]:.2f}',
            f'{case["operator_calls"]:,}',
            f'{case["epoch_s"]:.2f}',
        )
        for case in content['cases']
    ]
    header = ('ms a step', 'batch', *PARTS, 'all', 'floor', 'operators', 'epoch, s')
    return markdown(header, rows)
