"""The loss of TaNP: prediction error, KL divergence and clustering loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tanp.config import LossConfig
from tanp.model import TaskOutput
from tanp.nn import Gaussian

cross_entropy = partial(F.binary_cross_entropy_with_logits, reduction='none')
squared_error = partial(F.mse_loss, reduction='none')


def weighted_cross_entropy(score: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of positives, weighted by labels, and of drawn items (label 0)."""
    weight = label.where(label > 0, torch.ones_like(label))
    return cross_entropy(score, (label > 0).to(score), weight)


class Likelihood(NamedTuple):
    """Error, expected label of a score, and range of labels.

    The error is the negative log-likelihood. The Gaussian has variance 1/2 and omits
    the constant, so its error is the squared error.
    """

    error: Callable[[Tensor, Tensor], Tensor]
    predict: Callable[[Tensor], Tensor]
    low: float
    high: float


LIKELIHOODS = {
    'bernoulli': Likelihood(cross_entropy, torch.sigmoid, 0, 1),
    'implicit': Likelihood(weighted_cross_entropy, torch.sigmoid, 0, math.inf),
    'gaussian': Likelihood(squared_error, torch.Tensor.clone, -math.inf, math.inf),
}


def kl_divergence(q: Gaussian, p: Gaussian) -> Tensor:
    r"""KL divergence of each pair of Gaussians, summed over dimensions, :obj:`[B]`.

    .. math::
        \mathrm{KL}(q \, \Vert \, p) = \frac{1}{2} \sum_d \Big(
        \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{\sigma_p^2} - 1 + \ln
        \frac{\sigma_p^2}{\sigma_q^2} \Big)
    """
    ratio = (q.logvar - p.logvar).exp() + (q.mu - p.mu).square() / p.logvar.exp()
    return 0.5 * (ratio - 1 + p.logvar - q.logvar).sum(-1)


def clustering_loss(assignment: Tensor, published: bool = False) -> Tensor:
    r"""KL divergence of soft assignments :obj:`[B, k]` from their target, a scalar.

    .. math::
        \frac{1}{B} \sum_{b,j} t_{bj} (\ln t_{bj} - \ln c_{bj}), \quad
        t_{bj} \propto \frac{c_{bj}^2}{\sum_{b'} c_{b'j}}

    (TaNP, Section 4.3.) The target has no gradient. The :obj:`published` code uses a
    target of ones, which pushes tasks to the uniform assignment.
    """
    weight = assignment.detach().square() / assignment.detach().sum(0)
    target = weight / weight.sum(-1, keepdim=True)
    target = torch.ones_like(target) if published else target
    return F.kl_div(assignment.log(), target, reduction='batchmean')


def tanp_loss(
    output: TaskOutput, likelihood: str = 'bernoulli', **options: Any
) -> dict[str, Tensor]:
    r"""Returns the terms of the loss and, as :obj:`"loss"`, their weighted sum.

    .. math::
        \mathcal{L} = \frac{1}{B} \sum_b \Big( \frac{1}{n_b} \sum_i - \ln p(
        y_{bi} \mid \hat{s}_{bi}) + \frac{\lambda_1}{n_b} \mathrm{KL}_b \Big) +
        \lambda_2 \mathcal{L}_{clustering}

    (TaNP, Section 4.5.) The prediction term is a mean over the :math:`n_b` predicted
    interactions of a task, so the KL is also divided by :math:`n_b`. Reduction
    :obj:`"point"` gives all interactions equal weight.

    Args:
        output (TaskOutput): Output of a model in training mode.
        likelihood (str, optional): Likelihood of the model, see :class:`~tanp.TaNP`.
            (default: :obj:`"bernoulli"`)
        **options (optional): See :class:`~tanp.config.LossConfig`.
    """
    config = LossConfig(**options)
    # size = [B, n]
    error = LIKELIHOODS[likelihood].error(output.score, output.label)
    error = error.masked_fill(~output.mask, 0)
    # size = [B]
    count = output.mask.sum(1).clamp(min=1).to(error.dtype)
    # Weights of the tasks, with mean 1.
    weight = count / count.mean() if config.reduction == 'point' else 1.0
    terms = {'prediction': (weight * error.sum(1) / count).mean()}
    loss = terms['prediction']
    if output.posterior is not None:
        kl = kl_divergence(output.posterior, output.prior)
        terms['kl'] = (weight * kl / count if config.kl_per_point else kl).mean()
        loss = loss + config.kl_weight * terms['kl']
    if output.assignment is not None:
        published = config.published_cluster_target
        terms['clustering'] = clustering_loss(output.assignment, published)
        loss = loss + config.clustering_weight * terms['clustering']
    return terms | {'loss': loss}
