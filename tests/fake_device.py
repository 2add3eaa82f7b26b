"""Catches mixed devices without a GPU: tensors that claim to be on another device.

They are real tensors of the CPU in disguise. An operator that meets both sorts raises,
as it would on a GPU, and stricter: a GPU accepts an index on the CPU, and copies it
each time. Numbers are true, so that any operator runs; one that a GPU lacks, and
numbers that depend on the device, are not caught.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

import tanp
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.loss import agnn_loss
from agnn_pyg.model import AGNN
from agnn_pyg.nn import AttributeEmbedding, GatedConv
from agnn_pyg.prediction import predict
from agnn_pyg.sampling.batch import RatingBatch
from agnn_pyg.sampling.full_graph import FullGraphLoader
from tanp import AttentiveTaNP, EpisodeBatch, EpisodeLoader, Episodes, TaNP, tanp_loss
from tanp.item_statistics import ItemStatistics
from tests.conftest import rated_graph

NAME = 'meta'  # of the device that tensors claim to be on
# Operators that may carry numbers from one device to another.
COPIES = ('aten::_to_copy', 'aten::copy_')


class MixedDevices(AssertionError):
    """Tensors of two devices met, or one ended up on the wrong device."""


class Elsewhere(Tensor):
    """A tensor that claims to be elsewhere."""

    @staticmethod
    def __new__(cls, real: Tensor) -> Tensor:
        options = {'strides': real.stride(), 'dtype': real.dtype, 'device': NAME}
        made = Tensor._make_wrapper_subclass(cls, real.size(), **options)
        made.held = real
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        with Devices():
            return func(*args, **kwargs or {})


class Devices(TorchDispatchMode):
    """Runs operators on what tensors really are, if these are of one device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), func.name().split('.')[0]
        given = tensors((args, kwargs))
        # Scalars may be on the CPU.
        away = {type(t) is Elsewhere for t in given if t.dim()}
        if len(away) > 1 and name not in COPIES:
            raise MixedDevices(f'{name} reads tensors on the cpu and on {NAME}')
        is_away = any(away or [type(t) is Elsewhere for t in given])
        if name == 'aten::copy_':
            is_away = type(args[0]) is Elsewhere
        if kwargs.get('device') is not None:
            is_away = kwargs['device'].type == NAME
            kwargs['device'] = torch.device('cpu')
        if is_away and kwargs.get('generator') is not None:
            raise MixedDevices(f'{name} draws on {NAME} with a generator on the cpu')
        same = {id(t.held): t for t in given if type(t) is Elsewhere}
        args, kwargs = tree_map_only(Elsewhere, lambda t: t.held, (args, kwargs))
        made = func(*args, **kwargs)
        if not is_away:
            return made
        for tensor in tensors(made):
            same.setdefault(id(tensor), Elsewhere(tensor))
        return tree_map_only(Tensor, lambda tensor: same[id(tensor)], made)


def check_device_clean(
    module: nn.Module, *inputs: Any, to: str = NAME, backward: bool = True
) -> None:
    """Raises if devices mix, outputs are not on ``to``, or gradients elsewhere."""
    with (
        Devices(),
        mock.patch('torch.sparse_csr_tensor', dense_matrix),
        mock.patch('torch.autocast', return_value=nullcontext()),
    ):
        found = outputs_and_gradients(module, inputs, NAME, backward)
    for kind, made in zip((to, NAME), found, strict=True):
        for tensor in tensors(made):
            if tensor.device.type != kind:
                raise MixedDevices(f'a result is on {tensor.device}, not on {kind}')
    assert not backward or tensors(found[1]), 'no gradient reached anything'


def dense_matrix(pointer: Tensor, col: Tensor, value: Tensor, size: Any, **_) -> Tensor:
    """What stands for a sparse matrix, which cannot be disguised."""
    row = torch.arange(size[0], device=pointer.device)
    row = row.repeat_interleave(pointer.diff(), output_size=len(col))
    return value.new_zeros(size).index_put((row, col), value, accumulate=True)


def outputs_and_gradients(
    module: nn.Module, inputs: Sequence, device: Any, backward: bool = True
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Outputs for copies of state and inputs on a device, gradients of their squares,
    by parameters and then by floating-point inputs; none where there is no path."""
    state = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        state[name] = tensor.detach().clone().to(device)
        state[name].requires_grad_(tensor.requires_grad)
    copies = tree_map_only(Tensor, lambda t: t.detach().clone(), tuple(inputs))
    moved = move(copies, device)
    for tensor in tensors(moved):
        if tensor.device.type != torch.device(device).type:
            raise MixedDevices(f'an input stayed on {tensor.device}, not {device}')
        tensor.requires_grad_(backward and tensor.is_floating_point())
    leaves = [t for t in tensors((state, moved)) if t.requires_grad]
    outputs, gradients = tensors(functional_call(module, state, moved)), []
    if backward:
        total = sum(t.square().sum() for t in outputs if t.requires_grad)
        gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    return outputs, list(gradients)


def tensors(node: Any) -> list[Tensor]:
    """All tensors of a nested structure."""
    return [leaf for leaf in tree_leaves(node) if isinstance(leaf, Tensor)]


def move(node: Any, device: torch.device | str) -> Any:
    """The same structure on a device, each part by its own method if it has one."""
    return tree_map(
        lambda part: part.to(device) if hasattr(part, 'to') else part,
        node,
        is_leaf=lambda part: hasattr(part, 'to'),
    )


# What the cases run on: few nodes, of which some are cold.
X = torch.linspace(-1, 1, 20).view(5, 4)
EDGE_INDEX = torch.tensor([[0, 1, 2, 3, 4, 4], [1, 0, 0, 2, 2, 4]])
EDGE_WEIGHT = torch.linspace(0, 2, 6)
EDGE_ATTR = torch.linspace(-1, 1, 12).view(6, 2)


SIDES = ('user', 'item')
RATES = ('user', 'rates', 'item')
KNN = [(side, 'rating_knn', side) for side in SIDES]


def batch(rate: float = 0.3) -> RatingBatch:
    """Pairs of 6 users and 7 items, of whom user 5 and items 5 and 6 are cold."""
    rated = torch.tensor([[0, 0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 0, 2]])
    bags = {}
    for side, num_nodes in zip(SIDES, (6, 7), strict=True):
        # Two tokens a node, or one and padding; padding is token 0.
        token = torch.arange(2 * num_nodes).view(-1, 2) % 5
        bags[side] = TokenBags(token, (token > 0).float(), torch.arange(5) > 0)
    data = rated_graph(bags, rated, torch.arange(7.0), candidate_fraction=0.6)
    rates = dict.fromkeys(SIDES, rate)
    options = {'num_neighbors': 2, 'cold_dropout': rates, 'id_dropout': 0.0, 'seed': 4}
    loader = FullGraphLoader(data, RATES, steps=1, **options)
    (only,) = loader
    for side, kind in zip(SIDES, KNN, strict=True):
        assert only.cold_dict[side].any()
        assert not only.cold_dict[side].all()
        assert only.edge_index_dict[kind].numel()
    assert only.rating_dict[RATES].numel()
    cold = torch.tensor([[5, 5, 1], [0, 6, 5]])
    return only._replace(
        edge_label_index=torch.cat([only.edge_label_index, cold], dim=1),
        n_id_dict={s: torch.arange(data[s].num_nodes) for s in SIDES},
        edge_label=torch.cat([only.edge_label, torch.arange(3.0)]),
    )


def agnn(**kwargs: Any) -> AGNN:
    tokens = dict.fromkeys(SIDES, 5)
    sizes = {'channels': 4, 'dropout': 0.5, 'spectral_channels': 3, 'slope_channels': 3}
    return AGNN({'user': 6, 'item': 7}, tokens, KNN, **sizes | kwargs)


class Training(nn.Module):
    """Both parts of a forward pass, and all terms of the loss."""

    def __init__(self, model: AGNN, published: bool = False) -> None:
        super().__init__()
        self.model, self.published = model, published

    def forward(self, batch: RatingBatch) -> dict[str, Tensor]:
        x, edges, pairs, *rest, label = batch
        states = self.model.encode(x, edges, *rest)
        predicted = self.model.decode(states, pairs)
        published = pairs if self.published else None
        return agnn_loss(label, predicted, [*states.values()], published=published)


class Predicting(nn.Module):
    """`predict`, over batches that are ready: drawing them takes real numbers."""

    def __init__(self, model: AGNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, *batches: RatingBatch) -> Tensor:
        loader = Ready(batch.to('cpu') for batch in batches)
        return predict(self.model, loader, 2, rating_range=(1, 5))


class Ready(tuple):
    """Batches in the place of a loader."""

    shuffle = False
    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        pass


class Tasks(nn.Module):
    """A neural process and its loss on tasks, with item statistics on their device."""

    def __init__(self, model: TaNP, episodes: Episodes) -> None:
        super().__init__()
        self.model, self.statistics, self.episodes = model, model.statistics, episodes

    def move(self, device: torch.device) -> None:
        dtype = self.model.decoder.lin_out.weight.dtype
        if self.statistics is not None:
            self.model.statistics = self.statistics.apply(
                lambda t: t.to(device, dtype if t.is_floating_point() else None)
            )

    def forward(self, batch: EpisodeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        self.move(batch.user.device)
        output = self.model(batch)
        return output.score, tanp_loss(output, self.model.likelihood)


class Serving(Tasks):
    """What serves users, known and new: predictions by samples, and all items."""

    def forward(self, batch: EpisodeBatch, index: Tensor) -> tuple:
        model, device = self.model, batch.user.device
        self.move(device)
        model.set_trained_ids(index.cpu(), index.cpu())
        new = TokenBags(torch.ones(4, 1).long(), torch.ones(4, 1), torch.ones(3) > 0)
        served = model.with_nodes('user', new).for_users(index + 4 * (index > 1))
        predicted = tanp.predict(served, EpisodeLoader(self.episodes), samples=2)
        catalogue = model.catalogue()
        scores = model.score_all(batch, catalogue), catalogue.hidden, catalogue.query
        return [vector.cpu() for vector in scores], predicted


def serving() -> tuple[Serving, EpisodeBatch, Tensor]:
    """An attentive process with attributes of users."""
    index = torch.arange(7)
    bags = TokenBags(index[:4, None] % 3, torch.ones(4, 1), torch.ones(3) > 0)
    made, batch = tasks(attentive=True, user_attributes=bags)
    return Serving(made.model, made.episodes).eval(), batch, index[:4]


def tasks(attentive: bool = False, **options: Any) -> tuple[Tasks, EpisodeBatch]:
    """A neural process with all of its parts, and a batch of tasks of two sizes."""
    size, item = torch.tensor([4, 5, 4, 5]), torch.arange(18) % 7
    label, support = torch.arange(18) % 2.0, torch.tensor([2, 1, 2, 3])
    episodes = Episodes(torch.arange(4), size, item, label, support)
    (only,) = EpisodeLoader(episodes)
    options |= {'num_clusters': 2, 'latent_channels': (4, 4, 4), 'user_ids': True}
    if not attentive:
        return Tasks(TaNP(7, 4, **options), episodes), only
    statistics = ItemStatistics.fit(episodes, 7, 4, rank=1, folds=2)
    made = AttentiveTaNP(statistics, 4, item_ids=True, **options)
    return Tasks(made, episodes), only


def _conv(*inputs: Any, **kwargs: Any) -> Callable:
    return lambda: (GatedConv(4, **kwargs), *inputs)


OWN_NEIGHBORS = {'separate_neighbors': True, 'generate_neighbors': False}
# A case makes a module and its inputs.
CLEAN = {
    'GatedConv': _conv(X, EDGE_INDEX),
    'GatedConv-bipartite': _conv((X, X[:3]), EDGE_INDEX[:, :5]),
    'GatedConv-weighted': _conv(X, EDGE_INDEX, EDGE_WEIGHT),
    'GatedConv-edge-features': _conv(X, EDGE_INDEX, None, EDGE_ATTR, edge_dim=2),
    'GatedConv-no-edges': _conv(X, EDGE_INDEX[:, :0]),
    'AttributeEmbedding-dense': lambda: (AttributeEmbedding(4, 4), X),
    'AGNN-eval': lambda: (Training(agnn()).eval(), batch(0.0)),
    'AGNN-options': lambda: (Training(agnn(**OWN_NEIGHBORS)), batch()),
    'AGNN-loss': lambda: (Training(agnn()), batch()),
    'AGNN-published': lambda: (Training(agnn(), published=True), batch()),
    'AGNN-rated-train': lambda: (Training(agnn(rated=RATES)), batch()),
    'AGNN-rated-eval': lambda: (Training(agnn(rated=RATES)).eval(), batch(0.0)),
    'TaNP-train': tasks,
    'TaNP-eval': lambda: (tasks()[0].eval(), tasks()[1]),
    'TaNP-gating': lambda: tasks(modulation='gating', predict_support=True),
    'AttentiveTaNP-train': lambda: tasks(attentive=True),
    'AttentiveTaNP-gaussian': lambda: tasks(attentive=True, likelihood='gaussian'),
    'AttentiveTaNP-serving': serving,
    'predict': lambda: (Predicting(agnn()), batch(), batch(0.0)),
}
# Predictions come back to the CPU, and without a gradient.
BACK = {'to': 'cpu', 'backward': False}
OPTIONS = {'predict': BACK, 'AttentiveTaNP-serving': BACK}


# Bugs, to see that they are caught. All of these work on the CPU.


class ConstantInMessage(GatedConv):
    def message(self, x_j, u_j, v_i, w, e):
        constant = torch.arange(2 * self.channels)
        return super().message(x_j, u_j, v_i, w, e) + constant


class GeneratorOnCPU(nn.Module):
    def forward(self, x):
        generator = torch.Generator().manual_seed(0)
        return x + torch.randn(x.size(), generator=generator, device=x.device)


PLANTED = {
    'constant-in-message': lambda: (ConstantInMessage(4), X, EDGE_INDEX),
    'generator-on-cpu': lambda: (GeneratorOnCPU(), X),
}
