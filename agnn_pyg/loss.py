"""The terms of AGNN's loss, each a mean over a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_pyg.nn.node_encoder import NodeState


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    r"""KL divergence of the latent code from a standard normal.

    .. math::
        \frac{1}{2} \sum_d \big( \sigma_d^2 + \mu_d^2 - 1 - \ln \sigma_d^2
        \big)

    Args:
        mu (Tensor): Means, :obj:`[N, D]`.
        logvar (Tensor): Log-variances, :obj:`[N, D]`.

    Returns:
        The mean over nodes, a scalar.
    """
    # The constant last: it need not be subtracted from every number.
    total = torch.addcmul(logvar.exp() - logvar, mu, mu).sum()
    return 0.5 * (total / mu.size(0) - mu.size(1))


def reconstruction(state: NodeState) -> Tensor:
    r"""Squared distance of generated from learnt preference, a mean over nodes.

    Cold nodes have nothing to compare with and are left out. The learnt
    preference is held fixed: the generator learns from it, it is not dragged
    towards what attributes can say.
    """
    target = state.learnt.detach()[:, : state.generated.preference.size(-1)]
    return _warm_mean_square(state.generated.preference - target, state.cold)


def preference_norm(state: NodeState) -> Tensor:
    """Squared norm of the learnt preference, a mean over warm nodes.

    The bias is free: shrinking it costs accuracy wherever the other side is cold.
    """
    return _warm_mean_square(state.learnt[:, :-1], state.cold)


def _warm_mean_square(rows: Tensor, cold: Tensor) -> Tensor:
    """Mean squared norm of the rows of warm nodes."""
    warm = ~cold
    # Chosen before squaring: the free row of a cold node may be NaN, and zero
    # times NaN would still reach the gradient.
    chosen = rows.where(warm[:, None], 0)
    return chosen.square().sum() / warm.sum().clamp(min=1)


def agnn_loss(
    rating: Tensor,
    predicted: Tensor,
    user: NodeState,
    item: NodeState,
    *,
    kl_weight: float = 0.01,
    reconstruction_weight: float = 0.1,
    preference_weight: float = 0.01,
) -> dict[str, Tensor]:
    r"""All terms of the loss and, as :obj:`"loss"`, their weighted sum.

    .. math::
        \mathcal{L} = \frac{1}{B} \sum (\hat{r} - r)^2 +
        \lambda_1 \mathrm{KL} + \lambda_2 \Vert \hat{\mathbf{m}} - \mathbf{m}
        \Vert^2 + \lambda_3 \Vert \mathbf{m} \Vert^2

    (AGNN, Section 3.5, where :math:`\lambda_1 = \lambda_2`; the last term
    takes the place of weight decay on preferences.)

    Args:
        rating (Tensor): Ratings, :obj:`[B]`.
        predicted (Tensor): Predicted ratings, :obj:`[B]`.
        user (NodeState): The users of the batch.
        item (NodeState): The items of the batch.
        kl_weight (float, optional): (default: :obj:`0.01`)
        reconstruction_weight (float, optional): (default: :obj:`0.1`)
        preference_weight (float, optional): (default: :obj:`0.01`)
    """
    sides = (user, item)
    terms = {
        'mse': F.mse_loss(predicted, rating),
        'kl': sum(kl_divergence(s.generated.mu, s.generated.logvar) for s in sides),
        'reconstruction': sum(reconstruction(s) for s in sides),
        'preference': sum(preference_norm(s) for s in sides),
    }
    terms['loss'] = (
        terms['mse']
        + kl_weight * terms['kl']
        + reconstruction_weight * terms['reconstruction']
        + preference_weight * terms['preference']
    )
    return terms
