"""Ratings as messages along the similarity relations of users and of items."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import spmm

from agnn_pyg.old.relations import RatedPairs, Relations


class RatingConv(MessagePassing):
    r"""Sends what is rated along the similarities of both ends of a rating.

    Every rated pair carries a value :math:`x_{vj}`. What arrives at a pair of
    any user and any item is

    .. math::
        m_{ui} = \sum_{a, b} g_{ab} \sum_{(v, j)} s_a(u, v) \, s_b(i, j) \,
        x_{vj}

    where :math:`s_a` is the similarity of two users in relation :math:`a`,
    :math:`s_b` that of two items, and the *gate* :math:`g_{ab} \geq 0` how far
    ratings are let through along both at once. The last relation of either side
    joins a node with itself only. So the gate of *self* and *genre* passes on
    what this user gave to items of like genre; that of *gender* and *self*, what
    users of like gender gave to this very item; that of *self* and *all*, what
    this user gives at all. Of *self* and *self*, which a rating passes to its own pair
    alone, there is none: its entry is not read.

    Similarities are inner products, so the messages need no edge for each pair
    of similar nodes: each rated item sends its features to the user, times the
    value, each user sends its own to the item, and a pair reads off what has
    arrived at its ends. Time and memory grow with the number of ratings.

    Args:
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:** relations of U users and I items, R rated pairs, their
          values :math:`(R)`, gates :math:`(A + 1, B + 1)`
        - **output:** states of users :math:`(U, F)` and of items :math:`(I, F)`;
          the message of a pair is the inner product of its two
    """

    def __init__(self, **kwargs) -> None:
        kwargs.setdefault('aggr', 'sum')
        super().__init__(**kwargs)

    def forward(
        self,
        user: Relations,
        item: Relations,
        rated: RatedPairs,
        value: Tensor,
        gate: Tensor,
    ) -> tuple[Tensor, Tensor]:
        at_user, at_item = self.deliver(user, item, rated, value)
        both, to_user, to_item = expand(gate, user, item)
        state = user.x @ ((user.x.t() @ at_user) * both) + at_user * to_item
        return (
            torch.cat([state, user.x * to_user], dim=1),
            torch.cat([item.x, at_item], dim=1),
        )

    def deliver(
        self, user: Relations, item: Relations, rated: RatedPairs, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Features of rated items, summed at users, and of users at items."""
        return (
            self.propagate(rated.by_user(value), x=(item.x, None)),
            self.propagate(rated.by_item(value), x=(user.x, None)),
        )

    def gate_gradient(
        self,
        user: Relations,
        item: Relations,
        sent: tuple[Tensor, Tensor],
        asked: tuple[Tensor, Tensor],
    ) -> Tensor:
        r"""The derivative of weighted messages by the gates.

        Args:
            user (Relations): As in :meth:`forward`.
            item (Relations): As in :meth:`forward`.
            sent (tuple): What :meth:`deliver` makes of the values that are sent.
            asked (tuple): What it makes of the pairs that are sent to, with the
                weights :math:`c_{ui}` of their messages as values.

        Returns:
            :math:`\partial \sum_{(u, i)} c_{ui} m_{ui} / \partial g_{ab}`,
            :obj:`[A + 1, B + 1]`.
        """
        sizes = len(user.names), len(item.names)
        features = (user.x.t() @ sent[0]) * (user.x.t() @ asked[0])
        both = sent[0].new_zeros(sizes[0], features.size(1))
        both = both.index_add(0, user.relation, features).t().contiguous()
        gradient = both.new_zeros(sizes[0] + 1, sizes[1] + 1)
        gradient[:-1, :-1] = (
            both.new_zeros(sizes[::-1]).index_add(0, item.relation, both).t()
        )
        gradient[-1, :-1].index_add_(0, item.relation, (sent[0] * asked[0]).sum(0))
        gradient[:-1, -1].index_add_(0, user.relation, (sent[1] * asked[1]).sum(0))
        return gradient

    def message_and_aggregate(self, adj_t, x) -> Tensor:
        return spmm(adj_t, x[0], reduce=self.aggr)


def expand(gate: Tensor, user: Relations, item: Relations) -> tuple[Tensor, ...]:
    """The gates of each pair of features, of user features, of item features."""
    by_user = gate[:-1].index_select(0, user.relation)
    both = by_user[:, :-1].index_select(1, item.relation)
    return both, by_user[:, -1], gate[-1, :-1].index_select(0, item.relation)
