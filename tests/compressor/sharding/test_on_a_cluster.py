"""Searches on a Ray cluster of several machines (raylets of this one): the result of one process, whatever is lost."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compressor.data.loading import load_data
from compressor.files import read_json_lines
from compressor.search.journal import JOURNAL_FILE
from compressor.search.options import SearchOnCluster
from compressor.search.record import EvaluatedSubNetwork, SearchResult
from compressor.search.shared import SearchStart, search_sub_networks
from compressor.training.super_network import SuperNetwork, load_super_network
from conftest import sentence_rows, tiny_model, word_tokenizer

pytestmark = [pytest.mark.ray, pytest.mark.slow]
OPTIONS: dict[str, Any] = {"num_samples": 16, "search_space": "medium", "per_device_eval_batch_size": 8}
METHODS: dict[str, dict[str, Any]] = {
    "local_search": OPTIONS | {"search_strategy": "local_search"},
    "nsga2": OPTIONS | {"search_strategy": "nsga2", "batch_of_proposals": 3, "objectives": ("error", "params", "macs")},
}
KILLED_AFTER = 6
QUICK_HEAD = {"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
"""Without processes that scale a cluster or carry its logs about: seconds for each."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that computes nothing, and two machines of one CPU each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args=QUICK_HEAD)
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1)
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The directory of a fine-tuned model and a file of rows."""
    folder = tmp_path_factory.mktemp("searched")
    model = tiny_model(num_labels=2)
    model.config.id2label, model.config.label2id = {0: "0", 1: "1"}, {"0": 0, "1": 1}
    net = SuperNetwork(model=model, tokenizer=word_tokenizer()).save(folder / "net")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(240)))
    assert net.path is not None
    return net.path, folder / "rows.jsonl"


def search(
    paths: tuple[Path, Path],
    method: str,
    *,
    address: str | None = None,
    directory: Path | None = None,
    observe: Callable[[EvaluatedSubNetwork, float], None] | None = None,
    on_start: Callable[[SearchStart], None] | None = None,
) -> SearchResult:
    net, data = load_super_network(paths[0]), load_data(train_file=str(paths[1]))
    return search_sub_networks(
        net,
        data,
        directory=directory,
        on_start=on_start,
        on_evaluation=observe,
        cluster=SearchOnCluster(ray=address),
        **METHODS[method],
    )


def found(result: SearchResult) -> list[Any]:
    """All that a result says, but how long it took."""
    return [
        (e.config, e.sub_network, e.error, e.test_error, e.error_interval, e.on_front, e.costs)
        for e in result.evaluations
    ] + [result.hypervolumes, result.trivial]


def kill_the_machines(cluster: Any) -> None:
    """Without a word to the cluster, as machines that lose their power; another one joins."""
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)


def test_the_front_is_that_of_one_process_though_machines_are_lost(
    cluster: Any, searched: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Proposals in batches, three objectives; the machines go while their workers compute."""

    def observe(evaluation: EvaluatedSubNetwork, _: float) -> None:
        if evaluation.index == KILLED_AFTER:
            kill_the_machines(cluster)

    alone, starts = search(searched, "nsga2"), list[SearchStart]()
    result = search(searched, "nsga2", address=cluster.address, observe=observe, on_start=starts.append)
    assert starts[0].notes[-1] == "Evaluating with 2 workers of the Ray cluster, 1 CPU each."
    assert "A worker of the cluster was lost; another one takes its place.\n" in capsys.readouterr().err
    assert found(result) == found(alone)
    assert len(result.front) > 2


DRIVER = """
import os, signal, sys
from pathlib import Path
from test_on_a_cluster import KILLED_AFTER, search

def die(evaluation, _):
    if evaluation.index == KILLED_AFTER:
        os.kill(os.getpid(), signal.SIGKILL)

net, rows, directory = map(Path, (sys.argv[1], sys.argv[2], sys.argv[4]))
search((net, rows), "local_search", address=sys.argv[3], directory=directory, observe=die)
"""


def test_a_driver_that_is_killed_goes_on_where_it_was(
    cluster: Any, searched: tuple[Path, Path], tmp_path: Path
) -> None:
    places = (str(Path(__file__).parent), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))
    words = [sys.executable, "-c", DRIVER, *map(str, searched), cluster.address, str(tmp_path / "search")]
    killed = subprocess.run(words, env=os.environ | {"PYTHONPATH": os.pathsep.join(places)}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    journal = tmp_path / "search" / JOURNAL_FILE
    before = read_json_lines(journal)
    assert [line["index"] for line in before] == list(range(KILLED_AFTER + 1))
    starts: list[SearchStart] = []
    result = search(
        searched, "local_search", address=cluster.address, directory=tmp_path / "search", on_start=starts.append
    )
    assert starts[0].num_recorded == KILLED_AFTER + 1
    assert found(result) == found(search(searched, "local_search"))
    after = read_json_lines(journal)
    assert after[: len(before)] == before
    assert [line["index"] for line in after] == list(range(len(result.evaluations)))
