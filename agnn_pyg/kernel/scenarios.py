"""Prediction rows of the cold-start scenarios."""

from __future__ import annotations

from torch import Tensor

from agnn_pyg.kernel.regressor import PairwiseKernelRegressor


def prediction_rows(
    model: PairwiseKernelRegressor, cold_items: Tensor
) -> dict[str, Tensor]:
    r"""Rows of users and items whose inner products are predictions less the mean.

    A cold node has no ratings, so its sums are zero, and so are its collaborative
    features. With the core :math:`\mathbf{C}` of
    :meth:`~agnn_pyg.kernel.kernel.PairwiseKernel.core` the prediction of a cold user is
    :math:`\mathbf{x}_u^\top (\mathbf{C} \mathbf{y}_i + \mathbf{w}_\mathrm{users}
    \odot \mathbf{t}_i)`, that of a cold item likewise, and that of both
    :math:`\mathbf{x}_u^\top \mathbf{C} \mathbf{y}_i`.

    Args:
        model (PairwiseKernelRegressor): Fitted on the nodes with ratings.
        cold_items (Tensor): Attribute features of the cold items.

    Returns:
        :obj:`"user"` and :obj:`"item"`: a row for each node that is warm or cold as
        the scenario of the model says. Cold users are left out, and so are cold items
        unless users are cold, too: their rows are their attribute features. With both
        cold, :obj:`"item_map"` makes rows of the features of items.
    """
    kernel, sums = model.kernel, model.sums
    if not any(model.cold):
        user, item = kernel.factors(sums)
        return {'user': user, 'item': item}
    core = kernel.core(sums)
    if all(model.cold):
        return {'item': cold_items @ core.t(), 'item_map': core.t().contiguous()}
    _, by_user, by_item = kernel.feature_weights()
    if model.cold[0]:
        return {'item': kernel.items.x @ core.t() + sums.item * by_user}
    return {'user': kernel.users.x @ core + sums.user * by_item}
