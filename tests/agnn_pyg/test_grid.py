import pytest
import torch

from agnn_pyg.explain import explain_pair
from agnn_pyg.grid import embed, rate_grid
from agnn_pyg.inference import predict
from agnn_pyg.kernel.features import Relations
from agnn_pyg.kernel.regressor import RatingPropagation
from agnn_pyg.model import AGNN
from agnn_pyg.sampling.link_loader import rating_loader

OPTIONS = {'batch_size': 7, 'num_neighbors': 3, 'seed': 5}


@pytest.fixture
def messages(tiny_pairs):
    """Messages of ratings between users, and items, that are all alike."""
    sides = [
        Relations(torch.ones(n, 1), torch.zeros(1).long(), ('all',)) for n in (12, 15)
    ]
    made = RatingPropagation(*sides, shared=0)
    made.fit(*tiny_pairs)
    return made


@pytest.mark.parametrize('hidden', [0, 6])
@pytest.mark.parametrize('numel', [2**17, 6, 40])
@pytest.mark.parametrize('share', [0.0, 0.3])
def test_the_same_numbers_as_pair_by_pair(
    hidden, numel, share, messages, tiny_graph, tiny_attributes, monkeypatch, device
):
    monkeypatch.setattr('agnn_pyg.grid.BLOCK_NUMEL', numel)
    torch.manual_seed(0)
    tokens = [tiny_attributes[side].num_tokens for side in ('user', 'item')]
    options = {'hidden_channels': hidden, 'dropout': 0.5}
    options |= {'messages': messages, 'message_share': share}
    model = AGNN(12, 15, *tokens, channels=4, **options)
    model = model.to(device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.size(), device=device)
    users, items = torch.tensor([11, 0, 4]), torch.tensor([3, 14, 2, 9, 7])
    sides = embed(model, tiny_graph, users, items, draws=3, **OPTIONS)
    rated = torch.cat([*rate_grid(model, *sides, block_size=2)])
    assert rated.size() == (3, 5)

    pairs = torch.cartesian_prod(users, items).t().contiguous()
    loader = rating_loader(tiny_graph, pairs, **OPTIONS)
    expected = predict(model, loader, draws=3).view(3, 5)
    assert torch.allclose(rated.cpu().double(), expected, atol=1e-5)
    assert model.training


def test_parts_of_a_mixed_rating(messages, tiny_graph, tiny_attributes):
    tokens = [tiny_attributes[side].num_tokens for side in ('user', 'item')]
    model = AGNN(12, 15, *tokens, channels=4, messages=messages, message_share=0.4)
    parts, _ = explain_pair(model, tiny_graph, 2, 3, draws=3, **OPTIONS)
    loader = rating_loader(tiny_graph, torch.tensor([[2], [3]]), **OPTIONS)
    assert sum(parts.values()) == pytest.approx(
        float(predict(model, loader, 3)), abs=1e-5
    )
    expected = messages(torch.tensor([2]), torch.tensor([3]))
    assert parts['messages'] == pytest.approx(0.4 * float(expected), abs=1e-5)
