"""The report: which sections it has, that nothing of others gets into its HTML, and that its commands run."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from compressor.data.metrics.trivial import TrivialPredictor
from compressor.data.sources import DataSource
from compressor.errors import FileError, OutputError
from compressor.training.settings import TrainingSettings
from conftest import DIMENSIONS, write_search
from exporters.report.inputs import ReportFolders, read_reported
from exporters.report.page import write_report
from mlproject.cli import cli
from mlproject.inputs.models import find_super_network
from samples import sample_benchmark, sample_export, sample_latency, sample_model

EVIL = "<script>alert('x')</script>&\"quoted\""
POINTS = [(0.2, 1000), (0.25, 700), (0.3, 900), (0.4, 500), (0.45, 650)]
FIGURES = ("pareto_front", "kept_heads", "kept_units", "hypervolume")


def report_of(path: Path, folders: ReportFolders) -> Path:
    return write_report(path, read_reported(folders, find_super_network))


class Page(HTMLParser):
    """The elements of a page by name, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def sections(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path.parent


def make_search(tmp_path: Path) -> Path:
    source = DataSource(task_name="custom", train_file=EVIL, text_columns=("text", "other"), label_column=EVIL)
    written = {
        "format": 1,
        "source": source.to_json(),
        "data_digest": "0123456789abcdef",
        "label_names": [EVIL, "other"],
        "epochs": [{"epoch": 1, "step": 4, "loss": 0.5, "error": 0.2, "smallest_error": 0.5}],
        "model_name_or_path": EVIL,
        "attn_implementation": "sdpa",
        "settings": TrainingSettings(num_train_epochs=3, bf16=True).__dict__,
    }
    net = write(tmp_path / "net" / "super_network.json", written)
    return write_search(tmp_path / "search", POINTS, source=source, supernet=net)


def form(error: float, params: int) -> dict[str, Any]:
    return {
        "error": error,
        "error_interval": [error - 0.05, error + 0.05],
        "test_error": error + 0.01,
        "test_error_interval": [error - 0.04, error + 0.06],
        "params": params,
        "relative_params": params / 1000,
        "encoder_params": params,
        "relative_encoder_params": params / 1000,
        "macs": 1_000_000,
        "macs_length": 8,
    }


@pytest.fixture
def search(tmp_path: Path) -> Path:
    return make_search(tmp_path)


def make_folders(search: Path, tmp_path: Path) -> ReportFolders:
    """The directories of all stages, sub-network 3 being extracted."""
    chosen = json.loads((search / "search_results.json").read_text())["evaluations"][3]
    extraction = {
        "name": chosen["name"],
        "chosen": {key: chosen[key] for key in ("index", "name", "sub_network", "error")},
        "error": 0.35,
        "repair": {"error_before": 0.4, "error_after": 0.45, "kept": False},
        "finetuning": {"error_before": 0.4, "errors": [0.35, 0.36], "kept_epoch": 1, "num_epochs": 4},
        "parity": {"sliced": 0.0, "loaded": 2e-7, "error_searched": 0.4, "error_loaded": 0.4, "label_agreement": 1.0},
        "kept": {"heads": [4, 4, 0], "units": [3, 3, 3]},
        "extracted": form(0.35, 500),
        "super_network": form(0.2, 1000),
        "test": {"base_error": 0.21, "error": 0.36, "difference": 0.15, "interval": [0.1, 0.2], "mcnemar_p": None},
    }
    export = sample_export(tmp_path / "onnx", tmp_path / "model")
    models = {
        EVIL: sample_model(tmp_path / "onnx-dense" / "model.onnx"),
        "pruned": sample_model(export.path()),
        "pruned-int8": sample_model(export.path("int8"), "int8"),
    }
    latencies = [sample_latency(name, length=length) for length in (8, "real") for name in models]
    return ReportFolders(
        search=search,
        model=write(tmp_path / "model" / "extraction.json", extraction),
        onnx=export.save().parent,
        benchmark=sample_benchmark(models, latencies, cpu=EVIL).save(tmp_path / "benchmark").parent,
    )


@pytest.fixture
def all_folders(search: Path, tmp_path: Path) -> ReportFolders:
    return make_folders(search, tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all stages, which several tests read."""
    folder = tmp_path_factory.mktemp("whole")
    return report_of(folder / "out" / "report.html", make_folders(make_search(folder), folder))


def test_a_whole_report(whole: Path) -> None:
    text = whole.read_text()
    assert sections(text) == [
        "At a glance",
        "The Pareto front",
        "What is kept per layer",
        "Dense against extracted",
        "Parity: nothing changed on the way",
        "Search progress",
        "Environment",
        "Reproduce",
    ]
    made = {file.name for file in (whole.parent / "figures").iterdir()}
    assert made == {f"{name}.{kind}" for name in (*FIGURES, "errors", "latency") for kind in ("png", "svg")}
    assert "logits differ by 2.0e-07" in text
    assert "logits differ by 3.0e-06" in text
    assert "left out: it would have raised the validation error from 0.4000 to 0.4500." in text
    assert "Distillation lowered the validation error from 0.4000 to 0.3500 (epoch 1 was the best)." in text
    assert "its error is 0.150 above the super-network&#39;s" in text
    assert "error 0.3500 (0.300–0.400)" not in text  # the benchmark's models come first
    assert "pruned 0.3600 (0.310–0.410)" in text  # in the alternative text, on the test rows


def test_a_search_alone_has_no_empty_sections(search: Path, tmp_path: Path) -> None:
    text = report_of(tmp_path / "report.html", ReportFolders(search=search)).read_text()
    assert sections(text) == [
        "The Pareto front",
        "What is kept per layer",
        "Search progress",
        "Environment",
        "Reproduce",
    ]
    assert {file.stem for file in (tmp_path / "figures").iterdir()} == set(FIGURES)


def test_text_of_others_stays_text(whole: Path) -> None:
    """File, label, model and processor are called by a script element: no such element comes of it."""
    text = whole.read_text()
    assert len(Page(text).named("script")) == 1
    assert "alert(" in text
    assert "<script>alert" not in text


def test_the_page_needs_no_network_and_is_small(whole: Path) -> None:
    text, page = whole.read_text(), Page(whole.read_text())
    assert whole.stat().st_size < 1_000_000
    assert not re.search(r"https?:|//cdn|@import|url\(", text)
    assert not [tag for tag, attributes in page.elements if {"src", "href", "xlink:href"} & attributes.keys()]
    assert "default-src 'none'" in text
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text


def test_a_big_search_stays_below_a_megabyte(tmp_path: Path) -> None:
    """A front of 300, and 5,000 sub-networks behind it."""
    front = [(0.2 + 0.001 * n, 1000 - 3 * n) for n in range(300)]
    search = write_search(tmp_path / "search", [*front, *[(0.6, 999)] * 100])
    results = json.loads((search / "search_results.json").read_text())
    more = [results["evaluations"][-1] | {"index": n, "name": f"subnet-{n}"} for n in range(400, 5300)]
    results["evaluations"] += more
    results["hypervolumes"] += results["hypervolumes"][-1:] * len(more)
    (search / "search_results.json").write_text(json.dumps(results))
    path = report_of(tmp_path / "report.html", ReportFolders(search=search))
    assert path.stat().st_size < 1_000_000
    text = path.read_text()
    assert "30 of its 300 members, evenly spread." in text
    assert "201 more members are in pareto_front.csv" in text


def test_every_figure_has_a_text_alternative_and_says_which_way_is_better(whole: Path) -> None:
    text = whole.read_text()
    pictures = [attributes for attributes in Page(text).named("svg") if attributes.get("role") == "img"]
    assert len({attributes["aria-label"] for attributes in pictures}) == 6
    assert len(pictures) == 10  # four of them are drawn for phones too; one of the two is shown
    assert all(len(attributes["aria-label"] or "") > 40 for attributes in pictures)
    assert "5 sub-networks, 3 on the front: from error 0.2000 at 0.00 M params" in text
    assert text.count("<figcaption>") == 6
    for axis in ("parameters (M), lower is better", "error (1 − metric), lower is better"):
        assert axis in text
    assert "hypervolume up to (1, 1), higher is better" in text
    assert "median latency of a batch in ms, lower is better" in text


def test_the_chosen_member_stands_out_and_its_latency_is_at_a_glance(whole: Path) -> None:
    text = whole.read_text()
    glance = text.partition("<h2>At a glance</h2>")[2].partition("</section>")[0]
    assert "One text of 8 tokens takes 2.00 ms where dense takes 2.00 (1.0 times as fast), in fp32 on 1" in glance
    assert '<th scope="row">latency p50 (ms), fp32</th><td>2.00</td><td>2.00</td>' in glance
    assert "and not by chance: 0.1500 more error (95 % 0.1000 to 0.2000)" in glance
    assert text.count('<tr class="chosen">') == 1
    assert '<tr class="chosen"><th scope="row">subnet-003 ← chosen</th><td>2</td><td>0.4000</td>' in text
    assert "chosen: subnet-003, as extracted" in text
    assert "subnet-003, extracted\nerror 0.3500 (95 %: 0.300–0.400), 0.4000 as searched" in text


@pytest.mark.parametrize(
    ("base", "told"), [("dense", "1.7 to 2.5 times as fast"), ("pruned", "about 2.0 times as fast")]
)
def test_a_busy_machine_is_told_whoever_was_named_first(
    base: str, told: str, all_folders: ReportFolders, tmp_path: Path
) -> None:
    """Ratios are of the model that was named first, which need not be the dense one."""
    export = read_reported(all_folders, find_super_network).export
    assert export is not None
    paths = {"dense": tmp_path / "onnx-dense" / "model.onnx", "pruned": export.path()}
    models = {name: sample_model(paths[name]) for name in sorted(paths, key=lambda name: name != base)}
    alone = {"ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0}
    latencies = [
        sample_latency(
            name, noisy=True, **({"p50_ms": 4.0} if name == "dense" else {}), **(alone if name == base else {})
        )
        for name in models
    ]
    timed = sample_benchmark(models, latencies).save(tmp_path / "again").parent
    text = report_of(tmp_path / "report.html", replace(all_folders, benchmark=timed)).read_text()
    assert f"takes 2.00 ms where dense takes 4.00 ({told}: the machine was busy), in fp32" in text


def test_the_chosen_member_is_never_left_out_of_a_long_table(all_folders: ReportFolders, tmp_path: Path) -> None:
    search = write_search(tmp_path / "long", [(0.2 + 0.001 * n, 1000 - 3 * n) for n in range(150)])
    chosen = json.loads((search / "search_results.json").read_text())["evaluations"][140]
    file = tmp_path / "model" / "extraction.json"
    kept = {key: chosen[key] for key in ("index", "name", "sub_network", "error")}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"name": chosen["name"], "chosen": kept}))
    text = report_of(tmp_path / "report.html", ReportFolders(search=search, model=all_folders.model)).read_text()
    assert '<tr class="chosen"><th scope="row">subnet-140 ← chosen</th><td>140</td>' in text


def test_the_trivial_predictor_is_a_line_in_the_chart_and_a_remark(tmp_path: Path) -> None:
    """Errors of the front are 0.2, 0.25 and 0.4, each with an interval of 0.1 to both sides."""
    trivial = TrivialPredictor(name="always '<b>'", error=0.48, test_error=0.47)
    search = write_search(tmp_path / "search", POINTS, trivial=trivial)
    for page in (report_of(tmp_path / "report.html", ReportFolders(search=search)), search / "pareto_front.html"):
        text = page.read_text()
        assert "trivial predictor: always &#39;&lt;b&gt;&#39; (error 0.4800)" in text
        assert (
            len(re.findall('style="fill:none;stroke-dasharray[^"]*stroke:var\\(--muted\\)', text)) == 3
        )  # in the legend, in the chart, in the phone's
        assert "on or above the dashed line has learnt nothing" in text
        assert '<th scope="row">always &#39;&lt;b&gt;&#39;</th><td></td><td>0.4800</td>' in text
    report = (tmp_path / "report.html").read_text()
    assert "<strong>Note:</strong> the front falls to always &#39;&lt;b&gt;&#39; (error 0.4800) at index 2" in report


def test_a_front_has_its_table_on_its_own_page(search: Path) -> None:
    text = (search / "pareto_front.html").read_text()
    assert "its number is its index in the table" in text
    assert '<th scope="row">subnet-003</th><td>2</td><td>0.4000</td>' in text


def test_heads_and_units_per_layer(search: Path, tmp_path: Path) -> None:
    text = report_of(tmp_path / "report.html", ReportFolders(search=search)).read_text()
    assert f"of {DIMENSIONS.num_heads}</h3>" in text
    assert "subnet-003, layer 2\n0 of 4 heads" in text  # its last layer has no head
    assert "subnet-003, layer 2\n3 of 24 units" in text


def test_the_commands_parse(whole: Path) -> None:
    from html import unescape

    text = whole.read_text()
    match = re.search("<pre><code>(.*?)</code></pre>", text, flags=re.S)
    assert match
    lines = unescape(re.sub("</?span>", "", match[1])).splitlines()
    values = {}
    for line in lines:
        program, command, *words = shlex.split(line)
        assert program == "compressor"
        values[command] = cli.commands[command].make_context(command, words).params
    assert list(values) == ["train-supernet", "search", "extract", "export", "benchmark"]
    assert values["train-supernet"]["train_file"] == EVIL
    assert values["train-supernet"]["text_columns"] == ("text,other",)
    assert (values["train-supernet"]["num_train_epochs"], values["train-supernet"]["precision_training"]) == (3, "bf16")
    assert values["search"]["num_samples"] == 5
    assert values["search"]["train_file"] is None  # it is the super-network's
    assert (values["extract"]["index"], values["extract"]["finetune_epochs"]) == (2, 4)
    assert values["export"]["max_int8_loss"] == 0.02
    assert (values["benchmark"]["lengths"], values["benchmark"]["runs"]) == ((8,), 5)


def test_directories_of_different_runs_are_refused(all_folders: ReportFolders, tmp_path: Path) -> None:
    other = write_search(tmp_path / "other", POINTS[:2])
    with pytest.raises(OutputError) as error:
        report_of(tmp_path / "report.html", replace(all_folders, search=other))
    chosen = json.loads((tmp_path / "model" / "extraction.json").read_text())["chosen"]
    assert str(error.value) == (
        f"--model must be extracted from the search, but {tmp_path}/model is subnet-003 ({chosen['sub_network']}) of "
        "another one. Name the search it comes from."
    )
    export = json.loads((tmp_path / "onnx" / "export.json").read_text())
    files = {"config.json": "0123456789abcdef", "model.safetensors": "0123456789abcdef"}
    (tmp_path / "model" / "model.safetensors").write_text("extracted again")
    write(tmp_path / "onnx" / "export.json", export | {"model_files": files})
    with pytest.raises(OutputError) as error:
        report_of(tmp_path / "report.html", all_folders)
    assert str(error.value) == (
        f"--onnx must be exported from --model, but {tmp_path}/onnx was exported before model.safetensors in "
        f"{tmp_path}/model changed. Export that model again."
    )
    write(tmp_path / "onnx" / "export.json", export | {"params": 1234})
    with pytest.raises(OutputError) as error:
        report_of(tmp_path / "report.html", all_folders)
    assert str(error.value) == (
        f"--onnx must be exported from --model, but {tmp_path}/onnx has 1,234 parameters and {tmp_path}/model 500. "
        "Name the export of that model."
    )
    assert not (tmp_path / "report.html").exists()


def test_the_command_logs_what_it_makes(
    all_folders: ReportFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str], mlflow_uri: str
) -> None:
    import mlflow

    from mlproject.cli import main

    main(["report", "--search", "search", "--model", "model", "--output-dir", "made"])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == f"Made the report {tmp_path}/made/report.html. Next: open it in a browser"
    client = mlflow.MlflowClient()
    run = client.search_runs([e.experiment_id for e in client.search_experiments()])[0]
    assert (run.data.tags["stage"], run.data.tags["task"]) == ("report", "custom")
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"report.html", "figures", "config.yaml"}
    with pytest.raises(SystemExit):
        main(["report", "--search", "search", "--output-dir", "search", "--overwrite-output-dir"])
    assert "--output-dir must not be what is read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda extraction: extraction["finetuning"].update(errors=[]), "'finetuning.errors' is empty"),
        (lambda extraction: extraction["super_network"].pop("macs_length"), "'super_network' has one of macs and"),
        (lambda extraction: extraction["extracted"].pop("macs"), "'extracted' has one of macs and macs_length alone"),
    ],
)
def test_an_extraction_without_its_parts_is_refused(
    change: Callable[[dict[str, Any]], object], problem: str, all_folders: ReportFolders, tmp_path: Path
) -> None:
    file = tmp_path / "model" / "extraction.json"
    extraction = json.loads(file.read_text())
    change(extraction)
    file.write_text(json.dumps(extraction))
    with pytest.raises(FileError, match=f"must be as it was written, but {problem}"):
        report_of(tmp_path / "out" / "report.html", all_folders)
