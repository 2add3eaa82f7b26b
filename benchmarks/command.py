"""What the benchmark commands share: arguments, seeds, errors on one line."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from agnn_pyg.base.rules import check_rule, whole
from benchmarks.records import (
    check_settings,
    differing,
    environment,
    peak_memory_mb,
    read_json,
    read_reports,
    write_json,
    write_text,
)
from data.download import DownloadError

REPORT = 'report.json'
# What a run was begun with, beside what it leaves if it is killed.
BEGUN = 'settings.json'
# Sections of configs that peers know nothing of, but for 'train.refit'.
MODEL = ('graph.', 'messages.', 'model.', 'statistics.', 'train.')


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
        torch.set_num_threads(
            check_rule(getattr(args, 'threads', 1), '--threads', whole(1))
        )
        check_device(getattr(args, 'device', 'cpu'))
        if hasattr(args, 'out'):
            check_folder(args.out)
        if hasattr(args, 'page'):
            check_page(args.page)
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
        peer_names: Which peers are asked for.
        table: From reports to what is printed and written to table.md.
        plot: Draws reports into a folder.
        split: What reports say of the split beside its seed.
    """

    config: Any
    data: dict[str, Any]
    folder: Path
    measure: Callable[[int, Options], dict[str, Any]]
    peers: Callable[[], dict[str, Any]]
    peer_names: Sequence[str]
    table: Callable[[Sequence[dict[str, Any]]], str]
    plot: Callable[[Sequence[dict[str, Any]], Path], Any]
    split: dict[str, Any] = field(default_factory=dict)


def run_seeds(args: argparse.Namespace, benchmark: Benchmark) -> None:
    """Writes a report for each seed that lacks one, then tables and plots.

    Raises:
        ValueError: If a seed to go on with was begun with other settings, on other
            data, or without some of the peers.
    """
    folder = benchmark.folder
    places = {seed: folder / f'seed-{seed}' for seed in args.seeds}
    run = {'split_seed': args.split_seed, **benchmark.split, 'smoke': args.smoke}
    peers = None
    if args.resume:
        for place in places.values():
            _check_resumed(place, benchmark, run)
        peers = _known_peers(benchmark, run)
    for seed, place in places.items():
        path = place / REPORT
        if args.resume and path.exists():
            print(f'seed {seed}: done before', file=sys.stderr)
            continue
        peers = benchmark.peers() if peers is None else peers
        if not args.resume:
            # A run begun anew must not go on with what an old one has left.
            shutil.rmtree(place, ignore_errors=True)
        origin = _origin(args, benchmark, run, seed)
        write_json(place / BEGUN, origin)
        print(f'seed {seed}: training', file=sys.stderr)
        measured = _measure(args, benchmark, seed, place)
        memory = peak_memory_mb()
        write_json(
            path, {**origin, **measured, 'peers': peers, 'peak_memory_mb': memory}
        )
    reports = [read_json(places[seed] / REPORT) for seed in sorted(places)]
    table = benchmark.table(reports)
    write_text(folder / 'table.md', table + '\n')
    benchmark.plot(reports, folder)
    print(f'\n{table}\n\nReports and plots: {folder}')


def _origin(
    args: argparse.Namespace, benchmark: Benchmark, run: dict[str, Any], seed: int
) -> dict[str, Any]:
    """The part of a report that is known before anything is measured."""
    name = {'name': args.config.stem, 'seed': seed}
    return {
        'command': args.command,
        'config': {**name, **run, **dataclasses.asdict(benchmark.config)},
        'environment': environment(args.device),
        'data': benchmark.data,
    }


def _measure(
    args: argparse.Namespace, benchmark: Benchmark, seed: int, folder: Path
) -> dict[str, Any]:
    start = time.perf_counter()
    options = Options(folder, args.device, args.resume, sys.stderr.isatty())
    measured = benchmark.measure(seed, options)
    measured['time']['total_s'] = time.perf_counter() - start
    return measured


def _check_resumed(place: Path, benchmark: Benchmark, run: dict[str, Any]) -> None:
    """Raises ``ValueError`` if what a seed has left is not of this very run."""
    for path in (place / BEGUN, place / REPORT):
        if not path.exists():
            continue
        record = read_json(path)
        check_settings(record, benchmark.config, **run, **benchmark.data)
        lacking = {*benchmark.peer_names} - {*record.get('peers', benchmark.peer_names)}
        if lacking:
            raise ValueError(
                f"'{path}' lacks the peers {sorted(lacking)}; leave them out of "
                f"'--peers', delete its folder, or choose another --out"
            )


def _known_peers(benchmark: Benchmark, run: dict[str, Any]) -> dict[str, Any] | None:
    """Peers of a report on the same split, if there is one that has all of them.

    They do not rest on the model, whose settings may be others.
    """
    for report in read_reports(benchmark.folder):
        others = differing(report, benchmark.config, **run, **benchmark.data)
        same = all(n.startswith(MODEL) and n != 'train.refit' for n in others)
        if same and {*benchmark.peer_names} <= {*report['peers']}:
            print(f"peers: those of '{report.path}'", file=sys.stderr)
            return report['peers']
    return None


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


def check_folder(folder: Path) -> None:
    """Raises ``ValueError`` unless there is, or can be, such a folder."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not there.is_dir():
        raise ValueError(
            f"'--out' must be a folder (got '{folder}', but '{there}' is a file)"
        )


def check_page(page: Path) -> None:
    """Raises ``ValueError`` unless a file can be written there."""
    if page.is_dir():
        raise ValueError(f"'--out' must be a page to write (got the folder '{page}')")
    check_folder(page.parent)


def plain_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser without arguments, for :func:`run_command`."""
    return argparse.ArgumentParser(
        prog=f'python -m {prog}',
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def make_parser(
    prog: str, description: str | None, several_splits: bool = False
) -> argparse.ArgumentParser:
    """A parser of the arguments that all commands with configs and seeds have."""
    parser = plain_parser(prog, description)
    add = parser.add_argument
    add('config', type=Path, help='a TOML file of benchmarks/configs')
    add('--seeds', type=int, nargs='+', default=[0], help='model seeds (default: 0)')
    if several_splits:
        add('--split-seeds', type=int, nargs='+', default=[0], help='(default: 0)')
    else:
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
