"""Files that are fetched by their address."""

from __future__ import annotations

import http.client
import sys
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from data.download import PathLike, fetch

__all__ = ['fetch_address']

TIMEOUT = 30  # seconds without an answer
BLOCK = 1 << 16


def fetch_address(
    address: str,
    digest: str,
    *,
    subdir: str = '',
    cache: PathLike | None = None,
) -> Path:
    """A local path to the file behind an address, once its checksum is right.

    Looked for in the cache and the mirror first, see
    :func:`data.download.fetch`. A terminal is shown how far the download is.

    Args:
        address: Where the file is, e.g. ``'https://example.org/a/data.zip'``.
        digest: Its SHA-256.
        subdir: Folder inside the cache, for files of common names.
        cache: As in :func:`~data.download.fetch`.

    Raises:
        DownloadError: If the file is neither at hand nor to be had.
        ChecksumError: If another file arrives in its place.
    """
    name = PurePosixPath(urlsplit(address).path).name

    def getter(folder: Path) -> None:
        try:
            _download(address, folder / name)
        except http.client.HTTPException as error:
            raise OSError(f'{address}: {error!r}') from error
        except OSError as error:
            raise OSError(f'{address}: {error}') from error

    return fetch(name, digest, getter, subdir=subdir, cache=cache)


def _download(address: str, target: Path) -> None:
    with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
        total = int(answer.headers.get('Content-Length') or 0)
        done = 0
        with open(target, 'wb') as file:
            while block := answer.read(BLOCK):
                file.write(block)
                done += len(block)
                _show(target.name, done, total)
    _show(target.name, done, total, end='\n')


def _show(name: str, done: int, total: int, end: str = '') -> None:
    if not sys.stderr.isatty():
        return
    share = f' of {total / 2**20:.1f}' if total else ''
    sys.stderr.write(f'\r{name}: {done / 2**20:.1f}{share} MB{end}')
    sys.stderr.flush()
