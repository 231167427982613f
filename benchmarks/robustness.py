"""What the commands do with bad inputs: the tables of `tests/fuzz`, and some thousand inputs made by `bad_inputs.py`.

Each runs in a worker process on tiny models; a worker that does not come back is killed. What counts: tracebacks and
other exceptions let through, errors that nobody wrote (`KeyError: …`), wrong input that is accepted, right input that
is refused, commands that hang, and commands that fail but leave files or a running run behind ("untidy").
`python benchmarks/robustness.py` takes about an hour on two cores; `--only options` (or a part of a name) and
`--every 5` (every fifth) take less. The last line is JSON. `--kills` adds the figures of `kill_commands.py`.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import exporters.benchmark
from bad_inputs import SECONDS, Probe, all_probes
from compressor.files import append_json_line
from exporters.timing.footprint import Footprint
from fuzz.harness import Case, Outcome, Workshop, all_cases, problems

KINDS = ("traceback", "unwritten", "accepted", "refused", "hung", "untidy")
"""What can be wrong, the worst first."""
MEMORY = 12 << 30
"""Bytes of address space that a worker may use."""
_MEASURED = ("load_seconds", "peak_mb", "eval_seconds", "seconds", "search", "latencies", "noise", "environment")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How one probe ended."""

    area: str
    name: str
    wrong: str
    """One of `KINDS`; empty where all is well."""
    text: str
    """What was said, or what is wrong."""
    seconds: float


def judge(probe: Probe, outcome: Outcome, same: bool) -> tuple[str, str]:
    """What is wrong with how a probe ended, if anything, and the text that shows it."""
    if outcome.trace.startswith("hung"):
        return "hung", outcome.trace.splitlines()[0]
    if outcome.is_traceback:
        return "traceback", (outcome.trace or outcome.err).strip().splitlines()[-1]
    if outcome.is_unwritten:
        return "unwritten", outcome.sentence
    if outcome.code == 0 and probe.shows not in outcome.out:
        return "accepted", f"exit code 0, but the output lacks {probe.shows!r}"
    if outcome.code == 0:
        wrong = probe.verdict == "refuse" or (probe.verdict == "same" and not same)
        return ("accepted" if wrong else ""), "exit code 0"
    if probe.verdict == "accept":
        return "refused", outcome.sentence
    if len(outcome.errors) != 1 or outcome.code != 1:
        return "untidy", f"exit code {outcome.code}, {len(outcome.errors)} errors: {outcome.err[-200:]!r}"
    if outcome.running:
        return "untidy", f"{len(outcome.running)} run(s) left RUNNING after: {outcome.sentence}"
    if outcome.written:
        return "untidy", f"left {', '.join(outcome.written)[:120]} after: {outcome.sentence}"
    return "", outcome.sentence


def judge_case(case: Case, outcome: Outcome, folder: Path) -> tuple[str, str]:
    """The same for a row of a table, which says the whole error."""
    found = problems(case, outcome, folder)
    wrong, text = judge(Probe(area="tables", case=case, verdict="refuse"), outcome, same=False)
    return (wrong or "untidy", text if wrong else "; ".join(found)) if found else ("", text)


def results(folder: Path) -> str:
    """A digest of what a command made, without clock times."""
    digest = hashlib.sha256()
    for path in sorted((folder / "out").rglob("*")):
        if path.is_file() and ".compressor" not in path.parts and path.suffix in (".json", ".safetensors", ".html"):
            content = path.read_bytes()
            if path.suffix == ".json":
                content = json.dumps(_without_measures(json.loads(content))).encode()
            digest.update(content)
    return digest.hexdigest()


def _without_measures(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_measures(member) for key, member in value.items() if key not in _MEASURED}
    return [_without_measures(member) for member in value] if isinstance(value, list) else value


def work(pipe: Connection, only: str, every: int) -> None:
    """A worker: makes its own artifacts, then runs what it is told by number until it is told None."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.setsid()  # what a command starts dies with this worker
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    measured = Footprint(load_seconds=0.1, peak_mb=60.0)  # in processes of their own, which would take most of the time
    footprint = mock.patch.object(exporters.benchmark, "measure_footprint", lambda *_: measured)
    with footprint, tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        todo = list_all(workshop.ready, only)[::every]
        undisturbed: dict[Any, str] = {}
        pipe.send([probe.case.name for probe in todo])
        while (number := pipe.recv()) is not None:
            probe = todo[number]
            case, words = probe.case, probe.case.words
            if probe.verdict == "same" and words not in undisturbed:
                plain = Case(name="undisturbed", words=words, seconds=SECONDS, leaves=("out*",))
                undisturbed[words] = workshop.run(plain, look=results).looked_at
            outcome = workshop.run(case, look=results if probe.verdict == "same" else None)
            same = probe.verdict == "same" and outcome.looked_at == undisturbed[words]
            if probe.area == "tables":
                wrong, text = judge_case(case, outcome, workshop.folder)
            else:
                wrong, text = judge(probe, outcome, same)
            text = text.replace(folder, "")
            pipe.send(Finding(area=probe.area, name=case.name, wrong=wrong, text=text, seconds=outcome.seconds))


def list_all(ready: Path, only: str) -> list[Probe]:
    """The tables' cases and the made ones whose area or name holds a text."""
    tables = [Probe(area="tables", case=case, verdict="refuse") for case in all_cases()]
    return [p for p in (*tables, *all_probes(ready)) if only in p.area or only in p.case.name]


class Worker:
    """A process that runs one probe at a time, and is replaced when it does not answer."""

    def __init__(self, only: str, every: int) -> None:
        self._todo = (only, every)
        self.number: int | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, *self._todo), daemon=True)
        self._process.start()
        theirs.close()
        self.names: list[str] = self.pipe.recv()
        self.number = None

    def give(self, number: int | None) -> None:
        """Tells it what to do next."""
        self.number, self._since = number, time.monotonic()
        self.pipe.send(number)

    def poll(self) -> Finding | None:
        """What became of its probe, if that is known by now."""
        try:
            if self.pipe.poll(0.05):
                finding: Finding = self.pipe.recv()
                return finding
            late = time.monotonic() - self._since > 3 * SECONDS
        except (EOFError, OSError):
            return self._replace("the process died")
        return self._replace(f"no answer in {3 * SECONDS:g} s") if late else None

    def _replace(self, why: str) -> Finding:
        number = self.number
        if self._process.pid is not None and self._process.is_alive():
            os.killpg(self._process.pid, 9)
        self._process.join()
        self._start()
        return Finding(area="?", name=self.names[number or 0], wrong="hung", text=why, seconds=3 * SECONDS)

    def end(self) -> None:
        """Lets it go."""
        self.pipe.send(None)
        self._process.join(timeout=20)


def run_all(only: str, every: int, num_workers: int) -> Iterator[Finding]:
    """How every probe ends, as it is known."""
    workers = [Worker(only, every) for _ in range(num_workers)]
    numbers = iter(range(len(workers[0].names)))
    busy = []
    for worker in workers:
        if (number := next(numbers, None)) is not None:
            worker.give(number)
            busy.append(worker)
    while busy:
        for worker in list(busy):
            if (finding := worker.poll()) is None:
                continue
            yield finding
            if (number := next(numbers, None)) is None:
                busy.remove(worker)
                worker.end()
            else:
                worker.give(number)


def show(findings: list[Finding]) -> dict[str, int]:
    """Prints a table by area and all that is wrong; the counts."""
    areas = sorted({finding.area for finding in findings})
    print(f"\n{'area':<12} {'cases':>6} " + " ".join(f"{kind:>10}" for kind in KINDS) + f" {'slowest s':>10}")
    for area in (*areas, "all"):
        mine = [finding for finding in findings if area in (finding.area, "all")]
        counts = Counter(finding.wrong for finding in mine)
        slowest = max((finding.seconds for finding in mine), default=0)
        print(f"{area:<12} {len(mine):>6} " + " ".join(f"{counts[kind]:>10}" for kind in KINDS) + f" {slowest:>10.1f}")
    for kind in KINDS:
        for finding in findings:
            if finding.wrong == kind:
                print(f"{kind}: {finding.name}\n    {finding.text[:300]}")
    counts = Counter(finding.wrong for finding in findings)
    return {
        "cases": len(findings),
        "tracebacks": counts["traceback"],
        "unwritten_errors": counts["unwritten"],
        "wrongly_accepted": counts["accepted"],
        "wrongly_refused": counts["refused"],
        "hung": counts["hung"],
        "untidy": counts["untidy"],
    }


def kills() -> dict[str, Any]:
    """The last line of `kill_commands.py`."""
    script = Path(__file__).with_name("kill_commands.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    print(done.stdout)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Runs all, prints the table, what is wrong, and the counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a part of an area's or a case's name")
    parser.add_argument("--every", type=int, default=1, help="run one of so many")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", action="store_true", help="run kill_commands.py too")
    parser.add_argument("--list", type=Path, help="add every case's end to this file, one JSON line each")
    arguments = parser.parse_args()
    start, findings = time.monotonic(), []
    for finding in run_all(arguments.only, arguments.every, arguments.workers):
        findings.append(finding)
        if arguments.list:
            append_json_line(arguments.list, vars(finding), durable=False)
        if sys.stderr.isatty() or len(findings) % 200 == 0:
            print(f"\r{len(findings)} cases", end="", file=sys.stderr, flush=True)
    counts = show(findings)
    more = kills() if arguments.kills else {}
    print(json.dumps({**counts, **more, "seconds": round(time.monotonic() - start)}))


if __name__ == "__main__":
    main()
