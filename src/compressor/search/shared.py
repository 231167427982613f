"""The search over shared weights: sub-networks of one trained super-network, none of them trained again."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.batches import EncodedRows, encode, with_reference
from compressor.data.metrics import error_interval
from compressor.data.rows import TaskData, in_order_of
from compressor.device import pick_device
from compressor.digests import Inputs, digest_files, digest_weights
from compressor.evaluation.blocks import propose_sub_networks
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.latency_table import PYTORCH, LatencyKind, LatencyTable, MeasureTable, open_latency_table
from compressor.evaluation.predictions import ValidationPredictions, pack, unpack
from compressor.network.costs import CostModel, create_cost_model
from compressor.network.families import get_dimensions, get_layer_order, max_positions
from compressor.network.sub_network import SubNetwork
from compressor.records import to_values
from compressor.search.journal import Recorded, add_to_journal, has_journal, open_journal
from compressor.search.loop import Beginning, OnEvaluation, run_search
from compressor.search.objectives import Measurable, measure_costs
from compressor.search.options import SearchOnCluster, SearchOptions
from compressor.search.record import EvaluatedSubNetwork, MeasuredAt, SearchOrigin, SearchResult, unsaved_super_network
from compressor.sharding.evaluator import ShardedEvaluator
from compressor.sharding.workers import Workers, start_workers
from compressor.spaces import create_search_space
from compressor.spaces.space import SearchSpace
from compressor.training.importance import order_layers
from compressor.training.super_network import SuperNetwork, require_fitting_head
from compressor.training.unseen_rows import require_unseen_rows


@dataclass(frozen=True, kw_only=True)
class SearchStart:
    """What is known before the first evaluation."""

    options: SearchOptions
    """The search space filled in."""
    num_recorded: int
    """Evaluations of the same search that are in the journal."""
    notes: list[str]
    """What is to be known of rows that are not those of the training, and of a latency table, a line each."""


OnStart = Callable[[SearchStart], None]
"""Called before the first evaluation."""


def search_sub_networks(
    net: SuperNetwork,
    data: TaskData,
    options: SearchOptions | None = None,
    *,
    directory: Path | None = None,
    measure_table: MeasureTable | None = None,
    on_start: OnStart | None = None,
    on_evaluation: OnEvaluation | None = None,
    cluster: SearchOnCluster | None = None,
    **fields: Any,
) -> SearchResult:
    """Search the sub-networks of a super-network for the best trade-offs between error and cost.

    `fields` are those of `SearchOptions`, such as `num_samples=60`, in place of `options`. Where a `directory` is
    given, each evaluation is in its journal before it is reported to the method; those that are there already, of
    the same search, are not made again. Errors are 1 − metric on the validation rows; those of the front on the test
    rows are looked at once, at the end. Where `latency_ms` of a served form is an objective, `measure_table` (that is
    `exporters.measure_latency_table`) times the parts of its graphs first; the table stays in the `directory`. Where a
    `cluster` is named, its machines evaluate; the result is the same.

    Raises:
        ModelError: the super-network's head does not fit the data.
        TaskDataError: rows that it was trained on are among the validation or test rows, or have other labels.
        SearchError: there is no such method, a directory is given for a super-network that was not saved, or a latency
            is an objective that nothing measures.
        OptionError: an option is out of its range.
        ClusterError: the cluster does not answer, or its workers do not work.
    """
    options = replace(options or SearchOptions(), **fields)
    # Filled in before anything is compared or written, so that the default and its name are the same search.
    options = replace(options, search_space=options.search_space or net.search_space)
    # Both before the rows are encoded and anything is measured, which takes long.
    require_fitting_head(net, data)
    notes = require_unseen_rows(net.record, data)
    search = _Search.open(net, in_order_of(data, net.label_names), options, directory, measure_table)
    if search.latency_table is not None:
        notes = [*notes, search.latency_table.describe()]

    def report(evaluation: EvaluatedSubNetwork, hypervolume: float) -> None:
        search.note(evaluation)
        if on_evaluation is not None:
            on_evaluation(evaluation, hypervolume)

    # Workers are there for the time of the search, and end with it, also by an error.
    with ExitStack() as stack:
        if cluster is not None and cluster.ray is not None:
            workers = stack.enter_context(start_workers(cluster.ray, net.model, cluster.num_workers))
            search, notes = replace(search, workers=workers), [*notes, workers.describe()]
        # After the workers are up, as the notes tell of them.
        if on_start is not None:
            on_start(SearchStart(options=options, num_recorded=len(search.recorded), notes=notes))
        started = time.perf_counter()
        result = run_search(
            search.space,
            search.cost_model,
            search.evaluate,
            options,
            measure=search.measure,
            announce=search.announce,
            on_evaluation=report,
            beginning=Beginning(recorded=search.recorded, proposed=search.propose()),
        )
        return search.finish(result, time.perf_counter() - started)


@dataclass(frozen=True, kw_only=True)
class _Search:
    """A super-network that is searched, with its rows."""

    net: SuperNetwork
    data: TaskData
    options: SearchOptions
    directory: Path | None
    space: SearchSpace
    cost_model: CostModel
    validation: EncodedRows
    length: int
    """Tokens of the median validation row."""
    latency_kind: LatencyKind | None
    latency_table: LatencyTable | None
    workers: Workers | None = None
    """Processes of a cluster, which evaluate; None where this process does."""
    recorded: dict[str, Recorded] = field(default_factory=dict)
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    """Predictions of the validation rows, by the sub-networks' hashes."""

    @classmethod
    def open(
        cls,
        net: SuperNetwork,
        data: TaskData,
        options: SearchOptions,
        directory: Path | None,
        measure_table: MeasureTable | None,
    ) -> "_Search":
        """Encode the rows, order the layers where training has not, and read what is recorded of the same search.

        What is timed of a served form is timed here, before the first evaluation.
        """
        # A journal notes by its files which super-network it is of.
        if directory is not None and net.path is None:
            raise unsaved_super_network()
        model = net.model.to(pick_device())
        assert options.search_space is not None
        space = create_search_space(options.search_space, get_dimensions(model), get_layer_order(model))
        # Measured on training rows, as the validation rows are to judge what comes of it.
        if space.orders_layers and not get_layer_order(model):
            print("Measuring which layers matter, since the super-network's training has not.")
            train = encode(data.train, data.task, net.tokenizer, max_positions(model))
            space = replace(space, layer_order=order_layers(model, data.task, train))
        longest = max_positions(model)
        validation = encode(data.validation, data.task, net.tokenizer, longest)
        kind, table = options.latency_kind(options.objectives, validation.median_length, longest), None
        if kind is not None and kind.latency_of != PYTORCH:
            # Without a journal a table that lies there is of another search, perhaps of another machine.
            begun = directory is not None and has_journal(directory)
            of = (kind, model, net.tokenizer, space.dimensions)
            table = open_latency_table(directory, *of, measure_table, resume=begun)
        search = cls(
            net=net,
            data=data,
            options=options,
            directory=directory,
            space=space,
            cost_model=create_cost_model(model),
            validation=validation,
            length=validation.median_length,
            latency_kind=kind,
            latency_table=table,
        )
        if directory is not None and net.path is not None:
            # Last: what the journal is compared with includes the latency table.
            search.recorded.update(open_journal(directory, search._inputs(net.path), options.objectives))
        # The front's intervals, and the choice later, need what each sub-network predicted, also of those not made
        # again.
        packed = {key: line.predictions for key, line in search.recorded.items()}
        search.predictions.update({key: unpack(text) for key, text in packed.items() if text is not None})
        return search

    def _inputs(self, path: Path) -> Inputs:
        """Return what the evaluations depend on; `path` is the super-network's."""
        table = self.latency_table
        values = {
            "latency_table": None if table is None else to_values(table),
            "supernet_files": digest_files(path),
            "source": self.data.source.to_json(),
            "data_digest": self.data.digest,
            "label_names": self.data.label_names,
        }
        # More samples resume a search, and the batch decides only how much is evaluated at once.
        return Inputs(values=values | asdict(self.options), budget=("num_samples", "batch_of_proposals"))

    def propose(self) -> list[SubNetwork]:
        """Return what to begin with where the space measures blocks: by the first of the objectives that is a cost.

        A latency that is timed for each sub-network is noisy, and takes long: parameters stand in for it. Random search
        is what others are held against, so it begins with nothing.
        """
        if not self.space.measures_blocks or self.options.search_strategy == "random_search":
            return []
        model, task, cost_model = self.net.model, self.data.task, self.cost_model
        train = encode(self.data.train, task, self.net.tokenizer, max_positions(model))
        name = next(name for name in self.options.objectives if name != "error")
        is_timed = self.latency_kind is not None and self.latency_table is None

        def cost_of(sub_network: SubNetwork) -> float:
            if name == "params" or is_timed:
                return float(cost_model.encoder_params(sub_network))
            return self.measure(sub_network)[name]

        return propose_sub_networks(model, task.head, train, cost_of)

    @cached_property
    def evaluator(self) -> Evaluator:
        """What evaluates on the validation rows."""
        return self._evaluator_of(self.validation, "validation")

    def _evaluator_of(self, rows: EncodedRows, name: str) -> Evaluator:
        task, batch_size = self.data.task, self.options.per_device_eval_batch_size
        if self.workers is None:
            return Evaluator(self.net.model, task, rows, batch_size)
        return ShardedEvaluator(self.workers, self.space.dimensions, task, rows, batch_size, name)

    def announce(self, sub_networks: Sequence[SubNetwork]) -> None:
        """Have a cluster begin with sub-networks, unless it would disturb the clock that times them one by one."""
        is_timed = self.latency_kind is not None and self.latency_table is None
        if isinstance(self.evaluator, ShardedEvaluator) and not is_timed:
            self.evaluator.announce(sub_networks)

    def evaluate(self, sub_network: SubNetwork) -> float:
        """Return the validation error of a sub-network, and keep its predictions."""
        evaluation = self.evaluator.evaluate(sub_network)
        self.predictions[sub_network.hash] = self.data.task.head.judge(evaluation.logits, self.validation.reference)
        return evaluation.error

    def measure(self, sub_network: SubNetwork) -> dict[str, float]:
        """Return what a sub-network costs, by the objectives' names."""
        of = Measurable(
            sub_network=sub_network,
            cost_model=self.cost_model,
            dimensions=self.space.dimensions,
            length=self.length,
            model=self.net.model,
            latency_kind=self.latency_kind,
            latency_table=self.latency_table,
        )
        return measure_costs(of, self.options.objectives)

    def note(self, evaluation: EvaluatedSubNetwork) -> None:
        """Write an evaluation down, unless it is recorded."""
        key = evaluation.sub_network.hash
        if self.directory is not None and key not in self.recorded:
            add_to_journal(self.directory, evaluation, pack(self.predictions[key]))

    def finish(self, result: SearchResult, seconds: float) -> SearchResult:
        """Add intervals and test errors of the front and of the super-network, and where all of it comes from."""
        task, wanted = self.data.task, result.reported_names
        # Encoded only now: during the search nobody looks at test rows.
        rows = encode(self.data.test, task, self.net.tokenizer, max_positions(self.net.model))
        test, known = self._evaluator_of(rows, "test"), self.predictions
        members = [e.sub_network for e in result.evaluations if e.name in wanted]
        # Announced together, so that the workers compute side by side what is asked for one by one below.
        if isinstance(self.evaluator, ShardedEvaluator) and isinstance(test, ShardedEvaluator):
            self.evaluator.forget()  # what an interrupted search had still announced
            self.announce([one for one in members if one.hash not in known])
            test.announce(members)

        def finish(e: EvaluatedSubNetwork) -> EvaluatedSubNetwork:
            if e.name not in wanted:
                return e
            if e.sub_network.hash not in known:  # an older version recorded the error alone
                self.evaluate(e.sub_network)
            validation = self.validation
            predictions = known[e.sub_network.hash]
            interval = error_interval(task.metric, predictions, validation.labels, validation.structure)
            return replace(e, error_interval=interval, test_error=test.evaluate(e.sub_network).error)

        evaluations = tuple(map(finish, result.evaluations))
        # By name, as a result is read; only the front's members have predictions for certain.
        hashes = {e.name: e.sub_network.hash for e in evaluations if e.sub_network.hash in known}
        return replace(
            result,
            evaluations=evaluations,
            trivial=task.head.find_trivial(with_reference(self.data, self.validation, rows)),
            origin=self._origin(seconds),
            known_predictions=ValidationPredictions(
                labels=self.validation.labels,
                by_name={name: known[key] for name, key in hashes.items()},
                structure=self.validation.structure,
            ),
        )

    def _origin(self, seconds: float) -> SearchOrigin:
        path, record = self.net.path, self.net.record
        saved: dict[str, Any] = {}
        if path is not None:
            saved = {
                "supernet": str(path),
                "supernet_digest": digest_weights(path),
                "supernet_files": digest_files(path),
            }
            saved["supernet_run_id"] = None if record is None else record.run_id
        return SearchOrigin(
            source=self.data.source,
            data_digest=self.data.digest,
            options=asdict(self.options),
            dimensions=self.space.dimensions,
            layer_order=self.space.layer_order,
            seconds=seconds,
            measured_at=MeasuredAt.of(self.length, self.latency_kind),
            **saved,
        )
