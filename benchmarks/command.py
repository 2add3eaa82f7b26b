"""What the benchmark commands share: arguments, seeds, errors on one line."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.records import environment, peak_memory_mb, read_reports, write_json
from data.download import DownloadError


def run_command(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None,
) -> int:
    """Parses arguments and runs; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(arguments)
    args.command = f'{parser.prog} {shlex.join(arguments)}'
    try:
        torch.set_num_threads(getattr(args, 'threads', 1))
        check_device(getattr(args, 'device', 'cpu'))
        run(args)
    except (ValueError, OSError, DownloadError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = '; go on with --resume' if hasattr(args, 'resume') else ''
        print(f'interrupted{hint}', file=sys.stderr)
        return 130
    return 0


@dataclass(frozen=True)
class Options:
    """How to run, which must not change what comes out on a CPU."""

    folder: Path
    device: str = 'cpu'
    resume: bool = False
    progress: bool = False


@dataclass(frozen=True)
class Benchmark:
    """One config on one split.

    Attributes:
        config: A dataclass of settings.
        data: What reports say of the data.
        folder: Where a folder for each seed goes, and tables and plots.
        measure: From a seed to the model's part of a report.
        peers: To the peers' part; they have no seed.
        table: From reports to what is printed and written to table.md.
        plot: Draws reports into a folder.
        split: What reports say of the split beside its seed.
    """

    config: Any
    data: dict[str, Any]
    folder: Path
    measure: Callable[[int, Options], dict[str, Any]]
    peers: Callable[[], dict[str, Any]]
    table: Callable[[Sequence[dict[str, Any]]], str]
    plot: Callable[[Sequence[dict[str, Any]], Path], Any]
    split: dict[str, Any] = field(default_factory=dict)


def run_seeds(args: argparse.Namespace, benchmark: Benchmark) -> None:
    """Writes a report for each seed that lacks one, then tables and plots."""
    folder = benchmark.folder
    finished = read_reports(folder) if args.resume else []
    peers = finished[0]['peers'] if finished else None
    for seed in args.seeds:
        path = folder / f'seed-{seed}' / 'report.json'
        if args.resume and path.exists():
            print(f'seed {seed}: done before', file=sys.stderr)
            continue
        peers = benchmark.peers() if peers is None else peers
        # A run begun anew must not leave the old report beside its own.
        path.unlink(missing_ok=True)
        print(f'seed {seed}: training', file=sys.stderr)
        write_json(path, _report(args, benchmark, seed, path.parent, peers))
    reports = [r for r in read_reports(folder) if r['config']['seed'] in args.seeds]
    table = benchmark.table(reports)
    (folder / 'table.md').write_text(table + '\n', encoding='utf-8')
    benchmark.plot(reports, folder)
    print(f'\n{table}\n\nReports and plots: {folder}')


def _report(
    args: argparse.Namespace,
    benchmark: Benchmark,
    seed: int,
    folder: Path,
    peers: dict[str, Any],
) -> dict[str, Any]:
    start = time.perf_counter()
    options = Options(folder, args.device, args.resume, sys.stderr.isatty())
    measured = benchmark.measure(seed, options)
    measured['time']['total_s'] = time.perf_counter() - start
    return {
        'command': args.command,
        'config': {
            'name': args.config.stem,
            'seed': seed,
            'split_seed': args.split_seed,
            **benchmark.split,
            'smoke': args.smoke,
            **dataclasses.asdict(benchmark.config),
        },
        'environment': environment(args.device),
        'data': benchmark.data,
        **measured,
        'peers': peers,
        'peak_memory_mb': peak_memory_mb(),
    }


def named_peers(names: Sequence[str], **groups: Sequence[str]) -> tuple[str, ...]:
    """Names of peers, once each; a group's name stands for its members."""
    groups = {'none': (), **groups}
    chosen = [peer for name in names for peer in groups.get(name, (name,))]
    return tuple(dict.fromkeys(chosen))


def check_device(device: str) -> None:
    """Raises ``ValueError`` unless torch can use the device."""
    if device != 'cpu' and not device.startswith('cuda'):
        raise ValueError(f"'--device' must be 'cpu' or 'cuda' (got '{device}')")
    if device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError("'--device cuda' needs a GPU that torch can use; none is here")


def plain_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser without arguments, for :func:`run_command`."""
    return argparse.ArgumentParser(
        prog=f'python -m {prog}',
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def make_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of the arguments that all commands with configs and seeds have."""
    parser = plain_parser(prog, description)
    add = parser.add_argument
    add('config', type=Path, help='a TOML file of benchmarks/configs')
    add('--seeds', type=int, nargs='+', default=[0], help='model seeds (default: 0)')
    add('--split-seed', type=int, default=0, help='which split (default: 0)')
    add('--device', default='cpu', help='cpu or cuda (default: cpu)')
    add(
        '--threads',
        type=int,
        default=1,
        help='CPU threads; the same number gives the same digits (default: 1)',
    )
    add('--out', type=Path, default=Path('runs'), help='folder (default: runs)')
    add(
        '--resume',
        action='store_true',
        help='keep finished seeds and continue the unfinished one',
    )
    add('--smoke', action='store_true', help='a few seconds on tiny planted data')
    return parser
