"""The terms of TaNP's loss: prediction, KL divergence, clustering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from tanp.nn.encoder import Gaussian
from tanp.nn.rows import sum_by

if TYPE_CHECKING:
    from tanp.model import TaskOutput

AVERAGES = ('task', 'point')
# Negative log-likelihood of labels given scores, up to constants; what a
# prediction is; and the range of the labels.
LIKELIHOODS = {
    'bernoulli': (
        F.binary_cross_entropy_with_logits,
        torch.sigmoid,
        (0.0, 1.0),
    ),
    'gaussian': (F.mse_loss, torch.Tensor.clone, (-float('inf'), float('inf'))),
}


def kl_divergence(q: Gaussian, p: Gaussian) -> Tensor:
    r"""The divergence of each pair of Gaussians, summed over dimensions.

    .. math::
        \mathrm{KL}(q \, \Vert \, p) = \frac{1}{2} \sum_d \Big(
        \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{\sigma_p^2} - 1 + \ln
        \frac{\sigma_p^2}{\sigma_q^2} \Big)

    Returns:
        One value a task, :obj:`[B]`.
    """
    ratio = (q.logvar - p.logvar).exp() + (q.mu - p.mu).square() / p.logvar.exp()
    return 0.5 * (ratio - 1 + p.logvar - q.logvar).sum(-1)


def target_distribution(assignment: Tensor) -> Tensor:
    r"""What the assignments of a batch are sharpened towards.

    .. math::
        t_{bj} \propto \frac{c_{bj}^2}{\sum_{b'} c_{b'j}}

    (TaNP, Section 4.3.) It is held fixed: no gradient flows through it.

    Args:
        assignment (Tensor): Soft assignments, :obj:`[B, k]`.
    """
    assignment = assignment.detach()
    weight = assignment.square() / assignment.sum(0)
    return weight / weight.sum(-1, keepdim=True)


def clustering_loss(assignment: Tensor, target: Tensor | None = None) -> Tensor:
    r"""Divergence of assignments from their target, a mean over tasks.

    .. math::
        \frac{1}{B} \sum_{b,j} t_{bj} (\ln t_{bj} - \ln c_{bj})

    Args:
        assignment (Tensor): Soft assignments, :obj:`[B, k]`.
        target (Tensor, optional): Of the same size. The published code comes
            out at all ones, which pushes every task to the uniform assignment.
            (default: :func:`target_distribution`)
    """
    if target is None:
        target = target_distribution(assignment)
    return F.kl_div(assignment.log(), target, reduction='batchmean')


def tanp_loss(
    output: TaskOutput,
    likelihood: str = 'bernoulli',
    *,
    average: str = 'task',
    kl_weight: float = 1.0,
    kl_per_point: bool = True,
    clustering_weight: float = 0.1,
    uniform_clusters: bool = False,
) -> dict[str, Tensor]:
    r"""All terms of the loss and, as :obj:`"loss"`, their weighted sum.

    .. math::
        \mathcal{L} = \frac{1}{B} \sum_b \Big( \frac{1}{n_b} \sum_i - \ln p(
        y_{bi} \mid \hat{s}_{bi}) + \frac{\lambda_1}{n_b} \mathrm{KL}_b \Big) +
        \lambda_2 \mathcal{L}_{clustering}

    (TaNP, Section 4.5.) The prediction term is a mean over the :math:`n_b`
    targets of a task; so is the evidence lower bound, which divides its KL by
    :math:`n_b`, too. The published code does not.

    Args:
        output (TaskOutput): Of a model in training mode.
        likelihood (str, optional): (default: :obj:`"bernoulli"`)
        average (str, optional): :obj:`"task"` weighs all tasks alike, as above;
            :obj:`"point"` weighs all targets alike, so that users of many
            interactions count for more. (default: :obj:`"task"`)
        kl_weight (float, optional): :math:`\lambda_1`. (default: :obj:`1.0`)
        kl_per_point (bool, optional): False leaves the KL undivided, as
            published. (default: :obj:`True`)
        clustering_weight (float, optional): :math:`\lambda_2`.
            (default: :obj:`0.1`)
        uniform_clusters (bool, optional): Use the all-ones target that the
            published code comes out at. (default: :obj:`False`)
    """
    if average not in AVERAGES:
        raise ValueError(f"'average' must be one of {AVERAGES} (got {average!r})")
    negative_log_likelihood = LIKELIHOODS[likelihood][0]
    error = negative_log_likelihood(output.score, output.label, reduction='none')
    task, num_tasks = output.rows.task, output.rows.num_tasks
    count = torch.bincount(task, minlength=num_tasks).clamp(min=1).to(error.dtype)
    # How much a task counts, so that weights average to one.
    weight = count / count.mean() if average == 'point' else torch.ones_like(count)
    per_task = sum_by(error, task, num_tasks) / count
    terms = {'prediction': (weight * per_task).mean()}
    terms['loss'] = terms['prediction']
    if output.posterior is not None:
        kl = kl_divergence(output.posterior, output.prior)
        terms['kl'] = (weight * kl / count if kl_per_point else kl).mean()
        terms['loss'] = terms['loss'] + kl_weight * terms['kl']
    if output.assignment is not None:
        assigned = output.assignment
        target = torch.ones_like(assigned) if uniform_clusters else None
        terms['clustering'] = clustering_loss(assigned, target)
        terms['loss'] = terms['loss'] + clustering_weight * terms['clustering']
    return terms
