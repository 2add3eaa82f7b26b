import pytest
import torch

from tanp.inference import evaluate, predict, predict_ensemble
from tanp.loader import EpisodeLoader
from tests.tanp.conftest import VARIANTS
from tests.tanp.test_model import ATTRIBUTES


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('batch_size', [1, 4])
def test_predictions_follow_the_queries(small, tasks, variant, batch_size):
    model = small(variant).train()
    found = predict(model, EpisodeLoader(tasks, batch_size))
    assert model.training
    assert found.mean.size() == tasks.query_index().size()
    assert found.std is None
    assert not found.mean.requires_grad
    model.eval()
    for number in range(6):
        alone = tasks.select(torch.tensor([number]))
        (batch,) = EpisodeLoader(alone, 1)
        score = model(batch).score
        expected = score if model.likelihood == 'gaussian' else score.sigmoid()
        rows = tasks.query_index()
        mine = (rows >= tasks.ptr[number]) & (rows < tasks.ptr[number + 1])
        assert torch.allclose(found.mean[mine], expected, atol=1e-6)


def test_assignments_are_exported(small, tasks):
    found = predict(small(), EpisodeLoader(tasks, 4))
    assert found.assignment.size() == (6, 3)
    assert torch.allclose(found.assignment.sum(-1), torch.ones(6))
    assert predict(small('task path only'), EpisodeLoader(tasks)).assignment is None


def test_spread_is_that_of_samples(small, tasks):
    model = small()
    with torch.no_grad():
        model.latent.lin_logvar.bias += 3
    loader = EpisodeLoader(tasks, 4)
    found = predict(model, loader, samples=200, seed=1)
    again = predict(model, loader, samples=200, seed=1)
    assert torch.equal(found.std, again.std)
    assert (found.std > 0).all()
    with torch.no_grad():
        model.latent.lin_logvar.bias -= 6
    narrow = predict(model, loader, samples=200, seed=1)
    assert narrow.std.mean() < 0.2 * found.std.mean()
    plain = predict(model, loader)
    assert torch.allclose(narrow.mean, plain.mean, atol=0.02)


def test_samples_do_not_depend_on_who_else_is_asked(small, tasks):
    model = small()
    together = predict(model, EpisodeLoader(tasks, 4), samples=5)
    alone = [
        predict(model, EpisodeLoader(tasks.select(torch.tensor([row]))), samples=5)
        for row in range(6)
    ]
    for name in ('mean', 'std'):
        expected = torch.cat([getattr(one, name) for one in alone])
        assert torch.allclose(getattr(together, name), expected, atol=1e-6)


def test_it_runs_where_the_model_is(small, tasks, device):
    expected = predict(small(), EpisodeLoader(tasks, 4), samples=3)
    found = predict(small().to(device), EpisodeLoader(tasks, 4), samples=3)
    for one, other in zip(found, expected, strict=True):
        assert one.device.type == 'cpu'
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_queries_out_of_order(small, tasks):
    with pytest.raises(ValueError, match=r'must be an EpisodeLoader.*Episodes'):
        predict(small(), tasks)
    for options in ({'shuffle': True}, {'context_sizes': (1, 2)}):
        with pytest.raises(ValueError, match="'loader' shuffles, or deals"):
            predict(small(), EpisodeLoader(tasks, **options))


@pytest.mark.parametrize('samples', [-1, 1])
def test_bad_samples(small, tasks, samples):
    with pytest.raises(ValueError, match=f"'samples' must be 0 or .*got {samples}"):
        predict(small(), EpisodeLoader(tasks), samples=samples)


def test_samples_without_latent_path(small, tasks):
    with pytest.raises(ValueError, match="'samples' needs a latent path"):
        predict(small('task path only'), EpisodeLoader(tasks), samples=4)


def test_an_item_unknown_at_serving(small, tasks):
    tasks = tasks.select(torch.arange(6))
    tasks.item[4] = 20
    with pytest.raises(
        ValueError, match='names item row 20, but the model has rows 0 to'
    ):
        predict(small(), EpisodeLoader(tasks))


def test_a_user_the_model_has_no_row_for(small, tasks):
    tasks = tasks.select(torch.arange(6))
    tasks.user[0] = 6
    assert predict(small(), EpisodeLoader(tasks)).mean.isfinite().all()
    with pytest.raises(ValueError, match='names user row 6'):
        predict(small('published'), EpisodeLoader(tasks))


def test_labels_outside_the_range_of_the_likelihood(small, tasks):
    rated = tasks.select(torch.arange(6))
    rated.label.mul_(5)
    with pytest.raises(
        ValueError, match=r'lie in \[0, 1\] under the bernoulli .*0 to 5'
    ):
        predict(small(), EpisodeLoader(rated))
    assert predict(small('published'), EpisodeLoader(rated)).mean.isfinite().all()


def test_attributes_alone(small, tasks):
    model = small(item_ids=False, item_attributes=ATTRIBUTES)
    assert predict(model, EpisodeLoader(tasks)).mean.isfinite().all()


def test_an_ensemble_averages_and_spreads(small, tasks):
    models = [small('attentive'), small('gating'), small('film')]
    loader = EpisodeLoader(tasks, 4)
    each = torch.stack([predict(model, loader).mean for model in models])
    found = predict_ensemble(models, loader)
    assert torch.allclose(found.mean, each.mean(0))
    assert torch.allclose(found.std, each.std(0))


def test_an_ensemble_of_what_does_not_fit(small, tasks):
    for models in ([small()], [small(), small('published')]):
        with pytest.raises(ValueError, match="'models' must be two or more"):
            predict_ensemble(models, EpisodeLoader(tasks))


def test_predictions_of_any_model_are_evaluated_by_task(tasks):
    tasks = tasks.at_least(6)
    label = tasks.label[tasks.query_index()]
    perfect = evaluate(tasks, label, ks=(1, 3))
    assert perfect['mse'].eq(0).all()
    assert perfect['ndcg@3'].nan_to_num(1).eq(1).all()
    assert perfect['published_precision@3'].eq(1).all()
    error = torch.arange(len(label)).double()
    shifted = evaluate(tasks, label + error, ks=())
    parts = error.split(tasks.num_query.tolist())
    expected = [float(part.square().mean()) for part in parts]
    assert shifted['mse'].tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match="'predicted'"):
        evaluate(tasks, label[1:])
