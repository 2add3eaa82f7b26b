from agnn_pyg.base.encoder import AttributeEncoder as AttributeEncoder
from agnn_pyg.base.encoder import TokenBags as TokenBags
from agnn_pyg.graph.build import attribute_graph as attribute_graph
from agnn_pyg.graph.build import rating_graph as rating_graph
from agnn_pyg.inference import predict as predict
from agnn_pyg.kernel.features import attribute_relations as attribute_relations
from agnn_pyg.kernel.regressor import RatingPropagation as RatingPropagation
from agnn_pyg.loss import agnn_loss as agnn_loss
from agnn_pyg.model import AGNN as AGNN
from agnn_pyg.nn import ExtendedVAE as ExtendedVAE
from agnn_pyg.nn import GatedConv as GatedConv
from agnn_pyg.recommender import AGNNRecommender as AGNNRecommender
from agnn_pyg.sampling.batch import NodeBatch as NodeBatch
from agnn_pyg.sampling.batch import RatingBatch as RatingBatch
from agnn_pyg.sampling.link_loader import LinkRatingLoader as LinkRatingLoader
from agnn_pyg.sampling.link_loader import rating_loader as rating_loader
from agnn_pyg.sampling.loader import RatingLoader as RatingLoader
from agnn_pyg.sampling.sampler import ProximitySampler as ProximitySampler

__version__: str
