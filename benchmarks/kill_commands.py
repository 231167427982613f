"""Every command killed at random moments, again and again, on a tiny model: what is left, and is the result the same?

A victim is a command in a folder of its own with an MLflow database of its own. It is killed (SIGKILL) some times at
random moments and then runs to its end. Counted are, after that: `orphans` (runs that MLflow still calls running, and
command runs beyond the one there has to be), `leftovers` (half-written files and folders, trials that still live),
`different` (victims whose results differ from an undisturbed one's) and `stuck` (victims that could not end).

`python benchmarks/kill_commands.py` does 200 kills in about an hour on two cores; `--kills 20` does fewer, `--only nas`
one command. The last line is JSON.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("tests", "src")]

SECONDS = 600.0
"""That a victim may take at most for one try."""
KILLS_PER_VICTIM = 5
_LIBRARIES = (
    *("torch", "transformers", "mlflow", "datasets", "syne_tune", "onnxruntime", "onnxruntime.quantization", "onnx"),
    *("onnxscript", "torch._dynamo", "torch.onnx._internal.exporter._core", "transformers.models.bert.modeling_bert"),
    *("accelerate", "pandas", "scipy.stats", "sklearn.metrics", "moocore", "matplotlib.pyplot", "alembic.command"),
    *("matplotlib.backends.backend_agg", "git", "mlflow.pyfunc", "mlflow.genai", "mlflow.data.pandas_dataset"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
)
_SOURCE = Path(__file__).parents[1] / "src"
_PROGRAMS = ("servable", "trial_process", "modeling_sliced")
"""Modules that are run, not imported."""
PRELOAD = [
    *_LIBRARIES,
    *(
        ".".join(path.relative_to(_SOURCE).with_suffix("").parts)
        for path in sorted(_SOURCE.rglob("*.py"))
        if path.stem not in ("__init__", *_PROGRAMS)
    ),
    "preloaded",
]
"""What a victim's process would take six seconds for; the server imports it once, and victims are its forks."""
_OUT = "out"
_UNSTEADY = {
    *("seconds", "eval_seconds", "run_id", "supernet_run_id", "supernet", "search", "path", "model", "load_seconds"),
    *("peak_mb", "latencies", "environment", "latency_ms", "supernet_from_here", "mb", "noise"),
}
"""Keys whose values tell times, machines or places."""

TRAIN = "train-supernet --model-name-or-path {base}/base --train-file {base}/rows.jsonl --num-train-epochs 2"
NAS = "nas --model-name-or-path {base}/base --train-file {base}/rows.jsonl --num-trials 2 --num-train-epochs 2"
COMPRESS = (
    "compress --model-name-or-path {base}/base --train-file {base}/rows.jsonl --num-train-epochs 2 --num-samples 4 "
    "--finetune-epochs 1 --runtime onnxruntime --runs 2 --lengths 8 --batch-sizes 1"
)
COMMANDS = {
    "train-supernet": TRAIN,
    "search": "search --supernet {base}/net --num-samples 8",
    "nas": NAS,
    "extract": "extract --search {base}/found --index 0 --finetune-epochs 2",
    "extract-all": "extract --search {base}/found --all --finetune-epochs 1",
    "export": "export --model {base}/model",
    "benchmark": "benchmark --model {base}/model --model {base}/onnx --runs 2 --lengths 8 --batch-sizes 1",
    "report": "report --search {base}/found --model {base}/model",
    "compare": "compare {base}/found {base}/found-2",
    "compress": COMPRESS,
}
"""By name; `{base}` is the folder of what they read."""
_WITH_PROCESSES = ("nas", "benchmark", "compress")
"""Those that start processes of their own."""
PREPARED = {
    "net": TRAIN,
    "found": "search --supernet {base}/net --num-samples 4",
    "found-2": "search --supernet {base}/net --num-samples 4 --seed 1",
    "model": "extract --search {base}/found --index 0 --finetune-epochs 0",
}


@dataclass
class Counts:
    """What is counted."""

    kills: int = 0
    victims: int = 0
    orphans: int = 0
    leftovers: int = 0
    different: int = 0
    stuck: int = 0
    found: list[str] = field(default_factory=list)
    """What was wrong, in words."""

    def note(self, what: str, victim: str, kind: str, count: int = 1) -> None:
        """Counts something that is wrong."""
        setattr(self, kind, getattr(self, kind) + count)
        self.found.append(f"{victim}: {what}")
        print(f"  {victim}: {what}", flush=True)


def start_server(graphs: Path | None = None) -> Any:
    """The context whose processes are forks of one that has imported all; it finds modules by the environment alone.

    With `graphs`, a model of the same modules as one before is not traced again: its graph lies in that folder.
    """
    context, before = multiprocessing.get_context("forkserver"), dict(os.environ)
    context.set_forkserver_preload(PRELOAD)
    tests = str(Path(__file__).parents[1] / "tests")
    os.environ["PYTHONPATH"] = os.pathsep.join([tests, str(_SOURCE), *filter(None, [before.get("PYTHONPATH")])])
    os.environ |= {} if graphs is None else {"COMPRESSOR_TEST_GRAPHS": str(graphs)}
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _run_command(words: Sequence[str], folder: str) -> None:
    """A compressor process of its own; started by a server that has imported the libraries already."""
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
    log = os.open("process.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import datasets.config
    import torch

    from mlproject.cli import main

    datasets.config.HF_DATASETS_CACHE = Path(folder) / "cache"
    torch.set_num_threads(1)
    if words[0] in ("compress", "benchmark"):
        import exporters.benchmark
        from exporters.timing.footprint import Footprint, measure_footprint

        quick = words[0] == "compress"  # its processes that measure memory are those of `benchmark`
        made_up = Footprint(load_seconds=0.1, peak_mb=60.0)
        exporters.benchmark.measure_footprint = lambda path, *how: (  # type: ignore[attr-defined]
            made_up if quick or path.is_dir() else measure_footprint(path, *how)
        )
    main(list(words))
    sys.exit(0)


class Victim:
    """A command in a folder with a database of its own, that can be killed."""

    def __init__(self, context: Any, words: Sequence[str], folder: Path, database: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if database is not None:
            shutil.copyfile(database, folder / "mlflow.db")
        self.folder, self._words, self._context = folder, list(words), context

    def run(self, kill_after: float | None = None) -> int | None:
        """Runs to the end, or is killed after so many seconds; the exit code, None where it did not end in time."""
        process = self._context.Process(target=_run_command, args=(self._words, str(self.folder)))
        process.start()
        process.join(SECONDS if kill_after is None else kill_after)
        in_time = kill_after is not None or not process.is_alive()
        process.kill()
        process.join()
        return process.exitcode if in_time else None

    def terminate_at(self, pattern: str, lines: int = 1) -> int | None:
        """Runs until a file of that pattern in its folder has so many lines, and gets SIGTERM; the exit code."""
        return self._end_at(pattern, "terminate", lines)

    def kill_at(self, pattern: str) -> int | None:
        """The same with SIGKILL."""
        return self._end_at(pattern, "kill")

    def _end_at(self, pattern: str, how: str, lines: int = 1) -> int | None:
        process = self._context.Process(target=_run_command, args=(self._words, str(self.folder)))
        process.start()
        while process.is_alive() and not any(
            len(file.read_bytes().splitlines()) >= lines for file in self.folder.glob(pattern)
        ):
            time.sleep(0.02)
        getattr(process, how)()
        process.join()
        return int(process.exitcode) if process.exitcode is not None else None

    @property
    def out(self) -> Path:
        """Its output directory."""
        return self.folder / _OUT

    @property
    def log(self) -> str:
        """All that its processes have printed."""
        path = self.folder / "process.log"
        return path.read_text() if path.is_file() else ""

    @property
    def runs(self) -> list[Any]:
        """All MLflow runs of the folder."""
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))

    @property
    def half_written(self) -> list[str]:
        """Hidden files and folders that should be gone, in its output directory and beside it.

        What MLflow had begun to copy into its store is MLflow's, which lists no such file.
        """
        hidden = [path for path in self.folder.rglob(".*") if not path.is_relative_to(self.folder / "cache")]
        ours = [p for p in hidden if p.name != ".compressor" and not p.name.startswith(".artifact.uploading.")]
        return sorted(str(path.relative_to(self.folder)) for path in ours)

    def live_trials(self) -> list[int]:
        """Processes that have its folder on their command line."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if str(self.folder).encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:  # it has just ended
                continue
        return found

    def results(self) -> dict[str, Any]:
        """What it made: the content of its files by name, without what differs from time to time."""
        made: dict[str, Any] = {}
        for path in sorted(self.out.rglob("*")):
            name = str(path.relative_to(self.out))
            if path.is_dir() or ".compressor/" in name or path.suffix in (".png", ".svg", ".html", ".csv", ".out"):
                made[name] = "there"
            elif path.suffix == ".json":
                made[name] = _steady(json.loads(path.read_text()))
            elif path.suffix == ".jsonl":
                made[name] = sorted(json.dumps(_steady(json.loads(x))) for x in path.read_text().splitlines())
            elif name.rpartition("/")[2] != "end":  # when a trial ended
                made[name] = hashlib.sha256(path.read_bytes().replace(str(self.folder).encode(), b"")).hexdigest()
        unsteady = ("st_", "metadata", "std.err", "entries", "delivered", "command", "lock", "README")
        return {name: v for name, v in made.items() if not any(part in name.rpartition("/")[2] for part in unsteady)}


def _steady(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _steady(inner)
            for key, inner in value.items()
            if key not in _UNSTEADY and not key.startswith(("p50_ms", "speedup", "st_"))
        }
    return [_steady(inner) for inner in value] if isinstance(value, list) else value


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two results differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted({*one, *other})
        return [d for name in names for d in differences(one.get(name), other.get(name), f"{where}/{name}")]
    return [] if one == other else [f"{where}: {str(one)[:80]} / {str(other)[:80]}"]


def check(name: str, victim: Victim, whole: Mapping[str, Any], counts: Counts) -> None:
    """Counts what is wrong with a victim that was killed and has then come to its end."""
    running = [run for run in victim.runs if run.info.status == "RUNNING"]
    if running:
        names = ", ".join(sorted(str(run.info.run_name) for run in running)[:4])
        counts.note(f"{len(running)} runs left running: {names}", name, "orphans", len(running))
    top = [run for run in victim.runs if "mlflow.parentRunId" not in run.data.tags]
    if len(top) > 1:
        counts.note(f"{len(top)} runs of one command", name, "orphans", len(top) - 1)
    keys = [run.data.tags.get("compressor.run_key") for run in victim.runs]
    if len(set(keys)) < len(keys):
        counts.note(f"{len(keys) - len(set(keys))} doubled runs below it", name, "orphans")
    left = victim.half_written
    if left:
        counts.note(f"left half written: {', '.join(left[:4])}", name, "leftovers", len(left))
    found = differences(whole, victim.results())
    if found:
        counts.note(f"other results: {'; '.join(found[:3])}", name, "different")


def prepare(context: Any, folder: Path) -> Path:
    """The folder with what the commands read, and an MLflow database that is ready."""
    import mlflow

    import conftest

    folder.mkdir(parents=True)
    rows = conftest.sentence_rows(120)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    conftest.write_base_model(folder / "base", conftest.word_tokenizer())
    shutil.copytree(Path(conftest.__file__).parent / "golden" / "0.2.0" / "onnx", folder / "onnx")
    mlflow.MlflowClient(f"sqlite:///{folder}/empty.db").search_experiments()
    for name, command in PREPARED.items():
        victim = Victim(context, _words(command, folder, name), folder)
        if victim.run() != 0:
            raise SystemExit(f"{name} could not be made: {victim.log[-2000:]}")
    return folder


def _words(command: str, base: Path, output_dir: str) -> list[str]:
    return [*command.format(base=base).split(), "--output-dir", output_dir]


def kill_command(
    context: Any, name: str, base: Path, folder: Path, num_kills: int, moments: random.Random, counts: Counts
) -> None:
    """Kills a command so many times, `KILLS_PER_VICTIM` a victim, and checks each victim after its end."""
    words = _words(COMMANDS[name], base, _OUT)
    undisturbed = Victim(context, words, folder / f"{name}-whole", base / "empty.db")
    started = time.perf_counter()
    if undisturbed.run() != 0:
        raise SystemExit(f"{name} fails without a kill: {undisturbed.log[-2000:]}")
    seconds, whole = time.perf_counter() - started, undisturbed.results()
    print(f"{name}: {seconds:.1f} s undisturbed", flush=True)
    left = num_kills
    while left > 0:
        number = (num_kills - left) // KILLS_PER_VICTIM
        fresh = number % 2 == 1  # without a database, so that the kill may fall into its making
        victim = Victim(context, words, folder / f"{name}-{number}", None if fresh else base / "empty.db")
        counts.victims += 1
        for _ in range(min(left, KILLS_PER_VICTIM)):
            code = victim.run(kill_after=moments.uniform(0.0, seconds))
            counts.kills += 1
            if name in _WITH_PROCESSES:
                time.sleep(0.7)  # a trial may take half a second to see that its search is gone
            if victim.live_trials():
                counts.note(f"processes live on: {victim.live_trials()}", f"{name}-{number}", "leftovers")
            if code == 0:  # it was through before the moment came
                break
        left -= KILLS_PER_VICTIM
        code = victim.run() if code != 0 else 0
        if code != 0 and "is finished" not in victim.log.splitlines()[-1]:
            counts.note(f"ended with {code}: {victim.log[-300:]}", f"{name}-{number}", "stuck")
            continue
        check(f"{name}-{number}", victim, whole, counts)
        shutil.rmtree(victim.folder, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Kills every command; prints the figures, as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of all commands together")
    parser.add_argument("--only", default="", help="commands, with commas")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    chosen = [name for name in COMMANDS if not given.only or name in given.only.split(",")]
    context = start_server()
    moments, counts, started = random.Random(given.seed), Counts(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="kill-commands-", ignore_cleanup_errors=True) as folder:
        base = prepare(context, Path(folder) / "base")
        for place, name in enumerate(chosen):
            num_kills = given.kills * (place + 1) // len(chosen) - given.kills * place // len(chosen)
            kill_command(context, name, base, Path(folder), num_kills, moments, counts)
            figures = {key: value for key, value in vars(counts).items() if key != "found"}
            print(f"  so far {figures}", flush=True)
    print(json.dumps({"kill_commands": figures | {"seconds": round(time.perf_counter() - started)}}))


if __name__ == "__main__":
    main()
