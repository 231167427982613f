"""Runs: what stages log to MLflow, kept in an outbox and delivered in the background, in order.

Results are on disk before they are logged, and what is logged is on disk before it is sent. A tracking server that goes
away costs nothing: the first failure prints one warning, the rest waits in the outbox for the end of the command, for
`compressor sync`, or for the command that resumes. A server that is away at the start is an error at once.
"""

import math
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from compressor.errors import CompressorError, shorten
from compressor.files import is_full_disk
from mlproject.tracking import events
from mlproject.tracking.delivery import (
    Delivery,
    MlflowLog,
    TrackingError,
    deliver,
    describe_dataset,
    has_saved_views,
    is_connection_problem,
    is_forbidden,
    now_ms,
    require_server,
    run_placeholder,
    without_password,
)
from mlproject.tracking.outbox import TOP, Command, Header, Outbox, read_header
from mlproject.tracking.views import State, runs_link, view_key, view_link

if TYPE_CHECKING:
    import pandas as pd


class StageRun:
    """One MLflow run; every method adds an event to the outbox and returns at once."""

    def __init__(self, tracker: "Tracker", name: str = TOP) -> None:
        self.tracker = tracker
        self.name = name
        """Our own name for the run."""

    @property
    def run_id(self) -> str:
        """MLflow's id of this run; a placeholder, replaced when it is delivered, where the server is lost."""
        if self.name not in self.tracker.outbox.run_ids:
            self.tracker.wait()
        return self.tracker.outbox.run_ids.get(self.name, run_placeholder(self.name))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters the run does not have yet: `mlflow run` logs the declared ones before our code starts."""
        self.tracker.add(events.LogParams(run=self.name, params=_texts(params), new_params_only=True))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics, all in one call."""
        self._log_points((key, value, step) for key, value in metrics.items())

    def log_series(self, name: str, values: Sequence[float]) -> None:
        """Log a metric's values as steps 0, 1, …, all in one call."""
        self._log_points((name, value, step) for step, value in enumerate(values))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, all in one call."""
        self.tracker.add(events.SetTags(run=self.name, tags=dict(tags)))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Upload a file, or the files of a directory."""
        self.tracker.add(events.Upload(run=self.name, path=self.tracker.seen_from_output(path), folder=folder))

    def log_state(self, name: str, text: str) -> None:
        """Upload a text that is kept with what is logged of the output directory, not among its results."""
        self.log_artifact(self.tracker.outbox.keep(name, text))

    def log_dataset(self, table: "pd.DataFrame", *, name: str, source: str, digest: str, context: str) -> None:
        """Log which rows were used, by content hash."""
        dataset = describe_dataset(table, name=name, source=source, digest=digest)
        self.tracker.add(events.LogDataset(run=self.name, dataset=dataset, context=context))

    def describe(self, markdown: str) -> None:
        """Set the description that the run's page shows."""
        self.set_tags({"mlflow.note.content": markdown})

    def open_child(self, name: str, *, params: Mapping[str, Any], tags: Mapping[str, str]) -> "StageRun":
        """Return a running run under this one."""
        run = name if self.name == TOP else f"{self.name}/{name}"
        self.tracker.add(events.CreateRun(run=run, parent=self.name, name=name, tags=dict(tags), start_ms=now_ms()))
        self.tracker.add(events.LogParams(run=run, params=_texts(params)))
        return StageRun(self.tracker, run)

    def log_child(
        self, name: str, *, metrics: Mapping[str, float], params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> "StageRun":
        """Return a finished run under this one."""
        child = self.open_child(name, params=params, tags=tags)
        child.log_metrics(metrics)
        child.end()
        return child

    def end(self, status: str = "FINISHED", tags: Mapping[str, str] | None = None) -> None:
        """End the run; of a run that ends twice alike the first time counts."""
        self.tracker.add(events.EndRun(run=self.name, status=status, tags=dict(tags or {}), end_ms=now_ms()))

    def log_model(self, model: events.LogModel) -> str | None:
        """Log a model; its URI, or None where it was not logged."""
        self.tracker.add(model)
        self.tracker.wait()
        return self.tracker.outbox.result(model)

    def picture(self, artifact: str) -> str:
        """Return the address of a picture among this run's artifacts, for its description."""
        return f"get-artifact?path={artifact}&run_uuid={self.run_id}"

    def keep(self) -> None:
        """Say that there is work to lose from here on: a failure leaves the output directory, for another try."""
        self.tracker.outbox.kept = True

    def link(self) -> str:
        """Return where the run's page is."""
        page = f"{self.tracker.base_url}/#/experiments/{self.tracker.experiment_id}/runs/{self.run_id}"
        return f"{page}?workflowType=machine_learning"  # without it the page opens in the GenAI view

    def save_view(self, name: str, state: State) -> str:
        """Save a view of the runs page in the experiment; its link, or where MLflow has none that of the same runs.

        The first digits of the run's id are added to its name.

        The form of a saved view is not documented by MLflow: it was read off version 3.17, and failing to save one
        never fails a run.
        """
        place = (self.tracker.base_url, self.tracker.experiment_id)
        if not has_saved_views():
            return runs_link(*place, state["searchFilter"], state["orderByKey"], True, "TABLE")
        key = view_key(name, state)
        self.tracker.add(events.SaveView(run=self.name, name=name, key=key, state=state, now_ms=now_ms()))
        return view_link(*place, key, "CHART")

    def _log_points(self, points: Iterable[events.Point]) -> None:
        whole = tuple(
            (re.sub(r"[^\w\-./ ]", "_", name), float(value), step)  # MLflow takes no other letters
            for name, value, step in points
            if math.isfinite(value)
        )
        self.tracker.add(events.LogMetrics(run=self.name, metrics=whole, now_ms=now_ms()))


class Tracker:
    """The tracking server, what is known of its state, and the outbox of the command's output directory."""

    def __init__(self, output_dir: Path) -> None:
        self.log = MlflowLog()
        self.outbox = Outbox(output_dir)
        self.resumes = self.outbox.header is not None
        """Whether the output directory was begun before."""
        self.experiment_id = ""
        self.lost, self._warning = False, ""
        self.links: dict[str, str] = {}
        """Pages worth opening, by what they show; printed when a command ends."""
        self._again = False  # whether the next event may have been sent, though nothing says so
        if self.outbox.damaged:
            print(
                f"Warning: what was to be logged from {output_dir} is damaged in part. It is logged again as far as it "
                "is known; results are whole.",
                file=sys.stderr,
            )
        self.num_refused = 0
        """Events that MLflow does not take: they are left out."""
        self._unregistered: dict[str, str] = {}
        """Why MLflow would not register a model, by the name it was to have."""
        # One thread: events are delivered in the order in which they were added.
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")

    @property
    def remote(self) -> bool:
        """Whether runs go to a server over HTTP."""
        return self.log.uri.startswith("http")

    @property
    def base_url(self) -> str:
        """The address of the MLflow pages: the server's, or the one `mlflow server` gets by default."""
        # Without a name and a password: a browser asks for them.
        return re.sub("//[^/@]*@", "//", self.log.uri).rstrip("/") if self.remote else "http://localhost:5000"

    @contextmanager
    def start_run(self, name: str, tags: Mapping[str, str], command: Command) -> Iterator[StageRun]:
        """Yield the run of a command; FAILED if the block raises.

        It is the one that the output directory was begun with, else the one `mlflow run` made (MLFLOW_RUN_ID), else a
        new one. `command` is kept with the outbox, so that the same command can resume.

        The output directory is made and says so before MLflow does anything: from then on it can be resumed. A
        command that fails while nothing else is in it takes it away again.

        Raises:
            TrackingError: the server is away, or another one than the output directory was begun with.
        """
        before = self.outbox.header
        if before is not None:
            require_same_server(before.tracking_uri, self.log.shown, self.outbox.output_dir)
        require_server(self.log.uri)
        known = self.renew(before) if before is not None else Header(command.command, command.options, self.log.shown)
        if self.outbox.last_status(TOP) is not None:
            self.outbox.add(events.ReopenRun(run=TOP))  # delivered once the run's id is known
        key = known.run_key or uuid.uuid4().hex
        header = replace(known, options=command.options, tracking_uri=self.log.shown, run_key=key)
        self.outbox.begin(header)
        try:
            run_id, self.experiment_id = self.log.start_run(name, tags, key, header.run_id)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # the run may be there, but not yet its id
                _quietly(lambda: self.log.kill(key))
            elif before is None:
                self.outbox.forget_if_empty()
            raise
        self.outbox.run_ids[TOP] = run_id
        self.outbox.begin(replace(header, experiment_id=self.experiment_id, run_id=run_id))
        with self._ending(run := StageRun(self)):
            yield run

    @contextmanager
    def start_stage(self, parent: StageRun, stage: str, tags: Mapping[str, str]) -> Iterator[StageRun]:
        """Yield a run under `parent`, the one begun before where there is one; FAILED if the block raises."""
        run = StageRun(self, stage)
        known = stage in self.outbox.run_ids
        all_tags = {**tags, "stage": stage}
        self.add(events.CreateRun(run=stage, parent=parent.name, name=stage, tags=all_tags, start_ms=now_ms()))
        if known:
            self.add(events.ReopenRun(run=stage))
        with self._ending(run):
            yield run

    @contextmanager
    def _ending(self, run: StageRun) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            # Or they would be shown as running for ever.
            for name in self.outbox.open_below(run.name):
                StageRun(self, name).end("KILLED")
            run.end(status, {"error": _message(error)})
            self.finish()
            # On a full disk the command is worth resuming, whatever little it has made.
            if status == "FAILED" and run.name == TOP and not is_full_disk(error):
                self.outbox.forget_if_empty()
            raise
        run.end()
        self.finish()

    def renew(self, header: Header) -> Header:
        """Return what an output directory was begun with; without a run where MLflow has lost it, so that one is made.

        Raises:
            TrackingError: the run was deleted, and can be restored.
        """
        if header.run_id is None or self.log.has_run(header.run_id):
            return header
        print(f"Note: MLflow no longer has the run {header.run_id}. All is logged again, in a new one.")
        self.outbox.send_again()
        return replace(header, run_key=uuid.uuid4().hex, run_id=None, experiment_id=None)

    def end_stage(self, stage: str) -> None:
        """End the run of a stage that was killed between its last result and its end."""
        if stage in self.outbox.run_ids and self.outbox.last_status(stage) != "FINISHED":
            StageRun(self, stage).end()

    def end_overwritten(self, before: Header | None) -> None:
        """End the run of an output directory that is overwritten, given its header, if it was killed."""
        run_id = (
            before.run_id if before is not None and without_password(before.tracking_uri) == self.log.shown else None
        )
        if run_id is not None:
            _quietly(lambda: self.log.kill_running(run_id))

    def is_done(self, command: Command) -> bool:
        """Return whether the output directory was begun with these very options, and the work came to its end."""
        before = self.outbox.header
        return before is not None and self.outbox.says_finished and before.options == command.options

    def add(self, event: events.Event) -> None:
        """Add an event to the outbox and have it delivered in the background."""
        if self.outbox.add(event):
            self._background.submit(self._deliver_pending)

    def wait(self) -> None:
        """Wait until all that was added is delivered, or the server is lost."""
        self._background.submit(self._deliver_pending).result()

    def close(self) -> None:
        """End the delivery: whoever resumes in the output directory is alone from here on."""
        self.lost = True
        self._background.shutdown(wait=True, cancel_futures=True)

    def finish(self) -> int:
        """Wait for the delivery, with a second try where the server was lost; how many events are left."""
        self.wait()
        if self.lost:
            try:
                require_server(self.log.uri)
            except TrackingError:
                pass
            else:
                # The last request may have arrived though its answer did not.
                self.lost, self._again = False, True
                self.wait()
        return self.outbox.num_pending

    def require_registered(self) -> None:
        """Raise where MLflow has refused to register a model: without it the command did not do what it was asked to.

        Raises:
            TrackingError: it has.
        """
        for name, reason in self._unregistered.items():
            raise TrackingError(
                f"the model must be registered as {name!r}, but MLflow refuses: {reason}. All files are kept in "
                f"{self.outbox.output_dir}; once the reason is gone give the same command again, or export the model "
                "with another --register-as."
            )

    def find_finished(self, fingerprint: str) -> list[tuple[str, Path]]:
        """Return finished runs of this experiment that were given the same, newest first, each with its directory."""
        if self.lost:
            return []
        try:
            return self.log.find_finished(self.experiment_id, fingerprint)
        except Exception as error:  # a cache that cannot be asked costs time alone
            self._report(error)
            return []

    def seen_from_output(self, path: Path) -> str:
        """Return a path as an event keeps it: relative to the output directory where it lies inside, else absolute."""
        absolute, folder = path.absolute(), self.outbox.output_dir
        return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)

    def _deliver_pending(self) -> None:
        """Deliver what is pending, in order; runs in the one background thread."""
        for event in self.outbox.pending():
            if self.lost:
                return
            if not isinstance(event, events.CreateRun) and event.run not in self.outbox.run_ids:
                self.num_refused += 1
                self.outbox.mark_delivered(event)  # MLflow has refused to make its run
                continue
            made, run_ids, again = None, self.outbox.run_ids, self._again or self.outbox.is_old
            to = Delivery(self.log.client, self.experiment_id, run_ids, self.outbox.output_dir, again)
            try:
                made = deliver(event, to)
            except Exception as error:  # whatever MLflow raises: a log entry must never cost the work behind it
                model = event.register_as if isinstance(event, events.LogServedModel) else None
                if self._report(error, model):
                    return
                self.num_refused += 1
                if model:
                    self._unregistered[model] = shorten(error).rstrip(".")
            self._again = False
            self.outbox.mark_delivered(event, made)

    def _report(self, error: Exception, model: str | None = None) -> bool:
        """Print what went wrong, once; whether the server is lost, or lets us write no longer.

        `model` is the name under which a model was to be registered.
        """
        reason = shorten(error)
        self.lost = is_connection_problem(error) or is_forbidden(error)
        what = f"MLflow at {self.log.shown} does not answer" if self.lost else "MLflow refuses a log entry"
        rest = "compressor sync logs the rest later" if self.lost else "logging continues"
        if is_forbidden(error) and model:  # what comes after it need not be forbidden too
            self.lost, what = False, f"MLflow does not let you add a version to {model!r}"
            rest = "ask the owner of that registered model for the permission EDIT, or take another --register-as"
        elif is_forbidden(error):
            what = f"MLflow at {self.log.shown} does not let you write"
            rest = "with the permission EDIT of the experiment, compressor sync logs the rest later"
        text = f"Warning: {what} ({reason}). The work continues, all results are kept in the output directory; {rest}."
        if text != self._warning:
            print(text, file=sys.stderr)
        self._warning = text
        return self.lost


def sync(output_dir: Path) -> tuple[int, StageRun]:
    """Log what an output directory still has to log to MLflow; return how many entries that were, and the run.

    Where MLflow has lost the run, all is logged again, in a new one.

    Raises:
        TrackingError: nothing was logged from there, the server is away or another one, or it went away again.
    """
    header = read_header(output_dir)
    # Before MLflow is asked, which makes a database in the current folder where it is named no other.
    if header is None or header.run_id is None:
        raise TrackingError(
            f"{output_dir} must be the output directory of a command, but nothing was logged there. Check the path."
        )
    tracker = Tracker(output_dir)
    require_same_server(header.tracking_uri, tracker.log.shown, output_dir)
    require_server(tracker.log.uri)
    header = tracker.renew(header)
    if header.run_id is None:
        key = header.run_key or uuid.uuid4().hex
        run_id, experiment_id = tracker.log.start_run(header.command, {"stage": header.command}, key)
        header = replace(header, run_key=key, run_id=run_id, experiment_id=experiment_id)
        tracker.outbox.begin(header)
    # Events call the run by our name; which run of MLflow that is, the header knows.
    tracker.experiment_id, tracker.outbox.run_ids[TOP] = header.experiment_id or "", str(header.run_id)
    count = tracker.outbox.num_pending
    left = tracker.finish()
    if left:
        raise TrackingError(
            f"MLflow at {tracker.log.shown} must take {left} more entries, but it went away. Try again."
        )
    tracker.require_registered()
    return count - tracker.num_refused, StageRun(tracker)


def require_same_server(before: str, now: str, output_dir: Path) -> None:
    """Raise unless an output directory was begun with the current tracking server.

    Raises:
        TrackingError: it was another one.
    """
    before = without_password(before)  # as older versions did not write it
    if before.rstrip("/") != now.rstrip("/"):
        raise TrackingError(
            f"{output_dir} must be logged to the MLflow it was begun with, {before}, but this is {now}. "
            f"Set MLFLOW_TRACKING_URI={quote(before)}, or choose another --output-dir."
        )


def fail_joined_run(message: str) -> None:
    """Mark the run that `mlflow run` made as FAILED, for an error that comes before any run was started."""
    run_id = os.getenv("MLFLOW_RUN_ID")
    if run_id:
        _quietly(lambda: MlflowLog().fail(run_id, message))


def _quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:  # the error that is being reported matters more
        print(f"Warning: MLflow cannot log ({shorten(error)}).", file=sys.stderr)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return (str(error) if isinstance(error, CompressorError) else f"{type(error).__name__}: {error}")[:4000]
