"""The stage `report`: one page of what a search found and what became of it, with its figures."""

from pathlib import Path

from compressor.extraction.family import is_family
from compressor.files import new_directory, require_other_directory
from compressor.markdown import markdown_table
from exporters.export_record import Export
from exporters.report.family import family_table, read_family, write_family_report
from exporters.report.front import front_table
from exporters.report.inputs import ReportFolders, read_reported
from exporters.report.page import FIGURES, REPORT_FILE, write_report
from mlproject.inputs.models import find_super_network
from mlproject.tracking.logged_models import hash_model, use_models
from mlproject.tracking.tracker import StageRun


def report(output_dir: Path, folders: ReportFolders, run: StageRun) -> Path:
    """Write the page with its figures into a directory, and log them; of a family the one that compares its members."""
    run.log_params({name: str(path) for name, path in folders.given.items()})
    require_other_directory(output_dir, *folders.given.values())
    page = output_dir / REPORT_FILE
    models: list[tuple[Path | None, Export | None]]
    if folders.model is not None and is_family(folders.model):
        family = read_family(folders, find_super_network)
        task, (header, rows) = family.of_search.origin.source.task_name, family_table(family)
        models = [(family.family.folder_of(folders.model, each.name), each.export) for each in family.members]
        with new_directory(output_dir) as temporary:
            write_family_report(temporary / REPORT_FILE, family)
    else:
        reported = read_reported(folders, find_super_network)
        task, (header, rows) = reported.origin.source.task_name, front_table(reported.result)
        models = [(folders.model, reported.export)]
        with new_directory(output_dir) as temporary:
            write_report(temporary / REPORT_FILE, reported)
    graphs = [export.path(form) for _, export in models if export is not None for form in export.accepted]
    use_models(run, [hash_model(path) for path in (*(model for model, _ in models), *graphs) if path is not None])
    run.set_tags({"task": task})
    for name in (REPORT_FILE, FIGURES):
        run.log_artifact(output_dir / name, FIGURES if name == FIGURES else None)
    run.describe(f"**{REPORT_FILE}** under *Artifacts* shows all of it.\n\n{markdown_table(header, rows[:30])}")
    return page
