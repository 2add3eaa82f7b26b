"""Catches mixed devices without a GPU: forward and backward on a pretended one.

Tensors are fake: they have a size, a type and a device, but no numbers. An operator
that meets two devices raises, as it would on a GPU. A pretended device is registered
for the whole process, so that this file is a program: `python -m tests.fake_device`
prints a line a case, ``clean NAME DEVICE`` or ``failed NAME ERROR``.

Not caught: numbers that depend on the device, and operators that a GPU lacks. Numbers
read from a tensor, as by ``item``, are a false alarm: there is no number to read.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

import tanp
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.loss import agnn_loss
from agnn_pyg.model import AGNN
from agnn_pyg.nn import (
    AttributeEmbedding,
    GatedConv,
)
from agnn_pyg.sampling.batch import RatingBatch
from agnn_pyg.sampling.full_graph import FullGraphLoader
from agnn_pyg.scoring import predict
from tanp import (
    AttentiveTaNP,
    EpisodeBatch,
    EpisodeLoader,
    Episodes,
    ItemStatistics,
    TaNP,
    tanp_loss,
)
from tanp.catalogue import Catalogue
from tanp.episodes import offsets
from tests.conftest import rated_graph

NAME = 'pretended'
# Older releases of PyTorch cannot pretend a device from Python.
SET_UP = '_setup_privateuseone_for_python_backend'
AVAILABLE = hasattr(backend_registration, SET_UP)
# Operators whose purpose is to carry a tensor from one device to another.
COPIES = ('aten::_to_copy', 'aten::copy_', 'aten::_copy_from')


class MixedDevices(AssertionError):
    """Tensors of two devices met, or one ended up on the wrong device."""


def pretend_device() -> torch.device:
    """Registers the pretended device, once a process, and returns it."""
    if torch._C._get_privateuse1_backend_name() != NAME:
        getattr(backend_registration, SET_UP)(NAME)
        # What autocast asks for, even to be switched off.
        getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16]
    return torch.device(NAME, 0)


def check_device_clean(
    module: nn.Module,
    *inputs: Any,
    to: str = NAME,
    backward: bool = True,
) -> torch.device:
    """Raises if a module mixes devices, forward or backward.

    It runs first on the CPU with real numbers, so that whatever goes wrong afterwards
    is due to the device alone. Parameters, buffers and inputs on the CPU are moved:
    tensors in tuples and lists, and tuples with a method ``to`` by it. Outputs must end
    up on a device of kind ``to``, gradients on the pretended one, which is returned.
    """
    # First of all: autograd counts devices at the first backward pass.
    device = pretend_device()
    real = outputs_and_gradients(module, inputs, 'cpu', backward=backward)
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    # Real tensors may enter: a constant that a module makes or holds is one.
    # The `ShapeEnv` lets sizes depend on data, as in `nonzero`.
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    with fake_mode, mock.patch('torch.sparse_csr_tensor', dense_matrix):
        fake = outputs_and_gradients(module, inputs, device, fake_mode, backward)
    for kind, ones, others in zip((to, NAME), fake, real, strict=True):
        for one, other in zip(ones, others, strict=True):
            assert (one is None) == (other is None)
            if one is not None and one.device.type != kind:
                raise MixedDevices(f'a result is on {one.device}, not on {kind}')
    if backward and all(gradient is None for gradient in fake[1]):
        raise AssertionError('no gradient reached a parameter or an input')
    return device


def dense_matrix(pointer: Tensor, col: Tensor, value: Tensor, size: Any, **_) -> Tensor:
    """What stands for a sparse matrix on the pretended device, which has none."""
    row = torch.arange(size[0], device=pointer.device)
    row = row.repeat_interleave(pointer.diff(), output_size=len(col))
    return value.new_zeros(size).index_put((row, col), value, accumulate=True)


def outputs_and_gradients(
    module: nn.Module,
    inputs: Sequence,
    device: torch.device | str,
    fake_mode: Any = None,
    backward: bool = True,
) -> tuple[list[Tensor], list[Tensor | None]]:
    """What a module makes of copies of its state and inputs on a device.

    Gradients are those of the sum of all squared outputs, by parameters and
    then by floating-point inputs; none where there is no path.
    """
    device = torch.device(device)

    def copy(tensor: Tensor) -> Tensor:
        if fake_mode is None:
            return tensor.detach().clone()
        return fake_mode.from_tensor(tensor.detach(), static_shapes=True)

    state = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        state[name] = copy(tensor).to(device).requires_grad_(tensor.requires_grad)
    moved = _move(map_tensors(copy, tuple(inputs)), device)
    for tensor in tensors(moved):
        if tensor.device.type != device.type:
            raise MixedDevices(f'an input stayed on {tensor.device}, not {device}')
        tensor.requires_grad_(backward and tensor.is_floating_point())
    leaves = [t for t in (*state.values(), *tensors(moved)) if t.requires_grad]

    with _OneDevice(fake_mode):
        outputs = list(tensors(functional_call(module, state, moved)))
        gradients = []
        if backward:
            total = sum(t.square().sum() for t in outputs if t.requires_grad)
            gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    return outputs, list(gradients)


class _OneDevice(TorchDispatchMode):
    """Raises where one operator reads from two devices, or draws for another.

    Stricter than fake tensors, as a GPU is lenient in places: it accepts an
    index on the CPU, and copies it each time. Scalars may be on the CPU.
    """

    def __init__(self, fake_mode) -> None:
        super().__init__()
        self.fake_mode = fake_mode

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.fake_mode is not None:
            args, kwargs = map_tensors(self._fake, (args, kwargs))
        if func.name().split('.')[0] not in COPIES:
            devices = {t.device for t in tensors((args, kwargs)) if t.dim()}
            if len(devices) > 1:
                names = ' and '.join(sorted(map(str, devices)))
                raise MixedDevices(f'{func.name()} reads tensors on {names}')
        out = func(*args, **kwargs)
        generator = kwargs.get('generator')
        for tensor in tensors(out) if generator is not None else ():
            if tensor.device.type != generator.device.type:
                raise MixedDevices(
                    f'{func.name()} draws on {tensor.device} with a generator on '
                    f'{generator.device}'
                )
        return out

    def _fake(self, tensor: Tensor) -> Tensor:
        # A real tensor that the module holds: it cannot be copied as it is.
        if tensor.dim() == 0 or hasattr(tensor, 'fake_mode'):
            return tensor
        return self.fake_mode.from_tensor(tensor.detach(), static_shapes=True)


def tensors(node: Any) -> Iterator[Tensor]:
    """All tensors of a nested structure."""
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, dict):
        yield from tensors(list(node.values()))
    elif isinstance(node, (tuple, list)):
        for part in node:
            yield from tensors(part)


def map_tensors(function: Callable, node: Any) -> Any:
    """The same structure, of what the function makes of its tensors."""
    if isinstance(node, Tensor):
        return function(node)
    if isinstance(node, tuple) and hasattr(node, '_fields'):
        return type(node)(*(map_tensors(function, part) for part in node))
    if isinstance(node, dict):
        return {name: map_tensors(function, part) for name, part in node.items()}
    if isinstance(node, (tuple, list)):
        return type(node)(map_tensors(function, part) for part in node)
    return node


def _move(node: Any, device: torch.device) -> Any:
    if hasattr(node, 'to'):
        return node.to(device)
    if isinstance(node, tuple) and hasattr(node, '_fields'):
        return type(node)(*(_move(part, device) for part in node))
    if isinstance(node, (tuple, list)):
        return type(node)(_move(part, device) for part in node)
    return node


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


class Rating(nn.Module):
    """A model on a batch."""

    def __init__(self, model: AGNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: RatingBatch) -> Tensor:
        return self.model(*batch[:-1])


class Training(nn.Module):
    """A step of training: all terms of the loss."""

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

    def __init__(self, model: TaNP) -> None:
        super().__init__()
        self.model, self.statistics = model, model.statistics

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
    """What serves new users: predictions by samples, vectors, and all items at once."""

    def forward(self, batch: EpisodeBatch, index: Tensor) -> tuple:
        model, device = self.model, batch.user.device
        self.move(device)
        loader = EpisodeLoader.__new__(ReadyTasks)
        loader.batch = batch.to('cpu')
        with mock.patch('tanp.prediction.check_episodes'):
            predicted = tanp.predict(model, loader, samples=2)
        model.set_trained_ids(index.cpu(), index.cpu())
        new = TokenBags(torch.ones(4, 1).long(), torch.ones(4, 1), torch.ones(3) > 0)
        vectors = model.user.embed_new(new, 4)
        catalogue = Catalogue(model)
        scores = catalogue.plain(batch), catalogue.hidden, catalogue.items.mean
        return [vector.cpu() for vector in (vectors, *scores)], predicted


class ReadyTasks(EpisodeLoader):
    """A batch in the place of the tasks that it is made of."""

    shuffle = resamples = False
    episodes = None

    def __iter__(self) -> Iterator[EpisodeBatch]:
        yield self.batch


def serving() -> tuple[Serving, EpisodeBatch, Tensor]:
    """An attentive process with attributes of users."""
    index = torch.arange(7)
    bags = TokenBags(index[:4, None] % 3, torch.ones(4, 1), torch.ones(3) > 0)
    made, batch = tasks(attentive=True, user_attributes=bags)
    return Serving(made.model).eval(), batch, index[:4]


def tasks(attentive: bool = False, **options: Any) -> tuple[Tasks, EpisodeBatch]:
    """A neural process with all of its parts, and a batch of tasks of two sizes."""
    size, item = torch.tensor([4, 5, 4, 5]), torch.arange(18) % 7
    label, support = torch.arange(18) % 2.0, torch.tensor([2, 1, 2, 3])
    episodes = Episodes(torch.arange(4), offsets(size), item, label, support, support)
    (only,) = EpisodeLoader(episodes)
    options |= {'num_clusters': 2, 'latent_channels': (4, 4, 4), 'user_ids': True}
    if not attentive:
        return Tasks(TaNP(7, 4, **options)), only
    statistics = ItemStatistics.fit(episodes, 7, 4, rank=1, folds=2)
    return Tasks(AttentiveTaNP(statistics, 4, item_ids=True, **options)), only


def _conv(*inputs: Any, **kwargs: Any) -> Callable:
    return lambda: (GatedConv(4, **kwargs), *inputs)


# A case makes a module and its inputs.
CLEAN = {
    'GatedConv': _conv(X, EDGE_INDEX),
    'GatedConv-bipartite': _conv((X, X[:3]), EDGE_INDEX[:, :5]),
    'GatedConv-weighted': _conv(X, EDGE_INDEX, EDGE_WEIGHT),
    'GatedConv-edge-features': _conv(X, EDGE_INDEX, None, EDGE_ATTR, edge_dim=2),
    'GatedConv-no-edges': _conv(X, EDGE_INDEX[:, :0]),
    'AttributeEmbedding-dense': lambda: (AttributeEmbedding(4, 4), X),
    'AGNN-train': lambda: (Rating(agnn()).train(), batch()),
    'AGNN-eval': lambda: (Rating(agnn()).eval(), batch(0.0)),
    'AGNN-options': lambda: (
        Training(agnn(separate_neighbors=True, generate_neighbors=False)),
        batch(),
    ),
    'AGNN-unrated': lambda: (Rating(agnn()), batch()._replace(edge_label=None)),
    'AGNN-loss': lambda: (Training(agnn()), batch()),
    'AGNN-published': lambda: (Training(agnn(), published=True), batch()),
    'AGNN-rated-train': lambda: (Training(agnn(rated=RATES)), batch()),
    'AGNN-rated-eval': lambda: (Rating(agnn(rated=RATES)).eval(), batch(0.0)),
    'TaNP-train': tasks,
    'TaNP-eval': lambda: (tasks()[0].eval(), tasks()[1]),
    'TaNP-gating': lambda: tasks(modulation='gating', predict_support=True),
    'AttentiveTaNP-train': lambda: tasks(attentive=True),
    'AttentiveTaNP-gaussian': lambda: tasks(attentive=True, likelihood='gaussian'),
    'AttentiveTaNP-serving': serving,
    'predict': lambda: (Predicting(agnn()), batch(), batch(0.0)),
}
# Predictions come back to the CPU, and without a gradient.
OPTIONS = {
    name: {'to': 'cpu', 'backward': False}
    for name in ('predict', 'AttentiveTaNP-serving')
}


# Bugs, to see that they are caught. All of these work on the CPU.


class ConstantInMessage(GatedConv):
    def message(self, x_j, u_j, v_i, w, e):
        constant = torch.arange(2 * self.channels)
        return super().message(x_j, u_j, v_i, w, e) + constant


class StoredEdges(nn.Module):
    """Holds edges as a plain attribute, which `module.to` leaves behind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = GatedConv(4)
        self.edge_index = EDGE_INDEX

    def forward(self, x):
        return self.conv(x, self.edge_index)


class _ConstantGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.full(grad.size(), 2.0)


class ConstantInBackward(nn.Module):
    def forward(self, x):
        return _ConstantGradient.apply(x)


class GeneratorOnCPU(nn.Module):
    def forward(self, x):
        generator = torch.Generator().manual_seed(0)
        return x + torch.randn(x.size(), generator=generator, device=x.device)


PLANTED = {
    'constant-in-message': lambda: (ConstantInMessage(4), X, EDGE_INDEX),
    'stored-edges': lambda: (StoredEdges(), X),
    'constant-in-backward': lambda: (ConstantInBackward(), X),
    'generator-on-cpu': lambda: (GeneratorOnCPU(), X),
}


def main(names: list[str]) -> None:
    cases = {**CLEAN, **PLANTED}
    for name in names or CLEAN:
        try:
            module, *inputs = cases[name]()
            device = check_device_clean(module, *inputs, **OPTIONS.get(name, {}))
            line = f'clean {name} {device}'
        except Exception as error:
            traceback.print_exc()
            line = f'failed {name} {type(error).__name__}: {error}'
        sys.stdout.write(' '.join(line.split()) + '\n')


if __name__ == '__main__':
    main(sys.argv[1:])
