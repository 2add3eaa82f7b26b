"""Propagated ratings for warm and cold pairs at once, and for nodes to come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from agnn_pyg.propagation import KINDS, RatingPropagation
from agnn_pyg.relations import Relations

# Whether the user of a pair is cold, and whether its item is.
PATTERNS = {
    'warm': (False, False),
    'user_cold': (True, False),
    'item_cold': (False, True),
    'both_cold': (True, True),
}
SIDES = ('user', 'item')


class Messages(nn.Module):
    r"""What is expected of any pair, by a propagation for its pattern of coldness.

    Gates that serve warm pairs well serve cold ones badly: a film's own level, which
    says most of a warm pair, is lacking in a cold one. So each pattern has gates that
    were learnt for it, and a pair is read from those of its own.

    All that a pair asks of a propagation is an inner product of two rows. A cold
    node's row is linear in its features, with which :meth:`attach` makes those of
    nodes that came after the fit.

    Args:
        mean (Tensor): The mean rating, a scalar.
        user_cold (Tensor): Mask of cold users, :obj:`[U]`.
        item_cold (Tensor): Likewise of items, :obj:`[I]`.
        parts (mapping): By pattern the tensors :obj:`"user"` and :obj:`"item"`, with
            a row for each node that is warm or cold as the pattern says, in their
            order, and of cold sides :obj:`"user_map"` and :obj:`"item_map"`,
            from features to rows.
    """

    def __init__(
        self,
        mean: Tensor,
        user_cold: Tensor,
        item_cold: Tensor,
        parts: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        super().__init__()
        self.register_buffer('mean', mean)
        for side, cold in zip(SIDES, (user_cold, item_cold), strict=True):
            self.register_buffer(f'{side}_cold', cold)
            row = torch.where(cold, cold.cumsum(0), (~cold).cumsum(0)) - 1
            self.register_buffer(f'{side}_row', row, persistent=False)
        self.parts = nn.ModuleDict({name: _Part(part) for name, part in parts.items()})

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Messages:
        """The inverse of ``state_dict``, from which sizes are taken, too."""
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith('parts.'):
                _, pattern, key = name.split('.')
                parts.setdefault(pattern, {})[key] = tensor
        return cls(state['mean'], state['user_cold'], state['item_cold'], parts)

    @property
    def num_nodes(self) -> dict[str, int]:
        """Users and items."""
        return {side: len(getattr(self, f'{side}_cold')) for side in SIDES}

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """What is expected of pairs of user and item rows, each :obj:`[B]`.

        NaN where a pair is of a pattern that there is no propagation for.
        """
        message = self.mean.new_full((len(user),), torch.nan)
        cold = self.user_cold[user], self.item_cold[item]
        for name, part in self.parts.items():
            pattern = PATTERNS[name]
            mine = (cold[0] == pattern[0]) & (cold[1] == pattern[1])
            p = part.user[self.user_row[user[mine]]]
            q = part.item[self.item_row[item[mine]]]
            message[mine] = self.mean + (p * q).sum(dim=-1)
        return message

    def grid(self, item: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from some users to what is expected of them and all items."""
        columns = {}
        for is_cold in (False, True):
            column = (self.item_cold[item] == is_cold).nonzero().squeeze(1)
            columns[is_cold] = column, self.item_row[item[column]]
        right = {
            name: part.item[columns[PATTERNS[name][1]][1]].t()
            for name, part in self.parts.items()
        }

        def read(user: Tensor) -> Tensor:
            message = self.mean.new_full((len(user), len(item)), torch.nan)
            for name, part in self.parts.items():
                user_cold, item_cold = PATTERNS[name]
                row = (self.user_cold[user] == user_cold).nonzero().squeeze(1)
                column = columns[item_cold][0]
                block = part.user[self.user_row[user[row]]] @ right[name]
                block += self.mean
                if block.numel() == message.numel():
                    return block
                message[row[:, None], column] = block
            return message

        return read

    def attach(self, side: str, x: Tensor) -> Messages:
        """These messages with room for new nodes of one side, which are cold.

        Args:
            side (str): :obj:`"user"` or :obj:`"item"`.
            x (Tensor): Features of the new nodes, :obj:`[N, F]`, of the
                relations that the propagations were made with; see
                :class:`~agnn_pyg.relation_map.RelationMap`.
        """
        cold = {s: getattr(self, f'{s}_cold') for s in SIDES}
        cold[side] = torch.cat([cold[side], cold[side].new_ones(len(x))])
        parts = {}
        for name, part in self.parts.items():
            parts[name] = dict(part.named_buffers())
            if f'{side}_map' in parts[name]:
                new = x.to(self.mean) @ parts[name][f'{side}_map']
                parts[name][side] = torch.cat([parts[name][side], new])
        return Messages(self.mean, cold['user'], cold['item'], parts)


class _Part(nn.Module):
    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def learn_messages(
    users: Relations,
    items: Relations,
    rated: Tensor,
    rating: Tensor,
    *,
    patterns: Sequence[str] = tuple(PATTERNS),
    kinds: Sequence[str] = tuple(KINDS),
    shared: int = 64,
    steps: int = 12,
    folds: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> Messages:
    """Learns gates for each pattern, and settles all ratings by them.

    Args:
        users (Relations): Of all users.
        items (Relations): Of all items.
        rated (Tensor): Training pairs, :obj:`[2, R]`; nodes without any are cold.
        rating (Tensor): Training ratings, :obj:`[R]`.
        patterns (sequence, optional): Which pairs to make messages for.
            (default: all of :obj:`PATTERNS`)
        kinds (sequence, optional): See :class:`~agnn_pyg.RatingPropagation`.
        shared (int, optional): See there. Only where items are warm: gates that
            count on shared ratings mislead items that have none.
            (default: :obj:`64`)
        steps (int, optional): See :meth:`RatingPropagation.learn`.
            (default: :obj:`12`)
        folds (int, optional): See there. (default: :obj:`5`)
        seed (int, optional): See there. (default: :obj:`0`)
        progress (bool, optional): Show a progress bar. (default: :obj:`False`)

    Raises:
        ValueError: If a pattern or a kind is unknown.
    """
    unknown = [name for name in patterns if name not in PATTERNS]
    if unknown or not len(patterns):
        raise ValueError(
            f"'patterns' must be of {tuple(PATTERNS)}, one at least (got {patterns!r})"
        )
    cold, row, warm = [], [], []
    for index, relations in zip(rated, (users, items), strict=True):
        is_cold = torch.ones(len(relations.x), dtype=torch.bool, device=index.device)
        is_cold[index] = False
        cold.append(is_cold)
        row.append(((~is_cold).cumsum(0) - 1)[index])
        warm.append(relations._replace(x=relations.x[~is_cold]))
    parts = {}
    for name in tqdm(patterns, 'messages', disable=not progress, unit='pattern'):
        pattern = PATTERNS[name]
        # Cold nodes of the table are no other than those that come later.
        propagation = RatingPropagation(
            *warm, tuple(kinds), 0 if pattern[1] else shared
        ).to(rating)
        pairs = torch.stack(row)
        propagation.learn(pairs, rating, pattern, steps, folds=folds, seed=seed)
        propagation.fit(pairs, rating)
        x = [r.x[is_cold] for r, is_cold in zip((users, items), cold, strict=True)]
        parts[name] = _rows(propagation, pattern, x)
    return Messages(rating.mean(), *cold, parts)


def _rows(
    propagation: RatingPropagation, pattern: tuple[bool, bool], x: Sequence[Tensor]
) -> dict[str, Tensor]:
    """What pairs of a pattern ask of a propagation, in rows as short as can be.

    Args:
        propagation: Fitted on the nodes with ratings.
        pattern: Whether users, and whether items, are cold.
        x: Features of cold users and of cold items.
    """
    rows = [propagation.user_state, propagation.item_state]
    maps = propagation.cold_maps()
    if all(pattern):
        # One matrix between the features of both, in two parts of its own rank.
        left, value, right = torch.linalg.svd((maps[0] @ maps[1].t()).double())
        value = value[value > 1e-7 * value[:1]].sqrt()
        rank = len(value)
        maps = left[:, :rank] * value, right[:rank].t() * value
        maps = [part.to(rows[0]) for part in maps]
    elif any(pattern):
        # The warm side's states as cold features read them.
        k = pattern.index(True)
        rows[1 - k] = rows[1 - k] @ maps[k].t()
        maps = [torch.eye(len(maps[k])).to(rows[0])] * 2
    made = {}
    for k, side in enumerate(SIDES):
        if pattern[k]:
            made[f'{side}_map'] = maps[k]
        made[side] = x[k] @ maps[k] if pattern[k] else rows[k]
    return made
