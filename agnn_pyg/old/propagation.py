"""What a rating is expected to be from the ratings of similar pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from agnn_pyg.old.gates import KINDS, open_gates, start_gates
from agnn_pyg.old.leakage import check_held_out, hold_out
from agnn_pyg.old.rated_relations import NAMES, append_rated
from agnn_pyg.old.rating_conv import RatingConv, expand
from agnn_pyg.old.relations import RatedPairs, Relations


class RatingPropagation(nn.Module):
    r"""Propagates ratings along attribute similarities until they settle.

    With the messages :math:`\mathbf{K}_g` of :class:`~agnn_pyg.nn.RatingConv`
    between rated pairs, the values that ratings send are what is left of them
    after all that they receive from each other:

    .. math::
        \mathbf{x} = \mathbf{r} - \mu - \mathbf{K}_g \mathbf{x}

    (residual propagation, the posterior mean of a Gaussian process: `"Residual
    Correlation in Graph Neural Network Regression"
    <https://arxiv.org/abs/2002.08274>`_.) So a user's or an item's own level is
    out of what it sends, and many ratings that say the same count as little more
    than one. The fixed point is found by conjugate gradients, a round of messages
    each.

    :meth:`learn` finds the gates :math:`\mathbf{g}` on simulated cold nodes,
    :meth:`fit` the values. Neither touches a network's parameters: gates and
    states are buffers, and travel with a ``state_dict``.

    A round costs nodes times features of users times features of items, and ratings
    times the features of both; so do mind the number of features.

    Args:
        users (Relations): See :func:`~agnn_pyg.old.relations.attribute_relations`.
        items (Relations): Likewise for items.
        kinds (sequence, optional): The kinds of messages: :obj:`"user"` (what this
            user gave to similar items), :obj:`"item"` (what similar users gave to
            this item) and :obj:`"attribute"` (what similar users gave to similar
            items). (default: all)
        shared (int, optional): Features of two more relations, of having rated the
            same and of having rated it alike; 0 goes without.
            (default: :obj:`64`)
        cold (tuple, optional): Whether users, and whether items, are to be rated
            cold. Gates are learnt for that, and such a side goes without the
            relations of :obj:`shared`. (default: :obj:`(False, False)`)

    Raises:
        ValueError: If a kind is unknown.
    """

    def __init__(
        self,
        users: Relations,
        items: Relations,
        kinds: tuple[str, ...] = tuple(KINDS),
        shared: int = 64,
        cold: tuple[bool, bool] = (False, False),
    ) -> None:
        super().__init__()
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"'kinds' must be of {tuple(KINDS)} (got '{unknown[0]}')")
        self.cold = cold
        self._rank = tuple(0 if is_cold else shared for is_cold in cold)
        self.conv = RatingConv()
        self._sides = users.names, items.names
        # Rebuilt from the tables, so in no checkpoint, but moved with the module.
        for side, part in (('user', users), ('item', items)):
            self.register_buffer(f'{side}_x', part.x, persistent=False)
            self.register_buffer(f'{side}_relation', part.relation, persistent=False)
        more = [len(NAMES) if rank else 0 for rank in self._rank]
        gate = start_gates(len(users.names) + more[0], len(items.names) + more[1])
        self.register_buffer('gate', gate * open_gates(gate, kinds))
        self.register_buffer('mean', torch.zeros(()))
        #: What each rating sends, in the order that they were given to :meth:`fit`.
        self.value: Tensor | None = None
        width = users.x.size(1) + items.x.size(1) + len(NAMES) * sum(self._rank)
        self.register_buffer('user_state', torch.zeros(len(users.x), width))
        self.register_buffer('item_state', torch.zeros(len(items.x), width))

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What the rows and the columns of :attr:`gate` stand for."""
        return tuple(
            (*names, *(NAMES if rank else ()), 'self')
            for names, rank in zip(self._sides, self._rank, strict=True)
        )

    @property
    def users(self) -> Relations:
        return Relations(self.user_x, self.user_relation, self._sides[0])

    @property
    def items(self) -> Relations:
        return Relations(self.item_x, self.item_relation, self._sides[1])

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """What is expected of pairs of user and item rows, each :obj:`[B]`."""
        p = self.user_state.index_select(0, user)
        q = self.item_state.index_select(0, item)
        return self.mean + (p * q).sum(dim=-1)

    def grid(self, item: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from some users to what is expected of them and all items."""
        q = self.item_state[item]
        return lambda user: self.mean + self.user_state[user] @ q.t()

    def cold_maps(self) -> tuple[Tensor, Tensor]:
        """What the states of cold users, and of cold items, are of their features.

        A node without ratings has been sent nothing, and shares none; so its state
        is linear in its features :obj:`x`.

        Returns:
            Matrices :obj:`[F, W]` of users and of items; ``x @ map`` is a state.
        """
        sides = [self.users, self.items]
        for k, rank in enumerate(self._rank):
            for name in NAMES if rank else ():
                zeros = sides[k].x.new_zeros(len(sides[k].x), rank)
                sides[k] = sides[k].append(name, zeros)
        both, to_user, _ = expand(self.gate, *sides)
        width = [r.x.size(1) for r in sides]
        item_x, at_item = self.item_state.double().split(width[::-1], dim=1)
        # As in `RatingConv`, whose sum over rated pairs is summed item by item here.
        state = (at_item.t() @ item_x) * both
        user = torch.cat([state, to_user.double().diag()], dim=1)
        item = torch.eye(width[1], sum(width)).to(user)
        return tuple(
            part[: r.x.size(1)].to(self.gate)
            for part, r in zip((user, item), (self.users, self.items), strict=True)
        )

    def fit(self, rated: Tensor, rating: Tensor, tol: float = 1e-3) -> int:
        """Settles the values of all ratings; returns the rounds it took."""
        mean = rating.mean()
        messages = _Messages(self, rated, rating)
        rest = (rating - mean)[messages.pairs.order]
        value, rounds = messages.settle(rest, tol=tol, max_rounds=150)
        self.mean.copy_(mean)
        for state, new in zip(
            (self.user_state, self.item_state), messages(value), strict=True
        ):
            state.copy_(new)
        self.value = torch.empty_like(value)
        self.value[messages.pairs.order] = value
        return rounds

    def learn(
        self,
        rated: Tensor,
        rating: Tensor,
        steps: int = 24,
        lr: float = 0.3,
        folds: int = 5,
        seed: int = 0,
    ) -> list[float]:
        r"""Learns the gates from what messages say of ratings that are held out.

        Where a side is to be rated cold, all ratings of a held-out node are held out.
        The gradient of the squared error passes through the fixed point by the
        implicit function theorem: one more fixed point, of the errors.

        Args:
            rated (Tensor): Training pairs, :obj:`[2, R]`.
            rating (Tensor): Training ratings, :obj:`[R]`.
            steps (int, optional): Steps of Adam on the gates' logarithms.
                (default: :obj:`24`)
            lr (float, optional): (default: :obj:`0.3`)
            folds (int, optional): Parts that take turns in being held out.
                (default: :obj:`5`)
            seed (int, optional): Of the folds. (default: :obj:`0`)

        Returns:
            RMSE on held-out ratings, before each step; nothing where there are too
            few nodes to hold any out, and gates stay as they are.
        """
        rest = rating - rating.mean()
        parts = []
        for held, kept in hold_out(rated, self.cold, folds, seed):
            check_held_out(rated, held, kept, self.cold)
            # Of few nodes a part may hold none out, or all.
            if held.any() and kept.any():
                parts.append(_Fold(self, rated, rest, held, kept))
        if not parts:
            return []
        is_open = self.gate > 0
        log_gate = nn.Parameter(self.gate.where(is_open, torch.ones(())).log())
        optimizer = torch.optim.Adam([log_gate], lr, betas=(0.8, 0.95))
        history, best = [], self.gate.clone()
        for _ in range(steps):
            self.gate.copy_(log_gate.detach().exp() * is_open)
            losses, shares = zip(*(part.step() for part in parts), strict=True)
            history.append((sum(losses) / sum(len(p.held) for p in parts)) ** 0.5)
            if history[-1] <= min(history):
                best = self.gate.clone()
            log_gate.grad = sum(shares) * self.gate
            optimizer.step()
        self.gate.copy_(best)
        return history


class _Messages:
    """Messages from one set of rated pairs, to whatever pairs.

    Here is all that a message is made of, so that what these pairs do not say
    cannot be in one: the relations that come of ratings are theirs, too.
    """

    def __init__(self, model: RatingPropagation, rated: Tensor, rating: Tensor) -> None:
        self.model = model
        self.pairs = RatedPairs(rated, len(model.users.x), len(model.items.x))
        self.user, self.item = append_rated(
            model.users, model.items, rated, rating, model._rank
        )

    def __call__(self, value: Tensor, at: RatedPairs | None = None):
        pairs = at or self.pairs
        return self.model.conv(self.user, self.item, pairs, value, self.model.gate)

    def settle(
        self,
        target: Tensor,
        start: Tensor | None = None,
        tol: float = 1e-3,
        max_rounds: int = 60,
    ) -> tuple[Tensor, int]:
        """Solves value + messages of value = target by conjugate gradients."""
        scale = 1 / (1 + self._own())
        value = torch.zeros_like(target) if start is None else start
        rest = target if start is None else target - self._round(value)
        step = scaled = scale * rest
        size, enough = rest @ scaled, tol * target.norm()
        for rounds in range(max_rounds):
            if rest.norm() <= enough:
                return value, rounds
            image = self._round(step)
            length = size / (step @ image)
            value, rest = value + length * step, rest - length * image
            scaled = scale * rest
            size, before = rest @ scaled, size
            step = scaled + (size / before) * step
        return value, max_rounds

    def _round(self, value: Tensor) -> Tensor:
        return value + self.pairs.read(*self(value))

    def _own(self) -> Tensor:
        """How much of its own value each pair is sent."""
        square = [r._replace(x=r.x.square()) for r in (self.user, self.item)]
        both, to_user, to_item = expand(self.model.gate, *square)
        user, item = (r.x for r in square)
        level = (user @ to_user)[:, None]
        return self.pairs.read(
            torch.cat([user @ both + to_item, level], dim=1),
            torch.cat([item, torch.ones_like(item[:, :1])], dim=1),
        )


class _Fold:
    """A part of the ratings that is held out, and messages from the others."""

    def __init__(
        self,
        model: RatingPropagation,
        rated: Tensor,
        rest: Tensor,
        held: Tensor,
        kept: Tensor,
    ) -> None:
        self.messages = _Messages(model, rated[:, kept], rest[kept])
        self.target = rest[kept][self.messages.pairs.order]
        self.held = RatedPairs(rated[:, held], *self.messages.pairs.size)
        self.truth = rest[held][self.held.order]
        self.value = self.back = None

    def step(self, tol: float = 2e-3) -> tuple[float, Tensor]:
        """The sum of squared errors, and its derivative by the gates over N."""
        messages, pairs = self.messages, self.messages.pairs
        self.value, _ = messages.settle(self.target, self.value, tol)
        error = self.held.read(*messages(self.value)) - self.truth
        slope = 2 * error / len(error)
        asked = pairs.read(*messages(slope, self.held))
        self.back, _ = messages.settle(asked, self.back, 15 * tol)

        def deliver(pairs: RatedPairs, value: Tensor) -> tuple[Tensor, Tensor]:
            sides = messages.user, messages.item
            return messages.model.conv.deliver(*sides, pairs, value)

        # A gate that opens brings more to what is held out, and less to what is
        # sent, since the senders then tell more to each other.
        more, less = deliver(self.held, slope), deliver(pairs, self.back)
        gradient = messages.model.conv.gate_gradient(
            messages.user,
            messages.item,
            deliver(pairs, self.value),
            tuple(a - b for a, b in zip(more, less, strict=True)),
        )
        return float(error.square().sum()), gradient
