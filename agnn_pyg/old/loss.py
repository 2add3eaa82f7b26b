"""The terms of AGNN's loss, each a mean over a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_pyg.old.node_encoder import NodeState


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


def preference_terms(state: NodeState) -> tuple[Tensor, Tensor]:
    r"""What holds generated and learnt preferences, a mean over warm targets each.

    Returns:
        The *reconstruction* :math:`\Vert \hat{\mathbf{m}} - \mathbf{m} \Vert^2`, the
        squared distance of generated from learnt preference. The learnt one is held
        fixed: the generator learns from it, it is not dragged towards what attributes
        can say. And the squared norm of the learnt *preference* :math:`\Vert
        \mathbf{m} \Vert^2`, without the bias: shrinking that costs accuracy wherever
        the other side is cold.
    """
    # Cold rows are left out rather than multiplied by zero: they may be NaN, and
    # zero times NaN would still reach the gradient.
    warm = state.cold.logical_not()
    count = warm.sum().clamp(min=1)
    row = warm.nonzero().squeeze(-1)
    learnt = state.learnt.index_select(0, row)
    made = state.generated.preference.index_select(0, row)
    target = learnt.detach()[:, : made.size(-1)]
    distance = F.mse_loss(made, target, reduction='sum')
    return distance / count, learnt[:, :-1].square().sum() / count


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
    distance, norm = zip(*map(preference_terms, sides), strict=True)
    terms = {
        'mse': F.mse_loss(predicted, rating),
        'kl': sum(kl_divergence(s.generated.mu, s.generated.logvar) for s in sides),
        'reconstruction': sum(distance),
        'preference': sum(norm),
    }
    loss = terms['mse'].add(terms['kl'], alpha=kl_weight)
    loss = loss.add(terms['reconstruction'], alpha=reconstruction_weight)
    return {**terms, 'loss': loss.add(terms['preference'], alpha=preference_weight)}
