"""Results as rows: ``runs.csv``, ``settings.jsonl`` and ``environments.jsonl``.

A row of ``runs.csv`` is one part that one fitted estimator was scored on. What a run
was made with is named by hashes, which the other two files resolve.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from agnn_pyg.base.store import atomic_write

RESULTS = Path(__file__).parent / 'results'
RUNS, SETTINGS, ENVIRONMENTS = 'runs.csv', 'settings.jsonl', 'environments.jsonl'
PERF = 'perf.csv'
# What names a row, and what is measured beside metrics; all other columns are metrics.
KEYS = (
    *('suite', 'estimator', 'settings', 'data', 'scenario', 'split', 'seed', 'part'),
)
COSTS = ('seconds', 'cpu_seconds', 'peak_memory_mb')
ORIGIN = ('chosen', 'environment', 'commit')
PACKAGES = ('torch', 'torch_geometric', 'pytorch_lightning', 'numpy', 'pandas', 'scipy')
EXTENSIONS = ('pyg_lib', 'torch_scatter', 'torch_sparse')
# What a result may depend on: all that is tracked, except for the results themselves.
CODE = ('--', ':/', ':(top,exclude)benchmarks/results')


def read_runs(folder: Path = RESULTS) -> pd.DataFrame:
    """Reads the rows of a folder: keys and origin as texts, all else as numbers.

    Raises:
        ValueError: If the file is missing, or lacks a column that names rows.
    """
    rows = _read_text(folder / RUNS)
    if rows is None:
        raise ValueError(
            f"There is no '{folder / RUNS}'; make it by python -m benchmarks.run"
        )
    missing = [name for name in KEYS if name not in rows]
    if missing:
        raise ValueError(f"'{folder / RUNS}' has no column '{missing[0]}'")
    numbers = [name for name in rows if name not in (*KEYS, *ORIGIN)]
    return rows.assign(**{name: pd.to_numeric(rows[name]) for name in numbers})


def read_perf(folder: Path = RESULTS) -> pd.DataFrame:
    """Reads the measurements of speed of a folder; no rows if there are none."""
    path, columns = folder / PERF, ['benchmark', 'case', 'measure', 'value']
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)


def add_rows(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds rows to a folder; one with the same :data:`KEYS` is replaced.

    Several processes may add to one folder at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    added = pd.DataFrame([{k: as_text(v) for k, v in row.items()} for row in rows])
    with _locked(folder):
        known = _read_text(folder / RUNS)
        if known is not None:
            added = pd.concat([known, added], ignore_index=True)
        added = added.fillna('').drop_duplicates(list(KEYS), keep='last')
        metrics = [c for c in added if c not in (*KEYS, *COSTS, *ORIGIN)]
        columns = [*KEYS, *metrics, *COSTS, *ORIGIN]
        text = added.reindex(columns=columns, fill_value='').to_csv(index=False)
        write_text(folder / RUNS, text)


def add_line(folder: Path, name: str, key: str, content: Mapping[str, Any]) -> str:
    """Adds an object to a file of JSON lines under its hash, which is returned.

    Args:
        folder: Folder of results.
        name: :data:`SETTINGS` or :data:`ENVIRONMENTS`.
        key: What the hash is called in the line.
        content: Plain data.
    """
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        lines = read_lines(folder, name)
        if all(line[key] != digest for line in lines):
            lines.append({key: digest, **content})
            text = ''.join(json.dumps(line) + '\n' for line in lines)
            write_text(folder / name, text)
    return digest


def read_lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """Reads a file of JSON lines; none if it is not there."""
    path = folder / name
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise ValueError(f"'{path}' must hold JSON lines ({error})") from error


def as_text(value: Any) -> str:
    """Writes a cell: seven significant digits of a number, nothing for ``None``."""
    if value is None:
        return ''
    return f'{value:.7g}' if isinstance(value, float) else str(value)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with atomic_write(path) as aside:
        aside.write_text(text, encoding='utf-8')


def environment(device: str = 'cpu') -> dict[str, Any]:
    """Returns hardware and versions."""
    cuda = device.startswith('cuda')
    return {
        'python': platform.python_version(),
        **{name: _version(name) for name in PACKAGES + EXTENSIONS},
        'device': torch.cuda.get_device_name(device) if cuda else 'cpu',
        'cpu': _cpu(),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
    }


def hardware_line(hashes: Sequence[str], folder: Path) -> str:
    """Returns where figures were measured, by hashes of environments."""
    known = {e['environment']: e for e in read_lines(folder, ENVIRONMENTS)}
    found = set()
    for name in set(hashes) & known.keys():
        e = known[name]
        cpu = f'{e["cpu"]}, {e["threads"]} thread(s)'
        found.add(
            f'{cpu if e["device"] == "cpu" else e["device"]}; Python {e["python"]}, '
            f'torch {e["torch"]}, torch-geometric {e["torch_geometric"]}'
        )
    return f'Measured on: {" | ".join(sorted(found))}.'


def commit() -> str:
    """Returns the commit, with ``+`` if files differ from it; empty if unknown."""
    head = _git('rev-parse', '--short=10', 'HEAD')
    changed = _git('status', '--porcelain', '--untracked-files=no', *CODE)
    return f'{head}{"+" * bool(changed)}' if head else ''


def reset_peak_memory() -> None:
    """Lets :func:`peak_memory_mb` count from now on, where the system can (Linux)."""
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')


def peak_memory_mb() -> float | None:
    """Returns the largest resident size of this process, where it is known (Linux)."""
    try:
        status = Path('/proc/self/status').read_text(encoding='utf-8')
        return int(status.split('VmHWM:')[1].split()[0]) / 1024
    except (OSError, IndexError):
        return None


def _read_text(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"'{path}' must be a CSV file of rows ({error})") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps out other processes that write to the same folder (Unix)."""
    try:
        import fcntl
    except ImportError:  # not a Unix
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            names: Iterable[str] = [x for x in file if x.startswith('model name')]
        return names[0].split(':', 1)[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ['git', *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ''
