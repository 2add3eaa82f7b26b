"""AdamW for tables of which a step reads a few rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class LazyAdamW(torch.optim.AdamW):
    r"""AdamW that touches only those rows that a sparse gradient has.

    A table with sparse gradients (as of an embedding with :obj:`sparse=True`) is
    updated row by row: each is a parameter with steps of its own, taken whenever it
    is read. So a step costs what its rows do, however long the table is. Rows that
    are not read do not go on moving, as they would by AdamW's momentum. Parameters
    that had dense gradients only are AdamW's; a dense gradient of a table that had a
    sparse one reads all rows.

    Args:
        params (iterable): Parameters or groups of them, as AdamW's.
        **kwargs (optional): Arguments of :class:`torch.optim.AdamW`.

    Raises:
        ValueError: By :meth:`step`, if a gradient is sparse and :obj:`amsgrad` or
            :obj:`maximize` is set, which are for dense ones only.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A fused AdamW would unscale gradients itself, and skip a step if any are
        # infinite. That of rows leaves both to the scaler.
        self._step_supports_amp_scaling = False

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads what :meth:`state_dict` has returned."""
        super().load_state_dict(state_dict)
        # PyTorch casts all but 'step' to the type of the parameter.
        pairs = zip(state_dict['param_groups'], self.param_groups, strict=True)
        for saved, group in pairs:
            for key, parameter in zip(saved['params'], group['params'], strict=True):
                steps = state_dict['state'].get(key, {}).get('row_step')
                if steps is not None:
                    steps = steps.to(parameter.device, copy=True)
                    self.state[parameter]['row_step'] = steps

    def _init_group(self, group: dict[str, Any], *args: Any) -> bool:
        """Updates tables row by row, and hands AdamW what else is in a group."""
        dense = []
        for parameter in group['params']:
            if self._has_rows(parameter):
                self._step_rows(group, parameter, *_rows(parameter.grad))
            else:
                dense.append(parameter)
        return super()._init_group({**group, 'params': dense}, *args)

    def _has_rows(self, parameter: Tensor) -> bool:
        grad = parameter.grad
        return grad is not None and (
            grad.is_sparse or 'row_step' in self.state.get(parameter, ())
        )

    def _step_rows(
        self, group: dict[str, Any], table: Tensor, row: Tensor, grad: Tensor
    ) -> None:
        for name in ('amsgrad', 'maximize'):
            if group[name]:
                raise ValueError(
                    f"'{name}' must be False where gradients are sparse (got "
                    f'{group[name]})'
                )
        state, (beta1, beta2) = self.state[table], group['betas']
        if not state:
            state['step'] = torch.zeros(())  # AdamW's, which it looks for
            state['exp_avg'] = torch.zeros_like(table)
            state['exp_avg_sq'] = torch.zeros_like(table)
        if 'row_step' not in state:
            # Steps on dense gradients were steps of all rows. In half precision,
            # 256 and 1 are 256.
            dtype = torch.promote_types(table.dtype, torch.float)
            step = state['step'].to(table.device, dtype)
            state['row_step'] = step.repeat(len(table))
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
    """The rows that a gradient has, each once, and their gradients."""
    if not grad.is_sparse:
        return torch.arange(len(grad), device=grad.device), grad
    row, value = grad._indices()[0], grad._values()
    if (row[1:] > row[:-1]).all():  # which spares sorting them
        return row, value
    grad = grad.coalesce()
    return grad.indices()[0], grad.values()
