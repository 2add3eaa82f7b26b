"""A model as a folder: its state and the arguments it was built with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.store import read_store, write_store
from tanp.model import TaNP
from tanp.statistics import InteractionStatistics

KIND = 'TaNP'
VERSION = 2


def save_model(model: TaNP, path: str | os.PathLike) -> None:
    """Writes a model to a folder, atomically.

    Args:
        model (TaNP): The model.
        path (path): The folder, new or of a model saved before.

    Raises:
        ValueError: If something else is in its place.
    """
    write_store(path, KIND, VERSION, model.config, {'state': model.state_dict()})


def load_model(path: str | os.PathLike, device: torch.device | str = 'cpu') -> TaNP:
    """Reads what :func:`save_model` wrote; nothing of it is executed.

    Raises:
        ValueError: If it is something else, damaged, or of another version.
    """
    config, tensors = read_store(path, KIND, VERSION)
    try:
        return build_model(config, tensors['state']).to(device)
    except Exception as error:
        raise ValueError(f"'{path}' is damaged ({error!r})") from error


def build_model(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> TaNP:
    """Builds a model from its plain configuration and its state."""
    config = dict(config)
    for side in ('item', 'user'):
        config[f'{side}_attributes'] = _table(state, side)
    if config['statistics'] is not None:
        config['statistics'] = InteractionStatistics(**config['statistics'])
    model = TaNP(**config)
    model.load_state_dict(state)
    return model


def _table(state: Mapping[str, Tensor], side: str) -> TokenBags | None:
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
