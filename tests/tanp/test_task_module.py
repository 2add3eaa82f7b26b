"""Training of TaNP; the driver itself is tested in agnn_pyg/base/test_training.py."""

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.base.training import fit
from tanp.episodes import Episodes, offsets
from tanp.inference import predict
from tanp.loader import EpisodeLoader
from tanp.model import TaNP
from tanp.task_module import OPTIMIZERS, TaskModule

SIZES = {
    'embedding_channels': (8, 8),
    'latent_channels': (8, 8, 8, 4),
    'task_channels': (16, 8),
    'num_clusters': 2,
    'decoder_channels': (16, 16),
}
OPTIONS = {'monitor': 'val_loss'}


def planted(num_tasks, seed):
    """Users of two tastes: one likes even items, the other odd ones."""
    generator = torch.Generator().manual_seed(seed)
    item = torch.stack(
        [torch.randperm(12, generator=generator) for _ in range(num_tasks)]
    )
    taste = torch.randint(2, (num_tasks, 1), generator=generator)
    size, support = torch.full((num_tasks,), 12), torch.full((num_tasks,), 4)
    label = (item % 2 == taste).float().flatten()
    user = torch.arange(num_tasks)
    return Episodes(user, offsets(size), item.flatten(), label, support, support), taste


TRAIN, VALIDATION = planted(48, 0)[0], planted(12, 1)[0]


def loaders(**options):
    options = {'context_sizes': (1, 6), 'shuffle': True} | options
    return EpisodeLoader(TRAIN, 20, **options), EpisodeLoader(VALIDATION, 5)


def module(seed=0, **options):
    torch.manual_seed(seed)
    model = TaNP(12, 60, **SIZES | options.pop('model', {}))
    return TaskModule(model, **{'lr': 0.01, 'ks': (1, 3)} | options)


def state(task):
    return [p.clone() for p in task.model.state_dict().values()]


def equal(one, other):
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def taught(**options):
    """A module that has met many users of both tastes, and items' parities."""
    frame = pd.DataFrame({'parity': ['even', 'odd'] * 6})
    attributes = AttributeEncoder(['parity']).fit_transform(frame)
    options |= {'item_ids': False, 'item_attributes': attributes}
    task = module(model=options, lr=0.02, kl_weight=0.1)
    train = EpisodeLoader(planted(240, 2)[0], 20, context_sizes=(1, 6), shuffle=True)
    result = fit(task, train, loaders()[1], epochs=11, **OPTIONS)
    return task, result.history[result.best_epoch]


@pytest.mark.slow
@pytest.mark.parametrize('modulation', ['film', 'gating'])
def test_it_learns_a_planted_taste(modulation):
    _, best = taught(modulation=modulation)
    assert best['val_loss'] < 0.1
    assert best['val_ndcg@3'] > 0.98


@pytest.mark.slow
def test_clusters_are_the_planted_tastes():
    task, _ = taught(latent_channels=None)
    episodes, taste = planted(40, 3)
    assignment = predict(task.model, EpisodeLoader(episodes, 40)).assignment
    agreement = (assignment.argmax(-1) == taste.squeeze(-1)).float().mean()
    assert max(agreement, 1 - agreement) > 0.95
    assert assignment.amax(-1).mean() > 0.8


def test_terms_and_metrics_of_every_epoch():
    result = fit(module(), *loaders(), epochs=2, **OPTIONS)
    expected = {f'train_{n}' for n in ('loss', 'prediction', 'kl', 'clustering')}
    expected |= {'val_loss', 'val_mse', 'val_auc', 'val_ndcg@1', 'val_ndcg@3'}
    assert expected <= set(result.history[0])


def test_the_best_weights_by_a_ranking_metric():
    task = module(lr=0.2)
    train, validation = loaders()
    result = fit(task, train, validation, epochs=5, monitor='val_ndcg@3')
    values = [epoch['val_ndcg@3'] for epoch in result.history]
    assert values[result.best_epoch] == max(values)
    again = module(lr=0.2)
    fit(again, train, epochs=result.best_epoch + 1)
    assert equal(state(task), state(again))


def test_the_last_partial_batch_is_trained_on():
    seen = []

    class Spy(TaskModule):
        def training_step(self, batch, batch_idx):
            seen.extend(batch.user.tolist())
            return super().training_step(batch, batch_idx)

    fit(Spy(module().model), loaders()[0], epochs=1)
    assert sorted(seen) == list(range(48))


def test_training_loss_is_a_mean_over_tasks():
    result = fit(module(lr=1e-12), loaders(shuffle=False)[0], epochs=1)
    train = EpisodeLoader(TRAIN, 48, context_sizes=(1, 6))
    whole = fit(module(lr=1e-12), train, epochs=1)
    found, expected = (r.history[0]['train_prediction'] for r in (result, whole))
    # Latent noise differs, and means little at the start.
    assert found == pytest.approx(expected, abs=0.01)


def test_the_same_seed_repeats_exactly():
    runs = []
    for seed in (0, 0, 1):
        task = module(model={'dropout': 0.2}, seed=0)
        task.seed = seed
        fit(task, *loaders(), epochs=2, **OPTIONS)
        runs.append(state(task))
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


class BreakOff(pl.Callback):
    """Ends a run after its second epoch."""

    def on_train_epoch_end(self, trainer, module):
        trainer.should_stop = trainer.current_epoch == 1


def test_a_resumed_run_repeats_a_whole_one(tmp_path):
    def run(folder, **more):
        task = module(model={'dropout': 0.2})
        options = {'epochs': 5, 'ema_decay': 0.8, 'folder': tmp_path / folder}
        return task, fit(task, *loaders(), **options, **OPTIONS, **more)

    whole, expected = run('whole')
    run('broken', callbacks=[BreakOff()])
    resumed, found = run('broken', resume=True)
    assert equal(state(whole), state(resumed))
    assert found == expected


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimizer_uses_its_rate(name):
    task = module(optimizer=name, lr=0.0123, weight_decay=0.001)
    optimizer = task.configure_optimizers()
    assert type(optimizer) is OPTIMIZERS[name]
    assert {group['lr'] for group in optimizer.param_groups} == {0.0123}
    assert {group['weight_decay'] for group in optimizer.param_groups} == {0.001}
    before = state(task)
    fit(task, loaders()[0], epochs=1)
    assert not equal(before, state(task))


def test_only_trained_ids_are_known():
    task = module(model={'user_ids': True})
    fit(task, *loaders(), epochs=1, **OPTIONS)
    assert task.model.inputs.user.id_row.gt(0).tolist() == [u < 48 for u in range(60)]
    assert task.model.inputs.item.id_row.gt(0).all()


def test_it_trains_on_a_device(device):
    task = module()
    accelerator = 'gpu' if device.type == 'cuda' else 'cpu'
    fit(task, *loaders(), epochs=1, accelerator=accelerator, **OPTIONS)
    assert all(p.isfinite().all() for p in task.model.parameters())


def test_labels_and_options_that_do_not_suit_are_named():
    bad = TRAIN.select(torch.arange(48))
    bad.label[3] = 2
    with pytest.raises(ValueError, match='bernoulli'):
        fit(module(), EpisodeLoader(bad, context_sizes=(1, 6)), epochs=1)
    with pytest.raises(ValueError, match=r"'optimizer'.*lion"):
        module(optimizer='lion')
    with pytest.raises(ValueError, match=r"'lr'.*0"):
        module(lr=0)
