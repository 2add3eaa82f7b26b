"""Where raw files live, and how they get there: cache, mirror, network."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from glob import escape
from pathlib import Path

from data.workspace import locked, workspace

__all__ = [
    'ChecksumError',
    'DownloadError',
    'cache_dir',
    'fetch',
    'fetch_wheel',
    'sha256',
]

CACHE_VARIABLE = 'COLDSTART_DATA'
MIRROR_VARIABLE = 'COLDSTART_MIRROR'

PathLike = str | os.PathLike


class DownloadError(RuntimeError):
    """A file is neither at hand nor to be had; the message says what to do."""


class ChecksumError(ValueError):
    """A file arrived, but it is not the one that was asked for."""


def cache_dir() -> Path:
    """The folder of raw files; it need not exist yet.

    ``$COLDSTART_DATA`` if set, else ``coldstart-pyg`` in ``$XDG_CACHE_HOME``,
    else ``~/.cache/coldstart-pyg``.
    """
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    base = Path(os.environ.get('XDG_CACHE_HOME', ''))
    # The XDG specification tells programs to ignore a relative path.
    if not base.is_absolute():
        base = Path('~/.cache').expanduser()
    return base / 'coldstart-pyg'


def sha256(path: PathLike) -> str:
    """SHA-256 of a file, as 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch(
    name: str,
    digest: str,
    getter: Callable[[Path], object],
    *,
    subdir: str = '',
    cache: PathLike | None = None,
) -> Path:
    """A local path to a file whose checksum is right.

    Tried in turn: the cache; the folder named by ``$COLDSTART_MIRROR``, down
    to two folders deep, from which files are used in place; and ``getter``,
    whose file is checked before it appears in the cache. Any number of
    processes may do so at once.

    Args:
        name: File name, without a folder.
        digest: Its SHA-256, 64 hexadecimal digits.
        getter: Called with an empty folder, it writes the file there under
            ``name``. It reports failure by an :class:`OSError`,
            :class:`RuntimeError` or :class:`subprocess.SubprocessError`.
        subdir: Folder inside the cache. (default: none)
        cache: Folder to use instead of :func:`cache_dir`.

    Raises:
        DownloadError: If the getter fails or the cache cannot be written.
        ChecksumError: If the getter brings another file; nothing is kept.
        ValueError: If an argument, or the mirror's name, makes no sense.
    """
    digest = digest.lower()
    if Path(name).name != name:
        raise ValueError(f"'name' must be a plain file name (got {name!r})")
    if not re.fullmatch('[0-9a-f]{64}', digest):
        raise ValueError(f"'digest' must be 64 hexadecimal digits (got {digest!r})")
    target = Path(cache_dir() if cache is None else cache) / subdir / name
    if _is_intact(target, digest) or not _discard(target, digest):
        return target

    copy, rejected = _search_mirror(name, digest)
    if copy is not None:
        return copy
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(workspace(target.parent))
        except OSError as error:
            raise _unwritable(target.parent, error) from error
        try:
            getter(folder)
            _check_written(folder, name)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise DownloadError(
                f'could not fetch {name}: {error}\n'
                + _ways_out(target, digest, rejected)
            ) from error
        _check_digest(folder / name, digest)
        _publish(folder / name, target, digest)
    return target


def fetch_wheel(
    requirement: str,
    filename: str,
    digest: str,
    *,
    cache: PathLike | None = None,
) -> Path:
    """Fetch a wheel through pip, as data: it is never installed.

    Args:
        requirement: One pinned requirement, e.g. ``'recbole==1.2.1'``.
        filename: Name of the wheel that pip will choose.
        digest: Its SHA-256.
        cache: As in :func:`fetch`.

    Raises:
        DownloadError: As in :func:`fetch`, and if this Python has no pip.
        ChecksumError: As in :func:`fetch`.
    """

    def getter(folder: Path) -> None:
        _pip_download(requirement, folder)

    return fetch(filename, digest, getter, cache=cache)


def _pip_download(requirement: str, folder: Path) -> None:
    if importlib.util.find_spec('pip') is None:
        raise RuntimeError("this Python has no pip ('python -m ensurepip' adds it)")
    command = [sys.executable, '-m', 'pip', 'download']
    command += ['--no-deps', '--only-binary', ':all:', '--no-input']
    command += ['--dest', str(folder), requirement]
    # pip draws its bar on stdout. Ours may be piped into a file, so lend it
    # the terminal's stderr (2); what pip has to say of errors is kept.
    done = subprocess.run(
        command,
        stdout=2,
        stderr=subprocess.PIPE,
        text=True,
        errors='replace',
        check=False,
    )
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
        raise RuntimeError(f"'pip download {requirement}' failed: " + '\n  '.join(last))


def _is_intact(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and sha256(path) == digest
    except FileNotFoundError:  # another process has just removed it as corrupt
        return False


def _discard(path: Path, digest: str) -> bool:
    """Removes what is not the right file; false if it has become so meanwhile."""
    if not path.exists():
        return True
    try:
        # Else another process might put the right one there, between look and removal.
        with locked(path.parent):
            if _is_intact(path, digest):
                return False
            path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    return True


def _search_mirror(name: str, digest: str) -> tuple[Path | None, list[Path]]:
    """The right file in the mirror, and those of its name that are not."""
    rejected: list[Path] = []
    if not os.environ.get(MIRROR_VARIABLE):
        return None, rejected
    mirror = Path(os.environ[MIRROR_VARIABLE]).expanduser()
    if not mirror.is_dir():
        raise ValueError(
            f"${MIRROR_VARIABLE} must name a folder (got '{mirror}'): correct "
            'or unset it'
        )
    for depth in ('', '*/', '*/*/'):
        for path in sorted(mirror.glob(depth + escape(name))):
            if _is_intact(path, digest):
                return path, rejected
            rejected.append(path)
    return None, rejected


def _check_written(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        found = sorted(path.name for path in folder.iterdir())
        raise RuntimeError(
            f'it arrived under another name or not at all ({found or "nothing"})'
        )


def _check_digest(path: Path, digest: str) -> None:
    found = sha256(path)
    if found != digest:
        raise ChecksumError(
            f'{path.name} arrived corrupt or truncated and was removed: '
            f'expected sha256 {digest}, found {found} '
            f'({path.stat().st_size:,} bytes); try again, or check the source'
        )


def _publish(source: Path, target: Path, digest: str) -> None:
    try:
        with locked(target.parent):
            os.replace(source, target)
    except OSError as error:
        # Windows refuses while another process reads the file it just put
        # there, which is then as good as ours.
        if not _is_intact(target, digest):
            raise _unwritable(target.parent, error) from error


def _unwritable(folder: Path, error: OSError) -> DownloadError:
    return DownloadError(
        f"the cache folder '{folder}' cannot be written ({error}): set "
        f'{CACHE_VARIABLE} to a folder that can'
    )


def _ways_out(target: Path, digest: str, rejected: list[Path]) -> str:
    lines = [
        f'Without a network, set {MIRROR_VARIABLE} to a folder that holds '
        f'{target.name} with sha256 {digest},',
        f"or {CACHE_VARIABLE} to a cache filled elsewhere (looked for '{target}').",
    ]
    lines += [f"Passed over, its sha256 differs: '{path}'" for path in rejected]
    return '\n'.join(lines)
