"""What a stage is given that the library does not find alone: the rows of a training, the super-network of a search."""

from pathlib import Path

from compressor.data.loading import load_task_data
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from compressor.evaluation.answers import answer_source
from compressor.search.record import SearchResult
from compressor.training.settings import ModelOptions
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


def find_super_network(result: SearchResult) -> Path:
    """Return where the super-network of a search is: on this machine, or else in MLflow."""
    there, run_id = result.super_network, result.made_of.supernet_run_id
    return there if there.is_dir() or not run_id else locate(f"runs:/{run_id}", *SUPER_NETWORK)
