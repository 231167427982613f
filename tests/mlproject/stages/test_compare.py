"""Comparisons: one scale, groups over seeds, attainment, and refusal of errors that do not compare."""

import json
from pathlib import Path

import pytest

from conftest import write_search


def test_the_command_writes_and_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str], mlflow_uri: str) -> None:
    import mlflow

    from mlproject.cli import main

    write_search(tmp_path / "a", [(0.2, 1000), (0.4, 500)])
    write_search(tmp_path / "b", [(0.2, 1000), (0.3, 500)], seed=1)
    write_search(tmp_path / "<b>c", [(0.2, 1000), (0.5, 250)], search_space="medium")
    main(["compare", "a", "b", "--search", "<b>c", "--output-dir", "made"])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == f"Made the comparison {tmp_path}/made/compare.html. Next: open it in a browser"
    figures = {f"compare{stem}.{kind}" for stem in ("", "_hypervolume") for kind in ("png", "svg")}
    files = {"compare.json", "compare.csv", "compare.html", *figures}
    assert {file.name for file in (tmp_path / "made").iterdir()} - {".compressor"} == files
    written = json.loads((tmp_path / "made" / "compare.json").read_text())
    assert written["hypervolume_reference"] == [1.0, 1.0]
    assert [group["hypervolume"] for group in written["groups"]] == pytest.approx([(0.3 + 0.35) / 2, 0.375])
    # Two values half a distance d apart: their standard error is d / 2.
    assert written["groups"][0]["hypervolume_standard_error"] == pytest.approx(0.025)
    assert written["groups"][0]["attainment"]["worst"] == [[0.2, 1.0], [0.4, 0.5]]
    assert written["groups"][1]["attainment"] is None
    page = (tmp_path / "made" / "compare.html").read_text()
    assert "&lt;b&gt;c" in page
    assert "<b>c" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert len(page) < 1_000_000
    assert (tmp_path / "made" / "compare.csv").read_text().count("\n") == 1 + 6
    client = mlflow.MlflowClient()
    run = client.search_runs([e.experiment_id for e in client.search_experiments()])[0]
    assert (run.data.tags["stage"], run.data.tags["task"]) == ("compare", "demo")
    assert run.data.metrics == pytest.approx({"hypervolume/small": 0.325, "hypervolume/medium": 0.375})
    assert "| search | searches | evaluations | hypervolume |" in run.data.tags["mlflow.note.content"]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == files | {"config.yaml"}
    with pytest.raises(SystemExit):
        main(["compare", "a"])
    assert capsys.readouterr().err.startswith("Error: --search must be given at least twice, but got 1.")
