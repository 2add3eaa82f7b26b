"""What the project withstands: long looks, each beside the command that repeats it.

    python -m benchmarks.reliability                   # every part: hours
    python -m benchmarks.reliability properties fuzz   # these, and keeps the others
    python -m benchmarks.reliability soak --minutes 1

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
import os
import re
import subprocess
import sys
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.records import environment, write_json
from benchmarks.soak import soak

ROOT = Path(__file__).parents[1]
NOT_RUN = 'not run'
PACKAGES = ('agnn_pyg', 'tanp', 'data')
LAST = 20  # lines that are kept of what a failed test said
TWO = ('--numprocesses', '2', '--dist', 'loadfile')  # as `make test`
# The versions that a session of nox tells of, by their name on the index.
TOLD = ('torch', 'torch-geometric', 'numpy', 'pandas', 'scipy', 'pytorch-lightning')


def properties(args: argparse.Namespace) -> dict[str, Any]:
    """Looks for counterexamples, 2,000 examples a property."""
    done, tests = _pytest(
        'tests/properties',
        '--hypothesis-profile=nightly',
        '--hypothesis-show-statistics',
    )
    found = re.findall(r'(\d+) passing', done.stdout)
    return {**tests, 'properties': tests['passed'], 'examples': sum(map(int, found))}


def fuzz(args: argparse.Namespace) -> dict[str, Any]:
    """Damages files for every reader."""
    done = _run(sys.executable, '-m', 'tests.fuzz', '--count', str(args.count))
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
    _, tests = _pytest(
        'tests/interruption',
        '-m',
        'slow or not slow',
        environ={'COLDSTART_KILLS': str(args.kills)},
    )
    return tests


def versions(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the quick tests in every session of `tests/noxfile.py`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'nox.json'
        places = ('--noxfile', 'tests/noxfile.py', '--envdir', str(ROOT / '.nox'))
        _run(sys.executable, '-m', 'nox', *places, '--report', str(path))
        sessions = json.loads(path.read_text(encoding='utf-8'))['sessions']
    return {
        session['name']: {'result': session['result'], **_versions(session['name'])}
        for session in sessions
    }


def coverage(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the whole test suite and counts lines and branches."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'coverage.json'
        options = [f'--cov={name}' for name in PACKAGES]
        options += ['--cov-branch', f'--cov-report=json:{path}']
        _, tests = _pytest('tests', *options, *TWO)
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
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.reliability',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('parts', nargs='*', metavar='PART', help='(default: all)')
    add('--count', type=int, default=1500, help='damaged files a reader')
    add('--kills', type=int, default=20, help='kills of each run')
    add('--minutes', type=float, default=30, help='of the soak')
    add('--out', type=Path, default=ROOT / 'benchmarks' / 'results')
    args = parser.parse_args(argv)
    unknown = sorted(set(args.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part '{unknown[0]}' (there are {', '.join(PARTS)})")
    torch.set_num_threads(1)
    path = args.out / 'reliability.json'
    report = dict.fromkeys(PARTS, NOT_RUN)
    if path.exists():
        report |= json.loads(path.read_text(encoding='utf-8'))
    for name in args.parts or PARTS:
        print(f'{name} ...', file=sys.stderr)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = PARTS[name](args)
        report[name] = {'command': _command(name, args), **found}
        report[name]['environment'] = environment('cpu')
        write_json(path, report)
    print(path.read_text(encoding='utf-8'))
    return 0


def _command(name: str, args: argparse.Namespace) -> str:
    option = OPTIONS.get(name)
    told = f' --{option} {getattr(args, option)}' if option else ''
    return f'python -m benchmarks.reliability {name}{told}'


def _run(
    *command: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        cwd=ROOT,
        # For this command only: the next part must not inherit it.
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def _pytest(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> tuple[subprocess.CompletedProcess, dict[str, Any]]:
    """Runs tests; counts them, and adds up the figures that they record.

    Tests that fail are named, with the end of what they said.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'junit.xml'
        done = _run(
            sys.executable,
            '-m',
            'pytest',
            *arguments,
            f'--junitxml={path}',
            '-o',
            'junit_family=xunit1',
            environ=environ,
        )
        suite = ElementTree.parse(path).getroot().find('testsuite')
    counts = {k: int(suite.get(k)) for k in ('tests', 'failures', 'errors', 'skipped')}
    missed = counts['failures'] + counts['errors']
    figures: dict[str, Any] = {
        'passed': counts['tests'] - missed - counts['skipped'],
        'failed': missed,
        'skipped': counts['skipped'],
    }
    for entry in suite.iter('property'):
        name = entry.get('name')
        # Hypothesis records texts of its own.
        if not name.startswith('hypothesis'):
            figures[name] = figures.get(name, 0) + int(entry.get('value'))
    if failures := [told for case in suite.iter('testcase') for told in _failed(case)]:
        figures['failures'] = failures
    return done, figures


def _failed(case: ElementTree.Element) -> list[dict[str, Any]]:
    """How a test failed, if it did: what was raised, and the end of the trace."""
    place = case.get('file') or case.get('classname', '')
    return [
        {
            'test': f'{place}::{case.get("name")}',
            'message': said.get('message', ''),
            'end': (said.text or '').rstrip().splitlines()[-LAST:],
        }
        for said in case
        if said.tag in ('failure', 'error')
    ]


def _versions(session: str) -> dict[str, str]:
    """What was installed for a session, and the Python it ran on."""
    (folder,) = (ROOT / '.nox').glob(session.replace('.', '-')) or [None]
    if folder is None:
        return {}
    done = _run(str(folder / 'bin' / 'python'), '-m', 'pip', 'list', '--format=json')
    installed = {p['name'].lower(): p['version'] for p in json.loads(done.stdout)}
    python = _run(str(folder / 'bin' / 'python'), '--version').stdout.split()[-1]
    return {'python': python} | {n: installed[n] for n in TOLD if n in installed}


if __name__ == '__main__':
    sys.exit(main())
