"""Deterministic predictions of a trained TaNP, and their spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agnn_pyg.base.metrics import list_metrics, pad_lists
from tanp.episodes import Episodes
from tanp.loader import EpisodeLoader
from tanp.loss import LIKELIHOODS
from tanp.model import TaNP


class Prediction(NamedTuple):
    """What :func:`predict` returns, on the CPU.

    Attributes:
        mean: One value a query interaction, in the order of
            :meth:`~tanp.episodes.Episodes.query_index`: the probability of a
            positive label, or the rating.
        std: Its standard deviation over samples of z, if any were drawn.
        assignment: Cluster assignments of the tasks, :obj:`[N, k]`, if the
            model has a memory.
    """

    mean: Tensor
    std: Tensor | None
    assignment: Tensor | None


@torch.no_grad()
def predict(
    model: TaNP,
    loader: EpisodeLoader,
    samples: int = 0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Prediction:
    r"""Predicts the labels of all queries of a loader, in its order.

    Args:
        model (TaNP): The model; it is left in the mode it came in.
        loader (EpisodeLoader): The tasks, neither shuffled nor dealt anew.
        samples (int, optional): Samples of :math:`\mathbf{z}` from the prior
            to average predictions over, and to take their spread from; 0
            decodes the prior's mean. All tasks share the noise they are made of.
            (default: :obj:`0`)
        seed (int, optional): Of the samples. (default: :obj:`0`)
        dtype (torch.dtype, optional): Of predictions. Double precision keeps apart
            what is all but certain. (default: that of the model)

    Raises:
        ValueError: If the loader's order is random, items or labels do not
            suit the model, or samples are asked of a model without latent
            path.
    """
    if not isinstance(loader, EpisodeLoader):
        raise ValueError(
            f"'loader' must be an EpisodeLoader (got {type(loader).__name__}); "
            f'episodes are read by EpisodeLoader(episodes)'
        )
    if loader.shuffle or loader.context_sizes is not None:
        raise ValueError(
            "'loader' shuffles, or deals queries anew, so predictions would be out of "
            "order; build it without 'shuffle' and 'context_sizes'"
        )
    if samples == 1 or samples < 0:
        raise ValueError(f"'samples' must be 0 or at least 2 (got {samples})")
    if samples and model.latent is None:
        raise ValueError(
            f"'samples' needs a latent path to draw from (got {samples}); this model "
            f'has none'
        )
    check_episodes(model, loader.episodes)
    link = LIKELIHOODS[model.likelihood][1]
    parameter = next(model.parameters())
    device, dtype = parameter.device, dtype or parameter.dtype
    noise = _noise(model, samples, seed) if samples else None
    parts = []
    with evaluating(model):
        for batch in loader:
            batch = batch.to(device)
            output = model(batch)
            mean, std = link(output.score.to(dtype)), None
            if noise is not None:
                prior = output.prior
                codes = prior.mu + (0.5 * prior.logvar).exp() * noise
                drawn = torch.stack([model(batch, z).score for z in codes])
                std, mean = torch.std_mean(link(drawn.to(dtype)), dim=0)
            parts.append((mean, std, output.assignment))
    joined = (
        None if column[0] is None else torch.cat(column).cpu()
        for column in zip(*parts, strict=True)
    )
    return Prediction(*joined)


def predict_ensemble(models: Sequence[TaNP], loader: EpisodeLoader) -> Prediction:
    """Averages the predictions of models that differ in their seeds.

    Their standard deviation is a predictive spread that needs no latent path
    (`"Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles"
    <https://arxiv.org/abs/1612.01474>`_).

    Args:
        models (sequence): Two models or more, of one likelihood.
        loader (EpisodeLoader): See :func:`predict`.

    Raises:
        ValueError: If there are fewer models, or as :func:`predict` does.
    """
    if len(models) < 2 or len({model.likelihood for model in models}) > 1:
        raise ValueError(
            f"'models' must be two or more of one likelihood (got "
            f'{[model.likelihood for model in models]})'
        )
    means = torch.stack([predict(model, loader).mean for model in models])
    std, mean = torch.std_mean(means, dim=0)
    return Prediction(mean, std, None)


def _noise(model: TaNP, samples: int, seed: int) -> Tensor:
    """Standard normal, :obj:`[samples, 1, F_z]`.

    The same for all tasks: a prediction does not depend on who else is asked about.
    """
    width = model.latent.lin_mu.weight
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 1, len(width), generator=generator).to(width)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards the modes that were."""
    # `modules` makes names, too, which takes a while next to a single task.
    modules = [model]
    for module in modules:
        modules += (part for part in module._modules.values() if part is not None)
    training = [module for module in modules if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def check_episodes(model: TaNP, episodes: Episodes) -> None:
    """Raises ``ValueError`` unless items, users and labels suit the model."""
    rows = [('item', model.inputs.num_items)]
    if model.inputs.user is not None:
        rows.append(('user', model.inputs.user.num_nodes))
    for name, count in rows:
        row = getattr(episodes, name)
        if row.numel() and int(row.max()) >= count:
            raise ValueError(
                f"'episodes' names {name} row {int(row.max())}, but the model has rows "
                f'0 to {count - 1}; leave it out, or build the model on a table that '
                f'holds it'
            )
    low, high = LIKELIHOODS[model.likelihood][2]
    if not episodes.label.numel():
        return
    least, most = map(float, episodes.label.aminmax())
    # One that is no number makes both so, which lie nowhere.
    if not low <= least <= most <= high:
        raise ValueError(
            f"labels of 'episodes' must lie in [{low:g}, {high:g}] under the "
            f'{model.likelihood} likelihood (got {least:g} to {most:g}); rescale them, '
            f"or use likelihood 'gaussian'"
        )


def evaluate(
    episodes: Episodes,
    predicted: Tensor,
    ks: Sequence[int] = (5, 10),
    relevant: float = 0.5,
) -> dict[str, Tensor]:
    """The metrics of predictions by any model, one value a task.

    Args:
        episodes (Episodes): The tasks.
        predicted (Tensor): One value a query interaction, in the order of
            :meth:`~tanp.episodes.Episodes.query_index`.
        ks (sequence, optional): Cut-offs. (default: :obj:`(5, 10)`)
        relevant (float, optional): Labels above it are relevant. (default: :obj:`0.5`)

    Returns:
        See :func:`~agnn_pyg.base.metrics.list_metrics`, with those of TaNP's published
        code.

    Raises:
        ValueError: If a cut-off exceeds the query of a task, or the number of
            predictions is another than that of query interactions.
    """
    index = episodes.query_index()
    if predicted.size() != index.size():
        raise ValueError(
            f"'predicted' must hold one value a query interaction, {len(index)} (got "
            f'size {list(predicted.size())})'
        )
    task = torch.repeat_interleave(episodes.num_query)
    label = episodes.label[index].to(predicted.dtype)
    mask, predicted, label = pad_lists(task, predicted, label)
    return list_metrics(predicted, label, mask, ks, relevant, published=True)
