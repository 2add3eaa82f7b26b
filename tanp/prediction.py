"""Predictions of a trained model for the queries of episodes, and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from agnn_pyg.base.config import NonNegativeInt, check_argument
from agnn_pyg.base.metrics import list_metrics, pad_lists
from tanp.episodes import Episodes
from tanp.loader import EpisodeLoader
from tanp.loss import LIKELIHOODS
from tanp.model import NeuralProcess


class Prediction(NamedTuple):
    """One value per query interaction, in the order of ``Episodes.query_index()``."""

    mean: Tensor  # probabilities of positive labels, or ratings
    std: Tensor | None  # over samples of z


@torch.no_grad()
def predict(
    model: NeuralProcess, loader: EpisodeLoader, samples: int = 0, seed: int = 0
) -> Prediction:
    r"""Predicts all queries of a loader; returns CPU tensors in double precision.

    Args:
        model (TaNP or AttentiveTaNP): A model in evaluation mode.
        loader (EpisodeLoader): The tasks; predictions keep their order.
        samples (int, optional): Samples of :math:`\mathbf{z}` from the prior, to return
            the mean and the standard deviation of; 0 decodes the prior's mean.
        seed (int, optional): Seed of the samples. (default: :obj:`0`)

    Raises ``ValueError`` if predictions would be random or out of order, if items or
    labels do not suit the model, or if it has no latent path to sample from.
    """
    if not isinstance(loader, EpisodeLoader) or loader.shuffle or loader.support_sizes:
        raise ValueError(
            "'loader' must be an EpisodeLoader without 'shuffle' and 'support_sizes' "
            f'(got {type(loader).__name__}); build it as EpisodeLoader(episodes)'
        )
    if model.training:
        raise ValueError("'model' must be in evaluation mode; call 'model.eval()'")
    check_argument('samples', samples, NonNegativeInt)
    if samples == 1 or (samples and model.latent is None):
        problem = 'must be 0 or at least 2' if samples == 1 else 'needs a latent path'
        raise ValueError(
            f"'samples' {problem} (got {samples}); fit with 'latent_channels', or with "
            f"'ensemble_size', which gives standard deviations, too"
        )
    check_episodes(model, loader.episodes)
    link = LIKELIHOODS[model.likelihood].predict
    weight = model.decoder.lin_out.weight
    means, stds = [], []
    for batch in loader:
        batch = batch.to(weight.device)
        output = model(batch)
        # Single precision would round values close to 1 to ties.
        mean = link(output.score[output.mask].double())
        if samples:
            prior = output.prior
            # All tasks use the same noise, so predictions do not depend on other tasks.
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(samples, 1, prior.mu.size(1), generator=generator)
            codes = prior.sample(noise.to(weight))
            scores = [model(batch, z).score[output.mask] for z in codes]
            std, mean = torch.std_mean(link(torch.stack(scores).double()), dim=0)
            stds.append(std.cpu())
        means.append(mean.cpu())
    return Prediction(torch.cat(means), torch.cat(stds) if samples else None)


def evaluate(
    episodes: Episodes,
    predicted: Tensor,
    ks: Sequence[int] = (5, 10),
    relevant: float = 0.5,
) -> dict[str, Tensor]:
    """Computes ranking metrics at :obj:`ks` of predictions, one value per task.

    Predictions are as in :func:`predict`; labels above :obj:`relevant` are relevant.
    """
    index = episodes.query_index()
    if predicted.size() != index.size():
        raise ValueError(
            f"'predicted' must hold one value per query interaction, {len(index)} "
            f'(got size {list(predicted.size())})'
        )
    task = torch.repeat_interleave(episodes.num_query)
    label = episodes.label[index].to(predicted.dtype)
    mask, predicted, label = pad_lists(task, predicted, label)
    return list_metrics(predicted, label, mask, ks, relevant)


def check_episodes(model: NeuralProcess, episodes: Episodes) -> None:
    """Raises ``ValueError`` unless items, users and labels suit the model."""
    for name in ('item',) if model.user is None else ('item', 'user'):
        row, count = getattr(episodes, name), getattr(model, f'num_{name}s')
        if row.numel() and int(row.max()) >= count:
            raise ValueError(
                f"'episodes' must have {name} rows below {count}, as in the model (got "
                f'{int(row.max())}); drop such tasks, or build a larger model'
            )
    _, _, low, high = LIKELIHOODS[model.likelihood]
    if ((episodes.label < low) | (episodes.label > high)).any():
        least, most = map(float, episodes.label.aminmax())
        raise ValueError(
            f"labels of 'episodes' must lie in [{low:g}, {high:g}] under the "
            f'{model.likelihood} likelihood (got {least:g} to {most:g}); rescale them, '
            f"or use likelihood 'gaussian'"
        )
