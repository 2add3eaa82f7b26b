"""Zip files read in place: the members asked for, never unpacked, up to a limit."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agnn_pyg.base.store import check_file

# Far above any member read here, far below what would fill a machine's memory.
LIMIT = 256 * 2**20
# Python unpacks other methods in blocks whose size is the archive's to choose.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_zip(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    """Opens an archive for :func:`read_member`.

    Raises:
        ValueError: If there is no such file, or it is damaged.
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"'{path}' is damaged ({error}); remove it and fetch it again"
        ) from error


def read_member(archive: zipfile.ZipFile, member: str, limit: int = LIMIT) -> bytes:
    """Returns the content of one member, found by its whole name.

    Args:
        archive: An open archive.
        member: Its name there; nothing else of the archive is read.
        limit: The most bytes it may hold when unpacked. (default: 256 MiB)

    Raises:
        ValueError: If the member is missing, encrypted, packed by a method other than
            deflate, or longer than the limit.
    """
    name = Path(str(archive.filename)).name
    try:
        if archive.getinfo(member).compress_type not in METHODS:
            raise OSError('packed by an unsupported method')
        with archive.open(member) as file:
            # What the archive says of a member's size may be untrue.
            content = file.read(limit + 1)
    except KeyError:
        raise ValueError(
            f"'{name}' has no member '{member}'; check that it is the right file"
        ) from None
    # Another method, a password, a place outside the file.
    except (NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(
            f"'{member}' of {name} cannot be unpacked ({error}); fetch the file again"
        ) from error
    if len(content) > limit:
        raise ValueError(
            f"'{member}' of {name} is longer than {limit:,} bytes; check that it is "
            'the right file'
        )
    return content
