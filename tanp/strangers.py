"""Supports of users without a share in the statistics: their inputs are looked up."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tanp.evidence import surplus
from tanp.inputs import InputEncoder, TaskInputs
from tanp.loader import EpisodeBatch
from tanp.nn.rows import Rows, rows_of


class StrangerInputs:
    """The inputs of :class:`~tanp.inputs.InputEncoder`, from tables of all items.

    Args:
        inputs (InputEncoder): Of a model in evaluation mode.
    """

    def __init__(self, inputs: InputEncoder) -> None:
        self.inputs = inputs
        self.x, self.told = inputs.catalogue()
        # Whether labels are compared with what others say of an item.
        self.based = self.told is not None and inputs.likelihood == 'gaussian'

    def user(self, weight: Tensor, user: Tensor) -> Tensor:
        """What users add to a linear map of what is known, :obj:`[B, C]`."""
        if self.inputs.user is None:
            return weight.new_zeros(len(user), len(weight))
        return F.linear(self.inputs.user(user), weight[:, self.inputs.user_columns])

    def __call__(self, batch: EpisodeBatch) -> tuple[TaskInputs, Tensor | None]:
        """Inputs of supports, and by how much labels exceed others', if compared.

        Args:
            batch (EpisodeBatch): Its query is not read, and kernels are left out.
        """
        support = rows_of(batch.support_mask)
        item = support.take(batch.support_item)
        x = self.x.index_select(0, item)
        if self.inputs.user is not None:
            known = self.inputs.user(batch.user).index_select(0, support.task)
            x[:, self.inputs.user_columns] = known
        label = support.take(batch.support_label).to(x.dtype)
        base = excess = None
        surprise = label
        if self.based:
            mean = self.told.mean.index_select(0, item)
            excess = surplus(label - mean, support)
            base = mean + excess.index_select(0, support.task)
            surprise = label - base
        elif self.told is not None:
            # Labels 1 and 0 surprise by 1 and -1.
            surprise = 2 * label - 1
        nobody = support.task[:0]
        query = Rows(nobody, nobody, nobody, support.num_tasks, 0)
        told = base, None, None, None
        return TaskInputs(x, label, surprise, *told, support, query), excess
