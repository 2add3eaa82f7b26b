"""What scores pairs of users and items: the interface, and the blend of two models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from agnn_pyg.rating_data import NodeFeatures, RatingData


class Scorer(Protocol):
    """Predicts the ratings of pairs of users and items, given by their rows.

    Scores are on the scale of the ratings of the fit, of dtype ``float64``. Apart from
    :meth:`fit`, no method changes the scorer, so that threads may share one.
    """

    def fit(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None = None,
        **run: Any,
    ) -> Scorer:
        """Fits on training ratings.

        Args:
            data (RatingData): Ratings and nodes; those without ratings are cold.
            validation (tuple, optional): Pairs :obj:`[2, V]` and ratings :obj:`[V]` to
                select the epoch on.
            **run (optional): How to run, such as :obj:`progress` and
                :obj:`accelerator`; nothing that changes what comes out on a CPU.
        """

    def score(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores of pairs of user and item rows, each :obj:`[B]`; NaN for none."""

    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Scores of all pairs, in blocks of at most 64 users, :obj:`[users, items]`."""

    def with_new_nodes(self, nodes: Mapping[str, NodeFeatures]) -> Scorer:
        """A scorer with more nodes by side, all cold, after those that there are."""

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`state_dict` leaves out, as plain data ready for JSON."""

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of the fit by name."""


class Blend:
    r"""A weighted mean of the scores of the graph network and the kernel model.

    .. math::
        s_{ui} = w \, k_{ui} + (1 - w) \, n_{ui}

    where the kernel model serves a pair, and the score :math:`n_{ui}` of the network
    elsewhere. With a weight of 0 or 1, the other model alone answers where it can.

    Args:
        network (AGNNScorer, optional): The graph network. (default: :obj:`None`)
        kernel (KernelScorer, optional): The kernel model. (default: :obj:`None`)
        kernel_weight (float, optional): The weight :math:`w` of the kernel model.
            (default: :obj:`0.75`)

    Raises:
        ValueError: If there is neither.
    """

    def __init__(
        self,
        network: Scorer | None = None,
        kernel: Scorer | None = None,
        kernel_weight: float = 0.75,
    ) -> None:
        if network is None and kernel is None:
            raise ValueError("'network' or 'kernel' must be a scorer (got neither)")
        self.network, self.kernel, self.kernel_weight = network, kernel, kernel_weight

    @property
    def scorers(self) -> dict[str, Scorer]:
        """Those of the two scorers that there are, by name."""
        both = {'network': self.network, 'kernel': self.kernel}
        return {name: scorer for name, scorer in both.items() if scorer is not None}

    def fit(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None = None,
        **run: Any,
    ) -> Blend:
        """Fits both scorers, see :meth:`Scorer.fit`."""
        for scorer in self.scorers.values():
            scorer.fit(data, validation, **run)
        return self

    def score(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores of pairs of user and item rows, each :obj:`[B]`."""
        return self._mean([s.score(user, item) for s in self.scorers.values()])

    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Scores of all pairs, in blocks of users, :obj:`[users, items]`."""
        blocks = (s.score_all(users, items) for s in self.scorers.values())
        return map(self._mean, zip(*blocks, strict=True))

    def with_new_nodes(self, nodes: Mapping[str, NodeFeatures]) -> Blend:
        """A blend with more nodes by side, all cold, after those that there are."""
        new = {name: s.with_new_nodes(nodes) for name, s in self.scorers.items()}
        return Blend(**new, kernel_weight=self.kernel_weight)

    def weights(self, user: int, item: int) -> dict[str, float]:
        """The weight of each scorer in the score of a pair."""
        if len(self.scorers) < 2:
            return dict.fromkeys(self.scorers, 1.0)
        pair = torch.tensor([user]), torch.tensor([item])
        serves = not self.kernel.score(*pair).isnan().any()
        weight = self.kernel_weight if serves else 0.0
        return {'network': 1 - weight, 'kernel': weight}

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`state_dict` leaves out, as plain data ready for JSON."""
        return {name: scorer.to_dict() for name, scorer in self.scorers.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of both fits by name."""
        return {
            f'{name}.{key}': tensor
            for name, scorer in self.scorers.items()
            for key, tensor in scorer.state_dict().items()
        }

    def _mean(self, scores: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
        if len(scores) == 1:
            return scores[0]
        network, kernel = scores
        kernel = torch.where(kernel.isnan(), network, kernel)
        return torch.lerp(network, kernel, self.kernel_weight)
