"""A model ready to export: read from a directory that `extract` or `train-supernet` made, or held in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.data.heads import form_of
from compressor.data.loading import load_task_data
from compressor.data.rows import TaskData, in_order_of
from compressor.data.sources import DataSource
from compressor.errors import ModelError
from compressor.extraction.extract import Extraction
from compressor.extraction.record import SlicedModelRecord
from compressor.network.saving import is_sliced, load_sliced_model
from compressor.training.super_network import SuperNetwork, load_super_network

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """A sliced model or a super-network, ready to export."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    path: Path | None
    """Its directory; None where it is in memory alone."""
    source: DataSource | None
    """The source of the rows that it was made with; None for a super-network without a record of its training."""
    data_digest: str | None
    """Digest of these rows; None where version 0.1.0 wrote the record."""
    labels: tuple[str, ...]
    """In the order of the model's outputs; empty for values."""
    sub_network: str
    """The hash of its index sets, or `full`."""
    known_error: float | None = None
    """The validation error that was measured last: by the search, or after fine-tuning. None for a super-network, and
    for a sub-network of which no error is known."""
    data: TaskData | None = None
    """The rows that it was made with, where they are in memory too."""

    def load_data(self) -> TaskData:
        """Return the rows that it was made with, its labels numbered as its outputs are.

        Raises:
            ModelError: nothing says which rows they are.
            TaskDataError: they cannot be read.
        """
        if self.source is None:
            raise ModelError(
                f"--model must be made by compressor extract or train-supernet, but {self.path or 'this one'} holds no "
                "super_network.json. Run one of them first."
            )
        data = load_task_data(self.source, with_unlabeled=False) if self.data is None else self.data
        return in_order_of(data, self.labels)


def open_model(model: Path | str | SuperNetwork | Extraction) -> OpenedModel:
    """Open a model to export: a directory made by `extract` or `train-supernet`, or what they made, in memory.

    Raises:
        ModelError: the directory was made by neither, or its labels are not its configuration's.
    """
    if isinstance(model, SuperNetwork):
        return _open_super_network(model)
    if isinstance(model, Extraction):
        return _open_extraction(model)
    path = Path(model).expanduser().resolve()
    if not path.is_dir():
        raise ModelError(f"--model must be a directory, but {path} is not there. Run compressor extract first.")
    if (path / "config.json").is_file() and is_sliced(path):
        return _open_sliced(path)
    return _open_super_network(load_super_network(path))


def _open_super_network(net: SuperNetwork) -> OpenedModel:
    record, place = net.record, str(net.path or net.name)
    return OpenedModel(
        model=net.model.cpu(),  # a training or a search may have left it on a GPU; it is exported from here
        tokenizer=net.tokenizer,
        path=net.path,
        source=None if record is None else record.source,
        data_digest=None if record is None else record.data_digest,
        labels=_own_labels(net.model, net.label_names, place, "super_network.json"),
        sub_network="full",
    )


def _open_extraction(extraction: Extraction) -> OpenedModel:
    return OpenedModel(
        model=extraction.model,
        tokenizer=extraction.tokenizer,
        path=None,
        source=extraction.data.source,
        data_digest=extraction.data.digest,
        labels=extraction.data.label_names,
        sub_network=extraction.sub_network.hash,
        known_error=extraction.error,
        data=extraction.data,
    )


def _open_sliced(path: Path) -> OpenedModel:
    sliced, record = load_sliced_model(path), SlicedModelRecord.load(path)
    if record.source is None or record.label_names is None:
        raise ModelError(
            f"--model must say which data it is for, but sub_network.json in {path} names none. "
            "Make the model with compressor extract."
        )
    return OpenedModel(
        model=sliced.model,
        tokenizer=sliced.tokenizer,
        path=path,
        source=record.source,
        data_digest=record.data_digest,
        labels=_own_labels(sliced.model, record.label_names, str(path), "sub_network.json"),
        sub_network=sliced.sub_network.hash,
        known_error=record.known_error,
    )


def _own_labels(model: "PreTrainedModel", written: Sequence[str], place: str, file: str) -> tuple[str, ...]:
    """Return the labels of a record, which are those of the model's configuration, in its order.

    Raises:
        ModelError: they are others, so that served answers would be named wrongly.
    """
    names = tuple(map(str, written))
    own = tuple(str(name) for _, name in sorted(model.config.id2label.items()))
    # transformers calls outputs LABEL_0, LABEL_1, … where nobody has named them: such names contradict nothing.
    named = form_of(model).names_outputs and not all(name.startswith("LABEL_") for name in own)
    if names and named and names != own:
        raise ModelError(
            f"the labels of a model must be the same in {file} and config.json, but in {place} they are "
            f"{', '.join(names[:10])} and {', '.join(own[:10])}. Restore the files, or make the model again."
        )
    return names
