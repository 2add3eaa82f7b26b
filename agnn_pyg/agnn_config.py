"""Settings of the graph network."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from agnn_pyg.base.config import (
    Config,
    DropoutRate,
    Fraction,
    LearningRate,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from agnn_pyg.base.recommender_config import TrainingConfig
from agnn_pyg.folds import ScenariosConfig
from agnn_pyg.graph.proximity import CandidateFraction
from agnn_pyg.nn.gated_conv import GatedConv

# Layers of PyG by the names of settings.
PYG_LAYERS = {'sage': 'SAGEConv', 'gat': 'GATv2Conv', 'res_gated': 'ResGatedGraphConv'}


class GraphConfig(Config):
    """Attribute graph."""

    num_neighbors: NonNegativeInt = 10
    """Number of neighbors drawn per node; 0 removes the attribute edges."""
    use_rating_proximity: bool = False
    """Also compare warm nodes by their training ratings."""
    candidate_fraction: CandidateFraction = 0.05
    """Size of a candidate set as a fraction of the other nodes."""
    max_candidates: PositiveInt = 10
    """Maximum size of a candidate set."""
    self_neighbor: bool = False
    """Replace the last neighbor of a node with the node itself."""


class NetworkConfig(Config):
    """Network."""

    channels: PositiveInt = 64
    """Size of embeddings."""
    rated_edges: bool = True
    """Pass messages along the rated edges between users and items."""
    spectral_channels: NonNegativeInt = 32
    """Number of singular vectors of the rated pairs that form a node's position."""
    slope_channels: NonNegativeInt = 16
    """Number of slopes per node, fitted by ridge regression of its ratings on features
    of neighbors."""
    messages: bool = True
    """Aggregate embeddings along rated edges, in addition to positions and slopes."""
    dropout: DropoutRate = 0.2
    """Dropout of embeddings."""
    attribute_dropout: DropoutRate = 0.3
    """Dropout of attribute values."""
    conv: Literal['gated', 'mean', 'sage', 'gat', 'res_gated'] = 'gated'
    """The convolution: 'gated' is that of the paper, 'mean' has no gates; the others
    are layers of PyG."""
    negative_slope: float = 1.0
    """Negative slope of the LeakyReLU of the gated convolution; 1 for none."""
    skip: bool = True
    """Add a linear map of the summed attribute embeddings."""
    generate: bool = True
    """Generate the preference of cold nodes from attributes; otherwise it is 0."""
    generate_bias: bool = True
    """Generate the bias of cold nodes from attributes; otherwise it is 0."""
    generate_neighbors: bool = True
    """Also generate preferences of cold neighbors instead of using their embedding."""
    separate_neighbors: bool = False
    """Encode neighbors with other weights than the node itself."""
    share_user_sum_layer: bool = False
    """Share the linear term of users with their neighbors; only with
    :obj:`separate_neighbors`."""
    start_at_mean: bool = True
    """Initialize the global bias with the mean rating; otherwise with 0."""
    embedding_std: NonNegativeFloat = 0.05
    """Standard deviation of the initial preferences."""

    def make_conv(self, channels: int) -> nn.Module:
        """The configured convolution with the given width."""
        from torch_geometric import nn as layers

        if self.conv in PYG_LAYERS:
            return getattr(layers, PYG_LAYERS[self.conv])(channels, channels)
        gated = self.conv == 'gated'
        return GatedConv(
            channels,
            negative_slope=self.negative_slope,
            aggregate_gate=gated,
            filter_gate=gated,
        )

    def model_options(self) -> dict[str, Any]:
        """Arguments of :class:`~agnn_pyg.AGNN`."""
        names = NetworkConfig.model_fields.keys() - {
            'conv',
            'negative_slope',
            'share_user_sum_layer',
            'rated_edges',
            'start_at_mean',
        }
        shared = ('user',) if self.share_user_sum_layer else ()
        options = {'conv': self.make_conv, 'share_sum_layer': shared}
        return options | {name: getattr(self, name) for name in names}


class NetworkTrainingConfig(TrainingConfig):
    """Training of the network."""

    epochs: PositiveInt = 15
    """Number of epochs. An epoch has :obj:`steps` steps, or, with :obj:`batch_size`, is
    a pass over the ratings."""
    steps: PositiveInt = 10
    """Number of steps per epoch, each on the whole graph."""
    target_fraction: Fraction = 0.2
    """Random fraction of the ratings that a step predicts from the others."""
    batch_size: PositiveInt | None = None
    """Number of ratings that a step predicts, instead of a fraction."""
    num_negatives: PositiveInt = 2000
    """Number of sampled items that a step compares positives with, without ratings."""
    cold_dropout: tuple[Fraction, Fraction] = (0.05, 0.05)
    """Fractions of users and of items that a step treats as cold."""
    id_dropout: Fraction = 0.8
    """Fraction of the nodes whose embedding is dropped in a step."""
    lr: LearningRate = 1e-2
    """Learning rate."""
    embedding_lr: LearningRate = 1e-2
    """Learning rate of the preferences and biases of nodes."""
    weight_decay: NonNegativeFloat = 1.0
    """Weight decay of matrices."""
    embedding_weight_decay: NonNegativeFloat = 4.0
    """Weight decay of the preferences and biases of nodes."""
    ema_decay: Fraction | None = 0.95
    """Decay of the moving average of weights that is validated and saved."""
    kl_weight: NonNegativeFloat = 0.01
    """Weight of the KL divergence of the extended VAE."""
    reconstruction_weight: NonNegativeFloat = 0.1
    """Weight of the squared distance of reconstructed preferences."""
    embedding_l2: NonNegativeFloat = 0.0
    """Weight of the squared norm of preferences."""
    hold_out: bool = True
    """Hold out ratings to select the epoch and the weights of a blend; otherwise the
    last epoch is used."""
    gradient_clip: PositiveFloat | None = 1.0
    """Maximum norm of the gradient."""
    published_loss: bool = False
    """Use the loss of the published code."""
    published_optimizer: bool = False
    """Use the optimizer of the published code."""


class AGNNConfig(GraphConfig, NetworkConfig, NetworkTrainingConfig, ScenariosConfig):
    """Settings of :class:`~agnn_pyg.AGNNScorer`."""


# Settings of the published code; see the table in the README.
PUBLISHED = {
    'use_rating_proximity': True,
    'max_candidates': 500,
    'self_neighbor': True,
    'rated_edges': False,
    'channels': 30,
    'dropout': 0.0,
    'attribute_dropout': 0.0,
    'negative_slope': 0.01,
    'skip': False,
    'generate_bias': False,
    'generate_neighbors': False,
    'separate_neighbors': True,
    'share_user_sum_layer': True,
    'start_at_mean': False,
    'embedding_std': 0.04,
    'epochs': 20,
    'batch_size': 128,
    'lr': 5e-4,
    'embedding_lr': 5e-4,
    'weight_decay': 1e-3,
    'kl_weight': 1.0,
    'reconstruction_weight': 1.0,
    'embedding_l2': 0.0,
    'cold_dropout': (0.0, 0.0),
    'id_dropout': 0.0,
    'gradient_clip': None,
    'hold_out': False,
    'ema_decay': None,
    'published_loss': True,
    'published_optimizer': True,
}
