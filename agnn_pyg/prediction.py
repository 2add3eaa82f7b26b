"""Deterministic predictions of AGNN for the pairs of a loader."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.utils.data import RandomSampler

from agnn_pyg.base.checks import check_rating_range
from agnn_pyg.base.config import PositiveInt, check_argument
from agnn_pyg.base.randomness import set_epoch
from agnn_pyg.model import AGNN
from agnn_pyg.sampling.batch import RatingBatch, check_loader
from agnn_pyg.sampling.full_graph import FullGraphLoader


@torch.no_grad()
def predict(
    model: AGNN,
    loader: Iterable,
    num_neighbor_samples: int = 8,
    rating_range: tuple[float, float] | None = None,
) -> Tensor:
    r"""Predicts the ratings of the pairs of a loader, in their order.

    Predictions are deterministic: the extended VAE decodes the mean of its latent code,
    and predictions are averaged over a fixed number of draws of neighbors. If a pair is
    rated in the graph, its rating carries no messages in its batch.

    Args:
        model (AGNN): The model; its mode does not change.
        loader (LinkNeighborLoader or iterable): Pairs to predict, not shuffled, such as
            a list of one graph. Its epoch is afterwards that of the last draw.
        num_neighbor_samples (int, optional): Number of draws of neighbors to average
            over: epochs 0, 1, ... of the loader. (default: :obj:`8`)
        rating_range (tuple, optional): Lowest and highest rating; predictions
            are clamped to it. (default: :obj:`None`)

    Returns:
        Predicted ratings, one per pair, float64, on the CPU.

    Raises:
        ValueError: If the loader shuffles or is a graph, :obj:`num_neighbor_samples` is
            not positive, or :obj:`rating_range` is not a lower and a higher rating.
    """
    check_loader('loader', loader)
    if isinstance(loader, FullGraphLoader):
        raise ValueError(
            "'loader' must hold the pairs to predict (got FullGraphLoader, which draws "
            "pairs to train on); pass a list of one graph with 'edge_label_index'"
        )
    if getattr(loader, 'shuffle', False) or isinstance(
        getattr(loader, 'sampler', None), RandomSampler
    ):
        raise ValueError(
            "'loader' must not shuffle, because predictions keep its order (got "
            "shuffle=True); create it with 'shuffle=False'"
        )
    check_argument('num_neighbor_samples', num_neighbor_samples, PositiveInt)
    check_rating_range(rating_range)
    device = model.bias.device
    training = model.training
    total = 0
    try:
        model.eval()
        for draw in range(num_neighbor_samples):
            set_epoch(loader, draw)
            batches = (RatingBatch.from_data(batch).to(device) for batch in loader)
            parts = [model(*batch[:-1]).cpu().double() for batch in batches]
            total = total + torch.cat([torch.empty(0), *parts])
    finally:
        model.train(training)
    mean = total / num_neighbor_samples
    return mean if rating_range is None else mean.clamp(*rating_range)
