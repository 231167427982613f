"""Two served models on the same recorded requests, in turn, at a fixed rate: where they disagree, how long each takes.

Requests come when they come, whether or not the model is done with those before (an open loop): the latency of each is
counted from the moment at which it was to be sent. Were it counted from when it was sent, one slow answer would
hide that others had to wait for it (coordinated omission). The models take turns by blocks of requests, so that neither
waits for the other, and what happens on the machine hits both alike.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.metrics import share_interval
from compressor.errors import ModelError, TaskDataError, shorten
from compressor.files import write_json, write_text
from compressor.records import FORMAT
from exporters.served.differences import find_different
from exporters.served.models import ServedModel

REPLAY_FILE, DISAGREEMENTS_FILE = "replay.json", "disagreements.jsonl"
ROLES = ("champion", "challenger")
BLOCKS = 10
"""Turns of each model."""
WARM_UPS = 3
"""Requests to each model before the clock is read."""
PERCENTILES = (50, 95, 99)
_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Meters:
    """What is read and waited by; tests put others in place of them."""

    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], object] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What a model answered to the requests, and when."""

    answers: list[Any]
    """As JSON has them, an answer per row of a request."""
    latency_ms: np.ndarray
    """From when each request was to be sent to its answer, [requests]."""
    service_ms: np.ndarray
    """From when it was sent."""
    blocks: np.ndarray
    """In which turn each was sent."""

    def percentiles(self) -> dict[str, float]:
        """Return the percentiles of the latency by name."""
        found = np.percentile(self.latency_ms, PERCENTILES)
        return {f"p{percent}_ms": float(value) for percent, value in zip(PERCENTILES, found, strict=True)}


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A row that two models answer differently."""

    line: int
    """The line of the file of requests, from 1."""
    row: Any
    champion: Any
    challenger: Any


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Two models on the same requests."""

    file: Path
    rate: float
    """Requests a second, to one model at a time."""
    champion: ServedModel
    challenger: ServedModel
    timed: dict[str, Timed]
    """By role."""
    num_rows: int
    disagreements: tuple[Disagreement, ...]

    @property
    def disagreement(self) -> float:
        """The share of rows that are answered differently."""
        return len(self.disagreements) / self.num_rows

    @property
    def disagreement_interval(self) -> tuple[float, float]:
        """Its 95 % interval, by Wilson."""
        return share_interval(len(self.disagreements), self.num_rows)

    @cached_property
    def ratios(self) -> dict[int, tuple[float, float, float]]:
        """The challenger's median and 99th percentile over the champion's, with their 95 % intervals."""
        return {percent: self._ratio(percent) for percent in (50, 99)}

    def _ratio(self, percent: int) -> tuple[float, float, float]:
        """Return a ratio of percentiles, and its interval by resampled turns and requests in them."""
        both = [self.timed[role] for role in ROLES]
        values = [float(np.percentile(timed.latency_ms, percent)) for timed in both]
        rng = np.random.default_rng(0)
        turns = [np.flatnonzero(both[0].blocks == block) for block in np.unique(both[0].blocks)]
        drawn = []
        for _ in range(_DRAWS):
            picked = np.concatenate(
                # Turns first, then requests in them: those of one turn are disturbed by the same things.
                [rng.choice(turns[turn], len(turns[turn])) for turn in rng.integers(len(turns), size=len(turns))]
            )
            # The same requests of both models: long texts take long in either.
            first, second = (np.percentile(timed.latency_ms[picked], percent) for timed in both)
            drawn.append(second / first)
        low, high = np.quantile(drawn, [0.025, 0.975])  # 95 %
        return values[1] / values[0], float(low), float(high)

    def busy(self, role: str) -> float:
        """Return the share of the time in which a model is at work at this rate; above 1 it cannot keep up."""
        return float(self.timed[role].service_ms.mean()) / 1000 * self.rate

    def verdict(self) -> list[str]:
        """Return what the figures show, a sentence each."""
        low, high = self.disagreement_interval
        count = f"{len(self.disagreements):,} of {self.num_rows:,} rows"
        ratio, low_p50, high_p50 = self.ratios[50]
        # A model is called faster or slower only where the whole interval lies on one side of 1.
        word = (
            "faster"
            if high_p50 < 1
            else "slower"
            if low_p50 > 1
            else "neither faster nor slower, as far as can be told"
        )
        tail, low_p99, high_p99 = self.ratios[99]
        sentences = [
            f"The models disagree on {count}: {self.disagreement:.2%} (95 % {low:.2%} to {high:.2%}).",
            f"The challenger is {word}: its median latency is {ratio:.2f} times the champion's (95 % {low_p50:.2f} to "
            f"{high_p50:.2f}), its 99th percentile {tail:.2f} times (95 % {low_p99:.2f} to {high_p99:.2f}).",
        ]
        for role in ROLES:
            # Near 1 a queue builds up (its mean wait grows as 1 / (1 − load)), which is no property of the model.
            if self.busy(role) > 0.9:
                sentences.append(
                    f"The {role} is at work {self.busy(role):.0%} of the time at {self.rate:g} requests a second, so "
                    "its latencies are mostly those of waiting. Replay at a lower --rate to compare the models."
                )
        return sentences

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows: a model a row."""
        header = ["model", *(f"p{percent} ms" for percent in PERCENTILES), "service p50 ms", "at work"]
        rows = [
            [
                f"{role}: {model.name}",
                *(f"{value:.2f}" for value in self.timed[role].percentiles().values()),
                f"{np.median(self.timed[role].service_ms):.2f}",
                f"{self.busy(role):.0%}",
            ]
            for role, model in zip(ROLES, (self.champion, self.challenger), strict=True)
        ]
        return header, rows

    def metrics(self) -> dict[str, float]:
        """Return all figures by name."""
        low, high = self.disagreement_interval
        found = {"disagreement": self.disagreement, "disagreement_low": low, "disagreement_high": high}
        for role, timed in self.timed.items():
            found |= {f"{role}/{name}": value for name, value in timed.percentiles().items()}
            found[f"{role}/at_work"] = self.busy(role)
        for percent, ratio in self.ratios.items():
            names = (f"ratio_p{percent}", f"ratio_p{percent}_low", f"ratio_p{percent}_high")
            found |= dict(zip(names, ratio, strict=True))
        return found

    def save(self, directory: Path) -> None:
        """Write `replay.json` and `disagreements.jsonl`."""
        lines = (json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in self.disagreements)
        write_text(directory / DISAGREEMENTS_FILE, "".join(lines))
        written = {
            "format": FORMAT,
            "requests": str(self.file),
            "num_requests": len(self.timed["champion"].latency_ms),
            "rows": self.num_rows,
            "rate": self.rate,
            "champion": {"name": self.champion.name, "model_id": self.champion.model_id},
            "challenger": {"name": self.challenger.name, "model_id": self.challenger.model_id},
            "metrics": self.metrics(),
            "verdict": self.verdict(),
            "latency_ms": {
                role: [round(float(ms), 3) for ms in timed.latency_ms] for role, timed in self.timed.items()
            },
        }
        write_json(directory / REPLAY_FILE, written)


def read_requests(file: Path, kind: str) -> dict[int, list[Any]]:
    """Return the rows of each request in a file by its line, from 1: a row a line, or a body as it is sent to a server.

    Raises:
        TaskDataError: the file is not there or empty, or a line is no request of such a model.
    """
    from pydantic import TypeAdapter, ValidationError

    from exporters.servable import KINDS

    try:
        # Cut at line feeds alone: texts may hold other characters that Python's `splitlines` takes for a line's end.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskDataError(
            f"--requests must be a file of JSON lines, but {file} cannot be read: {shorten(error)}. Check the path."
        ) from None
    # The types that the served model declares: what passes here its server takes as well.
    adapter = TypeAdapter(KINDS[kind].predict.__annotations__["model_input"])
    found: dict[int, list[Any]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            # A body as a server gets it has its rows below a key; anything else is one row.
            rows = value["inputs"] if isinstance(value, dict) and "inputs" in value else [value]
            adapter.validate_python(rows, strict=True)
            if not rows:
                raise ValueError("it has no rows")
        except (ValueError, RecursionError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else shorten(error)
            raise TaskDataError(
                f"each line of {file.name} must be a request of a model of kind {kind}, but line {number} is not: "
                f'{reason}. Write a row as JSON, or {{"inputs": [row, …]}}.'
            ) from None
        found[number] = rows
    if not found:
        raise TaskDataError(f"--requests must hold at least one request, but {file} holds none. Check the file.")
    return found


def replay(
    champion: ServedModel,
    challenger: ServedModel,
    file: Path,
    by_line: Mapping[int, list[Any]],
    rate: float,
    meters: Meters | None = None,
) -> Replay:
    """Send the same requests, by their lines in a file, to two models, in turn, at a fixed rate.

    Raises:
        ModelError: a model does not answer a request.
    """
    models, requests = dict(zip(ROLES, (champion, challenger), strict=True)), list(by_line.values())
    for model in models.values():
        for rows in requests[:WARM_UPS]:
            _answer(model, rows)
    # In blocks, so that the models take turns and a disturbance of some seconds hits both.
    meters, parts = meters or Meters(), [part for part in np.array_split(np.arange(len(requests)), BLOCKS) if len(part)]
    sent: dict[str, list[tuple[int, int, float, float, list[Any]]]] = {role: [] for role in ROLES}
    # Who is first changes with each turn: the second one finds caches and clocks as the first has left them.
    for turn, part in enumerate(parts):
        for role in ROLES if turn % 2 == 0 else ROLES[::-1]:
            for place, times in zip(part, _send(models[role], [requests[i] for i in part], rate, meters), strict=True):
                sent[role].append((int(place), turn, *times))
    # In the order of the file, whoever was first in a turn.
    timed = {role: _gather(sorted(found, key=lambda each: each[0])) for role, found in sent.items()}
    # Answers are numbered through all requests; each row remembers the line that its request stands in.
    rows = [(line, row) for line, of_request in by_line.items() for row in of_request]
    differ = find_different(champion.kind, timed["champion"].answers, timed["challenger"].answers)
    return Replay(
        file=file,
        rate=rate,
        champion=champion,
        challenger=challenger,
        timed=timed,
        num_rows=len(rows),
        disagreements=tuple(
            Disagreement(
                line=rows[place][0],
                row=rows[place][1],
                champion=timed["champion"].answers[place],
                challenger=timed["challenger"].answers[place],
            )
            for place in np.flatnonzero(differ)
        ),
    )


def _send(
    model: ServedModel, requests: Sequence[list[Any]], rate: float, meters: Meters
) -> list[tuple[float, float, list[Any]]]:
    """Return latency and service time in seconds, and the answers, of requests due at a fixed rate from now on."""
    start, found = meters.clock(), []
    for place, rows in enumerate(requests):
        # From the start of the block and not from the last request, or delays would add up and hide.
        due = start + place / rate
        if (ahead := due - meters.clock()) > 0:
            meters.sleep(ahead)
        begun = meters.clock()
        answers = _answer(model, rows)
        done = meters.clock()
        found.append((done - due, done - begun, answers))
    return found


def _answer(model: ServedModel, rows: list[Any]) -> list[Any]:
    """Return the answers to the rows of a request as JSON has them."""
    try:
        answers = model.predict(rows)
    except Exception as error:  # whatever a model, MLflow or a server raises
        raise ModelError(
            f"a served model must answer every request, but {model.name} does not: {shorten(error)}. "
            "Look at the request."
        ) from error
    return [each.model_dump() if hasattr(each, "model_dump") else each for each in answers]


def _gather(found: Sequence[tuple[int, int, float, float, list[Any]]]) -> Timed:
    return Timed(
        answers=[answer for *_, answers in found for answer in answers],
        latency_ms=np.asarray([1000 * latency for _, _, latency, _, _ in found]),
        service_ms=np.asarray([1000 * service for _, _, _, service, _ in found]),
        blocks=np.asarray([turn for _, turn, *_ in found]),
    )
