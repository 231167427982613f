"""What a head is: how rows become labels and inputs, what is learnt, how answers are judged, saved and served.

A head is a frozen record of plain functions, one file each. Outputs, labels and predictions are flat: one entry per
*unit* that is judged, in the order of the rows. A unit is a row, or where a head labels words, a word.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.heads.pooling import note_pooling, pooling_of, write_pooling

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from compressor.data.batches import EncodedRows
    from compressor.data.metrics.trivial import TrivialPredictor
    from compressor.data.rows import Rows, TaskData
    from compressor.data.storage.texts import Texts
    from compressor.data.tasks import Task


@dataclass(frozen=True, kw_only=True)
class ModelForm:
    """What kind of model answers a head: its class in transformers, the shape of its inputs, what it reads."""

    suffix: str
    """The end of the model's class, behind the family's name: `ForSequenceClassification`."""
    auto_class_name: str
    """The loading class of transformers, which loads such models."""
    takes_choices: bool = False
    """Whether inputs have an axis of choices."""
    names_outputs: bool = True
    """Whether its configuration names its outputs."""
    reads_first_token: bool = True
    """Whether it reads the first token alone, so that the last layer need not compute the others."""
    answers_tokens: bool = False
    """Whether it gives outputs for each token."""
    pools_tokens: bool = False
    """Whether it is an encoder without task head, whose tokens are pooled as its configuration notes."""

    @property
    def auto_class(self) -> Any:
        """transformers' Auto class."""
        import transformers

        return getattr(transformers, self.auto_class_name)

    def shape(self, batch_size: int, length: int, num_choices: int = 2) -> tuple[int, ...]:
        """Return the shape of its inputs."""
        return (batch_size, num_choices, length) if self.takes_choices else (batch_size, length)

    @property
    def output_name(self) -> str:
        """What an exported graph calls its outputs."""
        return "sentence_embedding" if self.pools_tokens else "logits"

    def read(self, output: Any, mask: "Tensor", config: Any) -> "Tensor":
        """Return the outputs of a model for a batch with this attention mask."""
        tensor: Tensor = pooling_of(config).pool(output.last_hidden_state, mask) if self.pools_tokens else output.logits
        return tensor

    def prepare(self, config: Any, source: str, max_length: int | None = None) -> None:
        """Write into the configuration of a model what its directory (or name on the Hub) says besides."""
        if self.pools_tokens:
            note_pooling(config, source, max_length)

    def finish(self, directory: Path, config: Any) -> None:
        """Write what belongs to a saved model besides what `save_pretrained` writes."""
        if self.pools_tokens:
            write_pooling(directory, config)

    def reads_first(self, config: Any) -> bool:
        """Return whether a model with this configuration reads the first token alone."""
        return pooling_of(config).mode == "cls" if self.pools_tokens else self.reads_first_token

    def describe(self, config: Any) -> str:
        """Return what a model of this form has, for messages."""
        if self.pools_tokens:
            return "sentence embeddings"
        return f"{config.num_labels} outputs" if self.names_outputs else "multiple choice"


@dataclass(frozen=True, kw_only=True)
class Head:
    """One kind of answer, and all that depends on it."""

    name: str
    form: ModelForm
    metrics: tuple[str, ...]
    """Those of `METRIC_NAMES` that fit; the first is taken where none is named."""
    pipeline_tag: str | None
    """What the Hub calls such models, mostly the name of transformers' pipeline; None where it has no name."""
    labels_words: bool = False
    """Whether the texts of a row are its words, each with a label."""
    takes_label_columns: bool = False
    """Whether there may be a column for each label."""

    settle: "Callable[[pd.DataFrame, Task], Head] | None" = None
    """Which head it is that the training rows ask for, where a task's could be several; None where it is this one."""
    find_label_names: "Callable[[pd.DataFrame, Task], tuple[str, ...]]"
    """The names of the labels from the training rows; empty where labels are no classes."""
    read_labels: "Callable[[pd.DataFrame, Task, Sequence[str], str], np.ndarray]"
    """The labels of a part's rows (its name comes last): one entry per row, of any shape."""
    read_texts: "Callable[[pd.DataFrame, Task, str], Texts]"
    """The texts of a part's rows: of each the columns that the task reads, or its words."""
    check_labels: "Callable[[TaskData], list[str]]"
    """Raises where labels give nothing to learn; what else is odd about them, a line each."""
    renumber: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    """Labels with class indices i as order[i] of so many."""
    to_texts: "Callable[[Rows, Task], tuple[Sequence[str | list[str]], list[str] | None]]"
    """The texts to tokenise, one or several per row, and what is paired with each of them, if anything."""

    learns_reference: bool = False
    """Whether what is learnt are the outputs of a frozen model, `Task.reference`, so that texts need no labels."""

    configure: Callable[[Any, Sequence[str]], None]
    """Writes the outputs into the configuration of a model that gets this head."""
    fits: Callable[[Any, Sequence[str]], bool]
    """Whether a model of its form with this configuration answers data with these labels."""
    describe: Callable[[Sequence[str]], str]
    """What data with these labels need, for messages."""

    loss: "Callable[[Tensor, Tensor], Tensor]"
    """Mean loss of outputs [units, …] on labels [units, …]."""
    distillation_loss: "Callable[[Tensor, Tensor, Tensor, float], Tensor]"
    """The loss of a student's outputs, given a teacher's, the labels and the temperature."""
    best_shift: Callable[[np.ndarray, np.ndarray, str], float] | None = None
    """What to add to outputs so that the error of predictions on labels by a metric is smallest; None: nothing ever."""

    sample: "Callable[[np.ndarray, np.random.Generator], np.ndarray] | None" = None
    """Labels to score importance by, drawn around a reference's outputs; None where labels are the data's."""

    predict: Callable[[np.ndarray], np.ndarray]
    """Predictions [units, …] of outputs [units, …]: whole numbers for labels."""
    compare: "Callable[[np.ndarray, np.ndarray | None], np.ndarray] | None" = None
    """Predictions of outputs and of a reference's, if there are any; None where `predict` tells all."""
    report: "Callable[[np.ndarray, np.ndarray], dict[str, float]] | None" = None
    """What else is reported of outputs beside those of the full network, by name."""
    find_trivial: "Callable[[TaskData], TrivialPredictor]"
    """The best answer that does not look at the texts."""
    find_start: "Callable[[TaskData], np.ndarray] | None" = None
    """The outputs [outputs] with the smallest loss that do not look at the texts, which new biases are; None: 0."""
    rounding_slack: "Callable[[np.ndarray, str, EncodedRows], float]"
    """By how much the errors by a metric of two forms of a model may differ on rows, whose outputs [units, …] agree up
    to rounding."""

    keeps_length: bool = False
    """Whether the tokenizer is saved with the task's length, which is where sentence-transformers looks for it."""
    ask: "Callable[[Task], tuple[str, Any]]"
    """What a served model is asked: the kind of its rows, as `exporters/servable.py` calls it, and one of them."""

    def start(self, data: "TaskData") -> np.ndarray | None:
        """Return the biases of a new head's outputs [outputs]; None: 0."""
        return None if self.find_start is None else self.find_start(data)

    def judge(self, outputs: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
        """Return predictions [units, …] of outputs, beside a reference's where there are any."""
        return self.predict(outputs) if self.compare is None else self.compare(outputs, reference)
