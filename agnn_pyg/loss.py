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
    mean = torch.addcmul(logvar.exp() - logvar, mu, mu).mean()
    return 0.5 * mu.size(1) * (mean - 1)


def reconstruction(state: NodeState) -> Tensor:
    r"""Squared distance of generated from learnt preference, a mean over nodes.

    Cold nodes have nothing to compare with and are left out. The learnt
    preference is held fixed: the generator learns from it, it is not dragged
    towards what attributes can say.
    """
    made = state.generated.preference
    warm, count = _warm(state)
    target = state.learnt.detach()[:, : made.size(-1)].index_select(0, warm)
    return F.mse_loss(made.index_select(0, warm), target, reduction='sum') / count


def preference_norm(state: NodeState) -> Tensor:
    """Squared norm of the learnt preference, a mean over warm nodes.

    The bias is free: shrinking it costs accuracy wherever the other side is cold.
    """
    warm, count = _warm(state)
    return state.learnt[:, :-1].index_select(0, warm).square().sum() / count


def _warm(state: NodeState) -> tuple[Tensor, Tensor]:
    """Positions of the warm targets, and how many there are, at least 1.

    Rows of cold ones are left out rather than multiplied by zero: they may be
    NaN, and zero times NaN would still reach the gradient.
    """
    warm = state.cold.logical_not()
    return warm.nonzero().squeeze(-1), warm.sum().clamp(min=1)


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
    loss = terms['mse'].add(terms['kl'], alpha=kl_weight)
    loss = loss.add(terms['reconstruction'], alpha=reconstruction_weight)
    return {**terms, 'loss': loss.add(terms['preference'], alpha=preference_weight)}
