"""Atomic writes, and folders that store plain data and tensors with a checksum.

A store is a folder with a file ``model.zip``: a line with the checksum of the rest,
then an archive of plain data (``config.json``) and tensors (``tensors.pt``). Writes are
atomic: a killed writer leaves the old content. Reading executes no code of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

PathLike = str | os.PathLike

FILE = 'model.zip'
TEMPORARY = re.compile(r'\..+\.[0-9a-f]{8}\.tmp')


def check_file(path: PathLike) -> None:
    """Raises ``ValueError`` if there is no such file."""
    if not os.path.isfile(path):
        what = 'is no regular file' if os.path.exists(path) else 'does not exist'
        raise ValueError(f"'{path}' {what}; check the path")


@contextmanager
def atomic_write(path: PathLike) -> Iterator[Path]:
    """Yields a temporary path and renames it to :obj:`path` at the end of the block.

    If the block raises or the process is killed, :obj:`path` does not change.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may write the same file at once.
    aside = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def check_writable(path: PathLike, kind: str) -> None:
    """Raises ``ValueError`` unless a folder is new, empty, or a store of this kind."""
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder '{path.parent}' to write to; create it")
    # A killed writer may leave a folder with only temporary files.
    files = path.iterdir() if path.is_dir() else [path]
    if path.exists() and not all(TEMPORARY.fullmatch(file.name) for file in files):
        try:
            _read(path, kind)
        except ValueError as error:
            raise ValueError(
                f"'{path}' exists and is no saved {kind} ({error}); name another "
                f'folder, or remove it'
            ) from None
    _check_access(path if path.exists() else path.parent)


def make_folder(path: PathLike) -> None:
    """Creates a folder if there is none; ``ValueError`` if it is not writable."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, TypeError) as error:
        raise ValueError(
            f"'folder' must be a folder, or new (got '{path}': {error}); pass another"
        ) from None
    _check_access(path)


def write_store(
    path: PathLike,
    kind: str,
    version: int,
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
    **notes: Any,
) -> None:
    """Writes plain data, and tensors in dictionaries and lists, to a folder.

    A store of the same kind is replaced. In :obj:`config`, NumPy values become Python
    values, and objects with a method :obj:`to_dict` become dictionaries; values in
    :obj:`tensors` that are no tensors must be Python values. The :obj:`notes` are plain
    data that :func:`read_notes` reads from a store of any kind.
    """
    import torch  # here, because `atomic_write` needs no PyTorch

    check_writable(path, kind)
    content = {'kind': kind, 'version': version, 'config': config, 'notes': notes}
    text = json.dumps(content, indent=1, default=_plain)
    # To a buffer: PyTorch would write the name of a path into the file.
    saved, buffer = BytesIO(), BytesIO()
    torch.save(dict(tensors), saved)
    with ZipFile(buffer, 'w') as archive:  # no dates: equal content has equal bytes
        archive.writestr(ZipInfo('config.json'), text)
        archive.writestr(ZipInfo('tensors.pt'), saved.getvalue())
    with atomic_write(Path(path) / FILE) as aside:
        aside.write_bytes(_checksum(buffer.getvalue()) + buffer.getvalue())


def read_store(
    path: PathLike, kind: str, version: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a store; ``ValueError`` if it is damaged or has another kind or version."""
    import torch

    content, tensors = _read(Path(path), kind, version)
    try:
        tensors = torch.load(BytesIO(tensors), map_location='cpu', weights_only=True)
    except Exception as error:  # PyTorch raises various types
        raise _damaged(path, error) from error
    return content['config'], tensors


def read_notes(path: PathLike) -> dict[str, Any]:
    """Reads the notes of a store of any kind."""
    return _read(Path(path))[0]['notes']


def _read(
    path: Path, kind: str | None = None, version: int | None = None
) -> tuple[dict[str, Any], bytes]:
    """Reads plain data and the bytes of the tensors, and checks both."""
    try:
        stored = (path / FILE).read_bytes()
    except OSError as error:
        raise ValueError(f"'{path}' holds no saved model ({error})") from None
    size = len(_checksum(b''))
    if stored[:size] != _checksum(stored[size:]):
        raise _damaged(path, 'its checksum differs')
    try:
        with ZipFile(BytesIO(stored[size:])) as archive:
            content = json.loads(archive.read('config.json'))
            tensors = archive.read('tensors.pt')
            found, found_version = content['kind'], content['version']
    except Exception as error:  # a foreign file may have a valid checksum
        raise _damaged(path, error) from error
    if kind not in (None, found):
        raise ValueError(f"'{path}' holds a saved {found}, no {kind}")
    if version not in (None, found_version):
        raise ValueError(
            f"'{path}' has version {found_version} of its format, and this release "
            f'reads version {version}; install the release that wrote it'
        )
    return content, tensors


def _check_access(path: PathLike) -> None:
    """Raises ``ValueError`` unless files can be written to a folder."""
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"'{path}' is read-only; name another folder")


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode() + b'\n'


def _damaged(path: PathLike, reason: object) -> ValueError:
    return ValueError(
        f"The model '{Path(path) / FILE}' is damaged ({reason}); save or copy it again"
    )


def _plain(value: Any) -> Any:
    """NumPy values as Python values, and objects with `to_dict` as dictionaries."""
    for name in ('tolist', 'to_dict'):
        if hasattr(value, name):
            return getattr(value, name)()
    raise TypeError(f'{type(value).__name__} is no plain data')
