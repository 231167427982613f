"""A chosen sub-network as a model of its own: cut out, verified, repaired without training, distilled, judged.

Repair and distillation are each kept only where they lower the validation error. The test rows are looked at once, at
the end.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.batches import EncodedRows, encode, join_rows, with_reference
from compressor.data.metrics import label_agreement
from compressor.data.metrics.ratios import find_outside
from compressor.data.rows import TaskData, in_order_of
from compressor.data.sources import SOURCE_FILES, DataSource
from compressor.device import pick_device
from compressor.digests import digest_files
from compressor.evaluation.answers import label_answered
from compressor.evaluation.comparison import Comparison, compare_predictions
from compressor.extraction.candidates import TRIED_EPOCHS, Started, rank
from compressor.extraction.card import write_model_card
from compressor.extraction.options import ExtractionOptions
from compressor.extraction.origins import Cut, Judge, SharedWeights, TrainedAlone
from compressor.extraction.record import (
    Candidate,
    ChosenMember,
    ExtractionReport,
    Finetuning,
    KeptCounts,
    Parity,
    Repair,
    SlicedModelRecord,
    Variant,
    Vocabulary,
)
from compressor.extraction.repair import Moments, measure_moments, repair
from compressor.extraction.vocabulary import align_words, count_tokens, encode_lines, split_tokens, trim_vocabulary
from compressor.files import new_directory, seen_from, without_home
from compressor.network.costs import CostModel, create_cost_model
from compressor.network.dimensions import EncoderDimensions
from compressor.network.saving import (
    SavedSubNetwork,
    file_size_mb,
    find_earlier_files,
    load_sliced_model,
    read_sub_network,
    require_error,
    require_parity,
    save_sliced_model,
)
from compressor.network.sub_network import SubNetwork
from compressor.search.choosing import Chosen
from compressor.search.objectives import Measurable, measure_costs
from compressor.search.record import EvaluatedSubNetwork
from compressor.training.loop import Distillation, distill
from compressor.training.precision import decide_precision, has_bf16
from compressor.training.super_network import SuperNetwork, require_fitting_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class _Logits:
    """A model's logits [rows, classes]."""

    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """A model as it will be saved: what its tokenizer, logits and size are then."""

    tokenizer: "PreTrainedTokenizerBase"
    logits: _Logits
    model_mb: float
    params_gone: int = 0
    """Parameters that went with tokens."""
    vocabulary: Vocabulary | None = None
    """What came of trimming; None where nothing was."""


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """An extracted model and what came of its extraction."""

    model: "PreTrainedModel"
    """On the CPU, ready to evaluate."""
    tokenizer: "PreTrainedTokenizerBase"
    sub_network: SubNetwork
    dimensions: EncoderDimensions
    """The sizes of the super-network."""
    report: ExtractionReport
    data: TaskData
    """Its labels are in the order of the model's outputs."""
    base_model: str
    """The pre-trained encoder that the super-network was made of."""
    super_network: Path | None = None
    """The directory of the super-network that it was cut out of; None where it was not saved, or there is none."""
    super_network_files: dict[str, str] | None = None
    """Digests of the files in it."""

    @property
    def error(self) -> float:
        """1 − metric on the validation rows."""
        return self.report.error

    def save(self, directory: str | Path, *, search: Path | None = None, command: Sequence[str] = ()) -> Path:
        """Save it as a Hugging Face directory with `sub_network.json`, `extraction.json`, `parity.json` and a card.

        The directory is whole or not there. `search` is where its search was saved, `command` the words of the command
        line that made it, for the card; both if there are any.
        """
        directory, report = Path(directory), self.report
        # Of a model that was saved there before: its code, say, would count as this one's.
        with new_directory(directory, gone=find_earlier_files(directory)) as temporary:
            # The model first: the record takes what its `sub_network.json` says, and adds to it.
            save_sliced_model(temporary, self.model, self.tokenizer, self.sub_network, self.dimensions, {})
            record = SlicedModelRecord(
                **vars(read_sub_network(temporary, SavedSubNetwork)),
                source=_without_home(self.data.source),
                data_digest=self.data.digest,
                label_names=self.data.label_names,
                chosen=report.chosen,
                error=report.error,
                search=None if search is None else seen_from(directory, search),
                supernet=None if self.super_network is None else seen_from(directory, self.super_network),
                supernet_files=self.super_network_files,
                repair=report.repair,
                finetuning=report.finetuning,
            )
            record.save(temporary)
            report.parity.save(temporary)
            report.save(temporary)
            # Last, since the card looks at which files lie there.
            write_model_card(temporary, report, self.base_model, self.data, self.dimensions, command)
        return directory


_PATHS = (*SOURCE_FILES, "reference_model")


def _without_home(source: DataSource) -> DataSource:
    """Return the source of the rows as a model names it that others may get."""
    named: dict[str, Any] = {n: without_home(v) for n, v in source.to_json().items() if n in _PATHS and v}
    return replace(source, **named)


def extract_sub_network(
    net: SuperNetwork,
    member: Chosen | EvaluatedSubNetwork | SubNetwork,
    data: TaskData,
    options: ExtractionOptions | None = None,
    **fields: Any,
) -> Extraction:
    """Cut a sub-network out of a super-network; verify, repair, distill and judge it.

    `member` is what `SearchResult.choose` gives, one of the search's evaluations, or any sub-network. `fields` are
    those of `ExtractionOptions`, such as `finetune_epochs=0`, in place of `options`. Nothing is written: see
    `Extraction.save`. To extract several members of a front use one `Extractor`, which does what they share once.

    Raises:
        ModelError: the super-network's head does not fit the data.
        OptionError: an option is out of its range.
        ParityError: one form of the sub-network computes something else than another, or has another error than the
            search has measured.
        SubNetworkError: the sub-network is none of this super-network.
        TrainingError: the loss of the distillation is no longer a number.
    """
    require_fitting_head(net, data)
    options = replace(options or ExtractionOptions(), **fields)
    return Extractor(SharedWeights(net), data, options).extract(member)


class Extractor:
    """Extracts sub-networks that are of one origin; what they have in common is computed once, when first needed."""

    def __init__(
        self, origin: SharedWeights | TrainedAlone, data: TaskData, options: ExtractionOptions | None = None
    ) -> None:
        self._origin, self._options = origin, options or ExtractionOptions()
        self._data = in_order_of(data, origin.label_names)
        batch_size = self._options.per_device_eval_batch_size
        self._judge = Judge(self._data, origin.tokenizer, origin.positions, batch_size)
        self._shared = origin.teacher_settings is not None

    @property
    def data(self) -> TaskData:
        """The rows, labels numbered as the models' outputs are."""
        return self._data

    @property
    def directory(self) -> Path | None:
        """Where the super-network is; None where it was not saved, or there is none."""
        return self._origin.directory

    @property
    def will_distill(self) -> bool:
        """Whether models are distilled: there is a super-network to learn from, and epochs are allowed."""
        return self._shared and self._options.finetune_epochs > 0

    def extract(self, member: Chosen | EvaluatedSubNetwork | SubNetwork) -> Extraction:
        """Extract a sub-network; see `extract_sub_network`.

        Raises:
            SearchError: standard NAS has not kept its weights.
            ParityError: one form of it computes something else than another.
        """
        origin = self._origin
        # The order matters: each step is judged by the validation error that the one before left, and tokens are
        # trimmed last, since the teacher and the moments belong to the whole vocabulary.
        started, candidates = self._compete(self._start(to_chosen(member)))
        # A candidate that has waited on the CPU comes back to the device.
        chosen, model = started.chosen, started.model.to(pick_device())
        finetuning = self._distill(started)
        sub_network = chosen.sub_network
        if self._options.trim_vocabulary:
            finished = self._trim(model, sub_network)
        else:
            # Neither repair nor distillation changes how many weights there are: the size that was measured at the
            # start holds.
            finished = _Finished(tokenizer=origin.tokenizer, logits=self._evaluate(model), model_mb=started.model_mb)
        logits = finished.logits
        report = ExtractionReport(
            name=chosen.name,
            chosen=_to_record(chosen),
            error=self._judge.error(logits.validation, self._judge.rows.validation),
            repair=started.repaired,
            finetuning=finetuning,
            candidates=candidates,
            vocabulary=finished.vocabulary,
            parity=started.parity,
            kept=KeptCounts(heads=tuple(map(len, sub_network.heads)), units=tuple(map(len, sub_network.units))),
            extracted=self._judge_variant(
                logits, sub_network, finished.model_mb, chosen.evaluation, params_gone=finished.params_gone
            ),
            super_network=self._full,
            trivial=self._data.task.head.find_trivial(
                with_reference(self._data, self._judge.rows.validation, self._judge.rows.test)
            ),
            test=self._compare(logits.test),
            against_full_model=self._data.source.has_no_labels,
        )
        return Extraction(
            model=model.cpu(),
            tokenizer=finished.tokenizer,
            sub_network=sub_network,
            dimensions=origin.dimensions,
            report=report,
            data=self._data,
            base_model=origin.base_model,
            super_network=origin.directory if self._shared else None,
            super_network_files=self._files,
        )

    def _start(self, chosen: Chosen) -> Started:
        """Cut a sub-network out, verify and repair it."""
        cut = self._origin.cut(chosen, self._judge)
        model, parity, model_mb = self._verify(cut, chosen)
        repaired = self._repair(model, chosen.sub_network, parity.error_loaded)
        return Started(chosen=chosen, model=model, parity=parity, model_mb=model_mb, repaired=repaired)

    def _compete(self, first: Started) -> tuple[Started, tuple[Candidate, ...]]:
        """Distill a member and its rivals for an epoch each; return the one that is taken, and what came of all."""
        # No rivals, no competition: also where nothing is distilled, as ranks are those of the search then.
        rivals, most = first.chosen.rivals, self._options.num_candidates
        others = () if rivals is None or not self.will_distill else rivals.spread(most)
        if rivals is None or not others or self._dense_logits is None:
            return first, ()
        tried, predictions, judge = [], [], self._judge
        # The search's own choice is the first, and competes on the same terms.
        for one in chain((first,), (self._start(to_chosen(other)) for other in others)):
            one.distilled = self._distill_for(one, TRIED_EPOCHS)
            predictions.append(judge.predict(judge.evaluate(one.model, judge.rows.validation), judge.rows.validation))
            one.model.cpu()  # one at a time is on the device
            tried.append(one)
        # As the search did it: against the super-network on the same rows.
        base = judge.predict(self._dense_logits.validation, judge.rows.validation)
        return rank(tried, rivals, base, predictions, self._data.task.metric, judge.rows.validation)

    def _evaluate(self, model: "PreTrainedModel", judge: Judge | None = None) -> _Logits:
        judge = judge or self._judge
        return _Logits(
            validation=judge.evaluate(model, judge.rows.validation), test=judge.evaluate(model, judge.rows.test)
        )

    @cached_property
    def _dense_logits(self) -> _Logits | None:
        """The super-network's logits; None where there is none."""
        return None if self._origin.dense is None else self._evaluate(self._origin.dense)

    @cached_property
    def _all_rows(self) -> EncodedRows:
        """The training rows, those without labels behind the others."""
        rows, more = self._judge.rows.train, self._data.unlabeled
        if more is None:
            return rows
        return join_rows(rows, encode(more, self._data.task, self._origin.tokenizer, self._origin.positions))

    @cached_property
    def _lesson(self) -> tuple[EncodedRows, np.ndarray]:
        """What a distillation learns: all of these, and the super-network's logits of them [units, outputs]."""
        assert self._origin.dense is not None
        rows, outputs = self._all_rows, self._judge.evaluate(self._origin.dense, self._all_rows)
        return label_answered(rows, len(self._judge.rows.train), outputs, self._data.task.head), outputs

    @cached_property
    def _bf16(self) -> bool:
        """Whether distillation computes in bfloat16: as the super-network was trained, where this processor can.

        Of one whose training nobody wrote down a few steps of the whole decide, for all that are cut out of it.
        """
        dense, settings = self._origin.dense, self._origin.teacher_settings
        assert dense is not None and settings is not None
        if settings.bf16 is not None:
            return settings.bf16 and has_bf16(dense.device)
        settings = replace(settings, num_train_epochs=self._options.finetune_epochs)
        return decide_precision(dense, self._data.task, self._judge.rows.train, settings).bf16

    @cached_property
    def _moments(self) -> Moments:
        assert self._origin.dense is not None
        return measure_moments(self._origin.dense, self._judge.rows.train)

    @cached_property
    def _cost_model(self) -> CostModel | None:
        return None if self._origin.dense is None else create_cost_model(self._origin.dense)

    @cached_property
    def _files(self) -> dict[str, str] | None:
        """Digests of the files of the super-network that sub-networks are cut out of."""
        directory = self._origin.directory
        return digest_files(directory) if self._shared and directory is not None else None

    @cached_property
    def _full(self) -> Variant | None:
        """The super-network, judged; None where its trial of standard NAS did not end."""
        if self._cost_model is None or self._dense_logits is None:
            return None
        directory = self._origin.directory
        files = [] if directory is None else list(directory.glob("*.safetensors"))
        return self._judge_variant(self._dense_logits, self._cost_model.full, sum(map(file_size_mb, files)) or None)

    def _verify(self, cut: Cut, chosen: Chosen) -> "tuple[PreTrainedModel, Parity, float]":
        """Return the model saved and loaded again, how equal it is to what was searched, and the MB of its weights.

        Raises:
            ParityError: it is another model, or its error is not the one that the search has measured.
        """
        judge = self._judge
        # What is judged from here on went through the disk, so that what is shipped is what was measured.
        model, model_mb = self._save_and_load(cut.model, self._origin.tokenizer, chosen.sub_network)
        validation, searched = judge.rows.validation, cut.searched
        logits, evaluation = judge.evaluate(model, validation), chosen.evaluation
        # A sub-network of a file may not have been searched: its error is that of the cut model then.
        error_searched = judge.error(searched, validation) if evaluation is None else evaluation.error
        parity = Parity(
            sliced=cut.difference,
            loaded=require_parity(searched, logits, "the loaded and the searched sub-network"),
            label_agreement=label_agreement(*(judge.predict(of, validation) for of in (searched, logits))),
            error_searched=error_searched,
            error_loaded=judge.error(logits, validation),
        )
        require_error(error_searched, parity.error_loaded, logits, self._data.task, judge.rows.validation)
        return model, parity, model_mb

    def _save_and_load(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", sub_network: SubNetwork
    ) -> "tuple[PreTrainedModel, float]":
        """Return the model as it comes back from disk, and the MB of its weights there."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            save_sliced_model(path, model, tokenizer, sub_network, self._origin.dimensions, {})
            return load_sliced_model(path).model.to(pick_device()), file_size_mb(path / "model.safetensors")

    def _repair(self, model: "PreTrainedModel", sub_network: SubNetwork, error: float) -> Repair | None:
        """Repair the model in place where that lowers its validation error; None where it was trained alone."""
        dense = self._origin.dense
        if not self._shared or dense is None:
            return None
        # A state dict holds the weights themselves, which repair is about to change.
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        repair(model, dense, sub_network, self._moments)
        validation = self._judge.rows.validation
        error_after = self._judge.error(self._judge.evaluate(model, validation), validation)
        # Not `<=`: what gains nothing is left as it was cut.
        kept = error_after < error
        if not kept:
            model.load_state_dict(before)
        return Repair(error_before=error, error_after=error_after, kept=kept)

    def _distill(self, started: Started) -> Finetuning | None:
        """Distill the super-network into a model, in place: for an epoch, and for the others where that has helped.

        None where that is not wanted or not possible.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        epochs = self._options.finetune_epochs
        if not self.will_distill:
            return None
        # A candidate has its first epoch behind it; others make it too, so that a member becomes the same either way.
        found = started.distilled or self._distill_for(started, TRIED_EPOCHS)
        started.distilled = found
        if epochs > TRIED_EPOCHS and found.kept_epoch:
            then = self._distill_for(started, epochs - TRIED_EPOCHS)
            kept_epoch = TRIED_EPOCHS + then.kept_epoch if then.kept_epoch else found.kept_epoch
            found = replace(found, errors=found.errors + then.errors, kept_epoch=kept_epoch)
        return Finetuning(**asdict(found), error_after=found.error, num_epochs=epochs, bf16=self._bf16)

    def _distill_for(self, started: Started, epochs: int) -> Distillation:
        settings = self._origin.teacher_settings
        assert settings is not None  # `will_distill`
        settings = replace(settings, num_train_epochs=epochs, bf16=self._bf16)
        (rows, teacher), validation = self._lesson, self._judge.rows.validation
        return distill(started.model, self._data.task, rows, validation, teacher, settings, started.error)

    def _trim(self, model: "PreTrainedModel", sub_network: SubNetwork) -> "_Finished":
        """Trim the model's vocabulary, in place, to what training and validation rows need.

        Raises:
            FileError: the file of more texts cannot be read.
            ModelError: the tokenizer is of a kind that cannot be trimmed.
            ParityError: the rows give other tokens or logits than before.
        """
        origin, rows, options = self._origin, self._judge.rows, self._options
        # Before the weights are cut, in place: the outputs to compare with, and the table of embeddings, [tokens,
        # hidden].
        before, whole = self._evaluate(model), model.get_input_embeddings().weight
        # Test rows do not count: they stand for texts that nobody has seen yet.
        ids = [self._all_rows.columns["input_ids"], rows.validation.columns["input_ids"]]
        if options.vocabulary_file is not None:
            ids += encode_lines(origin.tokenizer, options.vocabulary_file)
        trimmed = trim_vocabulary(
            model,
            origin.tokenizer,
            count_tokens(ids, whole.shape[0]),
            min_count=options.vocabulary_min_count,
            num_more=options.vocabulary_extra,
        )
        # A frozen model that is learnt knows the old tokens, and has answered the rows as they were.
        data = replace(self._data, task=replace(self._data.task, reference=None))
        judge = Judge(data, trimmed.tokenizer, origin.positions, options.per_device_eval_batch_size)
        # About the words that the trimmed tokenizer still reads; below they are put back to those that are judged.
        raw = self._evaluate(model, judge)
        unread = find_outside(data.label_names)
        logits = _Logits(
            validation=align_words(raw.validation, judge.rows.validation, rows.validation, unread),
            test=align_words(raw.test, judge.rows.test, rows.test, unread),
        )
        # Only then has no token of these rows gone, so that equality can be asked for.
        if options.vocabulary_min_count == 1:
            for part in ("train", "validation"):
                old, new = (split_tokens(getattr(each, part)) for each in (rows, judge.rows))
                trimmed.require_same_tokens(old, new, f"{part} rows")
            require_parity(
                before.validation, logits.validation, "the model with the trimmed and the whole vocabulary", 0
            )
        # Once more through the disk, as the files of before have all tokens.
        loaded, model_mb = self._save_and_load(model, trimmed.tokenizer, sub_network)
        again = judge.evaluate(loaded, judge.rows.test)
        require_parity(raw.test, again, "the trimmed model and the one that was saved")
        return _Finished(
            tokenizer=trimmed.tokenizer,
            logits=logits,
            model_mb=model_mb,
            # Each token that went had one row of the table.
            params_gone=(whole.shape[0] - len(trimmed.kept)) * whole.shape[1],
            vocabulary=Vocabulary(
                tokens_before=whole.shape[0],
                tokens_after=len(trimmed.kept),
                changed_texts=trimmed.share_changed(split_tokens(rows.test), split_tokens(judge.rows.test)),
                test_error_before=self._judge.error(before.test, rows.test),
                test_error_after=self._judge.error(logits.test, rows.test),
                min_count=options.vocabulary_min_count,
                extra=options.vocabulary_extra,
                file=options.vocabulary_file,
            ),
        )

    def _judge_variant(
        self,
        logits: _Logits,
        sub_network: SubNetwork,
        model_mb: float | None,
        evaluation: EvaluatedSubNetwork | None = None,
        *,
        params_gone: int = 0,
    ) -> Variant:
        """Judge a model by its logits; costs are the search's `evaluation`'s where no super-network is at hand.

        `params_gone` are those that it has lost besides what a sub-network loses.
        """
        judge, cost_model = self._judge, self._cost_model
        costs: dict[str, Any]
        if cost_model is not None:
            of = Measurable(
                sub_network=sub_network,
                cost_model=replace(cost_model, params_outside=cost_model.params_outside - params_gone),
                dimensions=self._origin.dimensions,
                length=judge.median_length,
            )
            others = {name: value for name, value in measure_costs(of).items() if name != "params"}
            costs = asdict(cost_model.costs(sub_network)) | {"costs": others, "macs_length": judge.median_length}
        else:
            assert evaluation is not None  # without a super-network there is nothing that was not searched
            names = ("params", "relative_params", "encoder_params", "relative_encoder_params")
            costs = {name: getattr(evaluation, name) for name in names}
        # The share stays one of the whole super-network with its whole vocabulary.
        costs["relative_params"] *= (costs["params"] - params_gone) / costs["params"]
        costs["params"] -= params_gone
        validation = judge.score(logits.validation, judge.rows.validation)
        test = judge.score(logits.test, judge.rows.test)
        return Variant(
            reported=self._report(logits.test),
            error=validation.error,
            error_interval=validation.interval,
            test_error=test.error,
            test_error_interval=test.interval,
            model_mb=model_mb,
            **costs,
        )

    def _report(self, logits: np.ndarray) -> dict[str, float] | None:
        """Return what the head reports of test logits besides the error, beside those of the full network."""
        report, reference = self._data.task.head.report, self._judge.rows.test.reference
        base = reference if self._dense_logits is None or reference is not None else self._dense_logits.test
        return None if report is None or base is None else report(logits, base)

    def _compare(self, logits: np.ndarray) -> Comparison | None:
        """Return the super-network against the extracted model on the test rows."""
        if self._dense_logits is None:
            return None
        judge, task = self._judge, self._data.task
        rows = judge.rows.test
        base, other = (judge.predict(of, rows) for of in (self._dense_logits.test, logits))
        return compare_predictions(task.metric, base, other, rows.labels, rows.structure)


def to_chosen(member: Chosen | EvaluatedSubNetwork | SubNetwork) -> Chosen:
    """Return a member with its name, and what the search knows of it, if anything."""
    if isinstance(member, EvaluatedSubNetwork):
        return Chosen(name=member.name, sub_network=member.sub_network, evaluation=member)
    if isinstance(member, SubNetwork):
        return Chosen(name="sub-network", sub_network=member)
    return member


def _to_record(chosen: Chosen) -> ChosenMember:
    if chosen.evaluation is None:
        return ChosenMember(name=chosen.name, sub_network=chosen.sub_network.hash, reason=chosen.reason)
    sub_network = chosen.sub_network
    counts = {name: getattr(sub_network, name) for name in ("num_layers", "num_heads", "num_units")}
    return ChosenMember(reason=chosen.reason, **vars(chosen.evaluation) | counts | {"sub_network": sub_network.hash})
