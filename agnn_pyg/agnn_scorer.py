"""A scorer that trains AGNN on rating data and embeds known and new nodes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType

from agnn_pyg.agnn_config import AGNNConfig, NetworkTrainingConfig
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.randomness import own_random_numbers, salted
from agnn_pyg.base.store import make_folder
from agnn_pyg.folds import joint_fold
from agnn_pyg.graph.build import cold_candidates
from agnn_pyg.graph.edges import ATTRIBUTE_KNN, RATING_KNN, knn_edge_types
from agnn_pyg.graph.transform import AddAttributeKNN
from agnn_pyg.model import AGNN
from agnn_pyg.nn.node_encoder import NodeState
from agnn_pyg.rating_data import BLOCK_USERS, SIDES, NodeFeatures, RatingData
from agnn_pyg.sampling.draw import CandidateSets, edges_to
from agnn_pyg.sampling.full_graph import FullGraphLoader

RATED = ('user', 'rates', 'item')
# The relation of the edges passed by users, between users or between items.
LINKED = 'linked'
# Settings of candidate sets.
CANDIDATES = 'candidate_fraction', 'max_candidates', 'seed'
# Different from usual training seeds: predictions must not reuse draws of the training.
EVALUATION_SEED = 1_000_003
# Epochs of an update: one and two gave equal errors.
UPDATE_EPOCHS = 1


class AGNNScorer:
    r"""Scores pairs with :class:`~agnn_pyg.AGNN`.

    Nodes without ratings are cold. Each node is embedded once, at the end of the fit.
    New nodes are embedded from their neighbors and do not change other embeddings.

    Args:
        config (AGNNConfig, optional): The settings. (default: the defaults)
        positives (bool, optional): The data are positives without ratings. Then scores
            rank items, and the last epoch is used. (default: :obj:`False`)

    Attributes:
        model_: The trained network, in evaluation mode.
        history_: Metrics of each epoch.
        best_epoch_: The selected epoch, from 0.
        held_out_: Held-out ratings by scenario: their positions in the training
            ratings, predictions of a network trained without them, and labels.
    """

    def __init__(
        self, config: AGNNConfig | None = None, positives: bool = False
    ) -> None:
        self.config = config or AGNNConfig()
        self.positives = positives

    @own_random_numbers()
    def fit(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None = None,
        *,
        stop_after: int | None = None,
        hold_out: bool | None = None,
        folder: str | os.PathLike | None = None,
        fitted: AGNNScorer | None = None,
        **run: Any,
    ) -> AGNNScorer:
        """Trains the network, see :meth:`Scorer.fit <agnn_pyg.scorers.Scorer.fit>`.

        With :obj:`hold_out`, ratings of each scenario are held out first to select the
        epoch. The network is then trained on all ratings up to that epoch.

        Args:
            data (RatingData): Ratings and nodes.
            validation (tuple, optional): Ratings that select the epoch instead.
            stop_after (int, optional): Number of epochs to train.
            hold_out (bool, optional): Hold out ratings. (default: :obj:`True` if
                neither :obj:`validation` nor :obj:`stop_after` is passed)
            folder (path, optional): Folder of checkpoints and logs.
            fitted (AGNNScorer, optional): A scorer of the first of these nodes, whose
                network is trained for one more epoch. New nodes start with an untrained
                preference and are in no singular vector.
            **run (optional): Arguments of :func:`~agnn_pyg.base.training.fit`, such as
                :obj:`resume`. :obj:`progress` and :obj:`accelerator` default to the
                config.

        Raises:
            ValueError: If a rating has an unknown node, an argument is out of range, or
                a checkpoint belongs to another fit.
        """
        if folder is not None:
            make_folder(folder)
        self.held_out_ = {}
        selected = None if fitted is None else (fitted.history_, fitted.best_epoch_)
        self.positives = self.positives or (fitted is not None and fitted.positives)
        if self.positives:
            hold_out, validation = False, None
        if hold_out is None:
            hold_out = validation is None and stop_after is None
        hold_out = hold_out and self.config.hold_out and fitted is None
        if hold_out:
            held, kept = joint_fold(data.edge_index, seed=self.config.seed)
            pairs = torch.stack([held[name] for name in self.config.scenarios]).any(0)
            hold_out = bool(kept.any() and pairs.any())  # not with too few ratings
        if hold_out:
            index, rating = data.edge_index, data.rating
            fold = replace(data, edge_index=index[:, kept], rating=rating[kept])
            part = index[:, pairs], rating[pairs]
            place = None if folder is None else os.path.join(folder, 'fold')
            chosen = stop_after if validation is None else None
            self._train(fold, part, stop_after=chosen, folder=place, **run)
            for name in self.config.scenarios:
                row = held[name].nonzero().squeeze(-1)
                self.held_out_[name] = row, self.score(*index[:, row]), rating[row]
            selected = self.history_, self.best_epoch_
            if validation is None:
                stop_after = stop_after or self.best_epoch_ + 1
        run |= {'stop_after': stop_after, 'folder': folder}
        self._train(data, validation, fitted, **run)
        if selected is not None and validation is None:
            self.history_, self.best_epoch_ = selected
        return self

    def _train(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None,
        fitted: AGNNScorer | None = None,
        **run: Any,
    ) -> None:
        # Imported here, because loading and predicting need no training code.
        from agnn_pyg.base.training import fit
        from agnn_pyg.module import RatingModule

        config = self.config
        rating = data.rating.float()
        epochs, seed = config.epochs, config.seed
        plain = self._model_state(data, fitted)
        graph = self._build_graph(data)
        torch.default_generator.manual_seed(config.seed)
        model = self._model(plain)
        if fitted is not None:
            # Draw other targets than in the first steps of the fit.
            epochs = UPDATE_EPOCHS
            seed = abs(salted(seed, str(len(rating))))
            state = model.state_dict()
            for name, old in fitted.model_.state_dict().items():
                state[name][tuple(map(slice, old.shape))] = old
        elif model.rated is not None:
            model.rating_layer.fit_positions(data.edge_index)
        train = FullGraphLoader(
            graph,
            RATED,
            cold_dropout=dict(zip(SIDES, config.cold_dropout, strict=True)),
            seed=seed,
            **self.config.subset(
                'steps', 'target_fraction', 'batch_size', 'id_dropout'
            ),
            **self.config.subset('num_neighbors', 'self_neighbor'),
        )
        held_out = None
        if validation is not None:
            index, label = validation
            batch = train.whole(index, EVALUATION_SEED)
            batch = batch._replace(edge_label=label.float())
            held_out = [batch]
        module = RatingModule(
            model,
            rating_range=(float(rating.min()), float(rating.max())),
            **config.subset(*NetworkTrainingConfig.model_fields),
        )
        run = self.config.subset('progress', 'accelerator') | run
        if run.get('folder') is not None:
            run['fingerprint'] = self._fingerprint(data, validation, fitted)
        result = fit(
            module,
            train,
            held_out,
            epochs=epochs,
            patience=None if held_out is None else config.patience,
            **self.config.subset('ema_decay', 'gradient_clip'),
            **run,
        )
        compared = {side: data.nodes[side].compared for side in SIDES}
        self._keep(plain, module.model, graph, compared)
        self.history_ = result.history
        self.best_epoch_ = result.best_epoch

    def _fingerprint(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None,
        fitted: AGNNScorer | None,
    ) -> str:
        """A hash of data and settings that affect the result of the training."""
        settings = self.config.model_dump_json(exclude={'progress', 'accelerator'})
        checksum = hashlib.sha256(f'{settings} {self.positives}'.encode())
        parts = [data.edge_index, data.rating, *(validation or (None, None))]
        for side in SIDES:
            embedded, compared, *links = data.nodes[side]
            parts += [*vars(embedded).values(), *vars(compared).values(), *links]
        if fitted is not None:
            parts += fitted.model_.state_dict().values()
        for part in parts:
            if part is not None:
                part = part.cpu().contiguous().numpy()
                checksum.update(f'{part.dtype}{part.shape}'.encode())
                checksum.update(part)
            checksum.update(b';')
        return checksum.hexdigest()

    def _model_state(
        self, data: RatingData, fitted: AGNNScorer | None
    ) -> dict[str, Any]:
        """Arguments of the model besides settings, see :meth:`_model`."""
        if fitted is not None:  # keep its mean and its number of singular vectors
            plain = {**fitted._plain, 'num_nodes': data.num_nodes}
            if (layer := fitted.model_.rating_layer) is not None:
                plain['spectral_channels'] = layer.spectral_channels
            return plain
        starts_at_mean = self.config.start_at_mean and not self.positives
        plain = {
            'num_nodes': data.num_nodes,
            'in_channels': {s: data.nodes[s].num_tokens for s in SIDES},
            'mean': float(data.rating.float().mean()) if starts_at_mean else 0.0,
            'linked': [s for s in SIDES if data.nodes[s].links is not None],
        }
        return plain | ({'positives': True} if self.positives else {})

    @property
    def cold(self) -> dict[str, Tensor]:
        """Masks of the users and of the items without ratings in the fit."""
        masks = {side: self._graph[side].cold for side in SIDES}
        added = {s: len(self._embedded[s].x) - len(mask) for s, mask in masks.items()}
        return {s: F.pad(m, (0, added[s]), value=True) for s, m in masks.items()}

    @torch.no_grad()
    def score(self, user: Tensor, item: Tensor) -> Tensor:
        """Predicted ratings of pairs, before clamping to the range of ratings."""
        pairs = torch.stack([user, item])
        return self.model_.decode(self._embedded, pairs).double()

    @torch.no_grad()
    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Predicted ratings of all pairs, in blocks of users."""
        left, right = (
            self.model_.factors(self._embedded[side], end, rows)
            for end, (side, rows) in enumerate(zip(SIDES, (users, items), strict=True))
        )
        return ((block @ right.t()).double() for block in left.split(BLOCK_USERS))

    @torch.no_grad()
    def with_new_nodes(
        self,
        nodes: Mapping[str, NodeFeatures],
        ratings: tuple[Tensor, Tensor] | None = None,
    ) -> AGNNScorer:
        """A scorer with additional nodes that shares the model with this one.

        Raises:
            ValueError: If ratings are passed without :obj:`rated_edges`, or if nodes
                are their own neighbors with a learned embedding, as in the published
                code: new nodes have none.
        """
        config = self.config
        if ratings is not None and self.model_.rated is None:
            raise ValueError(
                "Ratings of new users and items need 'rated_edges' (got False); leave "
                "them out, or fit with 'rated_edges=True'"
            )
        if config.self_neighbor and not config.generate_neighbors:
            raise ValueError(
                "'generate_neighbors' must be True for new nodes if 'self_neighbor' is "
                '(got False): they have no learned embedding'
            )
        made = copy(self)
        made._embedded, made._candidates = dict(self._embedded), dict(self._candidates)
        ratings = ratings or (torch.empty(2, 0, dtype=torch.long), torch.empty(0))
        for side, new in nodes.items():
            made._add_nodes(side, new, ratings)
        return made

    def _add_nodes(
        self, side: str, new: NodeFeatures, ratings: tuple[Tensor, Tensor]
    ) -> None:
        old = self._embedded[side]
        encoder = self.model_.encoders[side]
        state = encoder(
            self._features(new),
            torch.ones(new.num_nodes, dtype=torch.bool),
            torch.full((new.num_nodes,), len(old.source)),
        )
        # New nodes come first, then the nodes of the fit.
        state = state._replace(source=torch.cat([state.source, old.source]))
        state = encoder.aggregate({side: state}, side, self._new_edges(side, new))
        if self.model_.rated is not None:
            state = self._rate_new(side, state, *ratings)
        self._embedded[side] = _join(old, state)

    def _new_edges(self, side: str, new: NodeFeatures) -> dict[EdgeType, Tensor]:
        """Edges from nodes of the fit, numbered after the new nodes, to new nodes."""
        config = self.config
        index, weight = cold_candidates(
            new.compared.multi_hot(), self._hot[side], **self.config.subset(*CANDIDATES)
        )
        known = self._candidates[side]
        # Start after the counters of the fit, which are positions. Nodes with equal
        # candidates then draw equal neighbors.
        counter = index[0] + len(known[0][1])
        candidates = CandidateSets(index, weight, new.num_nodes, counter)
        target = index[1] + len(self._embedded[side].x)
        self._candidates[side] = [*known, (torch.stack([index[0], target]), weight)]
        neighbor = candidates.draw_for_all(config.num_neighbors, EVALUATION_SEED, 0)
        neighbor[neighbor >= 0] += new.num_nodes
        drawn = edges_to(neighbor, config.self_neighbor)
        edges = dict.fromkeys(self.model_.encoders[side].edge_types, drawn)
        if (side, LINKED, side) in edges:
            num_fitted = len(self._embedded[side].source)
            source = (new.links[0] - num_fitted) % (num_fitted + new.num_nodes)
            edges[side, LINKED, side] = torch.stack([source, new.links[1]])
        return edges

    def _rate_new(
        self, side: str, state: NodeState, pairs: Tensor, rating: Tensor
    ) -> NodeState:
        """Updates new nodes with their ratings of (or by) nodes of the fit."""
        end = SIDES.index(side)
        first, other = len(self._embedded[side].x), self._embedded[SIDES[1 - end]]
        mine = (pairs[end] >= first) & (pairs[1 - end] < len(other.source))
        pairs = pairs[:, mine]
        pairs[end] -= first
        rating = rating[mine] - self.model_.mean
        added = self.model_.rating_layer.add_nodes(
            end, state.x, state.attributes, pairs, rating, other.rating
        )
        return state._replace(x=added.x, rating=added)

    @torch.no_grad()
    def explain(
        self, user: int, item: int
    ) -> tuple[dict[str, float], dict[str, tuple[Tensor, Tensor]]]:
        """The terms of the score of a pair by name, and the neighbors of both nodes.

        Neighbors are rows and proximities :obj:`[K]` by side, closest first.
        """
        pair = torch.tensor([[user], [item]])
        terms = self.model_.terms(self._embedded, pair)
        parts = {name: float(value) for name, value in terms.items()}
        # The global bias includes the mean rating.
        parts['mean rating'] = self.model_.mean
        parts['global bias'] -= self.model_.mean
        neighbors = {}
        for side, node in zip(SIDES, (user, item), strict=True):
            found = []
            for (source, target), weight in self._candidates[side]:
                mine = target == node
                found.append((source[mine], weight[mine]))
            source, weight = map(torch.cat, zip(*found, strict=True))
            order = weight.argsort(descending=True, stable=True)
            order = order[: self.config.num_neighbors]
            neighbors[side] = source[order], weight[order]
        return parts, neighbors

    def state_dict(self) -> dict[str, Any]:
        """The fitted state as plain data and tensors."""
        return {
            'plain': self._plain,
            'history': (self.history_, self.best_epoch_),
            'model': self.model_.state_dict(),
            'graph': self._graph.to_dict(),
            'compared': {s: dict(vars(bags)) for s, bags in self._compared.items()},
        }

    @classmethod
    def from_state(cls, config: AGNNConfig, state: Mapping[str, Any]) -> AGNNScorer:
        """The inverse of :meth:`state_dict`."""
        made = cls(config, state['plain'].get('positives', False))
        made.history_, made.best_epoch_ = state['history']
        model = made._model(state['plain'])
        model.load_state_dict(state['model'])
        compared = {s: TokenBags(**bags) for s, bags in state['compared'].items()}
        graph = HeteroData.from_dict(state['graph'])
        made._keep(state['plain'], model, graph, compared)
        return made

    def _build_graph(self, data: RatingData) -> HeteroData:
        graph = HeteroData()
        for side in SIDES:
            graph[side].x, graph[side].x_weight = self._features(data.nodes[side])
            if data.nodes[side].links is not None:
                graph[side, LINKED, side].edge_index = data.nodes[side].links
        graph[RATED].edge_index = data.edge_index
        graph[RATED].rating = data.rating.float()
        return AddAttributeKNN(
            RATED,
            rating_knn=self.config.use_rating_proximity,
            features={side: data.nodes[side].compared for side in SIDES},
            **self.config.subset(*CANDIDATES),
        )(graph)

    def _model(self, plain: Mapping[str, Any]) -> AGNN:
        name = RATING_KNN if self.config.use_rating_proximity else ATTRIBUTE_KNN
        edge_types = [(s, name, s) for s in SIDES if self.config.num_neighbors]
        plain = dict(plain)
        edge_types += [(side, LINKED, side) for side in plain.pop('linked')]
        rated = RATED if self.config.rated_edges else None
        options = {**self.config.model_options(), **plain}
        return AGNN(edge_types=edge_types, rated=rated, **options).float()

    @torch.no_grad()
    def _keep(
        self,
        plain: dict[str, Any],
        model: AGNN,
        graph: HeteroData,
        compared: dict[str, TokenBags],
    ) -> None:
        self._plain = plain
        self._graph = graph
        self._compared = compared
        self._hot = {side: bags.multi_hot() for side, bags in compared.items()}
        self.model_ = model.cpu().eval()
        options = self.config.subset('num_neighbors', 'self_neighbor')
        loader = FullGraphLoader(graph, RATED, **options)
        pairs = torch.empty(2, 0, dtype=torch.long)
        batch = loader.whole(pairs, EVALUATION_SEED)
        self._embedded = model.encode(**batch.nodes_and_edges)
        # Candidate edges and weights of the nodes of the fit; new nodes append theirs.
        self._candidates = {}
        for side in SIDES:
            edges = graph[knn_edge_types(graph, side)[0]]
            self._candidates[side] = [(edges.edge_index, edges.edge_weight)]

    def _features(self, nodes: NodeFeatures) -> tuple[Tensor, Tensor]:
        """Tokens and token weights."""
        index, weight = nodes.tokens()
        if not self.config.rated_edges:
            return index, weight
        # Normalize rows to length 1, for any number of values.
        return index, weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _join(old: NodeState, new: NodeState) -> NodeState:
    """Concatenates old and new nodes for predictions.

    The sources of messages are still only nodes of the fit.
    """
    x, bias = torch.cat([old.x, new.x]), torch.cat([old.bias, new.bias])
    rating = old.rating
    if rating is not None:
        parts = zip(old.rating, new.rating, strict=True)
        rating = type(rating)(*map(torch.cat, parts))
    return old._replace(x=x, bias=bias, rating=rating)
