"""Where the time of a training step goes, and how far it is from a floor.

    python -m benchmarks.profile --out benchmarks/results

Writes profile.json: for each model and batch size the CPU milliseconds of a step's
parts, its most expensive operators, and the least that this core would need for the
same arithmetic and the same memory traffic. One thread; medians over several passes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.command import plain_parser, run_command
from benchmarks.profile_cases import CASES, Case, smoke_cases
from benchmarks.profile_tables import PARTS, profile_table
from benchmarks.records import environment, peak_memory_mb, write_json

TOP = 12


def core_rates(repeats: int = 5) -> dict[str, float]:
    """What this core does at best: large products, and copies out of the cache."""
    x = torch.randn(768, 768)
    large = torch.zeros(2**24)
    product = min(_seconds(lambda: x @ x) for _ in range(repeats))
    copy = min(_seconds(large.clone) for _ in range(repeats))
    return {
        'gflop_per_s': 2 * 768**3 / product / 1e9,
        'gb_per_s': 2 * 4 * large.numel() / copy / 1e9,
    }


def measure(case: Case, passes: int, steps: int) -> dict[str, Any]:
    """The content of profile.json for one case."""
    rates = core_rates()
    parts, batches = _parts(case, passes, steps)
    epoch_s, num_steps = case.epoch()
    parts['engine'] = max(0.0, 1e3 * epoch_s / num_steps - sum(parts.values()))
    work = _work(case, batches[0])
    floor = work['flop'] / rates['gflop_per_s'] / 1e6
    floor += work['bytes'] / rates['gb_per_s'] / 1e6
    return {
        'name': case.name,
        'batch_size': case.batch_size,
        'steps_per_epoch': num_steps,
        'epoch_s': epoch_s,
        'parts_ms': parts,
        'step_ms': sum(parts.values()),
        'core': rates,
        **work,
        'floor_ms': floor,
        **_operators(case, batches),
    }


def _parts(case: Case, passes: int, steps: int) -> tuple[dict[str, float], list[Any]]:
    """Milliseconds of each part of a step, the median over passes."""
    batches: list[Any] = []
    taken = {name: [] for name in PARTS[:-1]}
    for number in range(passes + 1):
        start = time.process_time()
        batches = _first(case.loader, steps)
        spent = {'loader': time.process_time() - start}
        spent |= dict.fromkeys(PARTS[1:-1], 0.0)
        for batch in batches:
            times = [time.process_time()]
            loss = case.loss(batch)
            times.append(time.process_time())
            case.optimizer.zero_grad()
            loss.backward()
            times.append(time.process_time())
            case.optimizer.step()
            times.append(time.process_time())
            for name, (a, b) in zip(PARTS[1:-1], pairwise(times), strict=True):
                spent[name] += b - a
        if number:  # the first pass warms up
            for name, seconds in spent.items():
                taken[name].append(1e3 * seconds / len(batches))
    return {name: statistics.median(ms) for name, ms in taken.items()}, batches


def _operators(case: Case, batches: list[Any]) -> dict[str, Any]:
    """The most expensive operators, and the share of time spent in none."""
    start = time.process_time()
    for batch in batches:
        _step(case, batch)
    plain = time.process_time() - start
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as result:
        for batch in batches:
            _step(case, batch)
    events = [e for e in result.key_averages() if e.key.startswith('aten::')]
    events.sort(key=lambda e: -e.self_cpu_time_total)
    steps = len(batches)
    return {
        'plain_step_ms': 1e3 * plain / steps,
        'operator_calls': round(sum(e.count for e in events) / steps),
        'allocated_mb': sum(max(0, e.self_cpu_memory_usage) for e in events)
        / steps
        / 2**20,
        'operators': [
            {
                'name': e.key,
                'ms': e.self_cpu_time_total / 1e3 / steps,
                'calls': e.count / steps,
            }
            for e in events[:TOP]
        ],
    }


def _work(case: Case, batch: Any) -> dict[str, float]:
    """Arithmetic and memory traffic that no rearrangement of a step avoids.

    Products forward and backward; each parameter, its gradient and both moments,
    read and, but for the gradient, written once.
    """
    with FlopCounterMode(display=False) as counter:
        case.loss(batch).backward()
    case.optimizer.zero_grad()
    size = sum(p.numel() for p in case.parameters)
    return {'flop': counter.get_total_flops(), 'bytes': 4 * 7 * size}


def _step(case: Case, batch: Any) -> None:
    case.optimizer.zero_grad()
    case.loss(batch).backward()
    case.optimizer.step()


def _first(loader: Any, steps: int) -> list[Any]:
    return [batch for batch, _ in zip(loader, range(steps), strict=False)]


def _seconds(function: Callable[[], Tensor]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = plain_parser('benchmarks.profile', __doc__)
    parser.add_argument('--out', type=Path, default=Path('runs'))
    parser.add_argument('--passes', type=int, default=5)
    parser.add_argument('--steps', type=int, default=50, help='of a pass (default: 50)')
    parser.add_argument('--smoke', action='store_true', help='tiny planted data')
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    for name in ('passes', 'steps'):
        if getattr(args, name) < 1:
            raise ValueError(
                f"'--{name}' must be at least 1 (got {getattr(args, name)})"
            )
    cases = smoke_cases() if args.smoke else CASES
    content = {
        'environment': environment('cpu'),
        'cases': [measure(make(), args.passes, args.steps) for make in cases],
        'peak_memory_mb': peak_memory_mb(),
    }
    write_json(args.out / 'profile.json', content)
    print(profile_table(content))


if __name__ == '__main__':
    sys.exit(main())
