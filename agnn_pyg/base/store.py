"""A folder of plain data and tensors, written whole and never executed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

CONFIG, STATE, SUMS = 'config.json', 'state.pt', 'sha256'
# Folders beside one that is being written; of a killed writer, they stay behind.
SAVING, REPLACED = '.saving-', '.replaced-'
ABANDONED = 3600  # seconds after which nobody is writing any more


def check_place(path: str | os.PathLike, kind: str) -> None:
    """Raises ``ValueError`` unless :func:`write_folder` has a place to write to.

    To be called ahead of a training that would be lost.

    Args:
        path (path): The folder: none, an empty one, or of the same kind.
        kind (str): What is to be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder '{path.parent}' to write to; make it")
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty and _kind(path) != kind:
        raise ValueError(
            f"'{path}' is there already and is no saved model of {kind}; name another "
            f'folder'
        )


def _kind(path: Path) -> str | None:
    """What a folder holds, if it can be told."""
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        return json.loads((path / CONFIG).read_text(encoding='utf-8')).get('kind')


def write_folder(
    path: str | os.PathLike,
    kind: str,
    version: int,
    config: Mapping[str, Any],
    write: Callable[[Path], None],
) -> None:
    """Writes a folder aside and renames it, in place of one of the same kind.

    Args:
        path (path): The folder; what it is in must exist.
        kind (str): What is written; only a folder of this kind, or an empty one, is
            replaced.
        version (int): Of the format.
        config (mapping): Plain data. The checksums of all other files go with it.
        write (callable): Called with the folder, to write what else is in it.

    Raises:
        ValueError: If something else is in the way, or there is no place.
    """
    path = Path(path)
    check_place(path, kind)
    _recover(path)
    _remove_abandoned(path)
    prefix = f'.{path.name}{SAVING}'
    aside = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        write(aside)
        sums = {file.name: _checksum(file) for file in sorted(aside.iterdir())}
        content = {'kind': kind, 'version': version, SUMS: sums, **config}
        text = json.dumps(content, ensure_ascii=False, indent=1, default=_plain)
        (aside / CONFIG).write_text(text, encoding='utf-8')
        aside.chmod(0o755)
        old = aside.with_name(aside.name.replace(SAVING, REPLACED))
        if path.exists():
            path.rename(old)
        aside.rename(path)
        # No longer what may be put back: it is about to be half removed.
        with suppress(FileNotFoundError):
            old.rename(aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        _recover(path)


def _checksum(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open('rb') as content:
        for block in iter(lambda: content.read(2**20), b''):
            digest.update(block)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Numbers and lists of NumPy and pandas as those of Python."""
    if hasattr(value, 'tolist'):
        return value.tolist()
    raise TypeError(f'{type(value).__name__} is no plain data')


def _recover(path: Path) -> None:
    """Puts back what was renamed by a writer that was killed before the end.

    Of several, it is what was written last: the others had been replaced before.
    """
    if not path.exists():
        found = path.parent.glob(f'.{escape(path.name)}{REPLACED}*')
        # None is there, or another reader is faster.
        with suppress(OSError, ValueError):
            max(found, key=lambda old: old.stat().st_mtime_ns).rename(path)


def _remove_abandoned(path: Path) -> None:
    """Removes what writers that were killed have left beside a folder."""
    for kind in (SAVING, REPLACED):
        for other in path.parent.glob(f'.{escape(path.name)}{kind}*'):
            with suppress(OSError):
                if time.time() - other.stat().st_mtime > ABANDONED:
                    # By this name nobody puts it back when it is half removed.
                    gone = other.with_name(other.name.replace(REPLACED, SAVING))
                    shutil.rmtree(other.rename(gone))


def read_folder(path: str | os.PathLike, kind: str, version: int) -> dict[str, Any]:
    """The plain data that :func:`write_folder` has written.

    Raises:
        ValueError: If there is no such folder, or it is of another kind or
            version, or damaged.
    """
    path = Path(path)
    _recover(path)
    if not (path / CONFIG).is_file():
        raise ValueError(f"'{path}' is no folder of a saved model: no {CONFIG} in it")
    try:
        config = json.loads((path / CONFIG).read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{path / CONFIG}' is damaged ({error})") from error
    if not isinstance(config, dict) or config.pop('kind', None) != kind:
        raise ValueError(f"'{path}' holds something else than a saved {kind}")
    found = config.pop('version', None)
    if found != version:
        raise ValueError(
            f"'{path}' is of version {found} of its format, and this release reads "
            f'version {version}; save it again with the release that wrote it, or '
            f'install that one'
        )
    # Releases that wrote none are read all the same.
    _check_sums(path, config.pop(SUMS, {}))
    return config


def _check_sums(path: Path, sums: Any) -> None:
    """Raises ``ValueError`` if a file is not the one that was written."""
    if not isinstance(sums, dict):
        raise ValueError(f"'{path / CONFIG}' is damaged ({SUMS} is {sums!r})")
    for name, expected in sums.items():
        file = path / name
        try:
            found = _checksum(file)
        except OSError as error:
            raise ValueError(f"'{file}' is missing or damaged ({error})") from error
        if found != expected:
            raise ValueError(
                f"'{file}' is missing or damaged: its checksum differs; save the model "
                f'again, or copy it anew'
            )


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors into a folder."""
    torch.save(dict(tensors), folder / STATE)


def read_tensors(path: str | os.PathLike) -> dict[str, Tensor]:
    """What :func:`write_tensors` has written; nothing of it is executed."""
    state = Path(path) / STATE
    try:
        return torch.load(state, weights_only=True)
    except Exception as error:
        raise ValueError(f"'{state}' is missing or damaged ({error})") from error


def load_module(make: Callable[[], Module], state: Mapping[str, Tensor]) -> Module:
    """Makes a module and loads its state.

    The sizes are compared on tensors without memory first: a damaged file of a few
    bytes must not ask for all there is.

    Raises:
        ValueError: If the state is that of another module.
    """
    with torch.device('meta'):
        expected = {name: value.size() for name, value in make().state_dict().items()}
    found = {name: value.size() for name, value in state.items()}
    differ = [n for n in expected.keys() | found if expected.get(n) != found.get(n)]
    if differ:
        raise ValueError(f'tensors of other sizes, such as {min(differ)!r}')
    module = make()
    module.load_state_dict(state)
    return module
