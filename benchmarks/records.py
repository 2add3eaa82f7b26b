"""Reports: what a run measured, and on what."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

PACKAGES = ('torch', 'torch_geometric', 'pytorch_lightning', 'numpy', 'pandas', 'scipy')
# What a result may depend on: all that is tracked, but for the results themselves.
CODE = ('--', ':/', ':(top,exclude)benchmarks/results')
EXTENSIONS = ('pyg_lib', 'torch_scatter', 'torch_sparse')
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
        'git_commit': _git('rev-parse', 'HEAD'),
        'git_dirty': bool(_git('status', '--porcelain', '--untracked-files=no', *CODE)),
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
    """Writes aside and renames, so that a report is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, allow_nan=False) + '\n'
    aside = path.with_name(f'.{path.name}.tmp')
    try:
        aside.write_text(text, encoding='utf-8')
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """All reports below a folder, in the order of their paths."""
    paths = sorted(Path(folder).rglob('report.json'), key=_natural)
    return [read_json(path) for path in paths]


def read_json(path: Path) -> dict[str, Any]:
    """What :func:`write_json` wrote.

    Raises:
        ValueError: If it is something else; the message names the file.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"'{path}' is no JSON ({error}); {MEND}") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"'{path}' must hold a JSON object (got {kind}); {MEND}")
    return content


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
