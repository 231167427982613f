"""Where extracted sub-networks come from: the shared weights of one super-network, or trials of standard NAS."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressor.data.batches import EncodedRows, encode_parts
from compressor.data.loading import load_task_data
from compressor.data.metrics import compute_error
from compressor.data.rows import TaskData, in_order_of, require_same_rows
from compressor.device import pick_device
from compressor.digests import digest_weights, require_same_files
from compressor.errors import ModelError, SearchError
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.score import Score, score
from compressor.extraction.record import SlicedModelRecord
from compressor.network.dimensions import EncoderDimensions
from compressor.network.families import get_dimensions, max_positions
from compressor.network.saving import SlicedModel, load_sliced_model, require_parity
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from compressor.search.choosing import Chosen
from compressor.search.record import RESULTS_FILE, FindSuperNetwork, SearchOrigin, SearchResult
from compressor.training.settings import TrainingSettings
from compressor.training.super_network import SuperNetwork, open_super_network

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Judge:
    """Judges models on the rows of a task, which are encoded once."""

    def __init__(
        self, data: TaskData, tokenizer: "PreTrainedTokenizerBase", positions: int, eval_batch_size: int
    ) -> None:
        self.data, self.task, self._batch_size = data, data.task, eval_batch_size
        self.rows = encode_parts(data, tokenizer, positions)

    @property
    def median_length(self) -> int:
        """Tokens of the median validation row."""
        return self.rows.validation.median_length

    def evaluate(
        self, model: "PreTrainedModel", rows: EncodedRows, sub_network: SubNetwork | None = None
    ) -> np.ndarray:
        """Compute the logits [units, outputs] of a model on a part of the rows."""
        return Evaluator(model, self.task, rows, self._batch_size).compute_logits(sub_network)

    def predict(self, logits: np.ndarray, rows: EncodedRows) -> np.ndarray:
        """Return the predictions [units] of logits [units, outputs] for a part of the rows."""
        return self.task.head.judge(logits, rows.reference)

    def error(self, logits: np.ndarray, rows: EncodedRows) -> float:
        """Return the task error of logits on a part of the rows."""
        return compute_error(self.task.metric, self.predict(logits, rows), rows.labels, rows.structure)

    def score(self, logits: np.ndarray, rows: EncodedRows) -> Score:
        """Return the same error with its interval."""
        return score(self.task, logits, rows)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A sub-network as a model of its own."""

    model: "PreTrainedModel"
    """On the CPU."""
    searched: np.ndarray
    """The validation logits [rows, classes] of the form that was searched."""
    difference: float | None
    """The difference of the model's logits from those; None where it is itself the form that was searched."""


class SharedWeights:
    """Sub-networks are cut out of a super-network."""

    def __init__(self, net: SuperNetwork) -> None:
        self._net = net
        self.dense: PreTrainedModel | None = net.model.to(pick_device())
        self.tokenizer, self.label_names, self.base_model = net.tokenizer, net.label_names, net.name
        self.directory: Path | None = net.path
        self.dimensions: EncoderDimensions = get_dimensions(net.model)
        self.positions = max_positions(net.model)

    @property
    def teacher_settings(self) -> TrainingSettings | None:
        """The settings of a distillation from the super-network: those that it was trained with."""
        return TrainingSettings() if self._net.record is None else self._net.record.settings

    def cut(self, member: Chosen, judge: Judge) -> Cut:
        """Slice a sub-network out.

        Raises:
            ParityError: the sliced model computes something else than the shared weights.
            SubNetworkError: the sub-network is none of this super-network.
        """
        model, sub_network = self._net.model, member.sub_network.check(self.dimensions)
        # Law 1 on the user's own rows: shared against sliced, before anything is written.
        shared = judge.evaluate(model, judge.rows.validation, sub_network)
        sliced = slice_model(model, sub_network)
        logits = judge.evaluate(sliced, judge.rows.validation)
        difference = require_parity(shared, logits, "the sliced and the shared sub-network")
        return Cut(model=sliced.cpu(), searched=shared, difference=difference)


class TrainedAlone:
    """Sub-networks of standard NAS, which have trained weights of their own."""

    teacher_settings: TrainingSettings | None = None
    """There is no super-network to distill from."""

    def __init__(self, result: SearchResult, member: Chosen) -> None:
        """Open the full super-network, or where its trial did not end `member`, one of those that are extracted.

        Raises:
            SearchError: standard NAS did not keep its weights.
        """
        self._folder = result.folder or Path()
        self.dimensions: EncoderDimensions = result.made_of.dimensions
        self.base_model = str(result.made_of.model_name_or_path)
        # The whole is a trial like the others; where it ended, its weights are what the members are compared with.
        full = result.full
        self.directory: Path | None = None if full is None or full.model is None else self._folder / full.model
        directory = self.directory or self._directory_of(member)
        opened = load_sliced_model(directory)
        self.dense: PreTrainedModel | None = None if self.directory is None else opened.model.to(pick_device())
        self.tokenizer, self.positions = opened.tokenizer, max_positions(opened.model)
        self.label_names = SlicedModelRecord.load(directory).label_names or ()

    def cut(self, member: Chosen, judge: Judge) -> Cut:
        """Load the trained weights of a sub-network.

        Raises:
            SearchError: standard NAS did not keep its weights, or they are of another sub-network.
        """
        directory = self._directory_of(member)
        trained: SlicedModel = load_sliced_model(directory)
        if trained.sub_network != member.sub_network:
            raise SearchError(
                f"the trained weights must be of sub-network {member.sub_network.hash}, but those in {directory} are "
                f"of {trained.sub_network.hash}. Restore them or search again."
            )
        return Cut(model=trained.model, searched=judge.evaluate(trained.model, judge.rows.validation), difference=None)

    def _directory_of(self, member: Chosen) -> Path:
        if member.evaluation is None or not member.evaluation.model:
            raise SearchError(
                f"a sub-network of standard NAS must have trained weights, but {member.name} has none: it is not on "
                "the front. Choose a member of the front."
            )
        return self._folder / member.evaluation.model


def open_origin(
    result: SearchResult, member: Chosen, find_super_network: FindSuperNetwork, *, with_unlabeled: bool = False
) -> tuple[SharedWeights | TrainedAlone, TaskData]:
    """Return where members of a saved search come from, with its rows; both are checked to be those it searched.

    Of standard NAS `member` is one that is extracted. Texts without labels beside rows with labels are read
    `with_unlabeled` alone, to learn from.

    Raises:
        SearchError: the super-network is gone, or standard NAS did not keep the member's weights.
        ModelError: the super-network is another one now.
        TaskDataError: the rows cannot be read, or are others now.
    """
    origin = result.made_of
    weights: SharedWeights | TrainedAlone
    if origin.is_shared:
        path = find_super_network(result)
        if not path.is_dir():
            raise SearchError(
                f"the super-network of the search must be where it was, but {path} is gone. Restore it or search again."
            )
        net, data = open_super_network(path, asdict(origin.source), with_unlabeled=with_unlabeled)
        _require_searched_files(net, origin)
        weights = SharedWeights(net)
    else:
        weights = TrainedAlone(result, member)
        data = in_order_of(load_task_data(origin.source), weights.label_names)
    require_same_rows(data, origin.data_digest, "were searched", "search again")
    return weights, data


def _require_searched_files(net: SuperNetwork, origin: SearchOrigin) -> None:
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
