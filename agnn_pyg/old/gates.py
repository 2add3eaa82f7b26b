"""Gates of messages: which may open, and how far they are open at first."""

from __future__ import annotations

import torch
from torch import Tensor

# Messages that a kind of gate lets through, by whether its user relation and its
# item relation is "self". A user's and an item's own level always pass.
KINDS = {'user': (True, False), 'item': (False, True), 'attribute': (False, False)}


def start_gates(num_user: int, num_item: int) -> Tensor:
    """Gates to begin with: own levels most, then self, then what all share."""
    gate = torch.full((num_user + 1, num_item + 1), 3e-4)
    gate[0], gate[:, 0] = 2e-3, 2e-3
    gate[-1], gate[:, -1] = 0.03, 0.01
    gate[-1, 0], gate[0, -1] = 0.1, 0.02
    # All to all is the mean, and self to self a rating's own noise.
    gate[0, 0] = gate[-1, -1] = 0
    return gate


def open_gates(gate: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """True where messages pass: the given kinds, and the level of either end."""
    is_self = torch.zeros_like(gate, dtype=torch.bool), torch.zeros_like(gate) > 0
    is_self[0][-1], is_self[1][:, -1] = True, True
    passes = torch.zeros_like(gate, dtype=torch.bool)
    for kind in kinds:
        user, item = KINDS[kind]
        passes |= (is_self[0] == user) & (is_self[1] == item)
    passes[-1, 0] = passes[0, -1] = True
    return passes
