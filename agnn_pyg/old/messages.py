"""Propagated ratings for warm and cold pairs at once, and for nodes to come."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        sides (mapping): Of :obj:`"user"` and :obj:`"item"` the tensors :obj:`"cold"`,
            a mask :obj:`[N]`, :obj:`"x"` and :obj:`"relation"` as of
            :class:`.Relations`, and :obj:`"shared"`, features of
            the relations that come of ratings, :obj:`[N, S]`.
        parts (mapping): By pattern the tensors :obj:`"user"` and :obj:`"item"`, with
            a row for each node that is warm or cold as the pattern says, in their
            order; of cold sides :obj:`"user_map"` and :obj:`"item_map"`, from
            features to rows; :obj:`"gate"` and :obj:`"value"` of the propagation.
    """

    def __init__(
        self,
        mean: Tensor,
        sides: Mapping[str, Mapping[str, Tensor]],
        parts: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        super().__init__()
        self.register_buffer('mean', mean)
        for side in SIDES:
            cold = sides[side]['cold']
            row = torch.where(cold, cold.cumsum(0), (~cold).cumsum(0)) - 1
            self.register_buffer(f'{side}_row', row, persistent=False)
        self.sides = nn.ModuleDict(
            {name: _Tensors(side) for name, side in sides.items()}
        )
        self.parts = nn.ModuleDict(
            {name: _Tensors(part) for name, part in parts.items()}
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Messages:
        """The inverse of ``state_dict``, from which sizes are taken, too."""
        groups: dict[str, dict[str, dict[str, Tensor]]] = {'sides': {}, 'parts': {}}
        for name, tensor in state.items():
            if name != 'mean':
                group, member, key = name.split('.')
                groups[group].setdefault(member, {})[key] = tensor
        return cls(state['mean'], **groups)

    @property
    def num_nodes(self) -> dict[str, int]:
        """Users and items."""
        return {name: len(side.cold) for name, side in self.sides.items()}

    @property
    def user_cold(self) -> Tensor:
        return self.sides['user'].cold

    @property
    def item_cold(self) -> Tensor:
        return self.sides['item'].cold

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
                if block.size() == message.size():
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
                :class:`~agnn_pyg.old.feature_map.RelationMap`.
        """
        x = x.to(self.mean)
        sides = {
            name: dict(group.named_buffers()) for name, group in self.sides.items()
        }
        mine = sides[side]
        mine['x'] = torch.cat([mine['x'], x])
        mine['cold'] = F.pad(mine['cold'], (0, len(x)), value=True)
        mine['shared'] = F.pad(mine['shared'], (0, 0, 0, len(x)))
        parts = {
            name: dict(group.named_buffers()) for name, group in self.parts.items()
        }
        for part in parts.values():
            if f'{side}_map' in part:
                part[side] = torch.cat([part[side], x @ part[f'{side}_map']])
        return Messages(self.mean, sides, parts)

    def carried(self, rated: Tensor, user: int, item: int) -> Tensor:
        """What each rating of the fit adds to the message of one pair, :obj:`[R]`.

        Args:
            rated (Tensor): The pairs that these messages were learnt from, in the
                order that they were in, :obj:`[2, R]`.
            user (int): Row of the user.
            item (int): Row of the item.

        Returns:
            The terms of the sum over ratings in :class:`~agnn_pyg.nn.RatingConv`:
            their sum is the message less the mean. Zeros where there is none.
        """
        cold = bool(self.user_cold[user]), bool(self.item_cold[item])
        for name, part in self.parts.items():
            if PATTERNS[name] == cold:
                alike = [
                    _alike(self.sides[side], node, size - 1)
                    for side, node, size in zip(
                        SIDES, (user, item), part.gate.size(), strict=True
                    )
                ]
                through = (alike[0] @ part.gate)[rated[0]] * alike[1][rated[1]]
                return part.value * through.sum(dim=-1)
        return self.mean.new_zeros(rated.size(1))


def _alike(side: nn.Module, node: int, num_relations: int) -> Tensor:
    """How alike a node is to all of its side, by relation and by being itself."""
    x, relation = side.x, side.relation
    first = int(relation.max()) + 1
    if num_relations > first:
        # As many features each.
        width = side.shared.size(1)
        number = torch.arange(width, device=x.device) * (num_relations - first)
        number = first + number.div(width, rounding_mode='floor')
        x, relation = torch.cat([x, side.shared], 1), torch.cat([relation, number])
    alike = x.new_zeros(num_relations + 1, len(x))
    alike.index_add_(0, relation, (x * x[node]).t().contiguous())
    alike[-1, node] = 1
    return alike.t()


class _Tensors(nn.Module):
    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
