"""AGNN as a scorer: fitted on rating data, for nodes old and new."""

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
# The relation of given edges among users or among items.
LINKED = 'linked'
# Settings of candidate sets.
CANDIDATES = 'candidate_fraction', 'max_candidates', 'seed'
# Far from every training seed, so that predictions never use the draws of a training.
EVALUATION_SEED = 1_000_003
# Of an update. One and two gave the same errors.
UPDATE_EPOCHS = 1


class AGNNScorer:
    r"""Scores pairs by :class:`~agnn_pyg.AGNN`.

    Nodes without ratings are cold. Every node is embedded once, at the end of the fit;
    new nodes are embedded from their neighbours and change nothing else.

    Args:
        config (AGNNConfig, optional): Its settings. (default: the defaults)
        positives (bool, optional): The data are positives without ratings. Then scores
            rank items, and the last epoch is kept. (default: :obj:`False`)

    Attributes:
        model_: The trained network, in evaluation mode.
        history_: Metrics of every epoch.
        best_epoch_: The epoch that was kept, from 0.
        held_out_: By scenario the held-out ratings: their positions in the training
            ratings, predictions of a network that was trained without them, and labels.
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

        With :obj:`hold_out`, a part of the ratings is held out first, as cold as
        each scenario says. The epoch is selected on it, and the network is then trained
        on all ratings up to that epoch.

        Args:
            data (RatingData): Ratings and nodes.
            validation (tuple, optional): Ratings to select the epoch on instead.
            stop_after (int, optional): Epochs to train, selected before.
            hold_out (bool, optional): (default: whether the epoch is selected neither
                by :obj:`validation` nor by :obj:`stop_after`)
            folder (path, optional): Where checkpoints and logs go.
            fitted (AGNNScorer, optional): A scorer of the first of these nodes, whose
                network is trained on for an epoch. New nodes start with an untrained
                preference, and are in no singular vector.
            **run (optional): Arguments of :func:`~agnn_pyg.base.training.fit`, such as
                :obj:`resume`, of a fit on the same data with the same config;
                :obj:`progress` and :obj:`accelerator` are by default those of the
                config.

        Raises:
            ValueError: If ratings are not of the nodes, an argument is out of range, or
                a checkpoint is of another fit.
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
            hold_out = bool(kept.any() and pairs.any())  # too few ratings have none
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
        # Imported here: loading and serving need no training code.
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
            # Other targets than those of the first steps of the fit.
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
            cold_dropout=config.cold_rates,
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
        """A checksum of all that a training comes from, and not of how it is run."""
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
        """What a model is made of besides settings, see :meth:`_model`."""
        if fitted is not None:  # its mean, and no more singular vectors than it has
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
        """Predicted ratings of pairs, not clamped to the range of ratings."""
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
        """A scorer with more nodes, which shares the model and the nodes of this one.

        Raises:
            ValueError: If nodes are their own neighbours by their learned embedding, as
                in the published code: new nodes have none.
        """
        config = self.config
        if ratings is not None and self.model_.rated is None:
            raise ValueError(
                "Ratings of new users and items need 'rated_edges', along which they "
                'travel (got False); leave them out, or fit with it'
            )
        if config.self_neighbor and not config.generate_neighbors:
            raise ValueError(
                "'generate_neighbors' must be True where new nodes are their own "
                'neighbours (got False): they have no learned embedding'
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
        # New nodes come first, those of the fit after them.
        state = state._replace(source=torch.cat([state.source, old.source]))
        state = encoder.aggregate({side: state}, side, self._new_edges(side, new))
        if self.model_.rated is not None:
            state = self._rate_new(side, state, *ratings)
        self._embedded[side] = _join(old, state)

    def _new_edges(self, side: str, new: NodeFeatures) -> dict[EdgeType, Tensor]:
        """Edges to new nodes, from nodes of the fit, numbered after the new ones."""
        config = self.config
        index, weight = cold_candidates(
            new.compared.multi_hot(),
            self._hot[side],
            **self.config.subset(*CANDIDATES),
        )
        known = self._candidates[side]
        # Beyond the counters of the nodes of the fit, which are positions. So nodes
        # with equal candidates draw equal neighbours.
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
        """The state of new nodes after their ratings, of nodes of the fit alone."""
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
        """The terms of the score of a pair by name, and the neighbours of both nodes.

        By side rows of neighbours and their proximities, :obj:`[K]`, closest first.
        """
        pair = torch.tensor([[user], [item]])
        terms = self.model_.terms(self._embedded, pair)
        parts = {name: float(value) for name, value in terms.items()}
        # The bias starts at the mean rating.
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
        """What is fitted, as plain data and tensors."""
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
        return AGNN(edge_types=edge_types, rated=rated, **options)

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
        # Edges and weights of the nodes of the fit; those of new nodes follow.
        self._candidates = {}
        for side in SIDES:
            edges = graph[knn_edge_types(graph, side)[0]]
            self._candidates[side] = [(edges.edge_index, edges.edge_weight)]

    def _features(self, nodes: NodeFeatures) -> tuple[Tensor, Tensor]:
        """Tokens and their weights."""
        index, weight = nodes.tokens()
        if not self.config.rated_edges:
            return index, weight
        # Rows of length 1, however many values a node has.
        return index, weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _join(old: NodeState, new: NodeState) -> NodeState:
    """What predictions need of old nodes and of new ones after them.

    The sources of messages stay those of the nodes of the fit.
    """
    x, bias = torch.cat([old.x, new.x]), torch.cat([old.bias, new.bias])
    rating = old.rating
    if rating is not None:
        parts = zip(old.rating, new.rating, strict=True)
        rating = type(rating)(*map(torch.cat, parts))
    return old._replace(x=x, bias=bias, rating=rating)
