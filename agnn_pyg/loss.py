"""The terms of AGNN's loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_pyg.nn.extended_vae import EVAEOutput
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
        The mean over nodes, a scalar; 0 if there are none.
    """
    if not len(mu):
        return (mu + logvar).sum()
    # Subtract the constant from the mean rather than from each element.
    mean = torch.addcmul(logvar.exp() - logvar, mu, mu).mean()
    return 0.5 * mu.size(1) * (mean - 1)


def embedding_terms(state: NodeState) -> tuple[Tensor, Tensor]:
    r"""Reconstruction error and squared norm of preferences, as means over warm nodes.

    Returns:
        The *reconstruction* term :math:`\Vert \hat{\mathbf{m}} - \mathbf{m} \Vert^2` is
        the squared distance of the reconstruction to the learned preference and bias.
        Both are detached: the term trains the extended VAE, but does not pull them
        towards values that attributes can express. The second term is the squared norm
        of the learned preference :math:`\Vert \mathbf{m} \Vert^2`, without the bias:
        shrinking the bias costs accuracy if the other side is cold.
    """
    # Cold rows are dropped, not multiplied by zero: they may be NaN, and zero times
    # NaN would still reach the gradient.
    warm = state.cold.logical_not()
    count = warm.sum().clamp(min=1)
    row = warm.nonzero().squeeze(-1)
    learned = state.learned.index_select(0, row)
    made = state.evae.reconstruction.index_select(0, row)
    target = learned.detach()[:, : made.size(-1)]
    distance = F.mse_loss(made, target, reduction='sum')
    return distance / count, learned[:, :-1].square().sum() / count


def published_terms(state: NodeState, index: Tensor) -> tuple[Tensor, Tensor]:
    r"""The KL and reconstruction terms of the published code.

    .. math::
        \frac{1}{2B} \sum_b \sum_d \big( \exp(z_{bd}) + \mu_{bd}^2 - 1 -
        \ln \sigma_{bd}^2 \big) \quad \text{and} \quad
        \Vert \hat{\mathbf{M}} - \mathbf{M} \Vert_F

    The first has :math:`\exp(z)` in place of :math:`\sigma^2`. The second is one norm
    over the whole batch, not squared, and its gradient reaches learned preferences.

    Args:
        state (NodeState): The nodes of one end.
        index (Tensor): Positions of the nodes of the pairs, :obj:`[B]`; a node counts
            once for each of its pairs.
    """
    evae = EVAEOutput(*(part.index_select(0, index) for part in state.evae))
    rows = evae.z.exp() + evae.mu.square() - 1 - evae.logvar
    warm = index[state.cold.index_select(0, index).logical_not()]
    made = state.evae.reconstruction.index_select(0, warm)
    learned = state.learned.index_select(0, warm)[:, : made.size(-1)]
    return 0.5 * rows.sum(dim=1).mean(), torch.linalg.vector_norm(made - learned)


def agnn_loss(
    rating: Tensor,
    predicted: Tensor,
    states: Sequence[NodeState],
    *,
    kl_weight: float = 0.01,
    reconstruction_weight: float = 0.1,
    embedding_l2: float = 0.0,
    published: Tensor | None = None,
    ranking: Tensor | None = None,
) -> dict[str, Tensor]:
    r"""All terms of the loss and, as :obj:`"loss"`, their weighted sum.

    .. math::
        \mathcal{L} = \frac{1}{B} \sum (\hat{r} - r)^2 +
        \lambda_1 \mathrm{KL} + \lambda_2 \Vert \hat{\mathbf{m}} - \mathbf{m}
        \Vert^2 + \lambda_3 \Vert \mathbf{m} \Vert^2

    (AGNN, Section 3.5, where :math:`\lambda_1 = \lambda_2`; the last term
    replaces weight decay on preferences.)

    Args:
        rating (Tensor): Ratings, :obj:`[B]`.
        predicted (Tensor): Predicted ratings, :obj:`[B]`.
        states (sequence): The embedded nodes of both ends.
        kl_weight (float, optional): (default: :obj:`0.01`)
        reconstruction_weight (float, optional): (default: :obj:`0.1`)
        embedding_l2 (float, optional): (default: :obj:`0.0`)
        published (Tensor, optional): Positions of the pairs, :obj:`[2, B]`. If passed,
            the loss is that of the published code, a sum over the pairs of the batch,
            see :func:`published_terms`. (default: :obj:`None`)
        ranking (Tensor, optional): A ranking loss, such as :func:`sampled_softmax`,
            that replaces the squared error. (default: :obj:`None`)
    """
    distance, norm = zip(*map(embedding_terms, states), strict=True)
    name, mse = 'ranking', ranking
    if ranking is None:
        # A column of ratings would broadcast against all predictions.
        rating = rating.to(predicted.dtype).reshape_as(predicted)
        name, mse = 'mse', F.mse_loss(predicted, rating)
    loss = mse
    if published is None:
        kl = [kl_divergence(state.evae.mu, state.evae.logvar) for state in states]
    else:
        loss = len(rating) * mse
        kl, distance = zip(*map(published_terms, states, published), strict=True)
    terms = {name: mse, 'kl': sum(kl)}
    terms |= {'reconstruction': sum(distance), 'embedding_l2': sum(norm)}
    loss = loss.add(terms['kl'], alpha=kl_weight)
    loss = loss.add(terms['reconstruction'], alpha=reconstruction_weight)
    return {**terms, 'loss': loss.add(terms['embedding_l2'], alpha=embedding_l2)}


def sampled_softmax(
    positive: Tensor,
    negative: Tensor,
    row: Tensor,
    is_positive: Tensor,
    log_q: Tensor | float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Sampled softmax loss; a user's positives are left out of the negatives.

    .. math::
        \mathcal{L} = - \frac{1}{\sum_{ui} w_{ui}} \sum_{ui} w_{ui} \ln
        \frac{e^{s_{ui}}}{e^{s_{ui}} + \sum_{j \in \mathcal{S} \setminus
        \mathcal{P}_u} e^{s_{uj} - \ln q_j}}

    over pairs of users and their positives :math:`\mathcal{P}_u`. The sample
    :math:`\mathcal{S}` contains item j with probability (or expected count)
    :math:`q_j`. The correction by :math:`\ln q_j` makes the sum an unbiased
    estimate of the sum over all items (Bengio and Senécal, "Adaptive importance
    sampling to accelerate training of a neural probabilistic language model", 2008; Yi
    et al., "Sampling-bias-corrected neural modeling for large corpus item
    recommendations", 2019).

    Args:
        positive (Tensor): Scores :math:`s_{ui}` of the pairs, :obj:`[B]`.
        negative (Tensor): Scores of distinct users and sampled items, :obj:`[U, S]`.
        row (Tensor): The row in :obj:`negative` of the user of each pair, :obj:`[B]`.
        is_positive (Tensor): Mask of positives among users and sampled items; they are
            left out, :obj:`[U, S]`.
        log_q (Tensor or float, optional): :math:`\ln q_j`, :obj:`[S]`.
            (default: :obj:`0.0`, for all items)
        weight (Tensor, optional): Weights :math:`w_{ui}`, :obj:`[B]`. (default: 1)
    """
    # Not -inf: a row with only positives would have no gradient.
    lowest = torch.finfo(negative.dtype).min
    others = (negative - log_q).masked_fill(is_positive, lowest).logsumexp(dim=1)
    rest = F.softplus(others.index_select(0, row) - positive)
    return rest.mean() if weight is None else weight @ rest / weight.sum()
