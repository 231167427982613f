"""The stage `compare`: the fronts of several searches in one picture, with hypervolumes under one reference point."""

from collections.abc import Sequence
from pathlib import Path

from compressor.comparison.figures import STEM
from compressor.comparison.report import FILES, describe_comparison, groups_table, write_comparison
from compressor.comparison.searches import Comparison, compare_searches
from compressor.drawing.terminal import print_table
from compressor.files import require_other_directory
from compressor.markdown import markdown_table, markdown_text
from mlproject.inputs.models import find_super_network
from mlproject.tracking.logged_models import use_models
from mlproject.tracking.tracker import StageRun


def compare(output_dir: Path, search_dirs: Sequence[Path], run: StageRun) -> Comparison:
    """Compare the fronts of searches.

    Raises:
        SearchError: the errors of the searches do not compare.
    """
    require_other_directory(output_dir, *search_dirs)
    comparison = compare_searches(search_dirs, find_super_network)
    write_comparison(output_dir, comparison)
    run.log_params(
        {
            "searches": ", ".join(map(str, search_dirs)),
            "cost": comparison.cost,
            "reference": list(comparison.reference),
            "data_digest": comparison.data_digest,
        }
    )
    run.set_tags({"task": comparison.task})
    origins = [search.result.made_of for group in comparison.groups for search in group.searches]
    use_models(run, [origin.supernet_digest for origin in origins if origin.supernet_digest])
    run.log_metrics({f"hypervolume/{one.name}": comparison.mean_hypervolume(one) for one in comparison.groups})
    for name in sorted(FILES):
        run.log_artifact(output_dir / name)
    header, rows = groups_table(comparison)
    spare = ["front members", "evaluations", "searches", "smallest error"]
    print_table(f"Fronts of {len(search_dirs)} searches, {comparison.task}", header, rows, spare=spare)
    run.describe(
        f"{markdown_text(describe_comparison(comparison))}\n\n{markdown_table(header, rows)}\n\n"
        f"![Fronts](get-artifact?path={STEM}.png&run_uuid={run.run_id})"
    )
    return comparison
