"""A model in one file: its state and, as JSON, the arguments it was built with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from agnn_pyg.base import load_module
from agnn_pyg.base.encoder import TokenBags
from tanp.model import TaNP
from tanp.statistics import InteractionStatistics

FORMAT = 'tanp'
VERSION = 1


def save_model(model: TaNP, path: str | os.PathLike) -> None:
    """Writes a model to a file, aside first, so that none is ever half written."""
    path = Path(path)
    aside = path.with_name(f'{path.name}.tmp')
    content = {
        'format': FORMAT,
        'version': VERSION,
        'config': json.dumps(model.config),
        'state': model.state_dict(),
    }
    try:
        torch.save(content, aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load_model(path: str | os.PathLike, device: torch.device | str = 'cpu') -> TaNP:
    """Reads what :func:`save_model` wrote; nothing in the file is executed.

    Raises:
        ValueError: If the file is no such model, or of an unknown version.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"'path' does not hold a model that can be read (got {str(path)!r}: "
            f'{type(error).__name__}); save one with save_model'
        ) from error
    known = isinstance(content, dict) and content.get('format') == FORMAT
    if not known or content.get('version') != VERSION:
        found = content.get('version') if known else 'another format'
        raise ValueError(
            f"'path' must hold a model of format version {VERSION} (got {found}); "
            f'load it with the version of this library that wrote it'
        )
    try:
        return _build(content['state'], json.loads(content['config'])).to(device)
    except Exception as error:
        raise ValueError(f"'path' ({str(path)!r}) is damaged ({error!r})") from error


def _build(state: dict[str, torch.Tensor], config: dict[str, Any]) -> TaNP:
    for side in ('item', 'user'):
        config[f'{side}_attributes'] = _table(state, side)
    if config['statistics'] is not None:
        config['statistics'] = InteractionStatistics(**config['statistics'])
    return load_module(lambda: TaNP(**config), state)


def _table(state: dict[str, torch.Tensor], side: str) -> TokenBags | None:
    """Side information, as far as a model's state tells."""
    prefix = f'inputs.{side}'
    if f'{prefix}.attr' not in state:
        return None
    tokens = len(state[f'{prefix}.token_weight'])
    return TokenBags(
        state[f'{prefix}.attr'],
        state[f'{prefix}.attr_weight'],
        torch.ones(tokens, dtype=torch.bool),
    )
