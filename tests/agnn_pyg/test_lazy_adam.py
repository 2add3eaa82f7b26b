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


def read(weight, row=(0, 2), sparse=True):
    """Gives a table the gradient of a sum of some of its rows."""
    weight.weight.grad = None
    F.embedding(torch.tensor(row), weight.weight, sparse=sparse).sum().backward()


@pytest.mark.parametrize('fused', [False, True])
def test_a_scaler_unscales_rows_and_leaves_out_steps_that_overflow(fused):
    found = []
    for scale in (None, 1024.0):
        weight = table()
        optimizer = LazyAdamW(weight.parameters(), fused=fused, **OPTIONS)
        scaler = torch.amp.GradScaler('cpu', init_scale=scale or 1.0)
        for row, factor in reads(5):
            optimizer.zero_grad()
            scaler.scale((weight(row) * factor).square().sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        found.append(weight.weight.detach().clone())
    torch.testing.assert_close(*found)
    optimizer.zero_grad()
    scaler.scale((weight(row) * torch.inf).sum()).backward()
    scaler.step(optimizer)
    assert torch.equal(weight.weight, found[-1])


@pytest.mark.parametrize('first', [False, True])
def test_a_dense_gradient_reads_all_rows(first):
    """Before sparse ones and after: rows are AdamW's as long as all are read."""
    mixed, dense = table(), table()
    lazy = LazyAdamW(mixed.parameters(), **OPTIONS)
    adamw = torch.optim.AdamW(dense.parameters(), **OPTIONS)
    for sparse in (first, not first, first, not first):
        read(mixed, range(7), sparse)
        read(dense, range(7), sparse=False)
        lazy.step()
        adamw.step()
    torch.testing.assert_close(mixed.weight, dense.weight)


def test_hooks_are_called_once():
    weight, calls = table(), []
    torch.optim.AdamW(table().parameters())  # whose step PyTorch wraps from now on
    optimizer = LazyAdamW(weight.parameters(), **OPTIONS)
    optimizer.register_step_pre_hook(lambda *_: calls.append('before'))
    optimizer.register_step_post_hook(lambda *_: calls.append('after'))
    read(weight)
    optimizer.step()
    assert calls == ['before', 'after']


def test_steps_of_half_a_precision_are_counted_on():
    weight = table().bfloat16()
    optimizer = LazyAdamW(weight.parameters(), lr=0.0)
    for _ in range(260):
        read(weight)
        optimizer.step()
    steps = optimizer.state[weight.weight]['row_step']
    assert steps.tolist() == [260, 0, 260, 0, 0, 0, 0]
    loaded = LazyAdamW(weight.parameters(), lr=0.0)
    loaded.load_state_dict(optimizer.state_dict())
    read(weight)
    loaded.step()
    steps = loaded.state[weight.weight]['row_step']
    assert steps.tolist() == [261, 0, 261, 0, 0, 0, 0]


@pytest.mark.parametrize('name', ['amsgrad', 'maximize'])
def test_what_rows_are_not_stepped_by_is_refused(name):
    weight = table()
    optimizer = LazyAdamW(weight.parameters(), **{name: True})
    read(weight, sparse=False)
    optimizer.step()
    read(weight)
    with pytest.raises(ValueError, match=rf"'{name}' must be False .*\(got True\)"):
        optimizer.step()


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
    fit = pytest.importorskip('agnn_pyg.base.training').fit
    before = model.user.free.detach().clone()
    history = fit(RatingModule(model), loader, epochs=8, ema_decay=None).history
    assert history[-1]['train_mse'] < 0.7 * history[0]['train_mse']
    moved = (model.user.free != before).any(dim=1)
    assert moved[:10].all()
    assert not moved[10:].any()  # users without ratings
