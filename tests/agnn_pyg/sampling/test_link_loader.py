import pytest
import torch

from agnn_pyg.model import AGNN
from agnn_pyg.sampling.link_loader import LinkRatingLoader, rating_loader
from agnn_pyg.sampling.loader import RatingLoader

OPTIONS = (
    {},
    {'batch_size': 7},
    {'batch_size': 1},
    {'batch_size': 7, 'shuffle': True, 'seed': 3},
    {'batch_size': 7, 'cold_rate': (0.4, 0.6)},
    {'batch_size': 7, 'cold_rate': (0.5, 0.0), 'num_neighbors': 4, 'shuffle': True},
    {'batch_size': 9, 'num_neighbors': 0, 'cold_rate': (0.5, 0.5)},
)


def pairs_of(batch):
    row, col = batch.edge_label_index
    return torch.stack([batch.user.n_id[row], batch.item.n_id[col]])


def edges_of(nodes):
    return sorted(map(tuple, nodes.n_id[nodes.edge_index].t().tolist()))


@pytest.fixture
def model(tiny_attributes):
    torch.manual_seed(0)
    tokens = [tiny_attributes[side].num_tokens for side in ('user', 'item')]
    return AGNN(12, 15, *tokens, channels=4, hidden_channels=4).eval()


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('epoch', [0, 2])
def test_batches_equal_those_of_the_rating_loader(
    tiny_graph, tiny_pairs, model, options, epoch
):
    options = {'num_neighbors': 3} | options
    one = RatingLoader(tiny_graph, *tiny_pairs, **options)
    other = LinkRatingLoader(tiny_graph, *tiny_pairs, **options)
    one.set_epoch(epoch)
    other.set_epoch(epoch)
    assert len(one) == len(other)
    assert one.epoch == other.epoch == epoch
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.edge_label_index, b.edge_label_index)
        assert torch.equal(a.edge_label, b.edge_label)
        for x, y in zip(a[:2], b[:2], strict=True):
            end = x.num_targets
            assert y.num_targets == end
            assert torch.equal(x.n_id[:end], y.n_id[:end])
            assert torch.equal(x.cold[:end], y.cold[:end])
            assert edges_of(x) == edges_of(y)
        with torch.no_grad():
            assert torch.equal(model(a), model(b))


def test_pairs_and_labels_stay_aligned(tiny_graph, tiny_pairs):
    index, rating = tiny_pairs
    position = torch.arange(len(rating))
    loader = LinkRatingLoader(tiny_graph, index, position, batch_size=7, shuffle=True)
    batches = list(loader)
    found = torch.cat([batch.edge_label for batch in batches])
    assert torch.equal(found.sort().values, position)
    assert not torch.equal(found, position)
    pairs = torch.cat([pairs_of(batch) for batch in batches], dim=1)
    assert torch.equal(pairs, index[:, found])


def test_labels_are_not_touched(tiny_graph):
    # PyG shifts integer labels where it draws negatives of its own.
    index = torch.tensor([[0, 1, 2], [2, 1, 0]])
    for label in (torch.tensor([0, 5, 3]), torch.tensor([0.5, 5, 3])):
        (batch,) = LinkRatingLoader(tiny_graph, index, label)
        assert torch.equal(batch.edge_label, label)
    (batch,) = LinkRatingLoader(tiny_graph, index)
    assert batch.edge_label is None


def test_targets_come_first_and_no_node_twice(tiny_graph, tiny_pairs):
    loader = LinkRatingLoader(
        tiny_graph, *tiny_pairs, batch_size=9, num_neighbors=3, cold_rate=(0.5, 0.5)
    )
    for batch in loader:
        for side, nodes, index in zip(
            ('user', 'item'), batch[:2], batch.edge_label_index, strict=True
        ):
            assert len(nodes.n_id.unique()) == len(nodes.n_id)
            assert set(index.tolist()) == set(range(nodes.num_targets))
            assert nodes.edge_index[1].max() < nodes.num_targets
            assert torch.equal(nodes.attr, tiny_graph[side].attr[nodes.n_id])
            others = nodes.n_id[nodes.num_targets :]
            assert torch.equal(
                nodes.cold[nodes.num_targets :], tiny_graph[side].cold[others]
            )


def test_pairs_that_were_never_rated_are_fine(tiny_graph):
    index = torch.tensor([[10, 11, 10], [13, 14, 0]])
    (batch,) = LinkRatingLoader(tiny_graph, index, num_neighbors=2)
    assert torch.equal(pairs_of(batch), index)
    assert batch.user.cold[:2].all()


@pytest.mark.slow
def test_worker_processes_change_nothing(tiny_graph, tiny_pairs):
    options = {'batch_size': 16, 'shuffle': True, 'cold_rate': (0.4, 0.6)}
    one = RatingLoader(tiny_graph, *tiny_pairs, **options)
    other = LinkRatingLoader(
        tiny_graph, *tiny_pairs, **options, num_workers=2, persistent_workers=True
    )
    for epoch in (0, 1):
        one.set_epoch(epoch)
        other.set_epoch(epoch)
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a.edge_label, b.edge_label)
            assert torch.equal(pairs_of(a), pairs_of(b))
            for x, y in zip(a[:2], b[:2], strict=True):
                end = x.num_targets
                assert torch.equal(x.cold[:end], y.cold[:end])
                assert edges_of(x) == edges_of(y)
    # Left to the garbage collector, they take their time.
    other._iterator._shutdown_workers()


def test_rating_loader_chooses_by_size(tiny_graph, tiny_pairs):
    # 27 nodes of both sides, 2 relations, 5 neighbours: 270 entries.
    for max_table, kind in ((270, RatingLoader), (269, LinkRatingLoader)):
        loader = rating_loader(
            tiny_graph,
            *tiny_pairs,
            num_neighbors=5,
            max_table=max_table,
            batch_size=9,
            shuffle=True,
            cold_rate=(0.1, 0.1),
            seed=2,
        )
        assert type(loader) is kind
        assert loader.shuffle
        assert loader.batch_size == 9 or kind is LinkRatingLoader
        assert sum(len(batch.edge_label) for batch in loader) == len(tiny_pairs[1])
    assert type(rating_loader(tiny_graph, tiny_pairs[0])) is RatingLoader


@pytest.mark.parametrize(
    ('index', 'kwargs', 'match'),
    [
        ([[0, 12], [0, 0]], {}, 'user 12, but the graph has users 0 to 11'),
        ([[0], [0]], {'rating': torch.ones(2)}, r'one value a pair, 1 \(got 2\)'),
        ([[0], [0]], {'batch_size': 0}, "'batch_size' must be at least 1"),
        ([[0], [0]], {'num_neighbors': -1}, "'num_neighbors' must not be negative"),
        ([[0], [0]], {'cold_rate': (-0.5, 0)}, "'cold_rate' must be two shares"),
        ([[0], [0]], {'seed': -1}, r"'seed' must be .*at least 0 \(got -1\)"),
    ],
)
def test_bad_input(tiny_graph, index, kwargs, match):
    with pytest.raises(ValueError, match=match):
        LinkRatingLoader(tiny_graph, torch.tensor(index), **kwargs)
