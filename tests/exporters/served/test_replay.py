"""Requests that are due at a fixed rate, on a clock that moves by what a model takes; what is told of two models."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asking import answering, timed_replay
from compressor.errors import ModelError, TaskDataError
from exporters.served.models import ServedModel, open_http
from exporters.served.replay import BLOCKS, WARM_UPS, Meters, read_requests, replay


class FakeTime:
    """A clock that moves as models compute and senders sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meters = Meters(clock=lambda: self.now, sleep=self.move)

    def move(self, seconds: float) -> None:
        self.now += seconds


def model_of(clock: FakeTime, seconds: Any, name: str, told: Any = "bad", log: list[str] | None = None) -> ServedModel:
    """A model that takes so long for a row, and tells this label (of the row's text)."""

    def predict(rows: list[Any]) -> list[Any]:
        if log is not None:
            log.append(name)
        for row in rows:
            clock.move(seconds(row) if callable(seconds) else seconds)
        return [{"label": told(row) if callable(told) else told, "score": 0.5, "scores": {}} for row in rows]

    return replace(answering("single", "classification"), name=name, predict=predict)


def requests_of(count: int) -> dict[int, list[str]]:
    return {number + 1: [f"w{number}"] for number in range(count)}


def test_latency_counts_from_when_a_request_was_due() -> None:
    """One answer takes a second; at ten requests a second those behind it wait, though each takes a moment itself."""
    clock = FakeTime()
    slow = model_of(clock, lambda row: 1.0 if row == "w0" else 0.01, "slow")
    fast = model_of(clock, 0.01, "fast")
    made = replay(fast, slow, Path("r.jsonl"), requests_of(5 * BLOCKS), 10.0, clock.meters)
    latency = made.timed["challenger"].latency_ms
    assert latency[:5] == pytest.approx([1000, 910, 820, 730, 640])  # due at 0, 100, … ms; done at 1000, 1010, …
    assert latency[5:] == pytest.approx(10)  # the next turn begins when this one is over
    assert made.timed["challenger"].service_ms[1:] == pytest.approx(10)
    assert made.timed["champion"].latency_ms == pytest.approx(10)
    assert made.busy("champion") == pytest.approx(0.1)


def test_models_take_turns_and_neither_is_always_first() -> None:
    clock, log = FakeTime(), list[str]()
    one, other = (model_of(clock, 0.01, name, log=log) for name in ("champion", "challenger"))
    made = replay(one, other, Path("r.jsonl"), requests_of(2 * BLOCKS), 10.0, clock.meters)
    assert log[: 2 * WARM_UPS] == ["champion"] * WARM_UPS + ["challenger"] * WARM_UPS
    turns = log[2 * WARM_UPS :: 2]
    assert turns[:6] == ["champion", "challenger", "challenger", "champion", "champion", "challenger"]
    assert made.timed["champion"].blocks.tolist() == [turn for turn in range(BLOCKS) for _ in range(2)]
    few = replay(one, other, Path("r.jsonl"), requests_of(1), 10.0, clock.meters)
    assert len(few.timed["champion"].latency_ms) == 1


def test_rows_on_which_they_disagree_with_an_interval() -> None:
    clock = FakeTime()
    one = model_of(clock, 0.01, "champion")
    other = model_of(clock, 0.02, "challenger", lambda row: "good" if row in ("w3", "w4") else "bad")
    # Line 2 of the file is empty.
    requests = {1: ["w1", "w3"], 3: ["w4"], **{line: ["w1"] for line in range(4, 21)}}
    made = replay(one, other, Path("r.jsonl"), requests, 10.0, clock.meters)
    assert made.num_rows == 20
    assert [(each.line, each.row) for each in made.disagreements] == [(1, "w3"), (3, "w4")]
    assert made.disagreements[0].challenger["label"] == "good"
    assert made.disagreement_interval == pytest.approx((0.0279, 0.3010), abs=1e-4)  # Wilson's of 2 in 20
    assert made.verdict()[0] == "The models disagree on 2 of 20 rows: 10.00% (95 % 2.79% to 30.10%)."
    assert made.verdict()[1].startswith(
        "The challenger is slower: its median latency is 2.00 times the champion's (95 %"
    )


@pytest.mark.parametrize(("factor", "word"), [(0.5, "faster"), (1.0, "neither faster nor slower"), (2.0, "slower")])
def test_the_verdict_on_speed_has_an_interval(factor: float, word: str) -> None:
    rng = np.random.default_rng(0)
    champion, challenger = (rng.gamma(9, size=400) for _ in range(2))
    made = timed_replay(champion, factor * challenger)
    ratio, low, high = made.ratios[50]
    assert low < ratio < high
    assert low < factor < high
    assert made.verdict()[1].startswith(f"The challenger is {word}")
    assert made.metrics()["ratio_p50"] == ratio


def test_a_model_that_cannot_keep_up_is_told() -> None:
    made = timed_replay(np.full(20, 5.0), np.full(20, 120.0))
    assert made.verdict()[2].startswith("The challenger is at work 120% of the time at 10 requests a second, so its ")
    assert len(made.verdict()) == 3


def test_what_is_written(tmp_path: Path) -> None:
    clock = FakeTime()
    made = replay(
        model_of(clock, 0.01, "a"),
        model_of(clock, 0.01, "b", "good"),
        Path("r.jsonl"),
        requests_of(3),
        10.0,
        clock.meters,
    )
    made.save(tmp_path)
    written = json.loads((tmp_path / "replay.json").read_text())
    assert (written["num_requests"], written["rows"], written["champion"]["name"]) == (3, 3, "a")
    assert written["metrics"]["disagreement"] == 1
    assert written["latency_ms"]["champion"] == [10, 10, 10]
    lines = [json.loads(line) for line in (tmp_path / "disagreements.jsonl").read_text().splitlines()]
    assert lines[2] == {
        "line": 3,
        "row": "w2",
        "champion": {"label": "bad", "score": 0.5, "scores": {}},
        "challenger": {"label": "good", "score": 0.5, "scores": {}},
    }


def test_requests_are_rows_or_bodies(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text('"w1"\n\n{"inputs": ["w2", "w3"]}\n')
    assert read_requests(file, "single") == {1: ["w1"], 3: ["w2", "w3"]}
    file.write_text('{"text": "w1", "text_pair": "w2"}\n')
    assert read_requests(file, "pair") == {1: [{"text": "w1", "text_pair": "w2"}]}


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x7f"])
def test_a_text_may_hold_what_is_no_end_of_a_line(odd: str, tmp_path: Path) -> None:
    """JSON ends a string at a line feed alone; other tools write these characters as they are."""
    file, text = tmp_path / "requests.jsonl", f"one{odd}two"
    file.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in (text, "w1")).encode())
    assert read_requests(file, "single") == {1: [text], 2: ["w1"]}


def test_a_file_of_windows_may_begin_with_its_mark(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text('"w1"\n', encoding="utf-8-sig")
    assert read_requests(tmp_path / "requests.jsonl", "single") == {1: ["w1"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "--requests must hold at least one request, but .* holds none"),
        (
            "no JSON",
            "each line of requests.jsonl must be a request of a model of kind single, but line 1 is not: Expecti",
        ),
        ('"w1"\n5', "line 2 is not: Input should be a valid string"),
        ('{"text": "w1"}', "line 1 is not: Input should be a valid string"),
        ('{"inputs": "w1"}', "line 1 is not: Input should be a valid list"),
        ('{"inputs": []}', "line 1 is not: it has no rows"),
    ],
)
def test_what_is_no_request_is_told(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(content)
    with pytest.raises(TaskDataError, match=message):
        read_requests(tmp_path / "requests.jsonl", "single")


def test_a_row_without_choices_is_no_request(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text('{"text": "w1", "choices": []}')
    with pytest.raises(TaskDataError, match="line 1 is not: List should have at least 1 item"):
        read_requests(tmp_path / "requests.jsonl", "choices")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskDataError, match="--requests must be a file of JSON lines, but .* cannot be read"):
        read_requests(tmp_path, "single")


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that tells the length of each text, as `mlflow models serve` answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
            good = self.path == "/invocations" and "" not in rows
            body = json.dumps({"predictions": [{"label": str(len(row))} for row in rows]}).encode()
            self.send_response(200 if good else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_a_model_may_be_a_server(server: str) -> None:
    clock = FakeTime()
    one = model_of(clock, 0.01, "champion", "2")
    made = replay(one, open_http(f"{server}/", one), Path("r.jsonl"), {1: ["w1"], 2: ["w10"]}, 1000.0)
    assert [each.row for each in made.disagreements] == ["w10"]
    assert made.challenger.name == f"{server}/"
    with pytest.raises(
        ModelError, match=f"a served model must answer every request, but {server} does not: 400 Client"
    ):
        replay(one, open_http(server, one), Path("r.jsonl"), {1: [""]}, 1000.0)
