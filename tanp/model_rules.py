"""What the arguments of :class:`~tanp.model.TaNP` may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agnn_pyg.base.rules import (
    DROPOUT,
    POSITIVE,
    TRUTH,
    Rule,
    check_rule,
    is_list,
    one_of,
    optional,
    whole,
)
from tanp.loss import LIKELIHOODS
from tanp.nn.decoder import MODULATIONS

TARGETS = ('query', 'all')


def _widths(least: int, most: int | None = None) -> Rule:
    """Widths of so many layers."""
    width = whole(1)

    def allows(value: Any) -> bool:
        enough = (
            is_list(value)
            and least <= len(value)
            and (most is None or len(value) <= most)
        )
        return enough and all(map(width.allows, value))

    count = least if most == least else f'{least} or more'
    return Rule(f'a list of widths of {count} layers, each whole, from 1', allows)


RULES = {
    'num_items': whole(1),
    'num_users': whole(0),
    'item_ids': TRUTH,
    'user_ids': TRUTH,
    'id_dropout': DROPOUT,
    'embedding_channels': _widths(2, 2),
    # Of the set encoder, of the layer before the heads and of z.
    'latent_channels': optional(_widths(3)),
    'task_channels': _widths(1),
    'num_clusters': whole(0),
    'temperature': POSITIVE,
    'squared_distance': TRUTH,
    'decoder_channels': _widths(1),
    'modulation': one_of(MODULATIONS),
    'residual_modulation': TRUTH,
    'target': one_of(TARGETS),
    'likelihood': one_of(LIKELIHOODS),
    'dropout': DROPOUT,
    'attention_heads': whole(0),
    'processes': whole(0),
    'signed_pools': TRUTH,
}
# Arguments that read what statistics say of other users.
READERS = ('attention_heads', 'processes')


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` unless a model can be made of these arguments."""
    for name, rule in RULES.items():
        check_rule(arguments[name], name, rule)
    statistics, target = arguments['statistics'], arguments['target']
    if arguments['signed_pools'] and statistics is None:
        raise ValueError(
            "'signed_pools' needs 'statistics' to tell what to expect (got None)"
        )
    for name in READERS:
        if arguments[name] and (statistics is None or target == 'all'):
            raise ValueError(
                f"'{name}' needs 'statistics' (got {statistics}) and 'target' 'query' "
                f'(got {target!r}), else items would attend to their own labels'
            )
