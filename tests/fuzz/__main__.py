"""Damages files at random and reads them: `python -m tests.fuzz --count 1000`.

A reader must accept a file or refuse it by an error that this project raises
itself; an error that comes out of a library is a failure, and so is a file that
appears, or memory beyond a limit. Prints one JSON object. An input is named by
target, seed and number, and made anew from these.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch

from benchmarks.records import peak_memory_mb
from data.fetch import DownloadError
from tests.fuzz.targets import ROOT, TARGETS, Target

OURS = tuple(str(ROOT / name) for name in ('agnn_pyg', 'tanp', 'data', 'benchmarks'))
# What reading files of kilobytes may take beyond whole ones: address space, of
# which allocators reserve plenty, and memory that is really used.
ALLOWANCE = 2**32
PEAK_MB = 256


def fuzz(target: Target, name: str, count: int, seed: int, folder: Path) -> dict:
    """Reads damaged files, and tells how many were refused and what went wrong."""
    target.make(folder)
    target.read(folder)  # what is whole is accepted
    whole, before = contents(folder), peak_memory_mb()
    limit_memory()
    refused, failures = 0, []
    for number in range(count):
        rng = np.random.default_rng([zlib.crc32(name.encode()), seed, number])
        damaged = target.damage(whole, rng)
        for path, content in damaged.items():
            if content != whole[path]:
                (folder / path).write_bytes(content)
        try:
            target.read(folder)
        except Exception as error:
            refused += 1
            if not is_ours(error):
                failures.append(f'{number}: {describe(error)}')
        if contents(folder) != damaged:
            failures.append(f'{number}: files were changed')
        for path, content in whole.items():
            if damaged[path] != content:
                (folder / path).write_bytes(content)
    grown = round(peak_memory_mb() - before)
    if grown > PEAK_MB:
        failures.append(f'memory grew by {grown} MB')
    return {'tried': count, 'refused': refused, 'mb': grown, 'failures': failures}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def is_ours(error: Exception) -> bool:
    """Whether the error is of a type we promise, and raised in our own source."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    promised = type(error) is ValueError or isinstance(error, DownloadError)
    return promised and frame.filename.startswith(OURS)


def describe(error: Exception) -> str:
    trace = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in trace if frame.filename.startswith(OURS)]
    places = [f'{Path(f.filename).name}:{f.lineno}' for f in (*mine[-1:], trace[-1])]
    return f'{type(error).__name__}: {str(error)[:150]} ({places})'


def limit_memory() -> None:
    with open('/proc/self/statm', encoding='ascii') as file:
        used = int(file.read().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ALLOWANCE, hard))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m tests.fuzz', description=__doc__.splitlines()[0]
    )
    parser.add_argument('targets', nargs='*', help='(default: all)', metavar='TARGET')
    parser.add_argument('--count', type=int, default=100, help='inputs a target')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    report = {}
    for name in args.targets or TARGETS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / 'a' / 'b'
            folder.mkdir(parents=True)
            report[name] = fuzz(TARGETS[name], name, args.count, args.seed, folder)
            outside = set(contents(Path(scratch))) - {
                f'a/b/{path}' for path in contents(folder)
            }
            report[name]['failures'] += [f'outside: {path}' for path in outside]
    sys.stdout.write(json.dumps(report, indent=1) + '\n')
    return int(any(found['failures'] for found in report.values()))


if __name__ == '__main__':
    sys.exit(main())
