import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import HeteroData
from torch_geometric.transforms import Compose, ToUndirected

from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.graph.build import attribute_graph
from agnn_pyg.graph.transform import AddAttributeKNN
from agnn_pyg.sampling.full_graph import FullGraphLoader
from tests.agnn_pyg.graph.test_build import assert_same_graph

RATES = ('user', 'rates', 'item')


def test_candidates_are_those_of_attribute_graphs(
    tiny_graph, tiny_attributes, tiny_pairs
):
    (user, item), rating = tiny_pairs
    matrix = np.zeros((12, 15))
    matrix[user, item] = rating
    for side, ratings in (('user', matrix), ('item', matrix.T)):
        options = {'candidate_fraction': 0.5}
        ratings = scipy.sparse.csr_matrix(ratings)
        attributes = tiny_attributes[side]
        plain = attribute_graph(attributes, **options)
        rated = attribute_graph(attributes, ratings, **options)
        assert_same_graph(tiny_graph[side, 'attribute_knn', side], plain)
        assert_same_graph(tiny_graph[side, 'rating_knn', side], rated)
    assert tiny_graph['user'].cold.nonzero().flatten().tolist() == [10, 11]
    assert tiny_graph['item'].cold.nonzero().flatten().tolist() == [13, 14]
    assert tiny_graph.validate()


def three_kinds():
    """The same features as dense numbers, as token ids, and with weights."""
    dense = (torch.rand(8, 5, generator=torch.Generator().manual_seed(0)) > 0.5) * 1.0
    data = HeteroData()
    data['dense'].x = dense
    token = torch.arange(1, 6).expand(8, 5)
    data['ids'].x = (token * dense.long()).byte()
    data['weighted'].x, data['weighted'].x_weight = token, dense
    data['bool'].x = dense.bool()
    data['bare'].num_nodes = 4
    return data


def test_features_are_dense_or_tokens():
    given = three_kinds()
    data = AddAttributeKNN(candidate_fraction=0.4)(given)
    names = ('dense', 'ids', 'weighted', 'bool')
    graphs = {name: data[name, 'attribute_knn', name] for name in names}
    for graph in graphs.values():
        assert_same_graph(graph, graphs['dense'])
    assert data.edge_types == [(n, 'attribute_knn', n) for n in graphs]
    # The given graph stays as it is, and node types can be chosen.
    assert not given.edge_types
    data = AddAttributeKNN(node_types=['ids'])(given)
    assert data.edge_types == [('ids', 'attribute_knn', 'ids')]


def test_edges_are_where_the_features_are(device):
    data = AddAttributeKNN(candidate_fraction=0.5)(three_kinds().to(device))
    for store in data.edge_stores:
        assert store.edge_index.device == store.edge_weight.device
        assert store.edge_index.device.type == device.type


def rated(index, rating, **kwargs):
    data = HeteroData()
    data['user'].x, data['item'].x = torch.eye(3), torch.ones(4, 2)
    data[RATES].edge_index, data[RATES].rating = index, rating
    return AddAttributeKNN(RATES, **kwargs)(data)


def test_options():
    index, rating = torch.tensor([[0, 1], [3, 3]]), torch.tensor([5, 1])
    data = rated(index, rating)
    assert [kind[1] for kind in data.edge_types] == ['rates', *2 * ['attribute_knn']]
    assert data['item'].cold.tolist() == [True, True, True, False]
    one = torch.ones(3, 1)
    same = TokenBags(one.long(), one, torch.tensor([False, True]))
    data = rated(index, rating, features={'user': same}, candidate_fraction=1.0)
    # By `x`, users have nothing in common.
    assert data['user', 'attribute_knn', 'user'].edge_index.size(1) == 6
    composed = Compose([ToUndirected(), AddAttributeKNN(RATES, rating_knn=True)])
    assert ('item', 'rating_knn', 'item') in composed(data).edge_types


def test_bad_ratings():
    for index, rating, match in (
        ([[0, 3], [0, 0]], [1.0, 2.0], "'user'.* 3 at"),
        ([[0, 0], [4, 0]], [1.0, 2.0], "'item'.* 4 at"),
        ([[0, -1], [0, 0]], [1.0, 2.0], "'user'.* -1 at"),
        ([[0, 1], [0, 0]], [1.0], "'edge_index'.*2.*1"),
        ([[0, 1], [0, 0]], [[1.0], [2.0]], r"'edge_index'.*\[2, 1\]"),
        ([0, 1], [1.0, 2.0], r"'edge_index'.*\[2\]"),
        ([[0, 1], [0, 0]], [1.0, float('nan')], "'rating'.*NaN"),
        ([[0, 1], [0, 0]], [1.0, float('inf')], "'rating'.*infinity"),
        ([[], []], [], "'edge_index'.*none"),
        ([[0, 2, 2], [1, 1, 1]], [1.0, 2.0, 3.0], 'user 2 and item 1'),
    ):
        index, rating = torch.tensor(index), torch.tensor(rating)
        with pytest.raises(ValueError, match=match):
            rated(index if index.numel() else index.long(), rating)


@pytest.mark.filterwarnings('ignore:Unable to accurately infer')
def test_missing_features_and_ratings_are_named():
    bare = HeteroData()
    bare['user'].num_nodes = 3
    with pytest.raises(ValueError, match="'x'"):
        AddAttributeKNN()(bare)
    data = three_kinds()
    data['ids', 'rates', 'dense'].edge_index = torch.tensor([[0], [1]])
    with pytest.raises(ValueError, match="'rating'"):
        AddAttributeKNN(('ids', 'rates', 'dense'))(data)
    kinds = data.metadata()
    for kind in (('ids', 'likes', 'dense'), ('nobody', 'rates', 'nothing')):
        with pytest.raises(ValueError, match=kind[0]):
            AddAttributeKNN(kind)(data)
        with pytest.raises(ValueError, match=kind[0]):
            FullGraphLoader(data, kind)
    assert data.metadata() == kinds
    bare['item'].x = torch.rand(2, 3)
    bare[RATES].edge_index, bare[RATES].rating = torch.tensor([[0], [1]]), torch.ones(1)
    del bare['user'].num_nodes
    with pytest.raises(ValueError, match="'user'"):
        AddAttributeKNN(RATES)(bare)


def test_features_that_do_not_fit_are_named_with_their_nodes():
    for x, match in (
        (torch.rand(4), r"'ids'.*\[4\]"),
        (torch.tensor([[1], [-1]]), "'ids'.*-1"),
        (torch.ones(1, 2), "'ids'.*two rows"),
        (torch.full((3, 2), torch.nan), "'ids'.*NaN"),
    ):
        data = three_kinds()
        data['ids'].x = x
        with pytest.raises(ValueError, match=match):
            AddAttributeKNN()(data)
    for options, match in (
        ({'features': {'idz': torch.eye(8)}}, "'features'.*'idz'"),
        ({'features': {'ids': torch.eye(3)}}, "'ids'.*8 rows.*3"),
        ({'node_types': ['bare']}, "'node_types'.*'bare'"),
    ):
        with pytest.raises(ValueError, match=match):
            AddAttributeKNN(**options)(three_kinds())


def test_rated_edges_join_two_node_types():
    data, kind = three_kinds(), ('dense', 'rates', 'dense')
    data[kind].edge_index, data[kind].rating = torch.tensor([[0], [1]]), torch.ones(1)
    for build in (AddAttributeKNN(kind), lambda data: FullGraphLoader(data, kind)):
        with pytest.raises(ValueError, match=r"two types.*'dense'"):
            build(data)


def test_a_transform_of_other_settings_looks_different():
    """PyG warns by this that a processed data set was made by another transform."""
    options = [{}, {'rating_knn': True}, {'max_candidates': 5}]
    options += [{'node_types': ['user']}, {'features': {'user': torch.eye(3)}}]
    made = {repr(AddAttributeKNN(RATES, **changed)) for changed in options}
    assert len(made) == 5
    assert all("rated=('user', 'rates', 'item')" in text for text in made)
