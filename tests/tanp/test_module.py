"""Training on episodes; the driver is tested in agnn_pyg/base/test_training.py."""

import dataclasses

import pytest
import torch

from agnn_pyg.base.training import fit
from tanp import EpisodeLoader, Episodes, TaNP, evaluate, predict, tanp_loss
from tanp.module import TaskModule
from tests.tanp.conftest import MEDIUM


def planted(num_tasks, seed):
    """Users of two tastes: one likes even items, the other odd ones."""
    generator = torch.Generator().manual_seed(seed)
    item = torch.stack(
        [torch.randperm(12, generator=generator) for _ in range(num_tasks)]
    )
    taste = torch.randint(2, (num_tasks, 1), generator=generator)
    size = torch.full((num_tasks,), 12)
    support = torch.full((num_tasks,), 4)
    label = (item % 2 == taste).float().flatten()
    return Episodes(torch.arange(num_tasks), size, item.flatten(), label, support)


TRAIN, VALIDATION = planted(48, 0), planted(12, 1)


def loaders(**options):
    options = {'support_sizes': (1, 6), 'shuffle': True} | options
    return EpisodeLoader(TRAIN, 20, **options), EpisodeLoader(VALIDATION, 5)


def module(seed=0, **options):
    torch.manual_seed(seed)
    model = TaNP(12, 60, **MEDIUM | options.pop('model', {}))
    return TaskModule(model, **{'lr': 0.01} | options)


def run(task, train=None, validation=None, **options):
    return fit(task, train or loaders()[0], validation, monitor='val_loss', **options)


def test_logged_terms_are_means_over_tasks():
    """The last of three batches is smaller."""
    task = module(lr=1e-12, model={'latent_channels': None})
    train = EpisodeLoader(TRAIN, 20, support_sizes=(1, 6))
    (history,) = run(task, train, epochs=1).history
    assert {'train_loss', 'train_prediction', 'train_clustering'} <= set(history)
    (whole,) = EpisodeLoader(TRAIN, 48, support_sizes=(1, 6))
    with torch.no_grad():
        expected = float(tanp_loss(task.model.train()(whole))['prediction'])
    assert history['train_prediction'] == pytest.approx(expected, abs=1e-6)


def test_validation_metrics_are_means_over_tasks_of_labels_as_given():
    """Tasks of 5 to 8 queries, of labels that were centered and divided."""
    support = torch.arange(12) % 4 + 4
    few = dataclasses.replace(VALIDATION, num_support=support)
    options = {'center': 3.0, 'unit': 2.0, 'relevant': 0.5}
    task = module(lr=1e-12, model={'likelihood': 'gaussian'}, **options)
    history = run(task, validation=EpisodeLoader(few, 5), epochs=1).history[0]
    for size in (1, 12):
        other = run(task, validation=EpisodeLoader(few, size), epochs=1).history[0]
        found = {name: history[name] for name in other if name.startswith('val_')}
        assert found == pytest.approx({name: other[name] for name in found}, abs=1e-5)
    predicted = predict(task.model.eval(), EpisodeLoader(few, 12)).mean
    given = dataclasses.replace(few, label=2 * few.label + 3)
    expected = evaluate(given, 2 * predicted + 3, ks=(5,), relevant=4.0)
    for name in ('mse', 'ndcg@5', 'published_precision@5'):
        mean = float(expected[name].nanmean())
        assert history[f'val_{name}'] == pytest.approx(mean, abs=1e-5)
    assert history['val_loss'] == pytest.approx(history['val_mse'] / 4, abs=1e-5)


def test_training_marks_the_ids_that_it_reads():
    task = module(model={'user_ids': True})
    run(task, *loaders(), epochs=1)
    assert task.model.user.id_row.gt(0).tolist() == [u < 48 for u in range(60)]
    assert task.model.item.id_row.gt(0).all()


def test_on_a_device(device):
    task = module()
    run(task, epochs=1, accelerator='gpu' if device.type == 'cuda' else 'cpu')
    assert all(p.isfinite().all() for p in task.model.parameters())


def test_what_does_not_fit_is_refused():
    bad = dataclasses.replace(TRAIN, label=TRAIN.label + 1)
    with pytest.raises(ValueError, match='bernoulli'):
        run(module(), EpisodeLoader(bad, support_sizes=(1, 6)), epochs=1)
    with pytest.raises(ValueError, match="'reduction'"):
        module(reduction='user')
