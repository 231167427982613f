"""Searches side by side: hypervolumes, groups, and what does not compare."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor.comparison.searches import _conditions, compare_searches
from compressor.data.sources import DataSource
from compressor.errors import SearchError
from compressor.evaluation.latency_table import LatencyKind
from compressor.search.record import MeasuredAt
from compressor.training.settings import TrainingSettings
from conftest import write_search
from mlproject.inputs.models import find_super_network


def write_net(path: Path, **settings: Any) -> Path:
    """The file of a super-network with these training settings."""
    path.mkdir(parents=True)
    written = {
        "format": 1,
        "source": DataSource().to_json(),
        "data_digest": "0123456789abcdef",
        "label_names": [],
        "model_name_or_path": "base",
        "settings": TrainingSettings(**settings).__dict__,
        "attn_implementation": "sdpa",
        "epochs": [],
    }
    (path / "super_network.json").write_text(json.dumps(written))
    return path


def test_hypervolumes_by_hand(tmp_path: Path) -> None:
    """One base: (0.4, 0.5) dominates 0.6 x 0.5; and (0.5, 0.25) adds 0.5 x 0.25. The super-network lies on the edge."""
    one = write_search(tmp_path / "one", [(0.2, 1000), (0.4, 500)])
    two = write_search(tmp_path / "two", [(0.2, 1000), (0.4, 500), (0.5, 250)], search_strategy="nsga2")
    comparison = compare_searches([one, two], find_super_network)
    assert comparison.shared_base
    assert comparison.reference == (1.0, 1.0)
    found = [comparison.hypervolume(group.searches[0].points) for group in comparison.groups]
    assert found == pytest.approx([0.3, 0.425])
    assert [group.name for group in comparison.groups] == ["random_search, num samples 2", "nsga2, num samples 3"]
    assert found[0] == pytest.approx(json.loads((one / "search_results.json").read_text())["hypervolumes"][-1])


def test_other_base_models_compare_by_parameters(tmp_path: Path) -> None:
    """Up to (1, 2000) the small base has (0.2, 0.5) and (0.4, 0.25): 0.8 x 0.5 + 0.6 x 0.25. The big one: 0.6 x 0.5."""
    small = write_search(tmp_path / "small", [(0.2, 1000), (0.4, 500)], supernet=write_net(tmp_path / "a"))
    net = write_net(tmp_path / "b", sampling_strategy="standard")
    big = write_search(tmp_path / "big", [(0.1, 2000), (0.4, 1000)], full_params=2000, supernet=net)
    comparison = compare_searches([small, big], find_super_network)
    assert not comparison.shared_base
    assert comparison.reference == (1.0, 2000.0)
    found = [comparison.hypervolume(group.searches[0].points) for group in comparison.groups]
    assert found == pytest.approx([0.55, 0.3])
    assert [group.name for group in comparison.groups] == ["auto", "standard"]


def test_a_cost_depends_on_what_it_was_measured_at() -> None:
    """Costs in closed form on a text's length alone; a latency on all that was timed."""
    kind = LatencyKind(latency_of="onnx-fp32", threads=1, batch_size=1, length=128)
    plain, timed = MeasuredAt.of(26, None), MeasuredAt.of(26, kind)
    assert _conditions(plain, "macs") == _conditions(timed, "macs") != _conditions(MeasuredAt.of(27, None), "macs")
    others = [replace(kind, threads=2), replace(kind, length=64), replace(kind, latency_of="onnx-int8")]
    conditions = {_conditions(MeasuredAt.of(26, one), "latency_ms") for one in (kind, kind, *others)}
    assert len(conditions) == 4


def test_searches_that_differ_in_seeds_alone_are_a_group(tmp_path: Path) -> None:
    """Seeds of search and of training; every other setting makes a group of its own."""
    nets = [write_net(tmp_path / f"net-{seed}", seed=seed) for seed in (0, 1)]
    nets.append(write_net(tmp_path / "net-kd", sampling_strategy="kd"))
    points = [[(0.2, 1000), (0.4, 500)], [(0.2, 1000), (0.3, 600)], [(0.2, 1000), (0.6, 400)]]
    made = [
        write_search(tmp_path / f"s{n}", points[n], supernet=net, seed=seed)
        for n, (net, seed) in enumerate([(nets[0], 0), (nets[0], 1), (nets[1], 0)])
    ]
    made.append(write_search(tmp_path / "kd", points[0], supernet=nets[2]))
    comparison = compare_searches(made, find_super_network)
    assert [(group.name, len(group.searches)) for group in comparison.groups] == [("auto", 3), ("kd", 1)]
    assert [search.seeds for search in comparison.groups[0].searches] == [(0, 0), (1, 0), (0, 1)]
    best, median, worst = comparison.surfaces(comparison.groups[0])
    assert best == [(0.2, 1.0), (0.3, 0.6), (0.4, 0.5), (0.6, 0.4)]
    assert median == [(0.2, 1.0), (0.4, 0.6), (0.6, 0.5)]  # at least two of three
    assert worst == [(0.2, 1.0), (0.6, 0.6)]


def test_unknown_training_groups_by_weights(tmp_path: Path) -> None:
    made = [write_search(tmp_path / f"s{seed}", [(0.2, 1000), (0.4, 500)], seed=seed) for seed in (0, 1)]
    assert [len(group.searches) for group in compare_searches(made, find_super_network).groups] == [2]


def test_errors_that_do_not_compare_are_refused(tmp_path: Path) -> None:
    points = [(0.2, 1000), (0.4, 500)]
    one = write_search(tmp_path / "one", points)
    for name, more in {
        "rows": {"data_digest": "ffffffffffffffff"},
        "metric": {"source": DataSource(metric="f1")},
        "task": {"source": DataSource(task_name="sst2")},
    }.items():
        other = write_search(tmp_path / name, points, **more)  # type: ignore[arg-type]
        task, metric, digest = {
            "rows": ("demo", "accuracy", "ffffffffffffffff"),
            "metric": ("demo", "f1", "0123456789abcdef"),
            "task": ("sst2", "accuracy", "0123456789abcdef"),
        }[name]
        with pytest.raises(SearchError) as error:
            compare_searches([one, other], find_super_network)
        assert str(error.value) == (
            "searches to compare must be of one task, metric and data digest, since errors on other rows do not "
            f"compare, but got demo, accuracy, 0123456789abcdef in {one}; {task}, {metric}, {digest} in {other}. "
            "Search again on the data of one of them."
        )


def test_too_few_and_twice(tmp_path: Path) -> None:
    one = write_search(tmp_path / "one", [(0.2, 1000), (0.4, 500)])
    with pytest.raises(SearchError) as error:
        compare_searches([one], find_super_network)
    assert str(error.value) == (
        "--search must be given at least twice, but got 1. Name the output directories to compare."
    )
    with pytest.raises(SearchError) as error:
        compare_searches([one, tmp_path / "x" / ".." / "one"], find_super_network)
    assert str(error.value) == (
        f"--search must be given once for each search, but {tmp_path}/x/../one is given twice. Drop one."
    )
