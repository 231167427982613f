"""All of MLflow: runs, metrics, data sets, artifacts, views. No other file of this package imports `mlflow`.

Results are on disk before they are logged, so a tracking server that goes away costs nothing but the log: the first
failure prints one warning, and nothing more is sent. A server that is away at the start is an error at once.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import CompressorError
from mlproject.views import MAX_TAG_LENGTH, State, encode_view, runs_link, view_link

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

EXPERIMENT = "compressor"
"""The experiment of runs that are not started by `mlflow run` and name no other (MLFLOW_EXPERIMENT_NAME)."""
_MAX_PARAM = 500
_SERVER_TIMEOUT_S = 10


class TrackingError(CompressorError):
    """The tracking server cannot be used."""


class StageRun:
    """One MLflow run of a stage; every method logs, or does nothing once the tracking server is lost."""

    def __init__(self, tracker: "Tracker", run_id: str, experiment_id: str) -> None:
        self.tracker, self.run_id, self.experiment_id = tracker, run_id, experiment_id
        self._client: MlflowClient = tracker.client

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters the run does not have yet: `mlflow run` logs the declared ones before our code starts."""

        def log() -> None:
            from mlflow.entities import Param

            known = self._client.get_run(self.run_id).data.params
            new = [Param(key, str(value)[:_MAX_PARAM]) for key, value in params.items() if key not in known]
            self._client.log_batch(self.run_id, params=new)

        self.tracker.attempt(log)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs metrics, all in one call."""
        self.tracker.attempt(lambda: self._client.log_batch(self.run_id, metrics=_metrics(metrics, step)))

    def log_series(self, name: str, values: Sequence[float]) -> None:
        """Logs a metric's values as steps 0, 1, …, all in one call."""
        points = [metric for step, value in enumerate(values) for metric in _metrics({name: value}, step)]
        self.tracker.attempt(lambda: self._client.log_batch(self.run_id, metrics=points))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags, all in one call."""

        def log() -> None:
            from mlflow.entities import RunTag

            self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

        self.tracker.attempt(log)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Uploads a file, or the files of a directory."""
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        self.tracker.attempt(lambda: log(self.run_id, str(path), folder))

    def log_dataset(self, table: "pd.DataFrame", *, name: str, source: str, digest: str, context: str) -> None:
        """Logs which rows were used, by content hash."""

        def log() -> None:
            import mlflow.data
            from mlflow.entities import DatasetInput, InputTag

            dataset = mlflow.data.from_pandas(table, source=source, name=name, digest=digest)
            tag = InputTag("mlflow.data.context", context)
            self._client.log_inputs(self.run_id, [DatasetInput(dataset._to_mlflow_entity(), [tag])])

        self.tracker.attempt(log)

    def describe(self, markdown: str) -> None:
        """Sets the description that the run's page shows."""
        self.set_tags({"mlflow.note.content": markdown})

    def log_child(
        self, name: str, *, metrics: Mapping[str, float], params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> "Future[str | None]":
        """A finished run under this one, made in the background so that the caller need not wait; its id, in time."""
        child = self.open_child(name, params=params, tags=tags)
        self.log_child_metrics(child, metrics)
        self.close_child(child)
        return child

    def open_child(self, name: str, *, params: Mapping[str, Any], tags: Mapping[str, str]) -> "Future[str | None]":
        """A running run under this one, made in the background; its id, in time."""
        start = int(time.time() * 1000)

        def log() -> str:
            from mlflow.entities import Param

            child = self._client.create_run(
                self.experiment_id, start, tags={**tags, "mlflow.parentRunId": self.run_id}, run_name=name
            )
            self._client.log_batch(
                child.info.run_id, params=[Param(key, str(value)[:_MAX_PARAM]) for key, value in params.items()]
            )
            return str(child.info.run_id)

        return self.tracker.background.submit(lambda: self.tracker.attempt(log))

    def log_child_metrics(self, child: "Future[str | None]", metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs metrics of a run made by `open_child`, in the background."""
        entries = _metrics(metrics, step)
        self._with_child(child, lambda run_id: self._client.log_batch(run_id, metrics=entries))

    def close_child(
        self, child: "Future[str | None]", status: str = "FINISHED", tags: Mapping[str, str] | None = None
    ) -> None:
        """Ends a run made by `open_child`, in the background."""
        end = int(time.time() * 1000)

        def close(run_id: str) -> None:
            for key, value in (tags or {}).items():
                self._client.set_tag(run_id, key, value)
            self._client.set_terminated(run_id, status, end)

        self._with_child(child, close)

    def _with_child(self, child: "Future[str | None]", log: Callable[[str], object]) -> None:
        """Calls `log` with the child's id, after all that was sent to the background before."""

        def call() -> None:
            run_id = child.result()  # done by now: one thread works off the background in order
            if run_id is not None:
                self.tracker.attempt(lambda: log(run_id))

        self.tracker.background.submit(call)

    def log_served_model(
        self,
        name: str,
        *,
        code: Path,
        artifacts: Mapping[str, Path],
        config: Mapping[str, Any],
        example: Any,
        requirements: Sequence[str],
        metadata: Mapping[str, Any],
        metrics: Mapping[str, float],
        register_as: str | None = None,
        alias: str | None = None,
    ) -> str | None:
        """Logs a model that MLflow can serve, from its code and files; its URI, or None where it was not logged.

        With `register_as` it becomes a version of that registered model, and `alias` points to it.
        """

        def log() -> str:
            import mlflow

            with self._active():
                info = mlflow.pyfunc.log_model(
                    name=name,
                    python_model=str(code),
                    artifacts={key: str(path) for key, path in artifacts.items()},
                    model_config=dict(config),
                    input_example=example,
                    pip_requirements=list(requirements),
                    metadata=dict(metadata),
                    registered_model_name=register_as,
                )
                mlflow.log_metrics(dict(metrics), model_id=info.model_id)
            if register_as and alias:
                version = str(info.registered_model_version)
                self._client.set_registered_model_alias(register_as, alias, version)
                return f"models:/{register_as}@{alias}"
            return str(info.model_uri)

        uri: str | None = self.tracker.attempt(log)
        return uri

    def log_onnx_model(self, name: str, path: Path, example: Mapping[str, Any], logits: Any) -> None:
        """Logs an ONNX file in MLflow's own ONNX flavour."""

        def log() -> None:
            import mlflow
            import onnx

            from exporters.onnx_export import MAX_PROTO_BYTES

            model = onnx.load(str(path))  # a fresh one: MLflow may empty what it is given
            with self._active():
                mlflow.onnx.log_model(
                    model,
                    name=name,
                    signature=mlflow.models.infer_signature(dict(example), {"logits": logits}),
                    onnx_execution_providers=["CPUExecutionProvider"],
                    save_as_external_data=model.ByteSize() > MAX_PROTO_BYTES,
                    pip_requirements=[f"onnxruntime=={version('onnxruntime')}", f"onnx=={version('onnx')}"],
                )

        self.tracker.attempt(log)

    @contextmanager
    def _active(self) -> Iterator[None]:
        """This run as MLflow's active one, which is where models are logged."""
        import mlflow

        active = mlflow.active_run()
        if active is not None and active.info.run_id == self.run_id:
            yield
            return
        with mlflow.start_run(run_id=self.run_id, nested=True):
            yield

    def link(self) -> str:
        """Where the run's page is."""
        page = f"{self.tracker.base_url}/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        return f"{page}?workflowType=machine_learning"  # without it the page opens in the GenAI view

    def runs_link(self, search_filter: str, order_by: str = "error") -> str:
        """Where the runs that match a filter are listed, best first."""
        order = f"metrics.`{order_by}`"
        return runs_link(self.tracker.base_url, self.experiment_id, search_filter, order, True, "TABLE")

    def save_view(self, name: str, state: State) -> str | None:
        """Saves a view of the runs page in the experiment; its link, or None where this MLflow has no saved views.

        The form of a saved view is not documented by MLflow: it was read off version 3.17, and failing to save one
        never fails a run.
        """

        def log() -> str | None:
            if not _has_saved_views():
                return None
            key, value = encode_view(name, state, int(time.time() * 1000))
            if len(value) > MAX_TAG_LENGTH:
                return None
            self._client.set_experiment_tag(self.experiment_id, f"mlflow.sharedViewState.{key}", value)
            return view_link(self.tracker.base_url, self.experiment_id, key, "CHART")

        link: str | None = self.tracker.attempt(log)
        return link


class Tracker:
    """The tracking server and what is known of its state."""

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow

        self.client = mlflow.MlflowClient()
        self.uri = mlflow.get_tracking_uri()
        self.lost = False
        self.links: dict[str, str] = {}
        """Pages worth opening, by what they show; printed when a command ends."""
        self.background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")

    @property
    def remote(self) -> bool:
        """Whether runs go to a server over HTTP."""
        return bool(self.uri.startswith("http"))

    @property
    def base_url(self) -> str:
        """The address of the MLflow pages: the server's, or the one `mlflow server` gets by default."""
        return self.uri.rstrip("/") if self.remote else "http://localhost:5000"

    def attempt(self, log: Callable[[], Any], *, even_if_lost: bool = False) -> Any:
        """The result of `log`, or None where the server is lost; a loss is reported once."""
        if self.lost and not even_if_lost:
            return None
        try:
            return log()
        except Exception as error:  # whatever MLflow raises: a log entry must never cost the work behind it
            if self.lost:
                return None
            reason = " ".join(str(error).split())[:200]
            self.lost = _is_connection_problem(error)
            what = f"MLflow at {self.uri} does not answer" if self.lost else "MLflow refuses a log entry"
            rest = "nothing more is logged" if self.lost else "logging goes on"
            print(
                f"Warning: {what} ({reason}). The work goes on, all results are kept in the output directory; {rest}.",
                file=sys.stderr,
            )
            return None

    @contextmanager
    def start_run(self, name: str, tags: Mapping[str, str]) -> Iterator[StageRun]:
        """The run of a command: the one `mlflow run` made (MLFLOW_RUN_ID), or a new one; FAILED if the block raises.

        Raises:
            TrackingError: the server is away, or its experiment cannot take artifacts from here.
        """
        import mlflow

        _require_server(self.uri)
        try:
            if not any(
                os.environ.get(key) for key in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")
            ):
                mlflow.set_experiment(EXPERIMENT)
            joined = "MLFLOW_RUN_ID" in os.environ
            active = mlflow.start_run(run_name=None if joined else name, tags=dict(tags))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise TrackingError(
                f"MLflow at {self.uri} must take new runs, but it does not: {reason}. Check MLFLOW_TRACKING_URI."
            ) from error
        try:
            _require_artifacts(active.info.artifact_uri, self.uri)
            yield StageRun(self, active.info.run_id, active.info.experiment_id)
        except BaseException as error:
            message, status = _message(error), _status_of(error)
            self._finish(lambda: mlflow.set_tag("error", message), lambda: mlflow.end_run(status))
            raise
        self._finish(lambda: mlflow.end_run("FINISHED"))

    @contextmanager
    def start_stage(self, parent: StageRun, stage: str, tags: Mapping[str, str]) -> Iterator[StageRun]:
        """A run under `parent`; FAILED if the block raises."""
        all_tags = {**tags, "stage": stage, "mlflow.parentRunId": parent.run_id}
        run = self.attempt(lambda: self.client.create_run(parent.experiment_id, tags=all_tags, run_name=stage))
        stage_run = StageRun(self, run.info.run_id if run else "", parent.experiment_id)
        try:
            yield stage_run
        except BaseException as error:
            stage_run.set_tags({"error": _message(error)})
            status = _status_of(error)
            self._finish(lambda: self.client.set_terminated(stage_run.run_id, status))
            raise
        self._finish(lambda: self.client.set_terminated(stage_run.run_id))

    def _finish(self, *last: Callable[[], object]) -> None:
        """Waits for what is logged in the background, then does the last calls."""
        self.background.shutdown(wait=True)
        self.background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        for call in last:
            self.attempt(call, even_if_lost=True)  # a server that came back still learns how the run ended


def fail_joined_run(message: str) -> None:
    """Marks the run that `mlflow run` made as FAILED, for an error that comes before any run was started."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return
    tracker = Tracker()
    tracker.attempt(lambda: tracker.client.set_tag(run_id, "error", message))
    tracker.attempt(lambda: tracker.client.set_terminated(run_id, "FAILED"))


def _is_connection_problem(error: BaseException) -> bool:
    """Whether the server is away, rather than displeased with one entry."""
    import requests

    causes = [error, error.__cause__, error.__context__]
    text = str(error)
    return any(isinstance(c, requests.RequestException | OSError) for c in causes) or "API request to" in text


def _metrics(metrics: Mapping[str, float], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(_metric_name(key), float(value), now, step) for key, value in metrics.items()]


def _metric_name(name: str) -> str:
    """A name that MLflow takes: letters, digits and _-./ and spaces."""
    return re.sub(r"[^\w\-./ ]", "_", name)


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return (str(error) if isinstance(error, CompressorError) else f"{type(error).__name__}: {error}")[:4000]


def _status_of(error: BaseException) -> str:
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def _has_saved_views() -> bool:
    import mlflow

    major, minor = (int(part) for part in mlflow.__version__.split(".")[:2])
    return (major, minor) >= (3, 15)


def _require_server(uri: str) -> None:
    if not uri.startswith("http"):
        return
    import requests

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=_SERVER_TIMEOUT_S)
    except requests.RequestException as error:
        raise TrackingError(
            f"the MLflow server {uri} must answer, but it does not ({type(error).__name__}). "
            "Start it or unset MLFLOW_TRACKING_URI to log into mlflow.db in this folder."
        ) from error


def _require_artifacts(artifact_uri: str, tracking_uri: str) -> None:
    """An experiment that a server made keeps its artifacts behind that server, out of reach of a local database."""
    if artifact_uri.startswith("mlflow-artifacts:") and not tracking_uri.startswith("http"):
        raise TrackingError(
            "the experiment must take artifacts from here, but an MLflow server made it and keeps them behind itself. "
            "Set MLFLOW_TRACKING_URI to the server's address, or use another experiment (--experiment-name with mlflow "
            "run, MLFLOW_EXPERIMENT_NAME with compressor)."
        )
