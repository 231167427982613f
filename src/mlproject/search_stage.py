"""The stage `search`: sub-networks of a super-network, evaluated, written down, logged, shown."""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.digests import digest_files
from compressor.files import append_json_line
from compressor.network.sub_network import SubNetwork
from compressor.training.settings import TrainingSettings
from mlproject.journal import JOURNAL_FILE, open_journal
from mlproject.settings import SearchOptions
from mlproject.sources import open_super_network, require_other_directory, weights_digest
from mlproject.stage_log import log_data, option_params, print_notes
from mlproject.tracking.tracker import StageRun
from mlproject.unseen_rows import require_unseen_rows

if TYPE_CHECKING:
    import numpy as np

    from compressor.evaluation.evaluator import Evaluator
    from compressor.search.loop import SearchResult


def search(
    output_dir: Path, supernet: Path, data_options: Mapping[str, Any], options: SearchOptions, run: StageRun
) -> "SearchResult":
    """Searches the sub-networks of a super-network; writes `search_results.json` and the pictures into `output_dir`.

    `data_options` are the fields of `DataSource` that differ from what the super-network was trained on. Each
    evaluation is in `evaluations.jsonl` before it is told to the search method and logged; those that are there
    already, of the same search, are not made again.
    """
    import numpy as np

    from compressor.data.batches import encode
    from compressor.data.metrics import predict
    from compressor.data.trivial import find_trivial
    from compressor.evaluation.evaluator import Evaluator
    from compressor.evaluation.latency import measure_latency_ms
    from compressor.evaluation.predictions import ValidationPredictions, pack, unpack
    from compressor.network.costs import create_cost_model
    from compressor.network.families import get_dimensions, get_layer_order, max_positions
    from compressor.network.loading import pick_device
    from compressor.search.loop import EvaluatedSubNetwork, run_search
    from compressor.spaces import create_search_space
    from compressor.training.importance import order_layers
    from mlproject.search_report import (
        architecture,
        child_metrics,
        child_tags,
        mark_front_member,
        show_result,
        write_search_results,
    )

    require_other_directory(output_dir, supernet)
    super_network, source, data = open_super_network(supernet, data_options)
    print_notes(require_unseen_rows(super_network.info, source, data))
    trained_in = super_network.info.get("settings", {}).get("search_space", TrainingSettings.search_space)
    search_space: str = options.search_space or trained_in
    options = replace(options, search_space=search_space)
    run.log_params(option_params(source, options) | {"supernet": str(super_network.path)})
    log_data(run, data, source)
    model = super_network.model.to(pick_device())
    positions = max_positions(model)
    space = create_search_space(search_space, get_dimensions(model), get_layer_order(model))
    if space.orders_layers and not get_layer_order(model):
        print("Measuring which layers matter, since the super-network's training has not.")
        train = encode(data.train, data.task, super_network.tokenizer, positions)
        space = replace(space, layer_order=order_layers(model, data.task, train))
    cost_model = create_cost_model(model)
    validation = encode(data.validation, data.task, super_network.tokenizer, positions)
    evaluator = Evaluator(model, data.task, validation, options.per_device_eval_batch_size)
    base_model = str(super_network.info.get("model_name_or_path", super_network.path.name))
    tags = child_tags(run, base_model, source.task_name, search_space, options.search_strategy)
    children: dict[int, StageRun] = {}
    length = int(np.median(validation.lengths))
    supernet_files = digest_files(super_network.path)
    search_of = {
        "supernet_files": supernet_files,
        "source": source.to_json(),
        "data_digest": data.digest,
        "label_names": list(data.label_names),
        **{name: value for name, value in asdict(options).items() if name != "num_samples"},
    }
    recorded = open_journal(output_dir, search_of)
    if recorded:
        print(f"Going on after {len(recorded)} sub-networks that were evaluated before.")
    predictions = {key: unpack(line["predictions"]) for key, line in recorded.items() if "predictions" in line}

    def on_evaluation(evaluation: EvaluatedSubNetwork, hypervolume: float) -> None:
        if evaluation.sub_network.hash not in recorded:
            told = pack(predictions[evaluation.sub_network.hash])
            append_json_line(output_dir / JOURNAL_FILE, evaluation.to_json() | {"predictions": told})
        children[evaluation.index] = run.log_child(
            evaluation.name,
            metrics=child_metrics(evaluation, hypervolume),
            params=architecture(evaluation.sub_network, evaluation.config),
            tags=tags,
        )

    def evaluate(sub_network: SubNetwork) -> float:
        evaluation = evaluator.evaluate(sub_network)
        predictions[sub_network.hash] = predict(evaluation.logits, data.task.regression)
        return evaluation.error

    def measure(sub_network: SubNetwork) -> dict[str, float]:
        measured: dict[str, float] = {"macs": cost_model.macs(sub_network, length)}
        if "latency_ms" in options.objectives:
            measured["latency_ms"] = measure_latency_ms(model, sub_network, length)
        return measured

    started = time.perf_counter()
    result = run_search(
        space,
        cost_model,
        evaluate,
        objectives=options.objectives,
        measure=measure,
        method=options.search_strategy,
        num_samples=options.num_samples,
        seed=options.seed,
        on_evaluation=on_evaluation,
        recorded=recorded,
    )
    seconds = time.perf_counter() - started
    wanted = result.notable
    for evaluation in result.evaluations:  # of those that an older version made only the error is known
        if evaluation.name in wanted and evaluation.sub_network.hash not in predictions:
            evaluate(evaluation.sub_network)
    test = encode(data.test, data.task, super_network.tokenizer, max_positions(model))
    result = _add_test_errors(result, Evaluator(model, data.task, test, options.per_device_eval_batch_size))
    result = _add_intervals(result, data.task.metric, predictions, validation.labels)
    result = replace(result, trivial=find_trivial(data))
    known = {e.name: predictions[e.sub_network.hash] for e in result.evaluations if e.sub_network.hash in predictions}
    write_search_results(
        output_dir,
        result,
        origin={
            "supernet": str(super_network.path),
            "supernet_from_here": os.path.relpath(super_network.path, output_dir),
            "supernet_digest": weights_digest(super_network.path),
            "supernet_files": supernet_files,
            "supernet_run_id": super_network.info.get("run_id"),
            "source": source.to_json(),
            "data_digest": data.digest,
            "options": asdict(options),
            "measured_at": {"length": length, "batch_size": 1, "threads": 1},
        },
        space=space,
        title=f"{source.task_name}: {len(result.evaluations)} sub-networks, {search_space} space",
        seconds=seconds,
        predictions=ValidationPredictions(labels=validation.labels, by_name=known),
    )
    for place, member in enumerate(result.front):
        mark_front_member(children[member.index], member, place, run)
    show_result(result, output_dir, run, "Pareto search")
    return result


def _add_test_errors(result: "SearchResult", evaluator: "Evaluator") -> "SearchResult":
    """The result with test errors of the front and of the super-network: the one look at the test rows."""
    wanted = result.notable
    return replace(
        result,
        evaluations=tuple(
            replace(e, test_error=evaluator.evaluate(e.sub_network).error) if e.name in wanted else e
            for e in result.evaluations
        ),
    )


def _add_intervals(
    result: "SearchResult", metric: str, predictions: Mapping[str, "np.ndarray"], labels: "np.ndarray"
) -> "SearchResult":
    """The result with 95 % intervals of the front members' and the super-network's validation errors."""
    from compressor.data.metrics import error_interval

    wanted = result.notable
    return replace(
        result,
        evaluations=tuple(
            replace(e, error_interval=error_interval(metric, predictions[e.sub_network.hash], labels))
            if e.name in wanted
            else e
            for e in result.evaluations
        ),
    )
