"""Gets raw files by checksum from a cache, a mirror or the network (pooch)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from glob import escape
from itertools import chain
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pooch

CACHE_VARIABLE, MIRROR_VARIABLE = 'COLDSTART_DATA', 'COLDSTART_MIRROR'
MIRROR_DEPTHS = ('', '*/', '*/*/')
TIMEOUT = 30  # seconds without a response

PathLike = str | os.PathLike


class DownloadError(RuntimeError):
    """A file is neither cached nor downloadable; the text says what to do."""


def cache_dir() -> Path:
    """Returns the cache folder of raw files, which may not exist yet.

    ``$COLDSTART_DATA`` if set, else ``coldstart-pyg`` in ``$XDG_CACHE_HOME``, else
    ``~/.cache/coldstart-pyg``.
    """
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    base = Path(os.environ.get('XDG_CACHE_HOME', ''))
    # The XDG specification tells programs to ignore a relative path.
    if not base.is_absolute():
        base = Path('~/.cache').expanduser()
    return base / 'coldstart-pyg'


def fetch(
    url: str,
    checksums: str | Sequence[str],
    *,
    name: str | None = None,
    subdir: str = '',
    cache: PathLike | None = None,
    downloader: Callable | None = None,
) -> Path:
    """Returns a local path to a file with the right checksum.

    Searches the cache first, then the folder in ``$COLDSTART_MIRROR``, at most two
    folders deep, whose files are used in place. Otherwise downloads the file with
    :func:`pooch.retrieve`, which checks a temporary file and renames it.

    Args:
        url: Address of the file.
        checksums: Accepted checksums in pooch's format: 64 hexadecimal digits of
            SHA-256, or the prefix of another algorithm (:obj:`'md5:...'`). A
            downloaded file must have the first.
        name: File name in the cache. (default: the last part of the address)
        subdir: Folder inside the cache, for files with common names.
        cache: Folder to use instead of :func:`cache_dir`.
        downloader: A pooch downloader. (default: chosen by the address)

    Raises:
        DownloadError: If the download fails or has another checksum, or the cache
            cannot be written.
        ValueError: If ``$COLDSTART_MIRROR`` is not a folder.
    """
    checksums = [checksums] if isinstance(checksums, str) else list(checksums)
    name = name or PurePosixPath(urlsplit(url).path).name
    target = Path(cache_dir() if cache is None else cache) / subdir / name
    if _is_intact(target, checksums):
        return target
    copies = _mirrored(name)
    for copy in copies:
        if _is_intact(copy, checksums):
            return copy
    try:
        pooch.retrieve(
            url,
            checksums[0],
            fname=name,
            path=target.parent,
            downloader=downloader or _http(),
        )
    # Requests' errors are OSErrors; pooch reports a wrong checksum by ValueError.
    except (OSError, ValueError, RuntimeError) as error:
        # Another process may have stored the file in the meantime.
        if _is_intact(target, checksums):
            return target
        raise DownloadError(
            f'could not fetch {name} from {url}: {error}\n'
            + _ways_out(target, checksums[0], copies)
        ) from error
    return target


def fetch_wheel(
    requirement: str, name: str, checksum: str, *, cache: PathLike | None = None
) -> Path:
    """Fetches the wheel of a pinned requirement with pip, without installing it.

    See :func:`fetch`. Also raises :class:`DownloadError` if this Python has no pip.
    """
    url = f'pip:{requirement}'
    return fetch(url, checksum, name=name, cache=cache, downloader=_pip)


def _pip(url: str, output_file: str, _: object) -> None:
    requirement = url.removeprefix('pip:')
    if importlib.util.find_spec('pip') is None:
        raise RuntimeError("this Python has no pip ('python -m ensurepip' adds it)")
    command = [sys.executable, '-m', 'pip', 'download']
    command += ['--no-deps', '--only-binary', ':all:', '--no-input']
    with tempfile.TemporaryDirectory() as folder:
        # pip prints its progress to stdout, which may be piped; send it to stderr (2).
        done = subprocess.run(
            [*command, '--dest', folder, requirement],
            stdout=2,
            stderr=subprocess.PIPE,
            text=True,
            errors='replace',
            check=False,
        )
        wheels = list(Path(folder).iterdir())
        if done.returncode or not wheels:
            last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
            raise RuntimeError(
                f"'pip download {requirement}' failed: " + '\n  '.join(last)
            )
        shutil.copyfile(wheels[0], output_file)


def _http() -> pooch.HTTPDownloader:
    bar = sys.stderr.isatty() and importlib.util.find_spec('tqdm') is not None
    return pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT)


def _is_intact(path: Path, checksums: Sequence[str]) -> bool:
    try:
        return path.is_file() and any(
            pooch.hashes.hash_matches(path, checksum) for checksum in checksums
        )
    except FileNotFoundError:  # another process has just replaced it
        return False


def _mirrored(name: str) -> list[Path]:
    """Files with a name in the mirror, if there is a mirror."""
    if not os.environ.get(MIRROR_VARIABLE):
        return []
    mirror = Path(os.environ[MIRROR_VARIABLE]).expanduser()
    if not mirror.is_dir():
        raise ValueError(
            f"'${MIRROR_VARIABLE}' must name a folder (got '{mirror}'); correct or "
            'unset it'
        )
    found = (sorted(mirror.glob(depth + escape(name))) for depth in MIRROR_DEPTHS)
    return [*chain.from_iterable(found)]


def _ways_out(target: Path, checksum: str, copies: Sequence[Path]) -> str:
    lines = [
        f'Without a network, set {MIRROR_VARIABLE} to a folder that holds '
        f'{target.name} with checksum {checksum},',
        f'or {CACHE_VARIABLE} to a writable cache filled elsewhere (searched for '
        f"'{target}').",
    ]
    lines += [f"Ignored because of a different checksum: '{path}'" for path in copies]
    return '\n'.join(lines)
