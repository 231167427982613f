"""The stage `search`: sub-networks of a super-network, evaluated, written down, logged, shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.files import require_other_directory
from compressor.search.options import SearchOnCluster, SearchOptions
from compressor.search.record import EvaluatedSubNetwork, SearchResult
from compressor.search.shared import SearchStart, search_sub_networks
from compressor.training.super_network import open_super_network
from exporters.timing.latency_table import measure_latency_table
from mlproject.stages.log import log_data, option_params, print_notes
from mlproject.stages.search_runs import architecture, child_metrics, child_tags, finish_search
from mlproject.tracking.tracker import StageRun


def search(
    output_dir: Path,
    supernet: Path,
    data_options: Mapping[str, Any],
    options: SearchOptions,
    cluster: SearchOnCluster,
    run: StageRun,
) -> SearchResult:
    """Search the sub-networks of a super-network; writes `search_results.json` and the pictures into `output_dir`.

    `data_options` are the fields of `DataSource` that differ from what the super-network was trained on. Each
    evaluation is in `evaluations.jsonl` before it is reported to the search method and logged; those that are there
    already, of the same search, are not made again.
    """
    require_other_directory(output_dir, supernet)
    net, data = open_super_network(supernet, data_options, output_dir)
    space = options.search_space or net.search_space
    tags = child_tags(run, net.name, data.source.task_name, space, options.search_strategy)
    # By their places in the search, so that members of the front can be marked once it is known.
    children: dict[int, StageRun] = {}

    def on_start(start: SearchStart) -> None:
        print_notes([*start.notes, *data.source.meaning])
        run.log_params(option_params(data.source, start.options) | {"supernet": str(net.path)})
        log_data(run, data, data.source)
        if start.num_recorded:
            print(f"Resuming after {start.num_recorded} sub-networks that were evaluated before.")

    def on_evaluation(evaluation: EvaluatedSubNetwork, hypervolume: float) -> None:
        children[evaluation.index] = run.log_child(
            evaluation.name,
            metrics=child_metrics(evaluation, hypervolume),
            params=architecture(evaluation.sub_network, evaluation.config),
            tags=tags,
        )

    result = search_sub_networks(
        net,
        data,
        options,
        directory=output_dir,
        measure_table=measure_latency_table,
        on_start=on_start,
        on_evaluation=on_evaluation,
        cluster=cluster,
    )
    finish_search(result, output_dir, run, lambda member: children[member.index], how="")
    return result
