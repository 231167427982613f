"""Super-networks of encoders: train one, search it, cut a sub-network out. Knows neither MLflow nor ONNX nor Click.

Public names are loaded when they are first used, so that importing the package costs nothing. `register()` makes
transformers' Auto classes know sliced models; whatever loads one here has called it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressor.cluster.options import TrialsOnCluster as TrialsOnCluster
    from compressor.data.loading import load_data as load_data
    from compressor.data.rows import TaskData as TaskData
    from compressor.data.sources import DataSource as DataSource
    from compressor.errors import CompressorError as CompressorError
    from compressor.evaluation.answers import answer_texts as answer_texts
    from compressor.extraction.extract import Extraction as Extraction
    from compressor.extraction.extract import Extractor as Extractor
    from compressor.extraction.extract import extract_sub_network as extract_sub_network
    from compressor.extraction.options import ExtractionOptions as ExtractionOptions
    from compressor.extraction.origins import SharedWeights as SharedWeights
    from compressor.extraction.origins import TrainedAlone as TrainedAlone
    from compressor.network.modeling_sliced import register as register
    from compressor.network.sub_network import SubNetwork as SubNetwork
    from compressor.search.choosing import Chosen as Chosen
    from compressor.search.options import Choice as Choice
    from compressor.search.options import NasOptions as NasOptions
    from compressor.search.options import SearchOnCluster as SearchOnCluster
    from compressor.search.options import SearchOptions as SearchOptions
    from compressor.search.record import EvaluatedSubNetwork as EvaluatedSubNetwork
    from compressor.search.record import SearchResult as SearchResult
    from compressor.search.shared import search_sub_networks as search_sub_networks
    from compressor.standard_nas.search import NasInputs as NasInputs
    from compressor.standard_nas.search import search_by_training as search_by_training
    from compressor.training.settings import ModelOptions as ModelOptions
    from compressor.training.settings import TrainingSettings as TrainingSettings
    from compressor.training.super_network import SuperNetwork as SuperNetwork
    from compressor.training.super_network import load_super_network as load_super_network
    from compressor.training.super_network import open_super_network as open_super_network
    from compressor.training.train import train_super_network as train_super_network

__version__ = "0.2.0"

_PUBLIC = {
    "load_data": "data.loading",
    "answer_texts": "evaluation.answers",
    "train_super_network": "training.train",
    "load_super_network": "training.super_network",
    "open_super_network": "training.super_network",
    "search_sub_networks": "search.shared",
    "search_by_training": "standard_nas.search",
    "extract_sub_network": "extraction.extract",
    "register": "network.modeling_sliced",
    "TaskData": "data.rows",
    "SuperNetwork": "training.super_network",
    "SearchResult": "search.record",
    "EvaluatedSubNetwork": "search.record",
    "Chosen": "search.choosing",
    "SubNetwork": "network.sub_network",
    "Extraction": "extraction.extract",
    "Extractor": "extraction.extract",
    "SharedWeights": "extraction.origins",
    "TrainedAlone": "extraction.origins",
    "DataSource": "data.sources",
    "ModelOptions": "training.settings",
    "TrainingSettings": "training.settings",
    "SearchOptions": "search.options",
    "SearchOnCluster": "search.options",
    "NasOptions": "search.options",
    "TrialsOnCluster": "cluster.options",
    "NasInputs": "standard_nas.search",
    "ExtractionOptions": "extraction.options",
    "Choice": "search.options",
    "CompressorError": "errors",
}
"""Of each public name: its module. In the order of docs/api.md."""
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'compressor' has no attribute {name!r}")
    return getattr(import_module(f"compressor.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
