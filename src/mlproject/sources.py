"""What a stage is given: a super-network with its data, an extracted model, an exported file. Opened and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data.sources import DataSource, TaskData, in_order_of, load_task_data
from compressor.data.trivial import TrivialPredictor
from compressor.digests import digest_weights, require_same_files
from compressor.errors import ModelError, OutputError, TaskDataError
from compressor.search.record import RESULTS_FILE, SearchOrigin, SearchResult
from compressor.training.super_network import SuperNetwork, load_super_network, require_fitting_head
from mlproject.addresses import SUPER_NETWORK, locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """A sliced model or a super-network, ready to export."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    source: DataSource
    metadata: dict[str, Any]
    """What the exported file says of itself."""
    searched_error: float | None
    """The validation error that was measured last: by the search, or after fine-tuning. None for a super-network, and
    for a sub-network of which no error is known."""
    made_with: Mapping[str, Any]
    """What its maker left behind, with the digest of its rows."""


def open_super_network(path: Path, overrides: Mapping[str, Any]) -> "tuple[SuperNetwork, TaskData]":
    """Open a super-network with the data it was trained on; `overrides` are fields of `DataSource` the user set anew.

    Raises:
        ModelError: there is no super-network, or it does not fit the data.
        TaskDataError: the data cannot be told, or its rows have changed since training.
    """
    net = load_super_network(path)
    trained_on = None if net.record is None else net.record.source
    if trained_on is None and not overrides:
        raise TaskDataError(
            f"{path} must say which data it was trained on, but holds no super_network.json. "
            "Name the data: --task-name, or --train-file with --text-column and --label-column."
        )
    data = load_task_data(_replace_source(trained_on, overrides))
    if net.record is not None and data.source == trained_on and data.digest != net.record.data_digest:
        raise TaskDataError(
            f"the rows must be those the super-network was trained on (digest {net.record.data_digest}), "
            f"but the digest is {data.digest}. Restore the files or train again."
        )
    require_fitting_head(net, data)
    return net, in_order_of(data, net.label_names)


def _replace_source(trained_on: DataSource | None, overrides: Mapping[str, Any]) -> DataSource:
    """The source of the training with what the user set anew; other files of the same task leave the task as it was."""
    source = trained_on or DataSource()
    if overrides.get("task_name", source.task_name) != source.task_name:
        source = DataSource()
    elif "train_file" in overrides or "dataset_name" in overrides:
        source = replace(
            source, train_file=None, validation_file=None, test_file=None, dataset_name=None, dataset_config_name=None
        )
    return replace(source, **overrides)


def open_model(path: Path) -> OpenedModel:
    """A model directory made by `extract` or `train-supernet`.

    Raises:
        ModelError: the directory was made by neither.
    """
    from compressor.extraction.record import SlicedModelRecord
    from compressor.network.saving import is_sliced, load_sliced_model

    path = path.expanduser().resolve()
    if not path.is_dir():
        raise ModelError(f"--model must be a directory, but {path} is not there. Run compressor extract first.")
    if (path / "config.json").is_file() and is_sliced(path):
        sliced = load_sliced_model(path)
        record = SlicedModelRecord.load(path)
        if record.source is None or record.label_names is None:
            raise ModelError(
                f"--model must say which data it is for, but sub_network.json in {path} names none. "
                "Make the model with compressor extract."
            )
        _require_own_labels(sliced.model, record.label_names, path, "sub_network.json")
        metadata = {"labels": list(record.label_names), "sub_network": sliced.sub_network.hash}
        return OpenedModel(
            model=sliced.model,
            tokenizer=sliced.tokenizer,
            source=record.source,
            metadata=metadata,
            searched_error=record.known_error,
            made_with={} if record.data_digest is None else {"data_digest": record.data_digest},
        )
    net = load_super_network(path)
    if net.record is None:
        raise ModelError(
            f"--model must be made by compressor extract or train-supernet, but {path} holds no super_network.json. "
            "Run one of them first."
        )
    _require_own_labels(net.model, net.record.label_names, path, "super_network.json")
    return OpenedModel(
        model=net.model,
        tokenizer=net.tokenizer,
        source=net.record.source,
        metadata={"labels": list(net.record.label_names), "sub_network": "full"},
        searched_error=None,
        made_with={"data_digest": net.record.data_digest},
    )


def _require_own_labels(model: "PreTrainedModel", written: Sequence[str], path: Path, file: str) -> None:
    """Nothing, if the label names of a record are those of the model's configuration, in its order.

    Raises:
        ModelError: they are others, so that served answers would be named wrongly.
    """
    from compressor.network.families import picks_choices

    names = [str(name) for name in written]
    own = [str(name) for _, name in sorted(model.config.id2label.items())]
    if names and not picks_choices(model) and names != own and not all(name.startswith("LABEL_") for name in own):
        raise ModelError(
            f"the labels of a model must be the same in {file} and config.json, but in {path} they are "
            f"{', '.join(names[:10])} and {', '.join(own[:10])}. Restore the files, or make the model again."
        )


def require_other_directory(output_dir: Path, *inputs: Path | None) -> None:
    """Nothing, if a stage does not write into the very directory that it reads.

    Raises:
        OutputError: it would.
    """
    for path in inputs:
        if path is not None and path.expanduser().resolve() == output_dir.expanduser().resolve():
            raise OutputError(
                f"--output-dir must not be what is read, but {output_dir} is. Choose another --output-dir."
            )


def require_searched_files(net: "SuperNetwork", origin: SearchOrigin) -> None:
    """Raise unless a search's super-network still has the files that were searched.

    Raises:
        ModelError: some of them are others.
    """
    assert net.path is not None
    require_same_files(net.path, origin.supernet_files, RESULTS_FILE, "search again with compressor search")
    digest = digest_weights(net.path)
    if origin.supernet_files is None and digest != origin.supernet_digest:  # of version 0.1.0
        raise ModelError(
            f"the super-network must be the one that was searched (digest {origin.supernet_digest}), but "
            f"{net.path} has digest {digest}. Restore it or search again."
        )


def require_same_rows(data: TaskData, written: Mapping[str, Any], what: str, next_step: str) -> None:
    """Nothing, if the rows and their split are those of a record, which version 0.1.0 did not always tell.

    Raises:
        TaskDataError: the rows are others.
    """
    if data.digest != written.get("data_digest", data.digest):
        raise TaskDataError(
            f"the rows must be those that {what} (digest {written['data_digest']}), but the digest is "
            f"{data.digest}. Restore the files or {next_step}."
        )


def read_trivial(results: Mapping[str, Any]) -> TrivialPredictor | None:
    """The trivial predictor of a search result or an extraction report; None where an older version wrote it."""
    written = results.get("trivial")
    return None if written is None else TrivialPredictor(**written)


def find_super_network(result: SearchResult) -> Path:
    """Return where the super-network of a search is: where it was, as far from the search as before, or in MLflow."""
    origin = result.made_of
    there = Path(origin.supernet or "")
    moved = (result.folder or Path()) / (origin.supernet_from_here or ".")
    if not there.is_dir() and (moved / "config.json").is_file():
        return moved
    if there.is_dir() or not origin.supernet_run_id:
        return there
    found: Path = locate(f"runs:/{origin.supernet_run_id}", *SUPER_NETWORK)
    return found
