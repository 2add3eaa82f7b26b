"""AdamW for embeddings of which a step reads a few rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class SparseAdamW(torch.optim.AdamW):
    r"""AdamW that updates only those rows that a sparse gradient has.

    A parameter with sparse gradients (as of an embedding with :obj:`sparse=True`) is
    updated row by row: each row is a parameter with a step count of its own, updated
    whenever it is read. So a step costs as much as its rows, however many there are.
    Unlike under AdamW, rows that are not read do not move by their momentum.
    All other parameters are updated by :class:`torch.optim.AdamW`.

    Args:
        params (iterable): Parameters or groups of them, as for
            :class:`torch.optim.AdamW`.
        **kwargs (optional): Arguments of :class:`torch.optim.AdamW`.

    Raises:
        ValueError: By :meth:`step`, if a gradient is sparse and :obj:`amsgrad`,
            :obj:`maximize` or :obj:`fused` is set, which are for dense ones only.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Takes a step, after the closure if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        held = []
        for group in self.param_groups:
            for parameter in group['params']:
                grad = parameter.grad
                if grad is not None and (grad.is_sparse or self._has_rows(parameter)):
                    self._step_rows(group, parameter, *_rows(grad))
                    held.append((parameter, grad))
                    parameter.grad = None  # AdamW leaves it alone
        super().step()
        for parameter, grad in held:
            parameter.grad = grad
        return loss

    def _has_rows(self, parameter: Tensor) -> bool:
        step = self.state[parameter].get('step') if parameter in self.state else None
        return step is not None and step.dim() > 0

    def _step_rows(
        self, group: dict[str, Any], parameter: Tensor, row: Tensor, grad: Tensor
    ) -> None:
        for name in ('amsgrad', 'maximize', 'fused'):
            if group[name]:
                raise ValueError(
                    f"'{name}' must be False where gradients are sparse (got "
                    f'{group[name]})'
                )
        state, (beta1, beta2) = self.state[parameter], group['betas']
        if not state:
            state['step'] = torch.zeros(())
            state['exp_avg'] = torch.zeros_like(parameter)
            state['exp_avg_sq'] = torch.zeros_like(parameter)
        if not self._has_rows(parameter):
            # Steps by dense gradients were steps of all rows. Counts need the
            # precision: in bfloat16, 256 and 1 are 256.
            dtype = torch.promote_types(parameter.dtype, torch.float)
            step = state['step'].to(parameter.device, dtype)
            state['step'] = step.repeat(len(parameter))
        steps = state['step'].index_select(0, row) + 1
        average = state['exp_avg'].index_select(0, row).lerp_(grad, 1 - beta1)
        square = state['exp_avg_sq'].index_select(0, row).mul_(beta2)
        square.addcmul_(grad, grad, value=1 - beta2)
        state['step'].index_copy_(0, row, steps)
        state['exp_avg'].index_copy_(0, row, average)
        state['exp_avg_sq'].index_copy_(0, row, square)

        steps = steps.view(-1, *[1] * (grad.dim() - 1))
        scale = square.div_(1 - beta2**steps).sqrt_().add_(group['eps'])
        change = average.div_(1 - beta1**steps).div_(scale)
        if group['weight_decay']:
            decay = parameter.index_select(0, row)
            change.add_(decay, alpha=group['weight_decay'])
        # Scaled before: with `alpha`, `index_add_` is three times as slow.
        parameter.index_add_(0, row, change.mul_(-float(group['lr'])))


def _rows(grad: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that a gradient has, each once, and their gradients."""
    if not grad.is_sparse:
        return torch.arange(len(grad), device=grad.device), grad
    grad = grad.coalesce()
    return grad.indices()[0], grad.values()
