import dataclasses

import pytest
import torch

from tanp import EpisodeLoader, evaluate, predict


def test_spread_is_that_of_samples_and_does_not_depend_on_other_tasks(small, tasks):
    model, loader = small().eval(), EpisodeLoader(tasks, 4)
    with torch.no_grad():
        model.latent.lin_logvar.bias += 3
    found = predict(model, loader, samples=200, seed=1)
    again = predict(model, EpisodeLoader(tasks, 1), samples=200, seed=1)
    assert torch.allclose(found.std, again.std, atol=1e-6)
    assert torch.allclose(found.mean, again.mean, atol=1e-6)
    assert (found.std > 0).all()
    with torch.no_grad():
        model.latent.lin_logvar.bias -= 6
    narrow = predict(model, loader, samples=200, seed=1)
    assert narrow.std.mean() < 0.2 * found.std.mean()
    assert torch.allclose(narrow.mean, predict(model, loader).mean, atol=0.02)


def test_what_does_not_fit_is_refused(small, tasks):
    loader, model = EpisodeLoader(tasks), small().eval()
    beyond = {'item': tasks.item + 20, 'user': tasks.user + 6}
    beyond |= {'label': 5 * tasks.label}
    loaders = {
        name: EpisodeLoader(dataclasses.replace(tasks, **{name: value}))
        for name, value in beyond.items()
    }
    published = small('published').eval()
    assert predict(published, loaders['label']).mean.isfinite().all()
    assert predict(model, loaders['user']).mean.isfinite().all()
    for arguments, match in (
        ((model, tasks), "'loader'"),
        ((model, EpisodeLoader(tasks, shuffle=True)), "'loader'"),
        ((model, EpisodeLoader(tasks, support_sizes=(1, 2))), "'loader'"),
        ((small().train(), loader), "'model'"),
        ((model, loader, 1), "'samples'"),
        ((small('task path only').eval(), loader, 4), "'samples'"),
        ((model, loaders['item']), 'item rows below 20'),
        ((published, loaders['user']), 'user rows below 6'),
        ((model, loaders['label']), 'bernoulli'),
    ):
        with pytest.raises(ValueError, match=match):
            predict(*arguments)


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
