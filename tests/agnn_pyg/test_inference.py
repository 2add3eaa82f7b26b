import pytest
import torch

from agnn_pyg.inference import predict
from agnn_pyg.model import AGNN
from agnn_pyg.sampling.link_loader import LinkRatingLoader
from agnn_pyg.sampling.loader import RatingLoader


@pytest.fixture
def model(tiny_attributes):
    torch.manual_seed(0)
    tokens = [tiny_attributes[side].num_tokens for side in ('user', 'item')]
    model = AGNN(12, 15, *tokens, channels=4, hidden_channels=4, mean=3, dropout=0.5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.size())
    return model


@pytest.fixture
def loader(tiny_graph, tiny_pairs):
    return RatingLoader(tiny_graph, *tiny_pairs, batch_size=9, num_neighbors=2)


def test_the_same_inputs_give_the_same_numbers(model, loader, device):
    model = model.to(device)
    one = predict(model, loader)
    torch.manual_seed(1)
    loader.set_epoch(5)
    assert torch.allclose(predict(model, loader), one, atol=1e-12)
    assert one.size() == (loader.index.size(1),)
    assert one.device.type == 'cpu'
    assert not one.requires_grad


def test_predictions_are_means_over_draws(model, loader):
    singles = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        with torch.no_grad():
            singles.append(torch.cat([model.eval()(b) for b in loader]))
    assert not torch.equal(singles[0], singles[1])
    expected = torch.stack(singles).double().mean(0)
    assert torch.allclose(predict(model, loader, draws=3), expected)


def test_predictions_are_in_the_order_of_the_pairs(model, tiny_graph, tiny_pairs):
    index = tiny_pairs[0]
    whole = predict(model, RatingLoader(tiny_graph, index, batch_size=7))
    for k in (0, 5, index.size(1) - 1):
        alone = predict(model, RatingLoader(tiny_graph, index[:, k : k + 1]))
        assert torch.allclose(alone[0], whole[k], atol=1e-6)


def test_either_loader_will_do(model, tiny_graph, tiny_pairs):
    options = {'batch_size': 9, 'num_neighbors': 2}
    one, other = (
        predict(model, kind(tiny_graph, tiny_pairs[0], **options), draws=3)
        for kind in (RatingLoader, LinkRatingLoader)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize('training', [False, True])
def test_mode_and_epoch_are_restored(model, loader, training):
    model.train(training)
    loader.set_epoch(7)
    predict(model, loader, draws=2)
    assert model.training == training
    assert all(module.training == training for module in model.modules())
    assert loader.epoch == 7


def test_mode_and_epoch_are_restored_after_a_failure(model, loader):
    def fail(*args):
        raise RuntimeError('broken')

    model.train()
    loader.set_epoch(7)
    handle = model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match='broken'):
        predict(model, loader)
    handle.remove()
    assert model.training
    assert loader.epoch == 7


def test_predictions_are_clamped(model, loader):
    free = predict(model, loader, draws=2)
    low, high = free.quantile(0.3).item(), free.quantile(0.6).item()
    clamped = predict(model, loader, draws=2, rating_range=(low, high))
    assert torch.equal(clamped, free.clamp(low, high))
    assert clamped.min() == low
    assert clamped.max() == high


@pytest.mark.parametrize('kind', [RatingLoader, LinkRatingLoader])
def test_a_shuffling_loader_is_refused(model, tiny_graph, tiny_pairs, kind):
    loader = kind(tiny_graph, tiny_pairs[0], shuffle=True)
    with pytest.raises(ValueError, match="'loader' shuffles"):
        predict(model, loader)


def test_no_draws(model, loader):
    with pytest.raises(ValueError, match=r"'draws' must be at least 1 \(got 0\)"):
        predict(model, loader, draws=0)
