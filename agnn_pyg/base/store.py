"""Files and folders that are written whole: atomic writes and check-summed stores.

A store is a folder with one JSON file and one file of tensors. The JSON file names the
other one, holds the checksums, and is renamed into place last: a reader finds the old
content or the new one, also after a writer was killed. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from io import BytesIO
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike

CONFIG = 'config.json'
TENSORS = re.compile(r'tensors-[0-9a-f]{16}\.pt')
TEMPORARY = re.compile(r'\..+\.[0-9a-f]{8}\.tmp')
ABANDONED = 3600  # seconds after which the writer of a temporary file was killed


@contextmanager
def atomic_write(path: PathLike) -> Iterator[Path]:
    """Yields a temporary path, which is renamed to :obj:`path` at the end.

    If the block raises, or the process is killed, :obj:`path` stays as it was.
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
    # What killed writers of this file have left.
    _remove_abandoned(path.parent.glob(f'.{escape(path.name)}.*.tmp'))


def check_writable(path: PathLike, kind: str) -> None:
    """Raises ``ValueError`` unless a folder is new, empty, or a store of a kind."""
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder '{path.parent}' to write to; make it")
    # A killed writer leaves a folder with nothing but files of its own.
    empty = path.is_dir() and all(_is_ours(file) for file in path.iterdir())
    if path.exists() and not empty and _peek(path).get('kind') != kind:
        raise ValueError(
            f"'{path}' exists and is no saved {kind}; name another folder, or remove it"
        )
    place = path if path.exists() else path.parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"'{place}' is read-only; name another folder")


def write_store(
    path: PathLike,
    kind: str,
    version: int,
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
) -> None:
    """Writes plain data and tensors (in dictionaries to any depth) to a folder.

    A store of the same kind is replaced. NumPy's plain data become Python's.
    """
    import torch  # here: `atomic_write` alone needs no PyTorch

    path = Path(path)
    check_writable(path, kind)
    content = {'kind': kind, 'version': version, 'config': config, 'notes': {}}
    content = json.loads(json.dumps(content, default=_plain))
    # Not to a path: PyTorch would write its name into the file.
    buffer = BytesIO()
    torch.save(dict(tensors), buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    name, replaced = f'tensors-{digest[:16]}.pt', _peek(path).get('tensors')
    replaced = replaced and replaced['file']
    try:
        with atomic_write(path / name) as aside:
            aside.write_bytes(buffer.getbuffer())
        _write_json(path, content | {'tensors': {'file': name, 'sha256': digest}})
    except BaseException:
        if name != replaced:
            (path / name).unlink(missing_ok=True)
        raise
    if replaced and name != replaced:
        (path / replaced).unlink(missing_ok=True)
    _remove_abandoned(f for f in path.iterdir() if _is_ours(f) and f.name != name)


def read_store(
    path: PathLike, kind: str, version: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What :func:`write_store` wrote; ``ValueError`` if it is another, or damaged."""
    path = Path(path)
    for _ in range(2):
        content = _checked_json(path, kind, version)
        # Not found: perhaps a writer has replaced the store between the two reads.
        with suppress(FileNotFoundError):
            return content['config'], _read_tensors(path, **content['tensors'])
    raise _damaged(path / content['tensors']['file'], 'it is missing')


def read_notes(path: PathLike) -> dict[str, Any]:
    """Returns what :func:`annotate` added to a store of any kind."""
    return _checked_json(Path(path))['notes']


def annotate(path: PathLike, **notes: Any) -> None:
    """Adds plain data to a store, such as how a command read its tables."""
    content = _checked_json(Path(path))
    _write_json(Path(path), content | {'notes': content['notes'] | notes})


def _remove_abandoned(files: Iterable[Path]) -> None:
    for file in files:
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > ABANDONED:
                file.unlink()


def _is_ours(file: Path) -> bool:
    return bool(TENSORS.fullmatch(file.name) or TEMPORARY.fullmatch(file.name))


def _peek(path: Path) -> dict[str, Any]:
    """The content of the JSON file, unchecked; nothing if it cannot be read."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads((path / CONFIG).read_bytes())
        return content if isinstance(content, dict) else {}
    return {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    content['sha256'] = _digest(content)
    with atomic_write(path / CONFIG) as aside:
        text = json.dumps(content, ensure_ascii=False, indent=1)
        aside.write_text(text, encoding='utf-8')


def _digest(content: dict[str, Any]) -> str:
    """The checksum of all of a JSON file except the checksum itself."""
    rest = {key: value for key, value in content.items() if key != 'sha256'}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _checked_json(
    path: Path, kind: str | None = None, version: int | None = None
) -> dict[str, Any]:
    file, content = path / CONFIG, _peek(path)
    if 'kind' not in content:
        raise ValueError(
            f"'{path}' holds no saved model, or a damaged one: '{file}' is missing or "
            f'cannot be read; save the model again, or copy it once more'
        )
    if kind is not None and content['kind'] != kind:
        raise ValueError(f"'{path}' holds a saved {content['kind']}, not a {kind}")
    if version is not None and content.get('version') != version:
        raise ValueError(
            f"'{path}' is of version {content.get('version')} of its format, and this "
            f'release reads version {version}; install the release that wrote it'
        )
    if content.get('sha256') != _digest(content):
        raise _damaged(file, 'its checksum differs')
    return content


def _read_tensors(path: Path, file: str, sha256: str) -> dict[str, Any]:
    import torch

    content = (path / file).read_bytes() if TENSORS.fullmatch(file) else b''
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _damaged(path / file, 'its checksum differs')
    try:
        return torch.load(BytesIO(content), map_location='cpu', weights_only=True)
    except Exception as error:  # whatever PyTorch makes of it
        raise _damaged(path / file, error) from error


def _damaged(file: PathLike, reason: object) -> ValueError:
    return ValueError(
        f"'{file}' is damaged ({reason}); save the model again, or copy it once more"
    )


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy and pandas as Python's."""
    if hasattr(value, 'tolist'):
        return value.tolist()
    raise TypeError(f'{type(value).__name__} is no plain data')
