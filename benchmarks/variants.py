"""AGNN with one part changed at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.config import AGNNConfig

BASE = 'as configured'
ALONE = 'no messages'
# One change each, as SECTION.KEY and the value it is given.
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    ALONE: {'messages.share': 0.0},
    'messages only': {'messages.share': 1.0},
    'half of it messages': {'messages.share': 0.5},
    'no messages from the user': {'messages.kinds': ('item', 'attribute')},
    'no messages to the item': {'messages.kinds': ('user', 'attribute')},
    'no messages between attributes': {'messages.kinds': ('user', 'item')},
    'no relations by ratings': {'messages.shared': 0},
    'no neighbours': {'graph.num_neighbors': 0},
    'plain mean': {'model.aggregate_gate': False, 'model.filter_gate': False},
    'no aggregate gate': {'model.aggregate_gate': False},
    'no filter gate': {'model.filter_gate': False},
    'GCNConv': {'model.conv': 'gcn'},
    'GATConv': {'model.conv': 'gat'},
    'SAGEConv': {'model.conv': 'sage'},
    'ResGatedGraphConv': {'model.conv': 'res_gated'},
    'no preference proximity': {'graph.preference': False},
    'no extended VAE': {
        'model.generate': False,
        'model.generate_bias': False,
        'train.kl_weight': 0.0,
        'train.reconstruction_weight': 0.0,
    },
    'no generated bias': {'model.generate_bias': False},
    'no simulated cold nodes': {'train.cold_users': 0.0, 'train.cold_items': 0.0},
    'no preference loss': {'train.preference_weight': 0.0},
    'no linear skip': {'model.skip': False},
    'separate neighbours': {'model.separate_neighbors': True},
    'LeakyReLU': {'model.negative_slope': 0.01},
    'no hidden layer': {'model.hidden_channels': 0},
    'dropout of .1': {'model.dropout': 0.1},
    'no moving average': {'train.ema_decay': None},
    'a single draw': {'train.draws': 1},
}
# What the network is without a part, where no messages make up for it.
ALONE_PREFIX = f'{ALONE}, '
VARIANTS |= {
    ALONE_PREFIX + name: VARIANTS[ALONE] | VARIANTS[name]
    for name in (
        'no neighbours',
        'plain mean',
        'SAGEConv',
        'no preference proximity',
        'no extended VAE',
        'no generated bias',
        'no simulated cold nodes',
        'no preference loss',
        'no linear skip',
        'no hidden layer',
        'no moving average',
        'a single draw',
    )
}


def base_of(name: str) -> str:
    """The variant that one is a single change away from."""
    return ALONE if name.startswith(ALONE_PREFIX) else BASE


def override(config: AGNNConfig, changes: dict[str, Any]) -> AGNNConfig:
    """The config with some values changed, given as SECTION.KEY."""
    for name, value in changes.items():
        section, key = name.split('.')
        part = dataclasses.replace(getattr(config, section), **{key: value})
        config = dataclasses.replace(config, **{section: part})
    return config
