"""What the gated layer costs, beside PyG's layers and its own naive form.

    python -m benchmarks.layer --out benchmarks/results

Layers are timed in turn, in one process, so that a busy machine slows all
alike; the figures are medians of CPU seconds, and what counts are ratios. Peak memory
is the growth of a fresh process's largest resident size over one call.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch_geometric.typing
from torch import Tensor, nn
from torch_geometric.nn import (
    GATv2Conv,
    GCNConv,
    ResGatedGraphConv,
    SAGEConv,
    TransformerConv,
)

from agnn_pyg import GatedConv
from benchmarks.command import plain_parser, run_command
from benchmarks.records import environment, peak_memory_mb, read_json, write_json


class NaiveGatedConv(nn.Module):
    """The formula as it stands: both gates from a concatenation, edge by edge."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin_aggr = nn.Linear(2 * channels, channels)
        self.lin_filter = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        src, dst = edge_index
        x_i, x_j = x[dst], x[src]
        gate = self.lin_aggr(torch.cat([x_i, x_j], dim=-1)).sigmoid()
        degree = torch.bincount(dst, minlength=len(x)).clamp(min=1)[:, None]
        gated, plain = (
            torch.zeros_like(x).index_add(0, dst, message) / degree
            for message in (gate * x_j, x_j)
        )
        kept = 1 - self.lin_filter(torch.cat([x, plain], dim=-1)).sigmoid()
        return nn.functional.leaky_relu(kept * x + gated, 0.01)


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    'GatedConv': GatedConv,
    'naive': NaiveGatedConv,
    'ResGatedGraphConv': lambda c: ResGatedGraphConv(c, c),
    'GATv2Conv': lambda c: GATv2Conv(c, c, add_self_loops=False),
    'TransformerConv': lambda c: TransformerConv(c, c),
    'SAGEConv': lambda c: SAGEConv(c, c),
    'GCNConv': lambda c: GCNConv(c, c, add_self_loops=False),
}
BASE = {'nodes': 20_000, 'neighbors': 10, 'width': 64, 'sorted': True}
COMPILED = ('GatedConv', 'ResGatedGraphConv', 'GATv2Conv')


def cases() -> Iterator[dict[str, Any]]:
    """One thing varied at a time, and the sizes that the claims are about."""
    for nodes in (1_000, 10_000, 100_000, 300_000):
        yield {**BASE, 'vary': 'nodes', 'nodes': nodes, 'width': 30}
    for neighbors in (5, 10, 20, 50):
        yield {**BASE, 'vary': 'neighbors', 'neighbors': neighbors}
    for width in (16, 30, 64, 128, 256):
        yield {**BASE, 'vary': 'width', 'width': width}
    for width in (30, 64):
        for is_sorted in (True, False):
            yield {
                **BASE,
                'vary': 'order',
                'nodes': 100_000,
                'width': width,
                'sorted': is_sorted,
            }


def graph(case: dict[str, Any], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features and edges: every node has the same number of random neighbours."""
    generator = torch.Generator().manual_seed(seed)
    nodes, neighbors = case['nodes'], case['neighbors']
    src = torch.randint(nodes, (nodes * neighbors,), generator=generator)
    dst = torch.arange(nodes).repeat_interleave(neighbors)
    if not case['sorted']:
        order = torch.randperm(len(dst), generator=generator)
        src, dst = src[order], dst[order]
    x = torch.randn(nodes, case['width'], generator=generator)
    return x.requires_grad_(), torch.stack([src, dst])


def measure(case: dict[str, Any], repeats: int, compiled: bool = False) -> list[dict]:
    """Times all layers in turn on one graph."""
    x, edge_index = graph(case)
    names = COMPILED if compiled else tuple(LAYERS)
    layers = {name: LAYERS[name](case['width']) for name in names}
    if compiled:
        layers = {
            n: torch.compile(layer, fullgraph=True) for n, layer in layers.items()
        }
    forward: dict[str, list[float]] = {name: [] for name in names}
    both: dict[str, list[float]] = {name: [] for name in names}
    warm_up = (x, edge_index) if compiled else (x[:100], edge_index[:, :0])
    for layer in layers.values():
        layer(*warm_up).sum().backward()
    for _ in range(repeats):
        for name, layer in layers.items():
            gc.collect()
            with torch.no_grad():
                first = _seconds(lambda layer=layer: layer(x, edge_index))
            second = _seconds(lambda layer=layer: layer(x, edge_index).sum().backward())
            forward[name].append(first)
            both[name].append(second)
    return [
        {
            **case,
            'layer': name,
            'compiled': compiled,
            'torch_scatter': torch_geometric.typing.WITH_TORCH_SCATTER,
            'forward_s': statistics.median(forward[name]),
            'forward_backward_s': statistics.median(both[name]),
        }
        for name in names
    ]


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def peak_memory(case: dict[str, Any], name: str) -> float:
    """Megabytes that one forward and backward pass adds, in a new process."""
    request = json.dumps({'case': case, 'layer': name})
    command = [sys.executable, '-m', 'benchmarks.layer', '--child', request]
    root = Path(__file__).parents[1]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return float(ran.stdout.split()[-1])


def _child(request: str) -> None:
    asked = json.loads(request)
    x, edge_index = graph(asked['case'])
    layer = LAYERS[asked['layer']](asked['case']['width'])
    # Libraries that load on first use are not the layer's memory.
    layer(x[:100], edge_index[:, :0]).sum().backward()
    before = peak_memory_mb()
    layer(x, edge_index).sum().backward()
    print(peak_memory_mb() - before)


def measure_memory(chosen: Sequence[dict[str, Any]]) -> list[dict]:
    """Peak memory of every layer on the graphs that the table shows."""
    return [
        {**case, 'layer': name, 'peak_mb': peak_memory(case, name)}
        for case in chosen
        if case['vary'] == 'order' and case['sorted']
        for name in LAYERS
    ]


def extend(results: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Adds the graphs of the table, timed with the extensions now installed."""
    shown = [c for c in cases() if c['vary'] == 'order']
    has = torch_geometric.typing.WITH_TORCH_SCATTER
    kept = [
        t
        for t in results['timings']
        if t['vary'] != 'order' or t['torch_scatter'] != has
    ]
    added = [row for case in shown for row in measure(case, repeats)]
    return {**results, 'timings': kept + added}


def run(repeats: int, quick: bool) -> dict[str, Any]:
    """All measurements, ready to be written."""
    chosen: Sequence[dict[str, Any]] = list(cases())
    if quick:
        chosen = [{**case, 'nodes': 500} for case in chosen[:2]]
    timings = []
    for case in chosen:
        print(case, file=sys.stderr)
        timings += measure(case, repeats)
    compile_case = {**BASE, 'vary': 'compiled', 'nodes': 500 if quick else 10_000}
    if not quick:
        timings += measure(compile_case, repeats)
        timings += measure(compile_case, repeats, compiled=True)
    return {
        'environment': environment('cpu'),
        'repeats': repeats,
        'timings': timings,
        'memory': measure_memory(chosen),
    }


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = plain_parser('benchmarks.layer', __doc__)
    parser.add_argument('--out', type=Path, default=Path('runs'))
    parser.add_argument('--repeats', type=int, default=3, help='(default: 3)')
    parser.add_argument('--quick', action='store_true', help='two tiny graphs, to try')
    parser.add_argument(
        '--extend',
        action='store_true',
        help='time the graphs of the table once more into the JSON that is there, '
        'as after torch-scatter was installed',
    )
    parser.add_argument('--child', help=argparse.SUPPRESS)
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    if args.child:
        _child(args.child)
        return
    if args.repeats < 1:
        raise ValueError(f'--repeats must be at least 1 (got {args.repeats})')
    from benchmarks.layer_plots import layer_table, plot_layers

    path = args.out / 'layer.json'
    if not args.extend:
        results = run(args.repeats, args.quick)
    elif path.exists():
        results = extend(read_json(path), args.repeats)
    else:
        raise ValueError(f"no '{path}' to extend; run without --extend")
    write_json(path, results)
    plot_layers(results, args.out / 'layer.png')
    print(layer_table(results))


if __name__ == '__main__':
    sys.exit(main())
