"""What the project withstands: long looks, each beside the command that repeats it.

    python -m benchmarks.reliability                   # every part: hours
    python -m benchmarks.reliability properties fuzz   # these, and keeps the others
    python -m benchmarks.reliability soak --minutes 1
    python -m benchmarks.reliability versions --sessions oldest

properties  random tables, splits, graphs, episodes and metrics
fuzz        damaged files for every reader
kills       processes killed at chosen and at random moments
versions    the quick tests under the lowest and the newest versions
coverage    branches that the whole test suite runs through
soak        fit, predict, save and load in one process: memory, files, threads

Figures go to `reliability.json`; a part that was not run is called so there.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import plain_parser, run_command
from benchmarks.records import code_state, environment, read_json, write_json
from benchmarks.soak import soak
from benchmarks.suites import LAST, ROOT, junit_options, read_junit, run, run_pytest

NAME = 'reliability.json'
NOT_RUN = 'not run'
PACKAGES = ('agnn_pyg', 'tanp', 'data')
TWO = ('--numprocesses', '2', '--dist', 'loadfile')  # as `make test`
NOX = (sys.executable, '-m', 'nox', '--noxfile', 'tests/noxfile.py')
# The versions that a session of nox tells of, by their name on the index.
TOLD = ('torch', 'torch-geometric', 'torch-scatter', 'pytorch-lightning')
TOLD += ('numpy', 'pandas', 'scipy', 'pyarrow')


def properties(args: argparse.Namespace) -> dict[str, Any]:
    """Looks for counterexamples, 2,000 examples a property."""
    done, tests = run_pytest(
        'tests/properties',
        '--hypothesis-profile=nightly',
        '--hypothesis-show-statistics',
    )
    found = re.findall(r'(\d+) passing', done.stdout)
    return {**tests, 'properties': tests['passed'], 'examples': sum(map(int, found))}


def fuzz(args: argparse.Namespace) -> dict[str, Any]:
    """Damages files for every reader."""
    done = run(sys.executable, '-m', 'tests.fuzz', '--count', str(args.count))
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        return {'crashed': done.returncode, 'said': done.stderr[-500:]}
    return {
        'inputs': sum(found['tried'] for found in report.values()),
        'failures': sum(len(found['failures']) for found in report.values()),
        'readers': report,
    }


def kills(args: argparse.Namespace) -> dict[str, Any]:
    """Kills writers at every event, and whole runs at random moments."""
    _, tests = run_pytest(
        'tests/interruption',
        '-m',
        'slow or not slow',
        environ={'COLDSTART_KILLS': str(args.kills)},
    )
    return tests


def versions(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the quick tests in sessions of `tests/noxfile.py`, and keeps the others."""
    known = _sessions()
    before = _load(args.out)['versions']
    before = before if isinstance(before, dict) else {}
    found = {name: before.get(name, {'result': NOT_RUN}) for name in known}
    for name in args.sessions or known:
        print(f'  {name} ...', file=sys.stderr)
        found[name] = _session(name)
    return found


def coverage(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the whole test suite and counts lines and branches."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'coverage.json'
        options = [f'--cov={name}' for name in PACKAGES]
        options += ['--cov-branch', f'--cov-report=json:{path}']
        _, tests = run_pytest('tests', *options, *TWO)
        content = json.loads(path.read_text(encoding='utf-8'))
    hit, there = (dict.fromkeys(PACKAGES, 0) for _ in range(2))
    for file, found in content['files'].items():
        package, figures = Path(file).parts[0], found['summary']
        hit[package] += figures['covered_lines'] + figures['covered_branches']
        there[package] += figures['num_statements'] + figures['num_branches']
    percent = {name: round(100 * hit[name] / there[name], 1) for name in PACKAGES}
    return {**tests, 'percent': percent}


def long_run(args: argparse.Namespace) -> dict[str, Any]:
    """Goes on for some minutes and looks for what is left behind."""
    return soak(args.minutes)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    'properties': properties,
    'fuzz': fuzz,
    'kills': kills,
    'versions': versions,
    'coverage': coverage,
    'soak': long_run,
}
# What a part is told, beside its name.
OPTIONS = {'fuzz': 'count', 'kills': 'kills', 'soak': 'minutes'}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs parts, one after the other, and keeps what the others had found."""
    parser = plain_parser('benchmarks.reliability', __doc__)
    add = parser.add_argument
    add('parts', nargs='*', metavar='PART', help='(default: all)')
    add('--count', type=int, default=1500, help='damaged files a reader')
    add('--kills', type=int, default=20, help='kills of each run')
    add('--sessions', nargs='+', help='of versions (default: all)')
    add('--minutes', type=float, default=30, help='of the soak')
    add('--out', type=Path, default=ROOT / 'benchmarks' / 'results')
    args = parser.parse_args(argv)
    unknown = sorted(set(args.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part '{unknown[0]}' (there are {', '.join(PARTS)})")
    if args.sessions and (unknown := sorted(set(args.sessions) - set(_sessions()))):
        parser.error(f"no session '{unknown[0]}' (there are {', '.join(_sessions())})")
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    path = args.out / NAME
    report = _load(args.out)
    for name in args.parts or PARTS:
        print(f'{name} ...', file=sys.stderr)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = PARTS[name](args)
        report[name] = {'command': _command(name, args), **found}
        report[name]['environment'] = environment('cpu')
        write_json(path, report)
    print(path.read_text(encoding='utf-8'))


def _load(folder: Path) -> dict[str, Any]:
    """What was found before, by part."""
    path = folder / NAME
    found = read_json(path) if path.exists() else {}
    return dict.fromkeys(PARTS, NOT_RUN) | found


def _command(name: str, args: argparse.Namespace) -> str:
    option = OPTIONS.get(name)
    told = f' --{option} {getattr(args, option)}' if option else ''
    return f'python -m benchmarks.reliability {name}{told}'


def _sessions() -> list[str]:
    done = run(*NOX, '--list', '--json')
    return [session['session'] for session in json.loads(done.stdout)]


def _session(name: str) -> dict[str, Any]:
    """Runs one session: how it ended, its tests, and what was installed for it.

    One that ran no tests has not passed, whatever its exit code.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, junit = Path(folder) / 'nox.json', Path(folder) / 'junit.xml'
        places = ('--envdir', str(ROOT / '.nox'), '--report', str(report))
        done = run(*NOX, *places, '--sessions', name, '--', *junit_options(junit))
        result = 'failed'
        if report.exists():
            (session,) = json.loads(report.read_text(encoding='utf-8'))['sessions']
            result = session['result']
        if junit.exists():
            found = read_junit(junit)
        else:
            result = 'failed' if result == 'success' else result
            found = {'said': (done.stdout + done.stderr).splitlines()[-LAST:]}
    return {'result': result, **found, **_versions(name), **code_state()}


def _versions(session: str) -> dict[str, str]:
    """What was installed for a session, and the Python it ran on."""
    python = str(ROOT / '.nox' / session.replace('.', '-') / 'bin' / 'python')
    if not Path(python).exists():
        return {}
    done = run(python, '-m', 'pip', 'list', '--format=json')
    installed = {
        package['name'].lower().replace('_', '-'): package['version']
        for package in json.loads(done.stdout)
    }
    number = run(python, '--version').stdout.split()[-1]
    return {'python': number} | {n: installed[n] for n in TOLD if n in installed}


if __name__ == '__main__':
    sys.exit(main())
