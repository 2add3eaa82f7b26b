"""Zip files that are read in place: the members asked for, never unpacked."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ['opened', 'read_member']

# Far above any member of ours, far below what would fill a machine's memory.
LIMIT = 256 * 2**20
# Python unpacks other methods in blocks whose size is the archive's to choose.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def opened(path: str | os.PathLike, argument: str) -> Iterator[zipfile.ZipFile]:
    """Opens an archive for :func:`read_member`.

    Args:
        path: The zip file.
        argument: What errors call the path.

    Raises:
        ValueError: If there is no such file, or it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no file at '{argument}' ({path}): see this reader's loader")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f'{path.name} is damaged ({error}): remove it and fetch it anew'
        ) from error


def read_member(archive: zipfile.ZipFile, member: str, limit: int = LIMIT) -> bytes:
    """The content of one member, found by its whole name.

    Args:
        archive: An open archive.
        member: Its name there; nothing else of the archive is looked at.
        limit: The most bytes it may hold when unpacked. (default: 256 MiB)

    Raises:
        ValueError: If the member is missing, encrypted, packed by a method other
            than deflate, or longer than that.
    """
    name = Path(str(archive.filename)).name
    try:
        method = archive.getinfo(member).compress_type
        if method not in METHODS:
            raise ValueError(
                f"cannot unpack '{member}' of {name} (neither stored nor deflated)"
            )
        with archive.open(member) as file:
            # What the archive says of a member's size may be untrue.
            content = file.read(limit + 1)
    except KeyError:
        raise ValueError(
            f"{name} holds no '{member}': is it the file that was meant?"
        ) from None
    # A method, a password, a place outside the file.
    except (NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"cannot unpack '{member}' of {name} ({error})") from error
    if len(content) > limit:
        raise ValueError(
            f"'{member}' of {name} is longer than {limit:,} bytes: is it the file "
            'that was meant?'
        )
    return content
