"""What a person sees: the saved view's chart holds a point for every sub-network, in a real browser."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests

from conftest import copy_database, sentence_rows
from mlproject.cli import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.ui, pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated_database: Path) -> Iterator[str]:
    """A tracking server of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri, folder = f"http://127.0.0.1:{port}", tmp_path / "server"
    folder.mkdir()
    store = copy_database(migrated_database, folder)
    words = ["server", "--port", str(port), "--backend-store-uri", store, "--workers", "1"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        for _ in range(240):
            time.sleep(0.5)
            try:
                if requests.get(f"{uri}/health", timeout=2).ok:
                    break
            except requests.RequestException:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        yield uri
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def page(url: str, profile: Path, wanted: str) -> str:
    """The page's elements once `wanted` is among them; a server that is still warming up answers late."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", f"--user-data-dir={profile}"]
    words += ["--virtual-time-budget=120000", "--window-size=1500,1000", "--dump-dom", url]
    for _ in range(10):
        text = subprocess.run([str(CHROMIUM), *words], capture_output=True, text=True, timeout=180, check=True).stdout
        if wanted in text:
            return text
        time.sleep(2)
    raise AssertionError(f"{url} never showed {wanted}: {text[-2000:]}")


def test_the_links_of_a_search_open_its_chart_and_its_story(
    server: str,
    base_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(80)))
    words = ["--model-name-or-path", str(base_model_dir), "--train-file", str(rows), "--num-train-epochs", "1"]
    main(["train-supernet", *words, "--output-dir", "net"])
    main(["search", "--supernet", "net", "--num-samples", "9", "--output-dir", "found"])
    printed = capsys.readouterr().out
    view = re.findall(r"Sub-networks in MLflow: (\S+)", printed)[-1]
    run = re.findall(r"MLflow run: (\S+)", printed)[-1]
    chart = page(view, tmp_path / "profile", '<path class="point ')
    assert chart.count('<path class="point ') == 9
    assert {f"subnet-{index:03d}" for index in range(9)} <= set(re.findall(r"subnet-\d{3}", chart))
    story = page(run, tmp_path / "profile", "Hypervolume of error, params")
    assert "compressor extract --search" in story
    experiment = re.findall(r"/experiments/(\d+)/", run)[-1]
    page(f"{server}/#/experiments/{experiment}/models", tmp_path / "profile", "super-network-pytorch")
    [model] = mlflow.search_logged_models(experiment_ids=[experiment], output_format="list")
    of_model = f"{server}/#/experiments/{experiment}/models/{model.model_id}"
    assert ">error<" in page(of_model, tmp_path / "profile", "custom-validation")
