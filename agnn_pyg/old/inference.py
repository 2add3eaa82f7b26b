"""Deterministic predictions of a trained AGNN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from agnn_pyg.old.loader import RatingLoader


@torch.no_grad()
def predict(
    model: nn.Module,
    loader: RatingLoader,
    draws: int = 8,
    rating_range: tuple[float, float] | None = None,
) -> Tensor:
    r"""Predicts the ratings of a loader's pairs, in the loader's order.

    The extended VAE decodes the mean of its latent code, and predictions are
    averaged over a fixed number of draws of neighbours, so that the same
    inputs give the same numbers.

    Args:
        model (AGNN): The model; it is left in the mode it came in.
        loader (RatingLoader): Pairs to rate, not shuffled.
        draws (int, optional): Draws of neighbours to average over: epochs
            0, 1, ... of the loader. (default: :obj:`8`)
        rating_range (tuple, optional): Lowest and highest rating; predictions
            are clamped to it. (default: :obj:`None`)

    Returns:
        Predicted ratings, one a pair, on the CPU.

    Raises:
        ValueError: If the loader shuffles or :obj:`draws` is not positive.
    """
    if loader.shuffle:
        raise ValueError(
            "'loader' shuffles its pairs, so predictions would be out of order; "
            "build it with 'shuffle=False'"
        )
    if draws < 1:
        raise ValueError(f"'draws' must be at least 1 (got {draws})")
    device = next(model.parameters()).device
    epoch = loader.epoch
    total = 0
    try:
        with evaluating(model):
            for draw in range(draws):
                loader.set_epoch(draw)
                parts = [model(batch.to(device)).cpu().double() for batch in loader]
                total = total + torch.cat(parts)
    finally:
        loader.set_epoch(epoch)
    mean = total / draws
    return mean if rating_range is None else mean.clamp(*rating_range)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards the modes that were."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training
