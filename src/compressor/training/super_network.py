"""A super-network with the record of its training: saving its directory, loading it, and opening it with its rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch

from compressor.data.heads import form_of, form_of_config
from compressor.data.heads.pooling import MODULES_FILE
from compressor.data.loading import load_task_data, load_texts
from compressor.data.overlap import TrainingRows
from compressor.data.rows import TaskData, in_order_of
from compressor.data.sources import DataSource
from compressor.digests import digest_files, require_same_files
from compressor.errors import CompressorError, ModelError, TaskDataError
from compressor.evaluation.answers import answer_with, fit_to_config
from compressor.files import new_directory
from compressor.network.checkpoints import check_checkpoint, check_loaded, load_tokenizer
from compressor.network.dimensions import EncoderDimensions
from compressor.network.families import get_family
from compressor.network.loading import describe_loading_problem, require_head
from compressor.records import Count, read_record, require_keys, write_record
from compressor.training.settings import TrainingSettings
from compressor.training.state import EpochReport

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUPER_NETWORK_FILE = "super_network.json"


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """How a super-network was trained: the content of `super_network.json`."""

    run_id: str | None = None
    """MLflow's, of the training."""
    source: Annotated[DataSource, require_keys("task_name", "text_columns", "dataset_seed")]
    data_digest: str
    label_names: tuple[str, ...]
    training_rows: TrainingRows | None = None
    """None where version 0.1.0 wrote the record."""
    unlabeled_digest: str | None = None
    """Of the texts without labels beside the rows, if there were any."""
    model_name_or_path: str
    teacher_model: str | None = None
    """Another model whose answers were learnt too; None where there was none."""
    settings: Annotated[TrainingSettings, require_keys("search_space", "seed")]
    dimensions: EncoderDimensions | None = None
    attn_implementation: str
    params: Count | None = None
    epochs: tuple[EpochReport, ...]
    best_epoch: Count | None = None
    """Whose weights these are; None in a checkpoint of an epoch."""
    files: dict[str, str] | None = None
    """Digests of the files beside the record."""

    @property
    def error(self) -> float | None:
        """The validation error of these weights; None in a checkpoint of an epoch."""
        return next((epoch.error for epoch in self.epochs if epoch.epoch == self.best_epoch), None)

    @classmethod
    def load(cls, directory: Path) -> "TrainingRecord | None":
        """Load the record of a directory; None where there is none, as of a plain fine-tuned checkpoint.

        Raises:
            FileError: the file is broken.
        """
        file = directory / SUPER_NETWORK_FILE
        if not file.is_file():
            return None
        return read_record(file, cls, "Restore it, or train again with compressor train-supernet")


@dataclass(frozen=True, kw_only=True)
class SuperNetwork:
    """A fine-tuned encoder with its tokenizer and the record of its training."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    path: Path | None = None
    """Its directory; None where it was not saved."""
    record: TrainingRecord | None = None
    """None for a plain fine-tuned checkpoint."""

    @property
    def name(self) -> str:
        """What is called its base model: the name or path that was trained, or else its directory's name."""
        if self.record is not None:
            return self.record.model_name_or_path
        return "super-network" if self.path is None else self.path.name

    @property
    def search_space(self) -> str:
        """The space that its sub-networks were trained in."""
        return TrainingSettings.search_space if self.record is None else self.record.settings.search_space

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels in the order of the model's outputs: as training wrote them down, or as its configuration says."""
        config = self.model.config
        written = None if self.record is None else self.record.label_names
        return written or tuple(str(config.id2label[i]) for i in range(config.num_labels))

    def save(self, directory: str | Path) -> "SuperNetwork":
        """Save it as a Hugging Face directory plus `super_network.json`; whole or not there. Returns what was saved.

        The digests of its files are written into `super_network.json`.
        """
        directory, record = Path(directory), self.record
        with new_directory(directory) as temporary:
            self.model.save_pretrained(temporary)
            form_of(self.model).finish(temporary, self.model.config)
            self.tokenizer.save_pretrained(temporary)
            if record is not None:
                record = replace(record, files=digest_files(temporary))
                write_record(temporary / SUPER_NETWORK_FILE, record)
        return replace(self, path=directory.expanduser().resolve(), record=record)


def load_super_network(path: str | Path) -> SuperNetwork:
    """Load a super-network made by training, or any fine-tuned classifier directory, on the CPU, ready to evaluate.

    Raises:
        ModelError: the directory is missing, has no weights, is half-written or is of an unsupported family, or its
            files were changed since it was trained.
    """
    from transformers import AutoConfig

    path = Path(path).expanduser().resolve()
    if not path.is_dir():
        raise ModelError(
            f"--supernet must be a directory, but {path} is not there. Run compressor train-supernet first."
        )
    record = TrainingRecord.load(path)
    if check_checkpoint(path, whole=True).is_sliced:
        raise ModelError(
            f"a super-network must have equal layers, but {path} is a sliced model. Use the one it was cut out of."
        )
    next_step = "train again with compressor train-supernet"
    require_same_files(path, None if record is None else record.files, SUPER_NETWORK_FILE, next_step)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        # As it was trained: implementations differ by rounding, and errors are compared exactly.
        attention = "sdpa" if record is None else record.attn_implementation
        form = form_of_config(config)
        form.prepare(config, str(path))
        model, loaded = form.auto_class.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            attn_implementation=get_family(config.model_type).attention(attention),
            trust_remote_code=False,
            output_loading_info=True,
        )
        tokenizer = load_tokenizer(str(path))
    except CompressorError:
        raise
    except Exception as error:  # transformers raises a dozen kinds for a directory that it cannot use
        raise ModelError(describe_loading_problem(str(path), str(path), error)) from error
    # Where tokens are pooled otherwise, nothing reads the pooler.
    missing = sorted(key for key in loaded["missing_keys"] if not (form.pools_tokens and "pooler" in key))
    if form.pools_tokens and record is None and not (path / MODULES_FILE).is_file():
        missing = ["a task head"]
    if missing:
        raise ModelError(
            f"a super-network must be fine-tuned, but {path} lacks {missing[0]}. "
            "Run compressor train-supernet on it first."
        )
    check_loaded(model, tokenizer, str(path))
    return SuperNetwork(model=model.eval(), tokenizer=tokenizer, path=path, record=record)


def require_fitting_head(net: SuperNetwork, data: TaskData) -> None:
    """Raise unless a super-network's head answers the task of some data.

    Raises:
        ModelError: it does not.
    """
    require_head(
        net.model,
        data.task,
        data.label_names,
        who="the super-network",
        name=net.path or net.name,
        remedy="Name the data it was trained on.",
    )


def open_super_network(
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    directory: Path | None = None,
    *,
    with_unlabeled: bool = False,
) -> tuple[SuperNetwork, TaskData]:
    """Load a super-network with the rows it was trained on; `overrides` are fields of `DataSource` to set anew.

    Other texts without labels are answered by the super-network itself; its answers are kept in `directory`. Those
    beside rows with labels are read `with_unlabeled` alone, to learn from.

    Raises:
        ModelError: there is no super-network, or it does not fit the data.
        TaskDataError: the data is not known, or its rows have changed since training.
    """
    net, overrides = load_super_network(path), overrides or {}
    trained_on = None if net.record is None else net.record.source
    if trained_on is None and not overrides:
        raise TaskDataError(
            f"{path} must say which data it was trained on, but holds no super_network.json. "
            "Name the data: --task-name, --train-file with --text-column and --label-column, or --unlabeled-file."
        )
    source = _replace_source(trained_on, overrides)
    if source.task.head.learns_reference and source.reference_model is None:
        source = replace(source, reference_model=str(path))
    # Texts that nobody has answered yet; answers in a file are loaded with the rows.
    if source.has_no_labels and source.answers_file is None:
        texts = load_texts(fit_to_config(source, net.model.config))
        data = answer_with(net.model, net.tokenizer, texts, name=str(net.path), directory=directory)
    else:
        data = load_task_data(source, with_unlabeled=with_unlabeled)
    # Where the user names other data, its digest is another one by right.
    if net.record is not None and data.source == trained_on:
        digests = [(net.record.data_digest, data.digest)]
        if net.record.unlabeled_digest is not None and data.unlabeled is not None:
            digests.append((net.record.unlabeled_digest, data.unlabeled.digest))
        for noted, found in digests:
            if found != noted:
                raise TaskDataError(
                    f"the rows must be those the super-network was trained on (digest {noted}), but the digest is "
                    f"{found}. Restore the files or train again."
                )
    require_fitting_head(net, data)
    return net, in_order_of(data, net.label_names)


def _replace_source(trained_on: DataSource | None, overrides: Mapping[str, Any]) -> DataSource:
    """Return the training's source with what the user overrides; other files leave the task as it was."""
    source = trained_on or DataSource()
    if overrides.get("task_name", source.task_name) != source.task_name:
        source = DataSource()
    elif _ROWS & overrides.keys():
        nothing: dict[str, Any] = dict.fromkeys((*_ROWS, *_WITH_ROWS))
        # Other rows: files that went with the old ones must not stay beside them. Columns and task do.
        source = replace(source, **nothing)
    return replace(source, **overrides)


_ROWS = {"train_file", "dataset_name", "unlabeled_file"}
"""Fields of a source that name its rows."""
_WITH_ROWS = ("validation_file", "test_file", "dataset_config_name", "answers_file")
"""Fields that mean nothing beside other rows."""
