import pytest
import torch
import torch.nn.functional as F

from agnn_pyg.module import RatingModule
from agnn_pyg.optim import SparseAdamW
from agnn_pyg.sampling.loader import RatingLoader

OPTIONS = {'lr': 0.05, 'betas': (0.8, 0.9)}
SPARSE = ('.embedding', '.attributes.weight')


def reads(steps=30, seed=0):
    """Rows that each step reads, a row perhaps twice, and factors of them."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        row = torch.randint(6, (3,), generator=generator)
        yield row, torch.randn(3, 4, generator=generator)


def table(sparse=True):
    weight = torch.linspace(-1, 1, 28).view(7, 4)
    return torch.nn.Embedding.from_pretrained(weight, freeze=False, sparse=sparse)


@pytest.mark.parametrize('weight_decay', [0.0, 0.3])
def test_each_row_is_updated_as_a_parameter_of_its_own(weight_decay):
    embedding = table()
    optimizer = SparseAdamW(
        embedding.parameters(), weight_decay=weight_decay, **OPTIONS
    )
    rows = [torch.nn.Parameter(row.clone()) for row in embedding.weight.detach()]
    alone = [torch.optim.AdamW([r], weight_decay=weight_decay, **OPTIONS) for r in rows]
    for row, factor in reads():
        optimizer.zero_grad()
        (embedding(row) * factor).square().sum().backward()
        optimizer.step()
        assert embedding.weight.grad.is_sparse
        for read in set(row.tolist()):
            alone[read].zero_grad()
            (rows[read] * factor[row == read]).square().sum().backward()
            alone[read].step()
    assert torch.allclose(embedding.weight, torch.stack(rows), atol=1e-6)
    assert torch.equal(embedding.weight[6], table().weight[6])  # never read


@pytest.mark.parametrize('dtype', [torch.float, torch.bfloat16])
def test_state_is_saved_and_loaded(dtype):
    steps = list(reads(300))
    finals = []
    for cut in (None, 270):
        weight = table().to(dtype)
        optimizer = SparseAdamW(weight.parameters(), **OPTIONS)
        for number, (row, factor) in enumerate(steps):
            if number == cut:
                state = optimizer.state_dict()
                optimizer = SparseAdamW(weight.parameters(), lr=1.0)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            (weight(row) * factor.to(dtype)).sum().backward()
            optimizer.step()
        count = torch.zeros(7)
        for row, _ in steps:
            count[row.unique()] += 1
        # In bfloat16, 256 and 1 are 256.
        assert torch.equal(optimizer.state[weight.weight]['step'], count)
        finals.append(weight.weight)
    assert torch.equal(*finals)


def test_closures_and_hooks_are_called():
    weight = table()
    optimizer = SparseAdamW(weight.parameters(), **OPTIONS)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append('before'))
    optimizer.register_step_post_hook(lambda *_: calls.append('after'))

    def closure():
        calls.append('closure')
        loss = F.embedding(torch.tensor([1]), weight.weight, sparse=True).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == pytest.approx(table().weight[1].sum().item())
    assert calls.count('closure') == 1
    assert (calls[0], calls[-1]) == ('before', 'after')


def read(weight, row=(0, 2), sparse=True):
    """Gives an embedding the gradient of a sum of some of its rows."""
    weight.weight.grad = None
    F.embedding(torch.tensor(row), weight.weight, sparse=sparse).sum().backward()


def test_a_scaler_unscales_rows_and_skips_steps_that_overflow():
    found = []
    for scale in (None, 1024.0):
        weight = table()
        optimizer = SparseAdamW(weight.parameters(), **OPTIONS)
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
    mixed, dense = table(), table()
    optimizer = SparseAdamW(mixed.parameters(), **OPTIONS)
    adamw = torch.optim.AdamW(dense.parameters(), **OPTIONS)
    for sparse in (first, not first, first, not first):
        read(mixed, range(7), sparse)
        read(dense, range(7), sparse=False)
        optimizer.step()
        adamw.step()
    torch.testing.assert_close(mixed.weight, dense.weight)


@pytest.mark.parametrize('name', ['amsgrad', 'maximize', 'fused'])
def test_options_for_dense_gradients_are_refused(name):
    weight = table()
    optimizer = SparseAdamW(weight.parameters(), **{name: True})
    read(weight)
    with pytest.raises(ValueError, match=f"'{name}'"):
        optimizer.step()


def test_a_model_with_sparse_gradients_learns(tiny_model, tiny_graph, tiny_pairs):
    model = tiny_model(sparse=True)
    loader = RatingLoader(tiny_graph, *tiny_pairs, batch_size=20, num_neighbors=2)
    fit = pytest.importorskip('agnn_pyg.base.training').fit
    embedding = model.encoders['user'].embedding
    before = embedding.detach().clone()
    history = fit(RatingModule(model), loader, epochs=8).history
    assert history[-1]['train_mse'] < 0.9 * history[0]['train_mse']
    moved = (embedding != before).any(dim=1)
    assert moved[:10].all()
    assert not moved[10:].any()  # users without ratings
