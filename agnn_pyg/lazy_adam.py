"""AdamW for tables of which a step reads a few rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class LazyAdamW(torch.optim.AdamW):
    r"""AdamW that touches only those rows that a sparse gradient has.

    A table with sparse gradients (as of an embedding with :obj:`sparse=True`) is
    updated row by row: each is a parameter with steps of its own, taken whenever it
    is read. So a step costs what its rows do, however long the table is. Rows that
    are not read do not go on moving, as they would by AdamW's momentum. Dense
    gradients are AdamW's.

    Args:
        params (iterable): Parameters or groups of them, as AdamW's.
        **kwargs (optional): Arguments of :class:`torch.optim.AdamW`;
            :obj:`amsgrad` and :obj:`maximize` are for dense gradients only.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step; returns what the closure does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        tables = [
            (group, table, *_rows(table.grad))
            for group in self.param_groups
            for table in group['params']
            if table.grad is not None and table.grad.is_sparse
        ]
        kept = [(table, table.grad) for _, table, _, _ in tables]
        for table, _ in kept:
            table.grad = None
        super().step()
        for group, table, row, grad in tables:
            self._step_rows(group, table, row, grad)
        for table, grad in kept:
            table.grad = grad
        return loss

    def _step_rows(
        self, group: dict[str, Any], table: Tensor, row: Tensor, grad: Tensor
    ) -> None:
        state, (beta1, beta2) = self.state[table], group['betas']
        if not state:
            state['step'] = torch.zeros(())  # AdamW's, which it looks for
            state['row_step'] = table.new_zeros(len(table))
            state['exp_avg'] = torch.zeros_like(table)
            state['exp_avg_sq'] = torch.zeros_like(table)
        steps = state['row_step'].index_select(0, row) + 1
        average = state['exp_avg'].index_select(0, row).lerp_(grad, 1 - beta1)
        square = state['exp_avg_sq'].index_select(0, row).mul_(beta2)
        square.addcmul_(grad, grad, value=1 - beta2)
        state['row_step'].index_copy_(0, row, steps)
        state['exp_avg'].index_copy_(0, row, average)
        state['exp_avg_sq'].index_copy_(0, row, square)

        steps = steps.view(-1, *[1] * (grad.dim() - 1))
        scale = square.div_(1 - beta2**steps).sqrt_().add_(group['eps'])
        change = average.div_(1 - beta1**steps).div_(scale)
        if group['weight_decay']:
            change.add_(table.index_select(0, row), alpha=group['weight_decay'])
        # Scaled before: with `alpha`, `index_add_` is three times as slow.
        table.index_add_(0, row, change.mul_(-float(group['lr'])))


def _rows(grad: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that a sparse gradient has, each once, and their gradients."""
    row, value = grad._indices()[0], grad._values()
    if (row[1:] > row[:-1]).all():  # which spares sorting them
        return row, value
    grad = grad.coalesce()
    return grad.indices()[0], grad.values()
