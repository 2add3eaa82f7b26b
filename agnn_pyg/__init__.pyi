from agnn_pyg.agnn_config import AGNNConfig as AGNNConfig
from agnn_pyg.agnn_scorer import AGNNScorer as AGNNScorer
from agnn_pyg.base.encoder import AttributeEncoder as AttributeEncoder
from agnn_pyg.base.encoder import TokenBags as TokenBags
from agnn_pyg.base.training import fit as fit
from agnn_pyg.graph.build import attribute_graph as attribute_graph
from agnn_pyg.graph.transform import AddAttributeKNN as AddAttributeKNN
from agnn_pyg.kernel.regressor import PairwiseKernelRegressor as PairwiseKernelRegressor
from agnn_pyg.kernel.scorer import KernelScorer as KernelScorer
from agnn_pyg.loss import agnn_loss as agnn_loss
from agnn_pyg.model import AGNN as AGNN
from agnn_pyg.module import RatingModule as RatingModule
from agnn_pyg.nn import ExtendedVAE as ExtendedVAE
from agnn_pyg.nn import GatedConv as GatedConv
from agnn_pyg.prediction import predict as predict
from agnn_pyg.recommender import AGNNRecommender as AGNNRecommender
from agnn_pyg.sampling.batch import RatingBatch as RatingBatch
from agnn_pyg.sampling.cold_dropout import ColdDropout as ColdDropout
from agnn_pyg.sampling.full_graph import FullGraphLoader as FullGraphLoader
from agnn_pyg.sampling.sampler import ProximitySampler as ProximitySampler

__version__: str
