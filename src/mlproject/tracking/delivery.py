"""All of MLflow: how the events of an outbox are delivered, and what is asked of the server. No other file of this
package imports `mlflow`."""

import json
import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import mlflow
import mlflow.data
import numpy as np
import pandas as pd
import requests
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import (
    MLFLOW_TRACKING_CLIENT_CERT_PATH,
    MLFLOW_TRACKING_INSECURE_TLS,
    MLFLOW_TRACKING_SERVER_CERT_PATH,
)
from mlflow.exceptions import MlflowException
from mlflow.metrics import MetricValue, make_metric
from mlflow.models import MetricThreshold, Model, ModelSignature
from mlflow.models.evaluation import EvaluationResult
from mlflow.models.evaluation.validation import ModelValidationFailedException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.types import Schema, TensorSpec
from mlflow.utils import name_utils, validation

from compressor.errors import CompressorError, FileError, ModelError, shorten
from compressor.files import TEMPORARY, is_full_disk, read_json_lines
from compressor.locks import hold, renewed_directory
from compressor.options import Problem
from mlproject.tracking import events
from mlproject.tracking.views import encode_view

EXPERIMENT = "compressor"
"""The experiment of runs that are not started by `mlflow run` and name no other (MLFLOW_EXPERIMENT_NAME)."""
KEY_TAG = "compressor.run_key"
"""Our own name for a run below another: by it a run is found again whose creation was cut short."""
FINGERPRINT_TAG, DIRECTORY_TAG = "compressor.fingerprint", "compressor.directory"
"""What a stage was given, as a hash, and where its results are."""
DIGEST_TAG = "compressor.digest"
"""A tag of a registered version and of a logged model: a hash of its files."""
COMPUTES_TAG = "compressor.computes_with"
"""A tag of a logged model: a hash of its graph or weights, by which what is measured of it finds it."""
_MAX_PARAM = 500
"""Characters of a parameter's value that every store of MLflow takes."""
_MAX_MODEL_NAME = 256
"""Characters of a registered model's name in MLflow's tables."""
_SERVER_TIMEOUT_S = 10
"""For the first answer of a server: one that is away must not hold up a command."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""With a server that takes a request and does not answer: it is lost after about a minute."""


class TrackingError(CompressorError):
    """The tracking server cannot be used."""


class MlflowLog:
    """An MLflow tracking server, or database, that events are delivered to."""

    def __init__(self) -> None:
        """Open the store that MLflow's environment names; a SQLite database that is not there yet is made.

        Raises:
            TrackingError: there is no such store, or it cannot be used.
        """
        # Only where the user has not said how patient MLflow is to be.
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.uri = _absolute(mlflow.get_tracking_uri())
        self.shown = without_password(self.uri)
        """Its address for people and files."""
        try:
            make_database(self.uri)
            self.client = mlflow.MlflowClient()
        except Exception as error:  # MLflow raises what the store below it raises
            raise TrackingError(
                "MLFLOW_TRACKING_URI must name an MLflow server or database that can be used, but "
                f"{self.shown} cannot: "
                f"{_reason(error)}. Give it as http://host:port or sqlite:///mlflow.db, or unset it."
            ) from error

    def start_run(self, name: str, tags: Mapping[str, str], key: str, run_id: str | None = None) -> tuple[str, str]:
        """Return the ids of a run and its experiment: the one to resume, the one `mlflow run` made, or a new one.

        A new one is tagged with `key`, by which it is found again if its id was not noted.

        Raises:
            TrackingError: the run is gone, or its experiment cannot take artifacts from here.
        """
        made_by_mlflow_run = os.getenv("MLFLOW_RUN_ID")
        try:
            # Killed between the making of the run and the note of its id: the tag finds it.
            run_id = run_id or self._find_run(key)
            if run_id or made_by_mlflow_run:
                run = self.client.get_run(run_id or made_by_mlflow_run)
                ours = name if is_random_name(run.info.run_name) else None  # else the user's: mlflow run --run-name
                self.client.update_run(run.info.run_id, status="RUNNING", name=ours)
                for tag, value in {**tags, KEY_TAG: key}.items():
                    self.client.set_tag(run.info.run_id, tag, value)
                if run_id and made_by_mlflow_run not in (None, run_id):
                    self.client.set_tag(made_by_mlflow_run, "mlflow.note.content", f"Resumed in the run {run_id}.")
            else:
                own = resolve_tags({**tags, KEY_TAG: key})  # with MLflow's of user, source and commit
                run = self.client.create_run(self._experiment_id(), tags=own, run_name=name)
        except TrackingError:
            raise
        except Exception as error:  # MLflow raises what the store below it raises
            user = os.getenv("MLFLOW_TRACKING_USERNAME")
            if http_status(error) == 401:
                got = f"the password of {user!r}" if user else "a command without MLFLOW_TRACKING_USERNAME"
                raise TrackingError(
                    f"MLflow at {self.shown} must know who you are, but it does not take {got}. Set "
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to what its admin gave you."
                ) from error
            if is_forbidden(error):
                experiment = self._whose_experiment(run_id or made_by_mlflow_run)
                raise TrackingError(
                    f"MLflow at {self.shown} must let you write into the experiment, but it forbids {experiment} to "
                    f"{user or 'you'}. Ask its owner for the permission EDIT, or use an experiment of your own "
                    "(--experiment-name with mlflow run, MLFLOW_EXPERIMENT_NAME with compressor)."
                ) from error
            raise TrackingError(
                f"MLflow at {self.shown} must take new runs, but it does not: {_reason(error)}. Check "
                "MLFLOW_TRACKING_URI."
            ) from error
        try:
            _require_artifacts(run.info.artifact_uri, self.uri)
        except TrackingError as error:
            self.fail(run.info.run_id, str(error))
            raise
        return str(run.info.run_id), str(run.info.experiment_id)

    def _whose_experiment(self, run_id: str | None) -> str:
        """Return the name of the experiment that a run belongs to, or would, as far as the server tells it."""
        try:
            number = self.client.get_run(run_id).info.experiment_id if run_id else self._experiment_id()
            return f"{self.client.get_experiment(number).name!r} (experiment {number})"
        except Exception:  # whoever may not write there may not be allowed to read its name either
            return "it"

    def _find_run(self, key: str) -> str | None:
        """Return the id of the run with that key; None where there is none."""
        found = self.client.search_runs([self._experiment_id()], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _experiment_id(self) -> str:
        """Return the id of the experiment that the environment names, made where it is not there."""
        experiment_id = os.getenv("MLFLOW_EXPERIMENT_ID")
        if not experiment_id:
            wanted = os.getenv("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
            if self.client.get_experiment_by_name(wanted) is None:
                try:
                    self.client.create_experiment(wanted)
                except MlflowException:
                    if self.client.get_experiment_by_name(wanted) is None:  # else another process was faster
                        raise
            found = self.client.get_experiment_by_name(wanted)
            if found.lifecycle_stage == LifecycleStage.DELETED:
                raise TrackingError(
                    f"the experiment must take runs, but {wanted!r} was deleted in MLflow. Restore it with: mlflow "
                    f"experiments restore -x {found.experiment_id}, or use another one (--experiment-name with mlflow "
                    "run, MLFLOW_EXPERIMENT_NAME with compressor)."
                )
            experiment_id = found.experiment_id
        return str(experiment_id)

    def has_run(self, run_id: str) -> bool:
        """Return whether a run that was made is still there, as far as MLflow tells.

        Raises:
            TrackingError: it was deleted, and can be restored.
        """
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            return bool(error.error_code != "RESOURCE_DOES_NOT_EXIST")  # what else it has against it, it says again
        if run.info.lifecycle_stage == LifecycleStage.DELETED:
            raise TrackingError(
                f"the run must take what is logged, but {run_id} was deleted in MLflow. Restore it with: mlflow runs "
                f"restore --run-id {run_id}, or choose another --output-dir."
            )
        return True

    def find_finished(self, experiment_id: str, fingerprint: str) -> list[tuple[str, Path]]:
        """Return finished runs of an experiment with that fingerprint, newest first, each with its directory."""
        found = self.client.search_runs(
            [experiment_id],
            f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}' and attributes.status = 'FINISHED'",
            max_results=20,
            order_by=["attributes.start_time DESC"],
        )
        return [(run.info.run_id, Path(run.data.tags.get(DIRECTORY_TAG, "/nonexistent"))) for run in found]

    def kill(self, key: str) -> None:
        """Mark the run with that key as KILLED, if there is one."""
        run_id = self._find_run(key)
        if run_id is not None:
            self.client.set_terminated(run_id, "KILLED")

    def kill_running(self, run_id: str) -> None:
        """Mark a run and those below it as KILLED, where they are still said to be running."""
        experiment_id = self.client.get_run(run_id).info.experiment_id
        below = self.client.search_runs([experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
        for run in (self.client.get_run(run_id), *below):
            if run.info.run_id != run_id:
                self.kill_running(run.info.run_id)
            elif run.info.status == "RUNNING":
                self.client.set_terminated(run_id, "KILLED")

    def fail(self, run_id: str, message: str) -> None:
        """Mark a run as FAILED, with the reason."""
        self.client.set_tag(run_id, "error", message)
        self.client.set_terminated(run_id, "FAILED")


SYSTEM_METRICS = "system/"
"""How names of metrics begin that MLflow shows as a run's system metrics."""


class SystemReadings:
    """MLflow's readings of this machine, by the names that its pages know."""

    def __init__(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(run_id="")  # never started: it would write past the outbox
        self.interval_s = float(self._monitor.sampling_interval)
        self.samples = int(self._monitor.samples_before_logging)
        """Readings of which a mean is logged."""

    def take(self) -> None:
        """Take a reading."""
        self._monitor.collect_metrics()

    def means(self) -> dict[str, float]:
        """Return the means of the readings since the last call."""
        found = self._monitor.aggregate_metrics()
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        prefix = SYSTEM_METRICS + (f"{self._monitor.node_id}/" if self._monitor.node_id else "")
        return {f"{prefix}{name}": float(value) for name, value in found.items()}


def is_random_name(name: str | None) -> bool:
    """Return whether a run's name is one that MLflow draws where nobody gives one, such as intelligent-fly-553."""
    predicates, nouns = (
        {word.lower() for word in words} for words in (name_utils._GENERATOR_PREDICATES, name_utils._GENERATOR_NOUNS)
    )
    predicate, _, rest = (name or "").partition("-")
    noun, _, number = rest.rpartition("-")
    return predicate in predicates and noun in nouns and number.isdecimal()


def find_registration_problems(name: str | None, alias: str | None) -> list[Problem]:
    """Return what MLflow will have against a registered model's name and alias, by its own rules."""
    # MLflow's own functions: a name is refused here, before the work, and not after it.
    rules = {
        "--register-as": (name, ("_validate_model_name",)),
        "--alias": (alias, ("_validate_model_alias_name", "_validate_model_alias_name_reserved")),
    }
    problems = []
    for option, (value, names) in rules.items():
        if value is None:
            continue
        try:
            for rule in names:
                getattr(validation, rule, lambda _: None)(value)  # older versions lack one
            if len(value) > _MAX_MODEL_NAME:
                raise MlflowException(f"it has {len(value)} characters, the most are {_MAX_MODEL_NAME}")
        except MlflowException as error:
            problems.append(
                Problem(
                    option=option,
                    law=f"a name that MLflow takes ({shorten(error).rstrip('.')})",
                    value=repr(value[:100]),
                    remedy="Use letters, digits, - and _.",
                )
            )
    return problems


def describe_dataset(table: pd.DataFrame, *, name: str, source: str, digest: str) -> dict[str, str]:
    """Return what MLflow keeps of a data set: its name, hash, source, schema and size."""
    entity = mlflow.data.from_pandas(table, source=source, name=name, digest=digest)._to_mlflow_entity()
    return {key: getattr(entity, key) for key in ("name", "digest", "source_type", "source", "schema", "profile")}


def download(uri: str, folder: Path) -> Path:
    """Return what a `runs:/…` or `models:/…` address holds: where it is on this machine, or a copy in `folder`.

    Raises:
        TrackingError: there is no such thing, or the server is away.
    """
    require_server(mlflow.get_tracking_uri())
    remote = mlflow.get_tracking_uri().startswith("http")
    whole_run = uri.removeprefix("runs:/").strip("/") if uri.startswith("runs:/") else "/"
    what = {"artifact_uri": uri} if "/" in whole_run else {"run_id": whole_run}
    try:
        if not remote:
            return Path(mlflow.artifacts.download_artifacts(**what))
        # Each time, as an alias may have moved on; beside what another command may be reading.
        with renewed_directory(folder) as new:
            found = Path(mlflow.artifacts.download_artifacts(**what, dst_path=str(new)))
        return folder / found.relative_to(new)
    except Exception as error:  # MLflow raises what the store below it raises
        raise _not_to_be_had(uri, error) from error


def _not_to_be_had(uri: str, error: Exception) -> TrackingError:
    server = without_password(mlflow.get_tracking_uri())
    return TrackingError(
        f"{uri} must be in MLflow at {server}, but it cannot be had: {shorten(error)}. "
        "Check the address and MLFLOW_TRACKING_URI."
    )


def load_served(uri: str) -> tuple[Any, str, Mapping[str, str], str | None]:
    """Return a served model behind an address or in a directory: its `predict`, its kind, what its graph says, its id.

    Raises:
        TrackingError: there is no such model, or the server is away.
        ModelError: it was not logged by `compressor export`.
    """
    require_server(mlflow.get_tracking_uri())
    try:
        model = mlflow.pyfunc.load_model(uri)
    except Exception as error:  # MLflow raises what the store below it raises
        raise _not_to_be_had(uri, error) from error
    try:
        served = model.unwrap_python_model()
        return model.predict, model.model_config["kind"], served._graph.facts, model.model_id
    # A model of somebody else fails in one of these ways: no Python model, no such key, no graph.
    except (MlflowException, AttributeError, KeyError, TypeError):
        raise ModelError(
            f"a served model must be made by compressor export, but {uri} is not. Name another one, or export it."
        ) from None


def find_failed_thresholds(metrics: Mapping[str, float], limits: Mapping[str, float]) -> str | None:
    """Return what MLflow's `validate_evaluation_results` has against metrics above their limits; None for nothing."""
    # All limits are of figures that should be small.
    thresholds = {name: MetricThreshold(threshold=limit, greater_is_better=False) for name, limit in limits.items()}
    try:
        mlflow.validate_evaluation_results(thresholds, EvaluationResult(metrics=dict(metrics), artifacts={}))
    except ModelValidationFailedException as error:
        return shorten(error, 500)
    return None


def http_status(error: BaseException) -> int | None:
    """Return the status with which the server refused; None where it did not say."""
    found = re.search(r"failed with error code (\d{3}) != 200", str(error))
    named = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}.get(getattr(error, "error_code", ""))
    # Of an upload the answer itself is known.
    answered = getattr(getattr(error, "response", None), "status_code", named)
    return int(found[1]) if found else answered


_REFUSED = (400, 405, 411, 413, 414, 415, 422, 431)
"""Statuses that a server or a proxy answers to one request alone, such as a file that is too large (413)."""


def is_forbidden(error: BaseException) -> bool:
    """Return whether the server is there, but does not let this user do what was asked."""
    return http_status(error) in (401, 403)


def is_connection_problem(error: BaseException) -> bool:
    """Return whether the server is away, rather than displeased with one event."""
    causes = [error, error.__cause__, error.__context__]
    text = str(error)
    # The same again would be refused again, and all that waits behind it would wait for ever.
    if http_status(error) in _REFUSED:
        return False
    # So a database says that it is away, locked or read-only, and a server of one too.
    if getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE":
        return True
    away = any(isinstance(c, requests.RequestException | OSError) for c in causes) or "API request to" in text
    return away or is_full_disk(error) or "database is locked" in text


def has_saved_views() -> bool:
    """Return whether this MLflow has saved views of the runs page."""
    major, minor = (int(part) for part in mlflow.__version__.split(".")[:2])
    return (major, minor) >= (3, 15)


def require_server(uri: str) -> None:
    """Raise unless the tracking server answers.

    Raises:
        TrackingError: it does not.
    """
    if not uri.startswith("http"):
        return
    try:
        # Certificates as MLflow's own requests have them.
        verify = MLFLOW_TRACKING_SERVER_CERT_PATH.get() or not MLFLOW_TRACKING_INSECURE_TLS.get()
        cert = MLFLOW_TRACKING_CLIENT_CERT_PATH.get()
        for path in ("health", "api/2.0/mlflow/experiments/search?max_results=1"):  # the second asks its database
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a certificate that the user does not want to be looked at
                requests.get(f"{uri.rstrip('/')}/{path}", timeout=_SERVER_TIMEOUT_S, verify=verify, cert=cert)
    except requests.RequestException as error:
        raise TrackingError(
            f"the MLflow server {without_password(uri)} must answer, but it does not ({type(error).__name__}). "
            "Start it or unset MLFLOW_TRACKING_URI to log into mlflow.db in this folder."
        ) from error


def make_database(uri: str) -> None:
    """Make the SQLite database of an address, where it is not there: beside its place, and then put into it.

    MLflow builds it in dozens of steps. Two processes at once, or one that is killed, would leave half of them.
    """
    path = _database_file(uri)
    if path is None or (path.is_file() and path.stat().st_size):
        return
    if path.is_dir():
        raise IsADirectoryError("it is a directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path.with_name(f".{path.name}.lock"), wait=True, remove=True):
        # Another process may have made it while this one waited for the lock.
        if path.is_file() and path.stat().st_size:
            return
        new = path.with_name(f".{path.name}{TEMPORARY}")
        for old in path.parent.glob(f"{new.name}*"):  # of a process that was killed
            old.unlink()
        try:
            # Any question has MLflow make the tables.
            mlflow.MlflowClient(_sqlite_uri(new)).search_experiments(max_results=1)
            # Only a whole database ever has the name that others open.
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def _database_file(uri: str) -> Path | None:
    """Return the file of a SQLite database, `%20` in its address being a space; None for any other store."""
    path = uri.removeprefix("sqlite:///")
    return Path(unquote(path)) if path != uri and path != ":memory:" and "?" not in path else None


def _sqlite_uri(path: Path) -> str:
    """Return the address of a database's file; what an address would be read otherwise with stands there as `%25`."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def _reason(error: Exception) -> str:
    """Return what an error of MLflow says, without the statement that failed and the address of an explanation."""
    return re.split(r" \(Background on this error| \[SQL:", shorten(error))[0].rstrip(". ")


def without_password(uri: str) -> str:
    """Return an address as people and files may see it."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:…@", uri)


def _absolute(uri: str) -> str:
    """Return the address of a store, a database's file by its whole path: commands may resume in another folder."""
    path = _database_file(uri)
    return uri if path is None else _sqlite_uri(path.absolute())


def _require_artifacts(artifact_uri: str, tracking_uri: str) -> None:
    """Warn: an experiment that a server made keeps its artifacts behind it, out of reach of a local database."""
    if artifact_uri.startswith("mlflow-artifacts:") and not tracking_uri.startswith("http"):
        raise TrackingError(
            "the experiment must take artifacts from here, but an MLflow server made it and keeps them behind itself. "
            "Set MLFLOW_TRACKING_URI to the server's address, or use another experiment (--experiment-name with mlflow "
            "run, MLFLOW_EXPERIMENT_NAME with compressor)."
        )


@dataclass(frozen=True)
class Delivery:
    """Where events are delivered to, and what is known there."""

    client: MlflowClient
    experiment_id: str
    run_ids: Mapping[str, str]
    """MLflow's ids, by our names for the runs."""
    folder: Path
    """From which paths of files are seen."""
    again: bool
    """Whether the event may have been sent before: a run is then looked for before it is made."""

    def run_id(self, event: events.Event) -> str:
        """Return the id of the run an event belongs to."""
        return self.run_ids[event.run]

    def file(self, path: str) -> Path:
        """Return a file or directory that is logged.

        Raises:
            FileError: it is gone. MLflow's own error would be taken for a server that is away.
        """
        found = self.folder / path
        if not found.exists():
            raise FileError(f"the file {found} must exist, but it does not. Check the path.")
        return found

    def tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Return tags, names of runs replaced by their ids."""
        return {key: self.with_ids(value) for key, value in tags.items()}

    def with_ids(self, text: str) -> str:
        """Return a text with the ids of runs that were not yet known when it was written."""
        for name, run_id in self.run_ids.items():
            text = text.replace(run_placeholder(name), run_id)
        return text


def run_placeholder(name: str) -> str:
    """Return what stands for the id of a run that MLflow has not made yet."""
    return f"<run id of {name}>"


@singledispatch
def deliver(event: events.Event, to: Delivery) -> str | None:
    """Send one event; the id of the run or the address of the model that it made."""
    raise NotImplementedError(event.kind)


@deliver.register
def _create(event: events.CreateRun, to: Delivery) -> str:
    if event.run in to.run_ids:  # logged twice, as the first was damaged
        return to.run_ids[event.run]
    parent = to.run_ids[event.parent]
    if to.again:
        same = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`{KEY_TAG}` = '{event.run}'"
        # Asked only where it may be there: a search costs as much as making the run.
        found = to.client.search_runs([to.experiment_id], same, max_results=1)
        if found:
            return str(found[0].info.run_id)
    tags = {**to.tags(event.tags), "mlflow.parentRunId": parent, KEY_TAG: event.run}
    run = to.client.create_run(to.experiment_id, event.start_ms, tags=tags, run_name=event.name)
    return str(run.info.run_id)


@deliver.register
def _log_params(event: events.LogParams, to: Delivery) -> None:
    run_id = to.run_id(event)
    known = to.client.get_run(run_id).data.params if event.new_params_only else {}
    # A parameter cannot be logged again with another text, and `mlflow run` writes 1.0 as it was typed.
    params = [Param(key, value[:_MAX_PARAM]) for key, value in event.params.items() if key not in known]
    to.client.log_batch(run_id, params=params)


@deliver.register
def _log_metrics(event: events.LogMetrics, to: Delivery) -> None:
    points = [Metric(name, value, event.now_ms, step) for name, value, step in event.metrics]
    to.client.log_batch(to.run_id(event), metrics=points)


@deliver.register
def _set_tags(event: events.SetTags, to: Delivery) -> None:
    to.client.log_batch(to.run_id(event), tags=[RunTag(*tag) for tag in to.tags(event.tags).items()])


@deliver.register
def _upload(event: events.Upload, to: Delivery) -> None:
    path = to.file(event.path)
    log = to.client.log_artifacts if path.is_dir() else to.client.log_artifact
    log(to.run_id(event), str(path), event.folder)


@deliver.register
def _log_dataset(event: events.LogDataset, to: Delivery) -> None:
    tag = InputTag("mlflow.data.context", event.context)
    to.client.log_inputs(to.run_id(event), [DatasetInput(Dataset(**event.dataset), [tag])])


@deliver.register
def _save_view(event: events.SaveView, to: Delivery) -> None:
    state = json.loads(to.with_ids(json.dumps(event.state)))
    value = encode_view(f"{event.name} {to.run_id(event)[:6]}", state, event.now_ms)
    to.client.set_experiment_tag(to.experiment_id, f"mlflow.sharedViewState.{event.key}", value)


_NO_STEP = -1
"""A step at which no run has metrics: MLflow gives a new model those that its run has at the step it is logged at."""


@deliver.register
def _log_served_model(event: events.LogServedModel, to: Delivery) -> str:
    # A delivery may be repeated after a kill or a lost server: neither model nor version is made twice.
    model = _made_before(event, to)
    before = _registered_before(event, to, None if model is None else model.model_id)
    if before is not None:
        return _name_version(event, to, str(before.version)) or str(before.source)
    # Not logged before: files and description go up with the model, then a version may be registered.
    if model is None:
        model = _make_model(event, to)
        with _active(to.run_id(event)):
            mlflow.pyfunc.log_model(
                model_id=model.model_id,
                step=_NO_STEP,
                python_model=event.code,
                artifacts={key: str(to.file(path)) for key, path in event.artifacts.items()},
                model_config=dict(event.config),
                input_example=event.example,
                pip_requirements=list(event.requirements),
                metadata=dict(event.metadata),
            )
        _forget_paths(to, model.model_id)
    if event.register_as:
        version = mlflow.register_model(model.model_uri, event.register_as)
        return _name_version(event, to, str(version.version)) or str(model.model_uri)
    return str(model.model_uri)


def _make_model(event: events.LogModel, to: Delivery) -> LoggedModel:
    """Return a new logged model of the event's run, without files yet; those begun before and cut short are deleted."""
    run_id = to.run_id(event)
    tags = {**event.tags, DIGEST_TAG: event.digest, COMPUTES_TAG: event.computes_with}
    # Not ready: its files were cut short, and whoever finds it could not load it.
    for model in _find_models(to, f"source_run_id = '{run_id}' AND name = '{event.name}'"):
        if model.status != "READY":
            to.client.delete_logged_model(model.model_id)
    return to.client.create_logged_model(
        to.experiment_id,
        name=event.name,
        source_run_id=run_id,
        tags={key: value for key, value in to.tags(tags).items() if value},
        params=dict(event.params),
        model_type=event.model_type or None,
    )


def _made_before(event: events.LogModel, to: Delivery) -> LoggedModel | None:
    """Return the whole model that the event has made before a process was killed or refused; None where it has not."""
    own = f"source_run_id = '{to.run_id(event)}' AND name = '{event.name}'"
    found = _find_models(to, f"tags.`{DIGEST_TAG}` = '{event.digest}' AND {own}") if event.digest else []
    return next((model for model in found if model.status == "READY"), None)


def _find_computing(to: Delivery, computes_with: str, run_id: str | None = None) -> list[LoggedModel]:
    """Return the models that compute with something, the served one first: of a run, or of the newest that has any.

    fp32 can be there twice, as it is served and in MLflow's ONNX flavour.
    """
    of_run = f" AND source_run_id = '{run_id}'" if run_id else ""
    found = _find_models(to, f"tags.`{COMPUTES_TAG}` = '{computes_with}'{of_run}") if computes_with else []
    whole = [model for model in found if model.status == "READY"]
    # Newest first as found; turned round, since the served model is logged before the ONNX one.
    return [model for model in whole if model.source_run_id == whole[0].source_run_id][::-1]


def _find_models(to: Delivery, filter_string: str) -> list[LoggedModel]:
    newest_first = [{"field_name": "creation_timestamp", "ascending": False}]
    return list(to.client.search_logged_models([to.experiment_id], filter_string, order_by=newest_first))


def _registered_before(event: events.LogServedModel, to: Delivery, model_id: str | None) -> ModelVersion | None:
    """Return the version registered of this very model before a process was killed or refused; None without one."""
    if not event.register_as:
        return None
    found = to.client.search_model_versions(f"run_id = '{to.run_id(event)}'")
    own = [version for version in found if version.name == event.register_as]
    same = (version for version in own if version.tags.get(DIGEST_TAG) == event.digest)
    return next(same, next((version for version in own if model_id and version.model_id == model_id), None))


def _name_version(event: events.LogServedModel, to: Delivery, number: str) -> str | None:
    """Print what a registered version is, as tags too, by which versions are found and compared; gives it its aliases.

    Returns its address by that, if it has one.
    """
    name, alias = event.register_as, event.alias
    tags = {DIGEST_TAG: event.digest, **event.metadata, **event.metrics}
    for key, value in tags.items():  # its digest first: by it the version is found again
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        to.client.set_model_version_tag(name, number, key, text)
    if event.description:
        to.client.update_model_version(name, number, description=event.description)
    for each in (alias, *event.further_aliases):
        if each:
            to.client.set_registered_model_alias(name, each, number)
    return f"models:/{name}@{alias}" if alias else None


def _forget_paths(to: Delivery, model_id: str) -> None:
    """Write a served model's description anew, without the paths that its files had on this machine."""
    # Not among MLflow's documented names: another version may have others, and then this entry alone is refused.
    from mlflow.pyfunc import FLAVOR_NAME, MODEL_CODE_PATH
    from mlflow.pyfunc.model import CONFIG_KEY_ARTIFACT_RELATIVE_PATH, CONFIG_KEY_ARTIFACT_URI, CONFIG_KEY_ARTIFACTS

    model = Model.load(f"models:/{model_id}")
    flavor = model.flavors[FLAVOR_NAME]
    # Names alone, which are the same on every machine.
    flavor[MODEL_CODE_PATH] = Path(flavor[MODEL_CODE_PATH]).name
    for artifact in flavor[CONFIG_KEY_ARTIFACTS].values():
        artifact[CONFIG_KEY_ARTIFACT_URI] = artifact[CONFIG_KEY_ARTIFACT_RELATIVE_PATH]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "MLmodel"
        model.save(str(file))
        to.client.log_model_artifact(model_id, str(file))


@deliver.register
def _log_onnx_model(event: events.LogOnnxModel, to: Delivery) -> str:
    """Take any batch and length."""
    import onnx

    from exporters.graph.onnx_export import MAX_PROTO_BYTES
    from exporters.graph.sessions import installed_package

    model = onnx.load(str(to.file(event.path)))  # a fresh one: MLflow may empty what it is given
    inputs = [TensorSpec(np.dtype(np.int64), (-1,) * np.ndim(values), name) for name, values in event.inputs.items()]
    # Of multiple choice the last axis is the choices, as many as a row has.
    classes = np.shape(event.logits)[-1] if np.ndim(next(iter(event.inputs.values()))) == 2 else -1
    logits = TensorSpec(np.dtype(np.float32), (-1, classes), "logits")
    made = _made_before(event, to)
    if made is not None:
        return str(made.model_uri)
    made = _make_model(event, to)
    with _active(to.run_id(event)):
        mlflow.onnx.log_model(
            model,
            model_id=made.model_id,
            step=_NO_STEP,
            signature=ModelSignature(inputs=Schema(inputs), outputs=Schema([logits])),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=model.ByteSize() > MAX_PROTO_BYTES,
            pip_requirements=[installed_package("onnxruntime"), f"onnx=={version('onnx')}"],
        )
    return str(made.model_uri)


@deliver.register
def _measure_model(event: events.MeasureModel, to: Delivery) -> str:
    run_id, measured = to.run_id(event), [(name, value, None, None) for name, value in event.metrics.items()]
    models = _find_computing(to, event.computes_with, run_id if event.own else None)
    # Nobody has logged a model with these files: one is made, so that the figures have a place.
    if not models:
        models = [_make_model(event, to)]
        to.client.log_outputs(run_id, [LoggedModelOutput(models[0].model_id, event.step)])
        to.client.finalize_logged_model(models[0].model_id, "READY")
        # A model that was there before knows these figures already.
        measured += [(name, value, None, None) for name, value in event.if_made.items()]
    # Those that were found by their files, or the one that was made just now.
    for model in models:
        points = [
            Metric(name, value, event.now_ms, event.step, model.model_id, rows, digest)
            for name, value, rows, digest in (*measured, *event.judged)
        ]
        to.client.log_batch(run_id, metrics=points)
    return str(models[0].model_uri)


@deliver.register
def _use_models(event: events.UseModels, to: Delivery) -> None:
    found = [_find_computing(to, value) for value in event.computes_with]
    used = [*event.model_ids, *(models[0].model_id for models in found if models)]
    if used:
        inputs = [LoggedModelInput(model_id) for model_id in dict.fromkeys(used)]
        to.client.log_inputs(to.run_id(event), models=inputs)


@deliver.register
def _log_evaluation(event: events.LogEvaluation, to: Delivery) -> None:
    """Let MLflow evaluate answers that are known already."""
    import matplotlib

    matplotlib.use("Agg")  # pictures are drawn in a thread, where no window can be opened
    table = pd.DataFrame(read_json_lines(to.file(event.path)))
    answers = table[event.answer].tolist()
    found = _find_computing(to, event.computes_with)
    config: dict[str, Any] = {"log_model_explainability": False}
    if event.label_names:
        config["label_list"] = list(event.label_names)
    if len(event.label_names) == 2:
        config["pos_label"] = event.label_names[1]  # as our metric has it
    with _active(to.run_id(event)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that no row has, and MLflow's about its own calls of pandas
        data = mlflow.data.from_pandas(table[[*event.columns, event.label]], targets=event.label, **event.dataset)
        mlflow.models.evaluate(
            # MLflow asks for all rows, and beforehand for a few to see whether it works: always from the first on.
            lambda rows: answers[: len(rows)],
            data=data,
            model_type=event.model_type,
            model_id=event.model_id or (found[0].model_id if found else None),
            extra_metrics=[_known_metric(*metric) for metric in event.metrics.items()],
            evaluator_config=config,
        )


def _known_metric(name: str, value: float) -> Any:
    """Return a metric of MLflow's `evaluate` whose value is known already."""

    def tell(predictions: Any, targets: Any) -> Any:  # noqa: ARG001
        # Computed by us, so that MLflow shows the same number as our files.
        return MetricValue(aggregate_results={name: value})

    return make_metric(eval_fn=tell, greater_is_better=False, name=name)


@deliver.register
def _end(event: events.EndRun, to: Delivery) -> None:
    for tag, value in to.tags(event.tags).items():
        to.client.set_tag(to.run_id(event), tag, value)
    to.client.set_terminated(to.run_id(event), event.status, event.end_ms)


@deliver.register
def _reopen(event: events.ReopenRun, to: Delivery) -> None:
    run_id = to.run_id(event)
    to.client.update_run(run_id, status="RUNNING")
    # What it failed of the last time: it may succeed now.
    if "error" in to.client.get_run(run_id).data.tags:
        to.client.delete_tag(run_id, "error")


@contextmanager
def _active(run_id: str) -> Iterator[None]:
    """Yield a run as MLflow's active one in this thread, which is where models are logged."""
    with mlflow.start_run(run_id=run_id, nested=True, log_system_metrics=False):  # see system_metrics.py
        yield


def now_ms() -> int:
    """Return the time as MLflow writes it."""
    return int(time.time() * 1000)
