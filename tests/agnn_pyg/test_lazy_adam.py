import pytest
import torch
import torch.nn.functional as F

from agnn_pyg import AGNN, RatingLoader
from agnn_pyg.lazy_adam import LazyAdamW
from agnn_pyg.rating_module import RatingModule

OPTIONS = {'lr': 0.05, 'betas': (0.8, 0.9)}
TABLES = ('.free', '.attributes.weight')


def reads(steps=30, seed=0):
    """Rows that each step reads, a row perhaps twice, and what with."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        row = torch.randint(6, (3,), generator=generator)
        yield row, torch.randn(3, 4, generator=generator)


def table(sparse=True):
    weight = torch.linspace(-1, 1, 28).view(7, 4)
    return torch.nn.Embedding.from_pretrained(weight, freeze=False, sparse=sparse)


@pytest.mark.parametrize('weight_decay', [0.0, 0.3])
def test_each_row_is_a_parameter_of_its_own(weight_decay):
    lazy = table()
    optimizer = LazyAdamW(lazy.parameters(), weight_decay=weight_decay, **OPTIONS)
    rows = [torch.nn.Parameter(row.clone()) for row in lazy.weight.detach()]
    alone = [torch.optim.AdamW([r], weight_decay=weight_decay, **OPTIONS) for r in rows]
    for row, factor in reads():
        optimizer.zero_grad()
        (lazy(row) * factor).square().sum().backward()
        assert lazy.weight.grad.is_sparse
        optimizer.step()
        for read in set(row.tolist()):
            alone[read].zero_grad()
            (rows[read] * factor[row == read]).square().sum().backward()
            alone[read].step()
    assert torch.allclose(lazy.weight, torch.stack(rows), atol=1e-6)
    assert torch.equal(lazy.weight[6], table().weight[6])  # never read


def test_dense_gradients_are_those_of_adamw():
    found = []
    for kind in (LazyAdamW, torch.optim.AdamW):
        dense = table(sparse=False)
        optimizer = kind(dense.parameters(), fused=True, **OPTIONS)
        for row, factor in reads():
            optimizer.zero_grad()
            (dense(row) * factor).square().sum().backward()
            optimizer.step()
        found.append(dense.weight)
    assert torch.equal(*found)


def test_it_goes_on_from_its_state():
    steps = list(reads())
    finals = []
    for cut in (0, 13):
        weight = table()
        optimizer = LazyAdamW(weight.parameters(), **OPTIONS)
        for number, (row, factor) in enumerate(steps):
            if number == cut and cut:
                state = optimizer.state_dict()
                optimizer = LazyAdamW(weight.parameters(), lr=1.0)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            (weight(row) * factor).sum().backward()
            optimizer.step()
        finals.append(weight.weight)
    assert torch.equal(*finals)


def test_a_closure_is_called_once():
    weight = table()
    optimizer = LazyAdamW(weight.parameters(), **OPTIONS)
    calls = []

    def closure():
        calls.append(1)
        loss = F.embedding(torch.tensor([1]), weight.weight, sparse=True).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == pytest.approx(table().weight[1].sum().item())
    assert calls == [1]


def models(graph, pairs):
    """The same model with dense and with sparse gradients, and a loader."""
    made = []
    for sparse in (False, True):
        torch.manual_seed(0)
        tokens = [int(graph[side].attr.max()) + 1 for side in ('user', 'item')]
        made.append(AGNN(12, 15, *tokens, channels=4, sparse=sparse))
    return made, RatingLoader(graph, *pairs, batch_size=20, num_neighbors=2)


def test_a_model_has_the_same_gradients_either_way(tiny_graph, tiny_pairs):
    (dense, sparse), loader = models(tiny_graph, tiny_pairs)
    batch = next(iter(loader))
    for model in (dense, sparse):
        torch.manual_seed(1)
        model(batch).sum().backward()
    for name, parameter in sparse.named_parameters():
        grad = parameter.grad
        assert grad is None or grad.is_sparse == name.endswith(TABLES), name
        other = dense.get_parameter(name).grad
        if grad is not None:
            torch.testing.assert_close(grad.to_dense(), other, msg=name)


def test_a_model_with_sparse_gradients_learns(tiny_graph, tiny_pairs):
    (_, model), loader = models(tiny_graph, tiny_pairs)
    fit = pytest.importorskip('agnn_pyg.train').fit
    before = model.user.free.detach().clone()
    history = fit(RatingModule(model), loader, epochs=8, ema_decay=None).history
    assert history[-1]['train_mse'] < 0.7 * history[0]['train_mse']
    moved = (model.user.free != before).any(dim=1)
    assert moved[:10].all()
    assert not moved[10:].any()  # users without ratings
