"""What a stage is given: a super-network with its data, an extracted model, an exported file. Opened and checked."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data import DataSource, TaskData, load_task_data
from compressor.errors import ModelError, SearchError, TaskDataError
from compressor.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from compressor.models import SuperNetwork

RESULTS_FILE = "search_results.json"
ONNX_FILE = "model.onnx"


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """A sliced model or a super-network, ready to export."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    source: DataSource
    metadata: dict[str, Any]
    """What the exported file says of itself."""


def open_super_network(path: Path, source: DataSource | None) -> "tuple[SuperNetwork, DataSource, TaskData]":
    """A super-network with the data it was trained on, or the data the user names.

    Raises:
        ModelError: there is no super-network, or it does not fit the data.
        TaskDataError: the data cannot be told, or its rows have changed since training.
    """
    from compressor.models import load_super_network

    super_network = load_super_network(path)
    trained_on = super_network.info.get("source")
    if source is None:
        if trained_on is None:
            raise TaskDataError(
                f"{path} must say which data it was trained on, but holds no super_network.json. "
                "Name the data: --task-name, or --train-file with --text-column and --label-column."
            )
        source = DataSource.from_json(trained_on)
    data = load_task_data(source)
    same_source = trained_on is not None and source == DataSource.from_json(trained_on)
    if same_source and data.digest != super_network.info["data_digest"]:
        raise TaskDataError(
            f"the rows must be those the super-network was trained on (digest {super_network.info['data_digest']}), "
            f"but the digest is {data.digest}. Restore the files or train again."
        )
    if (
        data.label_names
        and not data.task.multiple_choice
        and super_network.model.config.num_labels != len(data.label_names)
    ):
        raise ModelError(
            f"the super-network must have one output per label, but {path} has {super_network.model.config.num_labels} "
            f"for the labels {', '.join(data.label_names[:8])}. Name the data it was trained on."
        )
    return super_network, source, data


def open_model(path: Path) -> OpenedModel:
    """A model directory made by `extract` or `train-supernet`.

    Raises:
        ModelError: the directory was made by neither.
    """
    from compressor.extraction import is_sliced, load_sliced_model
    from compressor.models import load_super_network

    path = path.expanduser().resolve()
    if not path.is_dir():
        raise ModelError(f"--model must be a directory, but {path} is not there. Run compressor extract first.")
    if (path / "config.json").is_file() and is_sliced(path):
        sliced = load_sliced_model(path)
        metadata = {"labels": sliced.info["label_names"], "sub_network": sliced.sub_network.hash}
        return OpenedModel(
            model=sliced.model,
            tokenizer=sliced.tokenizer,
            source=DataSource.from_json(sliced.info["source"]),
            metadata=metadata,
        )
    super_network = load_super_network(path)
    if not super_network.info:
        raise ModelError(
            f"--model must be made by compressor extract or train-supernet, but {path} holds no super_network.json."
        )
    metadata = {"labels": super_network.info["label_names"], "sub_network": "full"}
    return OpenedModel(
        model=super_network.model,
        tokenizer=super_network.tokenizer,
        source=DataSource.from_json(super_network.info["source"]),
        metadata=metadata,
    )


def require_same_weights(super_network: "SuperNetwork", results: Mapping[str, Any]) -> None:
    """Nothing, if the super-network still has the weights that were searched.

    Raises:
        ModelError: it has others.
    """
    digest = weights_digest(super_network.path)
    if digest != results["supernet_digest"]:
        raise ModelError(
            f"the super-network must be the one that was searched (digest {results['supernet_digest']}), but "
            f"{super_network.path} has digest {digest}. Restore it or search again."
        )


def weights_digest(path: Path) -> str:
    """A content hash of a model directory's safetensors files."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.safetensors")):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


def find_onnx(path: Path) -> Path:
    """The ONNX file of an export, given the file or its directory.

    Raises:
        ModelError: there is none.
    """
    path = path.expanduser().absolute()
    file = path / ONNX_FILE if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"--model must hold {ONNX_FILE}, but {path} does not. Run compressor export first.")
    return file


def read_search_results(path: Path) -> dict[str, Any]:
    """The content of a search's result file, given the file or its directory.

    Raises:
        OutputError: there is no such file.
        SearchError: the file holds something else.
    """
    results = read_json(path / RESULTS_FILE if path.is_dir() else path)
    if not isinstance(results, dict) or not {"evaluations", "front", "supernet"} <= results.keys():
        raise SearchError(
            f"--search must be made by compressor search, but {path} is not. Point to its output directory."
        )
    return results
