"""Nothing mixes devices: on a pretended device, and on a real one if present."""

from copy import copy

import pytest
import torch
from torch.utils._pytree import tree_map_only
from torch_geometric.loader import NeighborLoader

from agnn_pyg.sampling.full_graph import FullGraphLoader
from agnn_pyg.sampling.sampler import ProximitySampler
from tests import fake_device
from tests.fake_device import CLEAN, OPTIONS, PLANTED, RATES, check_device_clean

CPU = torch.device('cpu')
STEPS = {'num_neighbors': 3, 'cold_dropout': {'user': 0.3, 'item': 0.3}}


@pytest.mark.parametrize('name', CLEAN)
def test_devices_are_not_mixed(name):
    module, *inputs = CLEAN[name]()
    check_device_clean(module, *inputs, **OPTIONS.get(name, {}))


@pytest.mark.parametrize('name', PLANTED)
def test_a_planted_bug_is_caught(name):
    module, *inputs = PLANTED[name]()
    with pytest.raises(fake_device.MixedDevices, match='cpu'):
        check_device_clean(module, *inputs)


def test_a_graph_anywhere_is_drawn_from_on_the_cpu(tiny_graph):
    with fake_device.Devices():
        graph = copy(tiny_graph).to(fake_device.NAME)
        (batch,) = FullGraphLoader(graph, RATES, steps=1, **STEPS)
        options = {'neighbor_sampler': ProximitySampler(graph, [3]), 'batch_size': 12}
        (nodes,) = NeighborLoader(graph, [3], input_nodes='user', **options)
    (expected,) = FullGraphLoader(tiny_graph, RATES, steps=1, **STEPS)
    assert torch.equal(batch.edge_label, expected.edge_label)
    assert nodes['user'].n_id.tolist() == list(range(12))
    assert graph[RATES].rating.device.type == fake_device.NAME


# On real devices: the same cases, by their numbers.


def double(tensor):
    return tensor.double() if tensor.is_floating_point() else tensor


@pytest.mark.parametrize('name', CLEAN)
def test_numbers_do_not_depend_on_the_device(name, device):
    torch.manual_seed(0)
    module, *inputs = CLEAN[name]()
    # Noise differs between devices, so none is drawn.
    module.eval()
    backward = OPTIONS.get(name, {}).get('backward', True)
    found = fake_device.outputs_and_gradients(module, inputs, device, backward)
    expected = fake_device.outputs_and_gradients(
        module.double(), tree_map_only(torch.Tensor, double, inputs), CPU, backward
    )
    outputs, gradients = found
    kind = OPTIONS.get(name, {}).get('to', device.type)
    assert all(t.device.type == kind for t in outputs)
    assert all(t is None or t.device.type == device.type for t in gradients)
    for ones, others in zip(found, expected, strict=True):
        for one, other in zip(ones, others, strict=True):
            if other is None:
                assert one is None
                continue
            close = torch.isclose(double(one.cpu()), double(other), 1e-4, 1e-4)
            assert close.all(), (one, other)
    assert not backward or any(g is not None for g in gradients)


@pytest.fixture(params=[None, RATES])
def model(tiny_model, request):
    return tiny_model(channels=8, rated=request.param)


def test_a_step_in_bfloat16(model, tiny_graph, device):
    step = fake_device.Training(model).to(device)
    (batch,) = FullGraphLoader(tiny_graph, RATES, steps=1, **STEPS)
    batch = batch.to(device)

    def loss_and_gradients(enabled):
        step.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            dtype = step.model(*batch[:-1]).dtype
            loss = step(batch)['loss']
        loss.backward()
        return dtype, loss.detach(), [p.grad.clone() for p in step.parameters()]

    _, full_loss, full_gradients = loss_and_gradients(False)
    dtype, loss, gradients = loss_and_gradients(True)
    # Preferences and biases stay in full precision, and so does their sum.
    assert dtype == torch.float32
    assert torch.isclose(loss.float(), full_loss, rtol=0.02)
    for one, other in zip(gradients, full_gradients, strict=True):
        assert one.dtype == torch.float32
        assert torch.isfinite(one).all()
        # Messages of ratings pass through more layers.
        slack = 0.1 if model.rated is None else 0.15
        assert (one - other).norm() <= slack * other.norm() + 1e-3
