"""Rated pairs of users and items as sparse matrices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.utils.sparse import index2ptr

from agnn_pyg.base.csr import csr_tensor


class RatedPairs:
    """Rated pairs, :obj:`[2, R]`, sorted by user and by item once for sparse products.

    Attributes:
        order: Positions in :obj:`edge_index` of the sorted pairs, ascending by user
            and item, :obj:`[R]`.
    """

    def __init__(self, edge_index: Tensor, num_users: int, num_items: int) -> None:
        self.size = (num_users, num_items)
        user, item = edge_index.long()  # int32 would overflow below
        self.order = torch.argsort(user * num_items + item)
        self.user, self.item = user[self.order], item[self.order]
        self._item_order = torch.argsort(self.item * num_users + self.user)
        self._item_user = self.user[self._item_order]
        self._user_ptr = index2ptr(self.user, num_users)
        self._item_ptr = index2ptr(self.item[self._item_order], num_items)

    def __len__(self) -> int:
        return len(self.user)

    def by_user(self, value: Tensor) -> Tensor:
        """Values of the pairs as a CSR matrix, :obj:`[num_users, num_items]`."""
        return csr_tensor(self._user_ptr, self.item, value, self.size)

    def by_item(self, value: Tensor) -> Tensor:
        """Values of the pairs as a CSR matrix, :obj:`[num_items, num_users]`."""
        value = value[self._item_order]
        return csr_tensor(self._item_ptr, self._item_user, value, self.size[::-1])

    def inner(self, *rows: tuple[Tensor, Tensor]) -> Tensor:
        """Sum of inner products of user rows and item rows of each pair, :obj:`[R]`."""
        total = self.by_user(rows[0][0].new_zeros(len(self)))
        for user, item in rows:
            total = torch.sparse.sampled_addmm(total, user, item.t())
        return total.values()
