"""Results as rows: runs.csv, settings.jsonl, environments.jsonl and perf.csv.

A row of ``runs.csv`` has the scores of one fitted estimator on one part. Hashes stand
for settings and environments; the JSON lines resolve them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from agnn_pyg.base.store import atomic_write

RESULTS = Path(__file__).parent / 'results'
RUNS, PERF = 'runs.csv', 'perf.csv'
SETTINGS, ENVIRONMENTS = 'settings.jsonl', 'environments.jsonl'
# Columns of keys, costs and origin; all other columns are metrics.
KEYS = ['suite', 'estimator', 'settings', 'data', 'scenario', 'split', 'seed', 'part']
PERF_KEYS = ['benchmark', 'case', 'measure']
COSTS = ['seconds', 'cpu_seconds', 'peak_memory_mb']
ORIGIN = ['chosen', 'environment', 'commit']
PACKAGES = ['torch', 'torch_geometric', 'pytorch_lightning', 'numpy', 'pandas', 'scipy']
PACKAGES += ['pyg_lib', 'torch_scatter', 'torch_sparse']
# Files that results may depend on: all tracked files except the results.
CODE = ('--', ':/', ':(top,exclude)benchmarks/results')


def read_runs(folder: Path = RESULTS) -> pd.DataFrame:
    """Reads the rows of a folder: keys and origin as text, all else as numbers."""
    rows = _read(folder / RUNS)
    missing = [name for name in KEYS if name not in rows]
    if rows.empty or missing:
        raise ValueError(
            f"'{folder / RUNS}' must be a file of rows (it lacks {missing or 'rows'}); "
            f'create it with python -m benchmarks.run'
        )
    numbers = rows.columns.difference([*KEYS, *ORIGIN])
    return rows.assign(**rows[numbers].apply(pd.to_numeric))


def read_perf(folder: Path = RESULTS) -> pd.DataFrame:
    """Reads the speed measurements of a folder; no rows if there are none."""
    rows = _read(folder / PERF).reindex(columns=[*PERF_KEYS, 'value'])
    return rows.assign(value=pd.to_numeric(rows['value']))


def known_keys(folder: Path) -> set[tuple[str, ...]]:
    """Keys (:data:`KEYS`) of the rows of a folder as text; empty if it has none."""
    rows = _read(folder / RUNS).reindex(columns=KEYS)
    return set(rows.itertuples(index=False, name=None))


def add_rows(folder: Path, rows: Sequence[Mapping[str, Any]], name: str = RUNS) -> None:
    """Adds rows to a file; they replace rows with the same keys. Locks the folder."""
    added = pd.DataFrame([{k: as_text(v) for k, v in row.items()} for row in rows])
    keys, last = (KEYS, COSTS + ORIGIN) if name == RUNS else (PERF_KEYS, ORIGIN[1:])
    with _locked(folder):
        made = pd.concat([_read(folder / name), added]).fillna('')
        made = made.drop_duplicates(keys, keep='last')
        columns = [*keys, *made.columns.difference([*keys, *last], sort=False), *last]
        made = made.reindex(columns=columns, fill_value='')
        write_text(folder / name, made.to_csv(index=False))


def add_line(folder: Path, name: str, key: str, content: Mapping[str, Any]) -> str:
    """Adds an object to a file of JSON lines under its hash; returns the hash."""
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    with _locked(folder):
        lines = read_lines(folder, name)
        if all(line[key] != digest for line in lines):
            lines.append({key: digest, **content})
            text = ''.join(json.dumps(line) + '\n' for line in lines)
            write_text(folder / name, text)
    return digest


def read_lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """Reads a file of JSON lines; empty if it does not exist."""
    path = folder / name
    try:
        lines = path.read_text(encoding='utf-8').splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise ValueError(f"'{path}' must hold JSON lines ({error})") from error


def as_text(value: Any) -> str:
    """Formats a cell: numbers with seven significant digits, ``None`` as empty."""
    if value is None:
        return ''
    return f'{value:.7g}' if isinstance(value, float) else str(value)


def write_text(path: Path, text: str) -> None:
    """Writes a file atomically."""
    with atomic_write(path) as aside:
        aside.write_text(text, encoding='utf-8')


def origin(folder: Path) -> dict[str, str]:
    """Adds hardware and versions to a folder; returns their hash and the commit.

    The commit ends in ``+`` if files differ from it.
    """
    versions = dict.fromkeys(PACKAGES)
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    content = {'python': platform.python_version(), **versions, 'device': 'cpu'}
    content |= {'cpu': _after('model name\t:', '/proc/cpuinfo') or platform.machine()}
    content |= {'cores': os.cpu_count(), 'threads': torch.get_num_threads()}
    name = add_line(folder, ENVIRONMENTS, 'environment', content)
    head = _git('rev-parse', '--short=10', 'HEAD')
    changed = _git('status', '--porcelain', '--untracked-files=no', *CODE)
    return {'environment': name, 'commit': f'{head}{"+" * bool(changed)}' * bool(head)}


def hardware_line(hashes: Sequence[str], folder: Path) -> str:
    """A sentence on where figures were measured, from hashes of environments."""
    found = {
        f'{e["cpu"]}, {e["threads"]} thread(s); Python {e["python"]}, '
        f'torch {e["torch"]}, torch-geometric {e["torch_geometric"]}'
        for e in read_lines(folder, ENVIRONMENTS)
        if e['environment'] in set(hashes)
    }
    return f'Measured on: {" | ".join(sorted(found))}.'


def reset_peak_memory() -> None:
    """Resets the peak of :func:`peak_memory_mb`, if the system can (Linux)."""
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process in MB, if it is known (Linux)."""
    found = _after('VmHWM:', '/proc/self/status')
    return found and int(found.split()[0]) / 1024


def _after(key: str, path: str) -> str | None:
    """The rest of a line after a key in a system file, if it exists (Linux)."""
    with suppress(OSError, IndexError):
        text = Path(path).read_text(encoding='utf-8')
        return text.split(key)[1].splitlines()[0].strip()
    return None


def _read(path: Path) -> pd.DataFrame:
    """The cells of a CSV file as text; no columns if it does not exist."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        return pd.DataFrame()
    except ValueError as error:
        raise ValueError(f"'{path}' must be a CSV file ({error})") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Creates a folder and locks it against writes of other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _git(*arguments: str) -> str:
    options = {'cwd': Path(__file__).parent, 'capture_output': True, 'text': True}
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(['git', *arguments], check=True, **options).stdout.strip()
    return ''
