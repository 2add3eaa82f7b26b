"""Reports: what a run measured, and on what."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

PACKAGES = ('torch', 'torch_geometric', 'pytorch_lightning', 'numpy', 'pandas', 'scipy')
# What a result may depend on: all that is tracked, but for the results themselves.
CODE = ('--', ':/', ':(top,exclude)benchmarks/results')
EXTENSIONS = ('pyg_lib', 'torch_scatter', 'torch_sparse')
# Of a report, if it has them: objects.
PARTS = ('config', 'environment', 'data', 'metrics', 'peers', 'time')
MEND = 'delete it, or repeat its benchmark'


def environment(device: str) -> dict[str, Any]:
    """Hardware, versions and commit."""
    cuda = device.startswith('cuda')
    return {
        'python': platform.python_version(),
        **{name: _version(name) for name in PACKAGES + EXTENSIONS},
        'cuda': torch.version.cuda,
        'device': torch.cuda.get_device_name(device) if cuda else 'cpu',
        'cpu': _cpu(),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'memory_gb': _memory_gb(),
        **code_state(),
    }


def code_state() -> dict[str, Any]:
    """The commit, and whether files differ from it; none where nothing tells."""
    changed = _git('status', '--porcelain', '--untracked-files=no', *CODE)
    return {
        'git_commit': _git('rev-parse', 'HEAD'),
        'git_dirty': None if changed is None else changed != '',
    }


def peak_memory_mb() -> float | None:
    """The largest resident size of this process so far, where it is known."""
    # Linux counts the parent's size into a child's `ru_maxrss`, but not here.
    try:
        status = Path('/proc/self/status').read_text(encoding='utf-8')
        return int(status.split('VmHWM:')[1].split()[0]) / 1024
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == 'darwin' else peak / 1024


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a report, as :func:`write_text` does."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + '\n')


def write_text(path: Path, text: str) -> None:
    """Writes aside and renames, so that a file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'.{path.name}.tmp')
    try:
        aside.write_text(text, encoding='utf-8')
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


class Record(dict):
    """An object of a JSON file, which names the file if it lacks a key."""

    path: Path

    def __missing__(self, key: str) -> Any:
        raise ValueError(f"'{self.path}' lacks the key '{key}'; {MEND}")


def check_results(folder: Path) -> None:
    """Raises ``ValueError`` if there is nothing to make tables of."""
    if not folder.is_dir():
        raise ValueError(f"No folder '{folder}'; benchmarks write it by --out")
    if next(folder.rglob('*.json'), None) is None:
        raise ValueError(f"'{folder}' holds no results; run a benchmark with --out")


def read_reports(folder: Path) -> list[Record]:
    """All reports below a folder, in the order of their paths."""
    paths = sorted(Path(folder).rglob('report.json'), key=_natural)
    return [read_json(path) for path in paths]


def read_json(path: Path) -> Record:
    """What :func:`write_json` wrote.

    Raises:
        ValueError: If it is something else, then or when a key is looked up that it
            lacks; the message names the file.
    """

    def record(content: dict[str, Any]) -> Record:
        made = Record(content)
        made.path = path
        return made

    try:
        content = json.loads(path.read_text(encoding='utf-8'), object_hook=record)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"'{path}' is no JSON ({error}); {MEND}") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"'{path}' must hold a JSON object (got {kind}); {MEND}")
    for part in PARTS:
        if not isinstance(content.get(part, {}), dict):
            raise ValueError(
                f"'{path}' must hold an object as '{part}' (got {content[part]!r}); "
                f'{MEND}'
            )
    return content


def differing(
    record: dict[str, Any], config: Any, **run: Any
) -> dict[str, tuple[Any, Any]]:
    """Settings of a report that are others now: by name what they were, and are.

    One that was not there yet had its default; one that is no more does not count.

    Args:
        record (dict): The report.
        config (dataclass): The settings now, in sections.
        **run: Those beside the sections, and what is said of the data.
    """
    found = {**record.get('data', {}), **record['config']}
    pairs = {name: (found.get(name), value) for name, value in run.items()}
    for section in dataclasses.fields(config):
        before, now = found.get(section.name, {}), getattr(config, section.name)
        for field in dataclasses.fields(now):
            pair = before.get(field.name, field.default), getattr(now, field.name)
            pairs[f'{section.name}.{field.name}'] = pair
    # JSON has lists where a config has tuples.
    plain = {
        name: tuple(list(v) if isinstance(v, tuple) else v for v in pair)
        for name, pair in pairs.items()
    }
    return {name: pair for name, pair in plain.items() if pair[0] != pair[1]}


def check_settings(record: Record, config: Any, **run: Any) -> None:
    """Raises ``ValueError`` if a report is not of these settings, naming one.

    What was measured with different settings must not be averaged, nor gone on with.
    See :func:`differing`.
    """
    with content_of(record.path):
        others = differing(record, config, **run)
    if others:
        name, (before, now) = next(iter(others.items()))
        raise ValueError(
            f"'{record.path}' is of another run: '{name}' was {before!r} and is "
            f'{now!r}; delete its folder, or choose another --out'
        )


@contextmanager
def content_of(path: Path) -> Iterator[None]:
    """Names a file, or a folder of some, whose values are not of the kinds expected.

    Raises:
        ValueError: If a list, a number or a text is found in place of another.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"'{path}' is of a wrong shape ({error}); {MEND}") from error


def _natural(path: Path) -> list[Any]:
    return [
        (part.rstrip('0123456789'), int(''.join(filter(str.isdigit, part)) or 0))
        for part in path.parts
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            names = [line for line in file if line.startswith('model name')]
        return names[0].split(':', 1)[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(
            os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30, 1
        )
    except (AttributeError, ValueError, OSError):
        return None


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ['git', *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
