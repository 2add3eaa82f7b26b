"""AGNN as a scorer: fitted on rating data, for nodes old and new."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.agnn_config import AGNNConfig, NetworkTrainingConfig
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.graph.cold_nodes import cold_candidates
from agnn_pyg.graph.transform import AddAttributeKNN
from agnn_pyg.model import AGNN
from agnn_pyg.rating_data import SIDES, NodeFeatures, RatingData
from agnn_pyg.sampling.loader import RatingLoader
from agnn_pyg.sampling.nodes import NodeSource, knn_edge_types
from agnn_pyg.scoring import embed_nodes, predict, score_all

RATES = ('user', 'rates', 'item')
# Far from every training seed, so that predictions never use the draws of a training.
EVALUATION_SEED = 1_000_003
EVALUATION_BATCH = 4096


class Neighbors(NamedTuple):
    """Neighbours of one node, the most important first.

    Attributes:
        node: Their rows, :obj:`[K]`.
        proximity: Their weights in the candidate set.
        drawn: The fraction of the draws with them.
        gate: The mean of their aggregate gate over channels and draws.
    """

    node: Tensor
    proximity: Tensor
    drawn: Tensor
    gate: Tensor


class NetworkExplanation(NamedTuple):
    """What the score of one pair is made of.

    Attributes:
        parts: The terms of the score by name; their sum is the score.
        neighbors: The neighbours of both nodes, by side.
    """

    parts: dict[str, float]
    neighbors: dict[str, Neighbors]


class AGNNScorer:
    r"""Scores pairs by :class:`~agnn_pyg.AGNN`.

    Nodes without ratings are cold. Scores are means over several draws of neighbours
    with a fixed seed; they do not depend on what else is scored.

    Args:
        config (AGNNConfig, optional): Its settings. (default: the defaults)

    Attributes:
        model_: The trained network, in evaluation mode.
        history_: Metrics of every epoch.
        best_epoch_: The epoch that was kept, from 0.
    """

    def __init__(self, config: AGNNConfig | None = None) -> None:
        self.config = config or AGNNConfig()

    # Random numbers drawn after a fit are those that would be drawn without it.
    @torch.random.fork_rng(devices=[])
    def fit(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None = None,
        *,
        refit: bool = False,
        stop_after: int | None = None,
        folder: str | os.PathLike | None = None,
        **run: Any,
    ) -> AGNNScorer:
        """Trains the network.

        Args:
            data (RatingData): Ratings and nodes.
            validation (tuple, optional): Pairs, :obj:`[2, V]`, and their ratings,
                :obj:`[V]`, to select the epoch on; without, the last one is kept.
            refit (bool, optional): Train once more, on both kinds of ratings, up to
                the epoch that was selected. (default: :obj:`False`)
            stop_after (int, optional): Epochs to train, if not all of the schedule.
            folder (path, optional): Where checkpoints and logs go.
            **run (optional): Arguments of :func:`~agnn_pyg.base.training.fit`, such as
                :obj:`resume`; :obj:`progress` and :obj:`accelerator` are by default
                those of the config.

        Raises:
            ValueError: If ratings are not of the nodes, or an argument is out of range.
        """
        self._train(data, validation, stop_after=stop_after, folder=folder, **run)
        if refit and validation is not None:
            history, best = self.history_, self.best_epoch_
            joined = RatingData(
                data.nodes,
                data.columns,
                torch.cat([data.edge_index, validation[0]], dim=1),
                torch.cat([data.rating, validation[1]]),
            )
            if folder is not None:
                folder = os.path.join(folder, 'refit')
            self._train(joined, None, stop_after=best + 1, folder=folder, **run)
            self.history_, self.best_epoch_ = history, best
        return self

    def _train(
        self, data: RatingData, validation: tuple[Tensor, Tensor] | None, **run: Any
    ) -> None:
        # Imported here: loading and serving need no training code.
        from agnn_pyg.base.training import fit
        from agnn_pyg.module import RatingModule

        config, rating = self.config, data.rating.float()
        plain = {
            'num_nodes': data.num_nodes,
            'in_channels': {s: data.nodes[s].embedded.num_tokens for s in SIDES},
            'mean': float(rating.mean()) if config.start_at_mean else 0.0,
        }
        graph = self._build_graph(data)
        nodes = {side: NodeSource.from_data(graph, side) for side in SIDES}
        train = RatingLoader(
            nodes,
            data.edge_index,
            rating,
            batch_size=config.training_batch(len(rating)),
            num_neighbors=config.num_neighbors,
            shuffle=True,
            cold_dropout=dict(zip(SIDES, config.cold_dropout, strict=True)),
            self_neighbor=config.self_neighbor,
            seed=config.seed,
        )
        held_out = None
        if validation is not None:
            index, label = validation
            held_out = RatingLoader(nodes, index, label.float(), **self._evaluation())
        names = NetworkTrainingConfig.model_fields
        torch.manual_seed(config.seed)
        module = RatingModule(
            self._model(plain),
            rating_range=(float(rating.min()), float(rating.max())),
            **{name: getattr(config, name) for name in names},
        )
        defaults = {'progress': config.progress, 'accelerator': config.accelerator}
        result = fit(
            module,
            train,
            held_out,
            epochs=config.epochs,
            patience=None if held_out is None else config.patience,
            ema_decay=config.ema_decay,
            ema_every=4,
            gradient_clip=config.gradient_clip,
            **defaults | run,
        )
        compared = {side: data.nodes[side].compared for side in SIDES}
        self._keep(plain, module.model, graph, compared, nodes)
        self.history_, self.best_epoch_ = result.history, result.best_epoch

    def score(self, user: Tensor, item: Tensor) -> Tensor:
        """Predicted ratings of pairs of user and item rows, each :obj:`[B]`.

        Returns:
            Of dtype ``float64``, not clamped to the range of ratings.
        """
        if not len(user):
            return torch.empty(0, dtype=torch.float64)
        pairs = torch.stack([user, item])
        loader = RatingLoader(self._nodes, pairs, **self._evaluation())
        return predict(self.model_, loader, self.config.num_neighbor_samples)

    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Predicted ratings of all pairs, in blocks of users :obj:`[<= 64, items]`."""
        if not len(users) or not len(items):
            parts = users.split(64)
            return (torch.empty(len(p), len(items), dtype=torch.float64) for p in parts)
        embedded = embed_nodes(
            self.model_,
            self._nodes,
            users,
            items,
            num_neighbor_samples=self.config.num_neighbor_samples,
            **self._evaluation(),
        )
        return (block.double() for block in score_all(self.model_, *embedded))

    def with_new_nodes(self, nodes: Mapping[str, NodeFeatures]) -> AGNNScorer:
        """A scorer with more nodes, all cold, after those that there are.

        It shares the model and the nodes of this one.

        Raises:
            ValueError: If nodes are their own neighbours by their learned embedding, as
                in the published code: new nodes have none.
        """
        config = self.config
        if config.self_neighbor and not config.generate_neighbors:
            raise ValueError(
                "'generate_neighbors' must be True where new nodes are their own "
                'neighbours (got False): they have no learned embedding'
            )
        made = AGNNScorer(config)
        vars(made).update(vars(self), _nodes=dict(self._nodes))
        for side, new in nodes.items():
            edges = cold_candidates(
                new.compared, self._compared[side], **self._candidates()
            )
            x = new.embedded.index, new.embedded.weight
            made._nodes[side] = self._nodes[side].add_cold_nodes(x, *edges)
        return made

    @torch.no_grad()
    def explain(self, user: int, item: int) -> NetworkExplanation:
        """The terms of the score of a pair, and the neighbours of both nodes."""
        model, draws = self.model_, self.config.num_neighbor_samples
        pair = torch.tensor([[user], [item]])
        loader = RatingLoader(self._nodes, pair, **self._evaluation())
        parts = {'mean rating': model.mean, 'global bias': -model.mean}
        drawn = {side: [] for side in SIDES}
        for draw in range(draws):
            loader.set_epoch(draw)
            (batch,) = loader
            x, edges, pairs, cold, n_id, num_targets, _ = batch
            states = model.encode(x, edges, cold, n_id, num_targets, return_gates=True)
            for name, value in model.terms(states, pairs).items():
                parts[name] = parts.get(name, 0.0) + float(value) / draws
            for kind, (source, _) in edges.items():
                gate = states[kind[0]].gates.get(kind)
                gate = torch.ones(len(source)) if gate is None else gate.mean(dim=1)
                drawn[kind[0]].append((n_id[kind[0]][source], gate))
        nodes = zip(SIDES, (user, item), strict=True)
        return NetworkExplanation(
            parts, {side: self._neighbors(side, n, drawn[side]) for side, n in nodes}
        )

    def _neighbors(
        self, side: str, node: int, drawn: list[tuple[Tensor, Tensor]]
    ) -> Neighbors:
        source, gate = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        distinct, position = source.unique(return_inverse=True)
        count = torch.bincount(position, minlength=len(distinct))
        gate = torch.zeros(len(distinct)).index_add(0, position, gate) / count
        fraction = count / self.config.num_neighbor_samples
        kind = next(iter(self._nodes[side].candidates))
        own, weight = self._nodes[side].candidates[kind].of(node)
        proximity = ((distinct[:, None] == own) * weight).sum(dim=1).float()
        order = (fraction * gate).argsort(descending=True, stable=True)
        return Neighbors(*(c[order] for c in (distinct, proximity, fraction, gate)))

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`state_dict` leaves out, as plain data ready for JSON."""
        return self._plain | {'history': self.history_, 'best_epoch': self.best_epoch_}

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of the fit by name."""
        state = {f'model.{k}': v for k, v in self.model_.state_dict().items()}
        for side in SIDES:
            stores = {f'{side}.': self._graph[side], f'{side}.compared.': {}}
            stores[f'{side}.compared.'] = vars(self._compared[side])
            for kind in knn_edge_types(self._graph, side):
                stores[f'{side}.{kind[1]}.'] = self._graph[kind]
            for prefix, store in stores.items():
                state |= {prefix + key: tensor for key, tensor in store.items()}
        return state

    @classmethod
    def from_state(
        cls,
        config: AGNNConfig,
        plain: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> AGNNScorer:
        """The inverse of :meth:`to_dict` and :meth:`state_dict`."""

        def under(prefix: str) -> dict[str, Tensor]:
            keys = (key for key in tensors if key.startswith(prefix))
            return {key[len(prefix) :]: tensors[key] for key in keys}

        made, graph, compared, plain = cls(config), HeteroData(), {}, dict(plain)
        for side in SIDES:
            compared[side] = TokenBags(**under(f'{side}.compared.'))
            for key in ('x', 'x_weight', 'cold'):
                graph[side][key] = tensors[f'{side}.{key}']
            for name in ('attribute_knn', 'rating_knn'):
                for key, tensor in under(f'{side}.{name}.').items():
                    graph[side, name, side][key] = tensor
        made.history_, made.best_epoch_ = plain.pop('history'), plain.pop('best_epoch')
        model = made._model(plain)
        model.load_state_dict(under('model.'))
        nodes = {side: NodeSource.from_data(graph, side) for side in SIDES}
        made._keep(plain, model, graph, compared, nodes)
        return made

    def _build_graph(self, data: RatingData) -> HeteroData:
        graph = HeteroData()
        for side in SIDES:
            embedded = data.nodes[side].embedded
            graph[side].x, graph[side].x_weight = embedded.index, embedded.weight
        graph[RATES].edge_index, graph[RATES].rating = data.edge_index, data.rating
        return AddAttributeKNN(
            RATES,
            rating_knn=self.config.use_rating_proximity,
            features={side: data.nodes[side].compared for side in SIDES},
            **self._candidates(),
        )(graph)

    def _model(self, plain: Mapping[str, Any]) -> AGNN:
        name = 'rating_knn' if self.config.use_rating_proximity else 'attribute_knn'
        kinds = [(side, name, side) for side in SIDES]
        return AGNN(edge_types=kinds, **plain, **self.config.model_options())

    def _keep(
        self,
        plain: dict[str, Any],
        model: AGNN,
        graph: HeteroData,
        compared: dict[str, TokenBags],
        nodes: dict[str, NodeSource],
    ) -> None:
        self._plain, self._graph, self._compared = plain, graph, compared
        self.model_, self._nodes = model.eval(), nodes

    def _candidates(self) -> dict[str, Any]:
        names = 'candidate_fraction', 'max_candidates', 'seed'
        return {name: getattr(self.config, name) for name in names}

    def _evaluation(self) -> dict[str, Any]:
        """Options of the loaders that predictions are made with."""
        return {
            'batch_size': max(self.config.batch_size or 0, EVALUATION_BATCH),
            'num_neighbors': self.config.num_neighbors,
            'self_neighbor': self.config.self_neighbor,
            'seed': EVALUATION_SEED,
        }
