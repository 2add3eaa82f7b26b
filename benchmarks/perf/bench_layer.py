"""Measures the gated layer next to PyG's layers and a naive implementation."""

import statistics
import time
from collections import defaultdict
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg
from torch_geometric.typing import WITH_TORCH_SCATTER

from agnn_pyg import GatedConv
from benchmarks import records
from benchmarks.perf.conftest import in_new_process


class NaiveGatedConv(nn.Module):
    """A direct implementation of the formula: both gates read concatenations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin_aggr = nn.Linear(2 * channels, channels)
        self.lin_filter = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        src, dst = edge_index
        gate = self.lin_aggr(torch.cat([x[dst], x[src]], dim=-1)).sigmoid()
        degree = torch.bincount(dst, minlength=len(x)).clamp(min=1)[:, None]
        gated, plain = (
            torch.zeros_like(x).index_add(0, dst, message) / degree
            for message in (gate * x[src], x[src])
        )
        kept = 1 - self.lin_filter(torch.cat([x, plain], dim=-1)).sigmoid()
        return nn.functional.leaky_relu(kept * x + gated, 0.01)


LAYERS = {
    'GatedConv': GatedConv,
    'naive': NaiveGatedConv,
    'ResGatedGraphConv': lambda c: pyg.ResGatedGraphConv(c, c),
    'GATv2Conv': lambda c: pyg.GATv2Conv(c, c, add_self_loops=False),
    'TransformerConv': lambda c: pyg.TransformerConv(c, c),
    'SAGEConv': lambda c: pyg.SAGEConv(c, c),
    'GCNConv': lambda c: pyg.GCNConv(c, c, add_self_loops=False),
}
# Varied quantity, nodes, neighbors, width; the table shows the cases of 'order'.
CASES = [
    *(('nodes', nodes, 10, 30) for nodes in (1_000, 10_000, 100_000, 300_000)),
    *(('neighbors', 20_000, count, 64) for count in (5, 10, 20, 50)),
    *(('width', 20_000, 10, width) for width in (16, 30, 64, 128, 256)),
    *(('order', 100_000, 10, width) for width in (30, 64)),
]


def graph(nodes, neighbors, width):
    """Features and edges; all nodes have the same number of random neighbors."""
    generator = torch.Generator().manual_seed(0)
    src = torch.randint(nodes, (nodes * neighbors,), generator=generator)
    dst = torch.arange(nodes).repeat_interleave(neighbors)
    x = torch.randn(nodes, width, generator=generator)
    return x.requires_grad_(), torch.stack([src, dst])


def memory_of(name, *size):
    """Peak memory in MB that a forward and backward pass adds."""
    x, edge_index = graph(*size)
    layer = LAYERS[name](size[-1])
    # Warm up: libraries that load on first use are not part of the layer.
    layer(x[:100], edge_index[:, :0]).sum().backward()
    records.reset_peak_memory()
    before = records.peak_memory_mb()
    layer(x, edge_index).sum().backward()
    return records.peak_memory_mb() - before


@pytest.mark.parametrize(('vary', 'nodes', 'neighbors', 'width'), CASES)
def test_layer(vary, nodes, neighbors, width, record, benchmark):
    """Times all layers alternately on one graph, for reliable ratios of medians."""
    x, edge_index = graph(nodes, neighbors, width)
    calls, taken = {}, defaultdict(list)
    for name, make in LAYERS.items():
        run = partial(make(width), x, edge_index)
        calls[name, 'forward_s'] = torch.no_grad()(run)
        calls[name, 'forward_backward_s'] = lambda run=run: run().sum().backward()

    def take_turns():
        for key, call in calls.items():
            start = time.process_time()
            call()
            taken[key].append(time.process_time() - start)

    benchmark.pedantic(take_turns, rounds=3, warmup_rounds=1)
    median = {key: statistics.median(found[1:]) for key, found in taken.items()}
    for name in LAYERS:
        case = {'layer': name, 'nodes': nodes, 'neighbors': neighbors, 'width': width}
        case |= {'sorted': True, 'vary': vary, 'compiled': False}
        case |= {'torch_scatter': WITH_TORCH_SCATTER}
        measures = {what: s for (layer, what), s in median.items() if layer == name}
        other = median['GATv2Conv', 'forward_backward_s']
        measures['ratio_to_GATv2Conv'] = measures['forward_backward_s'] / other
        if vary == 'order':
            size = name, nodes, neighbors, width
            measures['peak_memory_mb'] = in_new_process(memory_of, *size)
        record('layer', case, **measures)
