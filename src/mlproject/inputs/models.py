"""What a stage is given: a super-network with its data, an extracted model, an exported file. Opened and checked."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from compressor.data.loading import load_task_data, load_texts
from compressor.data.rows import TaskData, in_order_of
from compressor.data.sources import DataSource
from compressor.digests import digest_weights, require_same_files
from compressor.errors import ModelError, TaskDataError
from compressor.evaluation.answers import answer_source, answer_with, fit_to_config
from compressor.search.record import RESULTS_FILE, SearchOrigin, SearchResult
from compressor.training.settings import ModelOptions
from compressor.training.super_network import SuperNetwork, load_super_network, require_fitting_head
from mlproject.inputs.addresses import SUPER_NETWORK, locate


def open_rows(source: DataSource, model: ModelOptions, output_dir: Path | None) -> TaskData:
    """Return the rows of a training; its model or teacher answers texts without labels; answers stay in `output_dir`.

    Without one they are not kept.

    Raises:
        ModelError: texts have no labels, and the model is not fine-tuned, or its head is for another task.
        TaskDataError: a file, a column or a row that cannot be used, or a Hub that cannot be reached.
    """
    if not source.has_no_labels:
        return load_task_data(source)
    return answer_source(
        source,
        model.full_model,
        directory=output_dir,
        attn_implementation=model.attn_implementation,
        trust_remote_code=model.trust_remote_code,
        option="--teacher-model" if model.teacher_model else "--model-name-or-path",
    )


def open_super_network(
    path: Path, overrides: Mapping[str, Any], output_dir: Path | None = None, *, with_unlabeled: bool = False
) -> tuple[SuperNetwork, TaskData]:
    """Open a super-network with the data it was trained on; `overrides` are fields of `DataSource` the user set anew.

    Other texts without labels are answered by the super-network itself; its answers are kept in `output_dir`. Those
    beside rows with labels are read `with_unlabeled` alone, to learn from.

    Raises:
        ModelError: there is no super-network, or it does not fit the data.
        TaskDataError: the data is not known, or its rows have changed since training.
    """
    net = load_super_network(path)
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
        data = answer_with(net.model, net.tokenizer, texts, name=str(net.path), directory=output_dir)
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


def require_searched_files(net: SuperNetwork, origin: SearchOrigin) -> None:
    """Raise unless a search's super-network still has the files that were searched.

    Raises:
        ModelError: some of them are others.
    """
    assert net.path is not None
    require_same_files(net.path, origin.supernet_files, RESULTS_FILE, "search again with compressor search")
    if origin.supernet_files is not None:
        return
    digest = digest_weights(net.path)  # which is all that version 0.1.0 noted
    if digest != origin.supernet_digest:
        raise ModelError(
            f"the super-network must be the one that was searched (digest {origin.supernet_digest}), but "
            f"{net.path} has digest {digest}. Restore it or search again."
        )


def find_super_network(result: SearchResult) -> Path:
    """Return where the super-network of a search is: where it was, as far from the search as before, or in MLflow."""
    origin = result.made_of
    there = Path(origin.supernet or "")
    moved = (result.folder or Path()) / (origin.supernet_from_here or ".")
    # The absolute path first: a search may have been copied away from its super-network, which is where it was.
    if not there.is_dir() and (moved / "config.json").is_file():
        return moved
    if there.is_dir() or not origin.supernet_run_id:
        return there
    found: Path = locate(f"runs:/{origin.supernet_run_id}", *SUPER_NETWORK)
    return found
