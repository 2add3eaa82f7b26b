"""Reads single members of zip files in place, up to a size limit."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agnn_pyg.base.store import check_file

# Far above the size of any member read here, and far below the size of memory.
LIMIT = 256 * 2**20
# For other methods, the archive sets the size of the blocks that Python unpacks.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_zip(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    """Opens an archive for :func:`read_member`.

    Raises:
        ValueError: If the file does not exist or is damaged.
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
    """Returns the content of one member, found by its full name.

    Args:
        archive: An open archive.
        member: Name of the member; no other member is read.
        limit: Largest allowed size in bytes when unpacked. (default: 256 MiB)

    Raises:
        ValueError: If the member is missing, encrypted, compressed by a method other
            than deflate, or larger than the limit.
    """
    name = Path(str(archive.filename)).name
    try:
        if archive.getinfo(member).compress_type not in METHODS:
            raise OSError('compressed by an unsupported method')
        with archive.open(member) as file:
            # The size that the archive declares may be wrong.
            content = file.read(limit + 1)
    except KeyError:
        raise ValueError(
            f"'{name}' has no member '{member}'; check that it is the right file"
        ) from None
    # An unsupported method, a password, or an offset outside the file.
    except (NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(
            f"'{member}' of {name} cannot be unpacked ({error}); fetch the file again"
        ) from error
    if len(content) > limit:
        raise ValueError(
            f"'{member}' of {name} is larger than {limit:,} bytes; check that it is "
            'the right file'
        )
    return content
