"""Bad inputs as data: what a case is, and how it is run.

How to add a case: put a row into a table `tests/fuzz/*_cases.py`, or into a file of your own of that name; its list
`CASES` is found by itself. A row is a name, the words of a command, what is changed before, and the error:

    Case(name="half a result file", words="extract --search search", change=cut("search/search_results.json", 100),
         error="the file {folder}/search/search_results.json must hold JSON, but does not parse: …. Make it again.")

`error` is the whole line after `Error: `; `…` stands for any text, `{folder}` for the folder of the case. Around the
command lie ready-made artifacts (`READY`): base, train.jsonl, net, search, model, onnx, benchmark, nas. `change` is a
function of the folder, or several (`cut`, `write`, `edit_json` … below make such). `call` runs a library function in
place of a command. Every case must end with exit code 1, one such line, no file written (but `leaves`), no run left
RUNNING, within `seconds`. MLflow is in memory (`MemoryClient`), so that a case takes hundredths of a second;
`database=True` gives a real one (half a second). One case: `pytest "tests/fuzz/test_fuzz.py::test_case[NAME]"`.
"""

import contextlib
import fnmatch
import importlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import stat
import time
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import exporters.benchmark
from compressor.errors import CompressorError
from conftest import copy_database, sentence_rows, word_tokenizer, write_base_model
from exporters.timing.footprint import Footprint
from mlproject.cli import main

Change = Callable[[Path], object]
READY = ("base", "train.jsonl", "net", "search", "model", "onnx", "benchmark", "nas")
"""What lies in the folder of each case: a base model, rows, and what each command makes of them.

`nas` is what version 0.1.0 made: a new one would take half a minute.
"""
GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"
_LAST_RESORT = re.compile(r"^Error: \w+: .*Add --debug for the traceback\.$")
_NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bad input and what the user must read."""

    name: str
    """Its id, unlike all others."""
    words: str | tuple[str, ...] = ()
    """Of the command, as typed in a shell (or as a tuple); empty where `call` is given."""
    error: str = ""
    """The whole sentence; `…` stands for any text, `{folder}` for the case's folder."""
    change: Change | tuple[Change, ...] = ()
    """What is done in the folder before."""
    call: Callable[[Path], object] | None = None
    """A library function in place of a command; it is given the folder and must raise a `CompressorError`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()
    """Patterns of files (from the folder) that may be written or changed."""
    database: bool = False
    """Whether MLflow keeps its runs in a real database."""
    seconds: float = 10.0
    """After which it counts as hung."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a case ended."""

    code: int
    out: str
    err: str
    seconds: float
    written: tuple[str, ...]
    """Files that are new, changed or gone."""
    running: tuple[str, ...]
    """Runs left RUNNING."""
    trace: str = ""
    """Where an exception came from that no command may let through."""
    looked_at: Any = None
    """What `look` found in the folder."""

    @property
    def errors(self) -> list[str]:
        """The lines that begin with Error."""
        return [line for line in self.err.splitlines() if line.startswith("Error")]

    @property
    def sentence(self) -> str:
        """The first error without `Error: `."""
        return self.errors[0].removeprefix("Error: ") if self.errors else ""

    @property
    def is_traceback(self) -> bool:
        """Whether a traceback was printed or an exception let through."""
        return bool(self.trace) or "Traceback (most recent call last)" in self.err + self.out

    @property
    def is_unwritten(self) -> bool:
        """Whether the error is nobody's sentence: the last resort of `main`."""
        return any(_LAST_RESORT.match(line) for line in self.errors)


class TooLong(BaseException):
    """A case went on past its limit."""


def problems(case: Case, outcome: Outcome, folder: Path) -> list[str]:
    """What is wrong with how a case ended; empty for a case as it must be."""
    wanted = case.error.replace("{folder}", str(folder))
    pattern = re.escape(wanted).replace("…", ".*?")
    fine = {
        f"it ended with a traceback:\n{outcome.trace}": not outcome.is_traceback,
        f"the exit code is {outcome.code}": outcome.code == 1,
        f"there are {len(outcome.errors)} errors:\n{outcome.err}": len(outcome.errors) == 1,
        f"nobody wrote this error:\n  {outcome.sentence}": not outcome.is_unwritten,
        f"the error is\n  {outcome.sentence}\nand not\n  {wanted}": bool(re.fullmatch(pattern, outcome.sentence)),
        f"it wrote {', '.join(outcome.written)}": not outcome.written,
        f"runs are left RUNNING: {', '.join(outcome.running)}": not outcome.running,
    }
    return [problem for problem, good in fine.items() if not good]


class Workshop:
    """A folder in which cases run one after the other, each among what was made once.

    Commands write absolute paths, so everything was made in `folder`, the very place where each case finds it.
    """

    def __init__(self, root: Path, find_database: Callable[[], Path] | None = None) -> None:
        self.folder, self.ready, self._root = root / "case", root / "ready", root
        self._find_database = find_database or self._make_database
        """Gives an empty database of MLflow, asked for by the first case that needs one."""
        self._num_databases = 0
        self.folder.mkdir(parents=True)
        with _surroundings(self.folder, MemoryClient()):
            _make_ready(self.folder)
        shutil.copytree(self.folder, self.ready)
        self._as_made = _seen(self.folder)

    def run(self, case: Case, look: Callable[[Path], Any] | None = None) -> Outcome:
        """How a case ends, and what `look` finds in its folder then; after that the folder is as it was."""
        try:
            for change in case.change if isinstance(case.change, tuple) else (case.change,):
                change(self.folder)
            client, more = self._real_client() if case.database else (MemoryClient(), {})
            with _surroundings(self.folder, client, {**more, **case.environment}):
                outcome = _run(case, self.folder, client)
            return outcome if look is None else replace(outcome, looked_at=look(self.folder))
        finally:
            self._restore()

    def _restore(self) -> None:
        """Brings back what a case changed: fewer files than making all of them anew."""
        self.folder.chmod(0o755)
        for name, as_made in self._as_made.items():  # folders come before what lies in them
            if stat.S_ISDIR(as_made.mode) and (self.folder / name).is_dir():
                (self.folder / name).chmod(stat.S_IMODE(as_made.mode))
        now = _seen(self.folder)
        for name in reversed(now):
            path = self.folder / name
            if self._as_made.get(name) != now[name] and (path.is_symlink() or path.exists()):
                shutil.rmtree(path) if stat.S_ISDIR(now[name].mode) else path.unlink()
        for name, as_made in self._as_made.items():
            path = self.folder / name
            if not path.exists() and stat.S_ISDIR(as_made.mode):
                path.mkdir()
            elif not path.exists():
                shutil.copy2(self.ready / name, path)
                self._as_made[name] = _Seen.of(path)

    def _real_client(self) -> tuple[Any, dict[str, str]]:
        """A client of a database of the case's own, whose path no other has: open databases are known by it."""
        import mlflow

        self._num_databases += 1
        folder = self.folder / f"mlflow-{self._num_databases}"
        folder.mkdir()
        uri = copy_database(self._find_database(), folder)
        return mlflow.MlflowClient(uri), {"MLFLOW_TRACKING_URI": uri}

    def _make_database(self) -> Path:
        import mlflow

        path = self._root / "mlflow.db"
        if not path.is_file():
            mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
        return path


class MemoryClient:
    """As much of `mlflow.MlflowClient` as commands need that fail: runs with a status and tags, in memory."""

    def __init__(self) -> None:
        self.runs: dict[str, Any] = {}

    def __call__(self, *_arguments: Any, **_more: Any) -> "MemoryClient":
        """Itself: this object stands where the class was."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("log_", "set_")):  # nothing that a failing command needs to find again
            return lambda *_arguments, **_more: None
        raise AttributeError(name)

    def get_experiment_by_name(self, name: str) -> Any:
        """An experiment of that name."""
        return types.SimpleNamespace(experiment_id="1", name=name, lifecycle_stage="active")

    def search_experiments(self, **_more: Any) -> list[Any]:
        """The one experiment."""
        return [self.get_experiment_by_name("compressor")]

    def create_run(self, experiment_id: str, *_arguments: Any, tags: Any = None, **_more: Any) -> Any:
        """A new run."""
        run_id = f"run-{len(self.runs)}"
        info = types.SimpleNamespace(
            run_id=run_id,
            experiment_id=experiment_id,
            status="RUNNING",
            artifact_uri="artifacts",
            lifecycle_stage="active",
        )
        data = types.SimpleNamespace(params={}, tags=dict(tags or {}))
        self.runs[run_id] = types.SimpleNamespace(info=info, data=data)
        return self.runs[run_id]

    def delete_tag(self, run_id: str, name: str) -> None:
        """Removes a tag of a run."""
        del self.runs[run_id].data.tags[name]

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        """Sets a tag of a run."""
        self.runs[run_id].data.tags[name] = value

    def get_run(self, run_id: str) -> Any:
        """The run of that id."""
        return self.runs[run_id]

    def search_runs(self, _experiments: Any, search_filter: str = "", **_more: Any) -> list[Any]:
        """The runs with the tags that a filter asks for."""
        wanted = dict(re.findall(r"tags\.`(.+?)` = '(.*?)'", search_filter))
        return [run for run in self.runs.values() if wanted.items() <= run.data.tags.items()]

    def update_run(self, run_id: str, status: str, **_more: Any) -> None:
        """Sets a run's status."""
        self.runs[run_id].info.status = status

    def set_terminated(self, run_id: str, status: str = "FINISHED", *_arguments: Any) -> None:
        """Ends a run."""
        self.runs[run_id].info.status = status


@contextlib.contextmanager
def _surroundings(folder: Path, client: Any, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """A folder as the current one, and an environment in which that client is MLflow's."""
    import mlflow

    from mlproject.tracking import events
    from mlproject.tracking.delivery import deliver

    before = Path.cwd()
    is_memory = isinstance(client, MemoryClient)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment or {}))
        for name in set(_NAMES) - set(environment or {}):
            os.environ.pop(name, None)
        os.environ.setdefault("MLFLOW_TRACKING_URI", "sqlite:///:memory:")
        if is_memory:
            stack.enter_context(mock.patch.object(mlflow, "MlflowClient", client))
            for kind, address in (
                (events.LogServedModel, "models:/m"),
                (events.LogOnnxModel, None),
                (events.MeasureModel, None),
                (events.UseModels, None),
            ):
                stack.callback(deliver.register, kind, deliver.dispatch(kind))
                deliver.register(kind, lambda *_, address=address: address)
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
            mlflow.set_tracking_uri(None)


def _run(case: Case, folder: Path, client: Any) -> Outcome:
    words = shlex.split(case.words) if isinstance(case.words, str) else list(case.words)
    out, err, code, trace = io.StringIO(), io.StringIO(), 0, ""
    before, start = _seen(folder), time.monotonic()
    previous = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, case.seconds)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(words) if case.call is None else case.call(folder)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except CompressorError as error:  # of a library function: the command line would print it
        code = 1
        err.write(f"Error: {error}\n")
    except TooLong:
        code, trace = -1, f"hung: stopped after {case.seconds:g} s\n{traceback.format_exc()}"
    except Exception:
        code, trace = 1, traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    after, seconds = _seen(folder), time.monotonic() - start
    allowed = (*case.leaves, *(("mlflow*", "mlruns*") if case.database else ()))
    written = (name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name))
    runs = client.search_runs([] if isinstance(client, MemoryClient) else _experiments(client))
    return Outcome(
        code=code,
        out=out.getvalue(),
        err=err.getvalue(),
        seconds=seconds,
        written=tuple(name for name in written if not any(fnmatch.fnmatch(name, pattern) for pattern in allowed)),
        running=tuple(run.info.run_id for run in runs if run.info.status == "RUNNING"),
        trace=trace,
    )


def _experiments(client: Any) -> list[str]:
    return [experiment.experiment_id for experiment in client.search_experiments()]


def _too_long(_signal: int, _frame: Any) -> None:
    raise TooLong


@dataclass(frozen=True)
class _Seen:
    """What tells one state of a file or folder from another."""

    mode: int
    size: int
    changed: int

    @classmethod
    def of(cls, path: "Path | os.DirEntry[str]") -> "_Seen":
        """The state of what lies there; of a folder its mode alone."""
        found = path.lstat() if isinstance(path, Path) else path.stat(follow_symlinks=False)
        is_folder = stat.S_ISDIR(found.st_mode)
        return cls(found.st_mode, 0 if is_folder else found.st_size, 0 if is_folder else found.st_mtime_ns)


def _seen(folder: Path, prefix: str = "") -> dict[str, _Seen]:
    """Every file and folder below a folder, folders first."""
    found: dict[str, _Seen] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            found[prefix + entry.name] = _Seen.of(entry)
            if entry.is_dir(follow_symlinks=False):
                found |= _seen(Path(entry.path), f"{prefix}{entry.name}/")
    return found


def _make_ready(folder: Path) -> None:
    """What every case finds: each command's own work on a tiny model."""
    write_base_model(folder / "base", word_tokenizer())
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(80)))
    for words in (
        "train-supernet --model-name-or-path base --train-file train.jsonl --num-train-epochs 1 --output-dir net",
        "search --supernet net --num-samples 4 --output-dir search",
        "extract --search search --index 0 --finetune-epochs 1 --output-dir model",
        "export --model model --max-int8-loss 1 --output-dir onnx",
        "benchmark --model onnx --runs 2 --lengths 8 --output-dir benchmark",
    ):
        err = io.StringIO()
        quiet = (contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err))
        # load time and memory are measured in processes of their own, which take seconds and are not looked at here
        footprint = mock.patch.object(
            exporters.benchmark, "measure_footprint", lambda *_: Footprint(load_seconds=0.1, peak_mb=60.0)
        )
        with quiet[0], quiet[1], footprint:
            try:
                main(shlex.split(words))
            except SystemExit as stop:
                assert not stop.code, err.getvalue()
    shutil.copytree(GOLDEN / "nas", folder / "nas")


def all_cases() -> list[Case]:
    """The rows of all tables: the lists `CASES` of the files `*_cases.py`."""
    tables = sorted(Path(__file__).parent.glob("*_cases.py"))
    return [case for table in tables for case in importlib.import_module(f"fuzz.{table.stem}").CASES]


def write(name: str, content: str | bytes = "") -> Change:
    """A file with that content."""

    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def write_lines(name: str, *rows: object) -> Change:
    """A file with one JSON document a line."""
    return write(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def cut(name: str, size: int) -> Change:
    """A file cut short to so many bytes."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def remove(name: str) -> Change:
    """A file or a folder is gone."""
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def edit_json(name: str, path: str, value: Any) -> Change:
    """A value in a JSON file, by the path to it (`forms.fp32.error`, `front.0`), replaced."""

    def change(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        place, key = _find(document, path)
        place[key] = value
        (folder / name).write_text(json.dumps(document))

    return change


def _find(document: Any, path: str) -> tuple[Any, Any]:
    """The list or object that holds the last step of a path, and that step as a place or key in it."""
    *parents, last = path.split(".")
    for key in parents:
        document = document[int(key) if isinstance(document, list) else key]
    return document, int(last) if isinstance(document, list) else last


def drop_key(name: str, path: str) -> Change:
    """A key of a JSON file, by the path to it, is gone."""

    def change(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        place, key = _find(document, path)
        del place[key]
        (folder / name).write_text(json.dumps(document))

    return change


def flip(name: str, place: float = 0.5, count: int = 8) -> Change:
    """A file in which some bytes at a place (a share of its length) are other ones."""

    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        start = int(len(content) * place)
        content[start : start + count] = bytes(byte ^ 0xFF for byte in content[start : start + count])
        (folder / name).write_bytes(bytes(content))

    return change
