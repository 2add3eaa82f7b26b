"""Measures speed and memory, and writes RESULTS/perf.csv.

    python -m benchmarks.perf               # all, an hour on a quiet machine
    python -m benchmarks.perf layer loader  # some of them

Names are those of benchmarks in perf.csv.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks import records
from benchmarks.perf import cases_of, in_new_process

MODULES = ('graph', 'layer', 'recommenders')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.perf', description=__doc__.splitlines()[0]
    )
    # Imported here: processes of measurements load their own module and no other.
    modules = [import_module(f'benchmarks.perf.{m}') for m in MODULES]
    cases = [case for module in modules for case in module.CASES]
    names = [*dict.fromkeys(name for name, *_ in cases)]
    add = parser.add_argument
    add('names', nargs='*', metavar='NAME', help=f'of {", ".join(names)}')
    add('--results', type=Path, default=Path('runs'), help='folder (default: runs)')
    args = parser.parse_args(argv)
    if unknown := {*args.names} - {*names}:
        parser.error(f'NAME must be of {", ".join(names)} (got {", ".join(unknown)})')
    for name, call, *arguments in cases:
        if args.names and name not in args.names:
            continue
        for case, measures in in_new_process(cases_of, call, *arguments):
            text = '; '.join(f'{key}={value}' for key, value in case.items())
            row = {'benchmark': name, 'case': text, **records.origin(args.results)}
            rows = [{**row, 'measure': k, 'value': v} for k, v in measures.items()]
            records.add_rows(args.results, rows, records.PERF)
            print(f'{name}: {text}', file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main())
