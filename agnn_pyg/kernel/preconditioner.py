"""A preconditioner of the pairwise kernel: exact user blocks and an item part."""

from __future__ import annotations

import torch
from torch import Tensor

from agnn_pyg.kernel.kernel import PairwiseKernel

# Maximum entries of all blocks; the largest blocks are halved until they fit.
MAX_ENTRIES = 2**26
MIN_BLOCK, MAX_BLOCK = 16, 2048
# Maximum number of items (those with the most ratings) in the item part.
MAX_ITEMS = 4096
# Blocks of up to 20 % more ratings are padded to one size.
GROWTH = 1.2
WORK = 2**18


class UserBlocks:
    r"""A preconditioner: the inverse of most of :math:`\mathbf{K} + \mathbf{I}`.

    .. math::
        \mathbf{M} = \mathrm{blockdiag}_u(\mathbf{A}_u) + \mathbf{Z} \mathbf{G}
        \mathbf{Z}^\top

    contains the kernel of any two ratings of one user, with the mean over users of
    :math:`k_a(u, u)`. For ratings of two users, it has the part that all users have in
    common: :math:`\mathbf{G}` is the item kernel of the constant user component, and
    :math:`\mathbf{Z}` maps ratings to items.
    It is inverted by Cholesky factors and the Woodbury identity.
    """

    def __init__(self, kernel: PairwiseKernel) -> None:
        pairs, y = kernel.pairs, kernel.items.x
        count = torch.bincount(pairs.item, minlength=len(y))
        chosen = count.argsort(descending=True, stable=True)[:MAX_ITEMS]
        # The last number stands for other items, and for the padding of blocks.
        self.size = len(chosen) + 1
        number = pairs.item.new_full((len(y) + 1,), len(chosen))
        number[chosen] = torch.arange(len(chosen), device=y.device)
        self.item = number[pairs.item]
        rows = _user_rows(pairs.user, pairs.size[0])
        joined = self._invert_blocks(kernel, rows, number)
        self.rows = torch.cat([row.flatten() for row in rows])
        self.place = rows[0].new_empty(len(pairs) + 1)
        self.place[self.rows] = torch.arange(len(self.rows), device=y.device)
        # G is diagonal and of low rank, so its inverse takes a small matrix.
        both, by_user, _ = kernel.feature_weights
        bias = by_user[0]
        part = y[chosen] * both[0].sqrt()
        inner = bias * torch.eye(y.size(1)).to(y) + part.t() @ part
        # In place, since the matrix is the largest tensor of a fit with many items.
        lower = torch.linalg.cholesky(inner)
        half = torch.linalg.solve_triangular(lower, part.t(), upper=False)
        joined.addmm_(half.t(), half, alpha=-1 / float(bias))
        joined.diagonal().add_(1 / bias)
        self.factor = torch.linalg.cholesky(joined, out=joined)

    def _invert_blocks(
        self, kernel: PairwiseKernel, rows: list[Tensor], number: Tensor
    ) -> Tensor:
        """Sets the inverses of blocks, and sums them by the numbers of two items."""
        item, y = kernel.pairs.item, kernel.items.x
        # Weights of the item kernels between ratings of one user. The constant
        # component is in the item part.
        square = kernel.users.x.square().mean(dim=0)
        own = square.new_zeros(len(kernel.weight))
        own.index_add_(0, kernel.users.component, square)
        own[0], own[-1] = 0, 1
        own = own @ kernel.weight
        y = y * own[kernel.items.component].sqrt()
        level = 1 + own[-1]
        size = self.size
        item = torch.cat([item, item.new_tensor([len(y)])])
        y = torch.cat([y, torch.zeros_like(y[:1])])
        joined = y.new_zeros(size * size)
        gram = None  # of all items; with many items, it is computed by block
        if len(y) == size:
            gram = y.new_empty(len(y), len(y))
            gram[number[:, None], number] = y @ y.t()
        # One tensor, because memory of many small ones is not reused.
        width = [row.numel() * row.size(1) for row in rows]
        parts = y.new_empty(sum(width)).split(width)
        self.inverse = [
            part.view(*row.shape, -1) for part, row in zip(parts, rows, strict=True)
        ]
        for row, inverse in zip(rows, self.inverse, strict=True):
            step = max(1, WORK // (row.size(1) * max(y.size(1), row.size(1))))
            for start in range(0, len(row), step):
                block = row[start : start + step]
                where = number[item[block]]
                where = where[:, :, None] * size + where[:, None, :]
                a = y[item[block]] if gram is None else gram.take(where)
                if gram is None:
                    a = a @ a.transpose(1, 2)
                a.diagonal(dim1=1, dim2=2).add_(level)
                made = torch.cholesky_inverse(torch.linalg.cholesky(a))
                inverse[start : start + step] = made
                joined.index_add_(0, where.flatten(), made.flatten())
        return joined.view(size, size)[:-1, :-1]

    def __call__(self, value: Tensor) -> Tensor:
        """The solution for a right-hand side :obj:`[R]`, in the order of the pairs."""
        solved = self._blocks(value)
        total = solved.new_zeros(self.size).index_add_(0, self.item, solved)
        total[:-1] = torch.cholesky_solve(total[:-1, None], self.factor)[:, 0]
        total[-1] = 0
        return solved - self._blocks(total[self.item])

    def _blocks(self, value: Tensor) -> Tensor:
        value = torch.cat([value, value.new_zeros(1)])[self.rows]
        parts = value.split([x.size(0) * x.size(1) for x in self.inverse])
        both = zip(self.inverse, parts, strict=True)
        # Inverses are symmetric, and row vectors are the faster side.
        solved = [(part.view(len(x), 1, -1) @ x).flatten() for x, part in both]
        return torch.cat(solved)[self.place[:-1]]


def _user_rows(user: Tensor, num_users: int) -> list[Tensor]:
    """Positions of each user's pairs, which are sorted, in matrices by size.

    Rows are padded with the number of pairs. Users with too many have several rows.
    """
    count = torch.bincount(user, minlength=num_users)
    most = MAX_BLOCK
    while most > MIN_BLOCK and (count.clamp(max=most) * count).sum() > MAX_ENTRIES:
        most //= 2
    pieces = ((count + most - 1) // most).clamp(min=1)
    length = (count + pieces - 1) // pieces
    within = torch.arange(len(user), device=user.device)
    within = within - (count.cumsum(0) - count)[user]
    piece = (pieces.cumsum(0) - pieces)[user] + within // length[user]
    size = torch.bincount(piece)
    start = size.cumsum(0) - size
    padded = torch.full_like(size, 4)
    while (padded < size).any():
        more = (GROWTH * padded).ceil().long()
        padded = torch.where(padded < size, more, padded)
    rows = []
    for width in padded[size > 0].unique().tolist():
        mine = ((padded == width) & (size > 0)).nonzero()
        step = torch.arange(width, device=user.device)
        row = start[mine] + step
        rows.append(row.where(step < size[mine], torch.full_like(row, len(user))))
    return rows
