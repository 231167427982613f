"""The stage `report`: one page of what a search found and what became of it, with its figures."""

from pathlib import Path

from compressor.files import new_directory, require_other_directory
from compressor.markdown import markdown_table
from exporters.report.front import front_table
from exporters.report.inputs import ReportFolders, read_reported
from exporters.report.page import FIGURES, REPORT_FILE, write_report
from mlproject.inputs.models import find_super_network
from mlproject.tracking.logged_models import hash_model, use_models
from mlproject.tracking.tracker import StageRun


def report(output_dir: Path, folders: ReportFolders, run: StageRun) -> Path:
    """Write the page with its figures into a directory, and log them."""
    run.log_params({name: str(path) for name, path in folders.given.items()})
    require_other_directory(output_dir, *folders.given.values())
    reported = read_reported(folders, find_super_network)
    graphs = [] if reported.export is None else [reported.export.path(form) for form in reported.export.accepted]
    use_models(run, [hash_model(path) for path in (folders.model, *graphs) if path is not None])
    run.set_tags({"task": reported.origin.source.task_name})
    with new_directory(output_dir) as temporary:
        write_report(temporary / REPORT_FILE, reported)
    for name in (REPORT_FILE, FIGURES):
        run.log_artifact(output_dir / name, FIGURES if name == FIGURES else None)
    header, rows = front_table(reported.result)
    run.describe(f"**{REPORT_FILE}** under *Artifacts* shows all of it.\n\n{markdown_table(header, rows[:30])}")
    return output_dir / REPORT_FILE
