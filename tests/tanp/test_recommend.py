import dataclasses

import pytest
import torch

from tanp.catalogue import CatalogueScorer, PairScorer
from tanp.inference import predict
from tanp.loader import EpisodeLoader
from tanp.ranking import predict_catalogue, recommend
from tests.tanp.conftest import VARIANTS


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_best_of_all_items(small, tasks, variant):
    model = small(variant).train()
    found = recommend(model, tasks, 5, batch_size=4)
    assert model.training
    assert found.item.size() == found.score.size() == (6, 5)
    # As if each task were asked for every item one by one.
    model.eval()
    for number in range(6):
        (batch,) = EpisodeLoader(tasks.select(torch.tensor([number])), 1)
        scores = {}
        for item in range(20):
            if item in batch.support_item[0].tolist():
                continue
            asked = batch._replace(
                query_item=torch.tensor([[item]]),
                query_label=torch.zeros(1, 1),
                query_mask=torch.ones(1, 1, dtype=torch.bool),
            )
            score = model(asked).score
            scores[item] = score if model.likelihood == 'gaussian' else score.sigmoid()
        values = {item: float(score.detach()) for item, score in scores.items()}
        expected = sorted(values.values(), reverse=True)[:5]
        assert found.score[number].tolist() == pytest.approx(expected, abs=1e-5)
        # By their scores, as equal scores may come in any order.
        chosen = [values[item] for item in found.item[number].tolist()]
        assert chosen == pytest.approx(expected, abs=1e-5)


def test_scores_are_predictions(small, tasks):
    model = small('attentive')
    found = recommend(model, tasks, 17)
    mean = predict(model, EpisodeLoader(tasks, 6)).mean
    row = torch.repeat_interleave(tasks.num_query)
    for task, item, value in zip(
        row, tasks.item[tasks.query_index()], mean, strict=True
    ):
        place = found.item[task] == item
        assert torch.isclose(found.score[task][place].squeeze(), value, atol=1e-6)


@pytest.mark.parametrize('variant', ['film', 'attentive'])
def test_padding_of_supports_leaves_nothing_out(small, tasks, variant):
    uneven = dataclasses.replace(tasks, num_support=torch.tensor([1, 3, 2, 3, 1, 2]))
    model = small(variant)
    together = recommend(model, uneven, 17, batch_size=6)
    for number in range(6):
        one = uneven.select(torch.tensor([number]))
        alone = recommend(model, one, 17)
        assert torch.allclose(together.score[number], alone.score[0], atol=1e-6)
        told = one.item[: int(one.num_support)]
        assert not torch.isin(told, together.item[number]).any()


def test_what_is_found_may_be_learnt_from(small, tasks):
    found = recommend(small('attentive'), tasks, 3)
    weight = torch.ones(3, requires_grad=True)
    (found.score * weight).sum().backward()
    assert torch.allclose(weight.grad, found.score.sum(0))


def test_the_support_may_be_recommended_again(small, tasks):
    found = recommend(small(), tasks, 20, exclude_support=False)
    assert found.item.sort(-1).values.eq(torch.arange(20)).all()


def test_on_a_device(small, tasks, device):
    expected = recommend(small('everything'), tasks, 4)
    found = recommend(small('everything').to(device), tasks, 4)
    assert torch.allclose(found.score, expected.score, atol=1e-5)
    assert found.item.device.type == 'cpu'


def test_nobody_asks(small, tasks):
    nobody = tasks.select(torch.tensor([], dtype=torch.long))
    found = recommend(small('attentive'), nobody, 4)
    assert found.item.size() == found.score.size() == (0, 4)
    assert not list(predict_catalogue(small('attentive').eval(), nobody))


def test_batches_of_no_task(small, tasks):
    with pytest.raises(ValueError, match=r"'batch_size' must be .*got 0"):
        recommend(small('attentive'), tasks, 4, batch_size=0)


@pytest.mark.parametrize('k', [0, 18])
def test_more_than_there_is(small, tasks, k):
    with pytest.raises(ValueError, match=f"'k' must be .* in .1, 17. .got {k}"):
        recommend(small(), tasks, k)


def test_an_empty_support(small, tasks):
    with pytest.raises(ValueError, match='tasks without support'):
        recommend(small(), tasks.with_support_size(0), 3)


@pytest.mark.parametrize('likelihood', ['bernoulli', 'gaussian'])
@pytest.mark.parametrize('variant', sorted({*VARIANTS} - {'regression'}))
def test_a_catalogue_is_scored_as_any_query(small, tasks, variant, likelihood):
    model = small(variant, likelihood=likelihood).double().eval()
    for parameter in model.parameters():  # far from where it starts
        torch.nn.init.normal_(parameter, std=0.7)
    # Supports of one to four, padded, and fewer users than the fit knows.
    support = torch.tensor([1, 4, 3])
    chosen = tasks.select(torch.tensor([4, 2, 5]))
    chosen = dataclasses.replace(chosen, num_support=support, query_start=support)
    chosen = dataclasses.replace(chosen, user=torch.tensor([4, 5, 5]))
    (batch,) = EpisodeLoader(chosen, 3)
    batch = batch._replace(support_label=batch.support_label.double())
    expected = PairScorer(model)(batch).detach()
    assert expected.std() > 0.01
    scorer = CatalogueScorer(model)
    assert torch.allclose(scorer(batch), expected, atol=1e-9)
    # Padding is not read, nor is the query; and blocks of users do not matter.
    wild = batch._replace(
        support_label=batch.support_label.masked_fill(~batch.support_mask, torch.nan),
        query_label=torch.full_like(batch.query_label, torch.nan),
    )
    assert torch.allclose(scorer(wild), expected, atol=1e-9)


def test_regression_alone_is_read_pair_by_pair(small):
    with pytest.raises(ValueError, match="use 'PairScorer'"):
        CatalogueScorer(small('regression').eval())


def test_blocks_of_users(small, tasks, monkeypatch):
    model = small('everything').eval()
    (batch,) = EpisodeLoader(tasks.select(torch.tensor([4, 5])), 2)
    at_once = CatalogueScorer(model)(batch)
    monkeypatch.setattr('tanp.catalogue.BLOCK_PAIRS', 20)
    assert torch.allclose(CatalogueScorer(model)(batch), at_once, atol=1e-6)


@pytest.mark.parametrize('channels', [(6,), (6, 5, 4), (6, 5, 5, 4)])
def test_decoders_of_any_depth(small, tasks, channels):
    model = small('everything', decoder_channels=channels).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    (batch,) = EpisodeLoader(tasks.select(torch.tensor([4, 5])), 2)
    batch = batch._replace(support_label=batch.support_label.double())
    expected = PairScorer(model)(batch)
    assert expected.std() > 0.01
    assert torch.allclose(CatalogueScorer(model)(batch), expected, atol=1e-9)


@pytest.mark.parametrize('group', [1, 2, 3])
@pytest.mark.parametrize('pairs', [20, 40, 60])
def test_users_in_blocks_and_groups(small, tasks, monkeypatch, pairs, group):
    model = small('attentive').double().eval()
    (batch,) = EpisodeLoader(tasks.select(torch.tensor([4, 5, 4, 5, 5])), 5)
    # An item that is told twice counts twice.
    item = batch.support_item.clone()
    item[0, 1] = item[0, 0]
    batch = batch._replace(
        user=torch.full((5,), 5),
        support_item=item,
        support_label=batch.support_label.double(),
    )
    monkeypatch.setattr('tanp.catalogue.BLOCK_PAIRS', pairs)
    monkeypatch.setattr('tanp.attend.GROUP', group)
    expected = PairScorer(model)(batch)
    assert torch.allclose(CatalogueScorer(model)(batch), expected, atol=1e-9)


def test_a_layer_in_training_mode_is_noticed(small, tasks):
    model = small('attentive', dropout=0.5).eval()
    expected = recommend(model, tasks, 5)
    model.task_encoder.hidden.train()
    assert torch.equal(recommend(model, tasks, 5).score, expected.score)
    assert model.task_encoder.hidden.training
    assert not model.training


def test_known_users_and_strangers_together(small, tasks):
    model = small('attentive')
    assert model.inputs.statistics.strangers(torch.arange(7)).tolist() == (
        [False] * 4 + [True] * 3
    )
    order = torch.tensor([5, 0, 4, 2])
    mixed = recommend(model, tasks.select(order), 5)
    for place, number in enumerate(order):
        alone = recommend(model, tasks.select(number[None]), 5)
        assert torch.allclose(mixed.score[place], alone.score[0], atol=1e-6)


def test_a_scorer_is_kept(small, tasks):
    model = small('attentive').eval()
    kept = recommend(model, tasks, 5, scorer=CatalogueScorer(model))
    assert torch.equal(kept.score, recommend(model, tasks, 5).score)
    with pytest.raises(ValueError, match="'model' is in training mode"):
        CatalogueScorer(model.train())
