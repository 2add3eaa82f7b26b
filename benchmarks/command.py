"""What the benchmark commands share: arguments, seeds, errors on one line."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import read_reports, write_json
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
        torch.set_num_threads(args.threads)
        check_device(args.device)
        run(args)
    except (ValueError, OSError, DownloadError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; go on with --resume', file=sys.stderr)
        return 130
    return 0


def run_seeds(
    args: argparse.Namespace,
    folder: Path,
    report: Callable[[int, Path], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Writes a report for each seed, and returns those of these seeds.

    Args:
        args: Of the command; a finished seed is kept if it says to resume.
        folder: Of the split, where each seed has a folder of its own.
        report: Makes the content from a seed and its folder.
    """
    for seed in args.seeds:
        path = folder / f'seed-{seed}' / 'report.json'
        if args.resume and path.exists():
            print(f'seed {seed}: done before', file=sys.stderr)
            continue
        # A run begun anew must not leave the old report beside its own.
        path.unlink(missing_ok=True)
        print(f'seed {seed}: training', file=sys.stderr)
        write_json(path, report(seed, path.parent))
    return [r for r in read_reports(folder) if r['config']['seed'] in args.seeds]


def check_device(device: str) -> None:
    """Raises ``ValueError`` unless torch can use the device."""
    if device != 'cpu' and not device.startswith('cuda'):
        raise ValueError(f"'--device' must be 'cpu' or 'cuda' (got '{device}')")
    if device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError("'--device cuda' needs a GPU that torch can use; none is here")


def make_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of the arguments that all benchmark commands have."""
    parser = argparse.ArgumentParser(
        prog=f'python -m {prog}',
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
