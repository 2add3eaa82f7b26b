"""PyG's own layers in the place of the gated one, for comparison."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, ResGatedGraphConv, SAGEConv
from torch_geometric.typing import PairTensor

RIVALS = {
    'gcn': GCNConv,
    'gat': GATConv,
    'sage': SAGEConv,
    'res_gated': ResGatedGraphConv,
}


class RivalConv(nn.Module):
    """A layer of PyG's between neighbours and targets of equal width.

    Not every layer takes two kinds of nodes, so that targets are the first rows
    of one graph; what the layer makes of the other rows is dropped.

    Args:
        name (str): One of :data:`RIVALS`.
        channels (int): Size of input and output.

    Raises:
        ValueError: If the name is unknown.
    """

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        if name not in RIVALS:
            raise ValueError(
                f"'conv' must be 'gated' or one of {sorted(RIVALS)} (got '{name}')"
            )
        self.conv = RIVALS[name](channels, channels)

    def reset_parameters(self) -> None:
        self.conv.reset_parameters()

    def forward(
        self, x: PairTensor, edge_index: Tensor, size: tuple[int, int]
    ) -> Tensor:
        return self.conv(x[0], edge_index)[: size[1]]
