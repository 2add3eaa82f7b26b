"""A folder to write in, beside where the result goes, that outlives nobody."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None

__all__ = ['locked', 'workspace']

PREFIX = '.fetch-'


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A new folder inside another one, gone afterwards.

    Inside, since a file can be renamed atomically on one file system only. A
    process that is killed leaves its folder behind, but not the lock on it: so
    the next one can tell, and removes it.

    Args:
        folder: Where to make it; made itself, if need be.

    Raises:
        OSError: If nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    own, lock = _make(folder)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps others who lock the same folder out, where the file system has locks.

    Args:
        folder: An existing folder; a process that ends, however, frees it.
    """
    lock = _lock(folder, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _make(folder: Path) -> tuple[Path, int | None]:
    while True:
        own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        lock = _lock(own, wait=True)
        if own.is_dir():  # and not taken for abandoned before it was locked
            return own, lock
        if lock is not None:
            os.close(lock)


def _remove_abandoned(folder: Path) -> None:
    for other in folder.glob(f'{PREFIX}*'):
        lock = _lock(other, wait=False)
        if lock is not None:
            shutil.rmtree(other, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path, wait: bool) -> int | None:
    """Locks a folder until it is closed, or until the process ends, however."""
    if fcntl is None:
        return None
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another has it, it is gone, or the file system has no locks
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor
