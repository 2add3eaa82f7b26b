"""Runs of tests in processes of their own: counted, and those that fail named."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LAST = 20  # lines that are kept of what a failed test said


def run(
    *command: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Runs a command in the repository's folder, and keeps what it says."""
    return subprocess.run(
        command,
        cwd=ROOT,
        # For this command only: the next part must not inherit it.
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def run_pytest(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> tuple[subprocess.CompletedProcess, dict[str, Any]]:
    """Runs tests; counts them, and adds up the figures that they record.

    Args:
        arguments: Of pytest.
        environ: Variables for this run only.

    Returns:
        What pytest said, and what :func:`read_junit` makes of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'junit.xml'
        told = (*arguments, *junit_options(path))
        done = run(sys.executable, '-m', 'pytest', *told, environ=environ)
        return done, read_junit(path)


def junit_options(path: Path) -> tuple[str, ...]:
    """What pytest is told for :func:`read_junit` to read its results."""
    # Names of tests are as from here, whatever lies in a folder above.
    where = f'--rootdir={ROOT}'
    return where, f'--junitxml={path}', '-o', 'junit_family=xunit1'


def read_junit(path: Path) -> dict[str, Any]:
    """Counts of tests, the sums of what they recorded, and those that failed."""
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
    return figures


def _failed(case: ElementTree.Element) -> list[dict[str, Any]]:
    """How a test failed, if it did: what was raised, and the end of the trace."""
    place = case.get('file') or case.get('classname', '')
    # Where this folder is on a machine is nobody's business.
    here = f'{ROOT}{os.sep}'
    return [
        {
            'test': f'{place}::{case.get("name")}',
            'message': said.get('message', '').replace(here, ''),
            'end': (said.text or '').replace(here, '').rstrip().splitlines()[-LAST:],
        }
        for said in case
        if said.tag in ('failure', 'error')
    ]
