"""All of MLflow: how the entries of an outbox are delivered, and what is asked of the server. No other file of this
package imports `mlflow`."""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import CompressorError, brief
from compressor.files import TEMPORARY, is_full_disk
from compressor.limits import Problem
from compressor.locks import hold
from mlproject.tracking.outbox import Entry
from mlproject.tracking.views import encode_view

if TYPE_CHECKING:
    import pandas as pd

EXPERIMENT = "compressor"
"""The experiment of runs that are not started by `mlflow run` and name no other (MLFLOW_EXPERIMENT_NAME)."""
KEY_TAG = "compressor.run_key"
"""Our own name for a run below another: by it a run is found again whose creation was cut short."""
FINGERPRINT_TAG, DIRECTORY_TAG = "compressor.fingerprint", "compressor.directory"
"""What a stage was given, as a hash, and where its results are."""
DIGEST_TAG = "compressor.digest"
"""Of a registered version: a hash of its files."""
_MAX_PARAM = 500
_MAX_MODEL_NAME = 256
"""Characters of a registered model's name in MLflow's tables."""
_SERVER_TIMEOUT_S = 10
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""With a server that takes a request and does not answer: it is lost after about a minute."""


class TrackingError(CompressorError):
    """The tracking server cannot be used."""


class MlflowLog:
    """An MLflow tracking server, or database, that entries are delivered to."""

    def __init__(self) -> None:
        """Opens the store that MLflow's environment names; a SQLite database that is not there yet is made.

        Raises:
            TrackingError: there is no such store, or it cannot be used.
        """
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow

        self.uri = _absolute(mlflow.get_tracking_uri())
        try:
            make_database(self.uri)
            self.client = mlflow.MlflowClient()
        except Exception as error:  # MLflow raises what the store below it raises
            raise TrackingError(
                "MLFLOW_TRACKING_URI must name an MLflow server or database that can be used, but "
                f"{_without_password(self.uri)} cannot: "
                f"{_reason(error)}. Give it as http://host:port or sqlite:///mlflow.db, or unset it."
            ) from error

    def start_run(self, name: str, tags: Mapping[str, str], key: str, run_id: str | None = None) -> tuple[str, str]:
        """The ids of a run and its experiment: the one to go on with, the one `mlflow run` made, or a new one.

        A new one is tagged with `key`, by which it is found again if its id was not noted.

        Raises:
            TrackingError: the run is gone, or its experiment cannot take artifacts from here.
        """
        made_by_mlflow_run = os.environ.get("MLFLOW_RUN_ID")
        try:
            run_id = run_id or self._find_run(key)
            if run_id or made_by_mlflow_run:
                run = self.client.get_run(run_id or made_by_mlflow_run)
                ours = name if is_random_name(run.info.run_name) else None  # else the user's: mlflow run --run-name
                self.client.update_run(run.info.run_id, status="RUNNING", name=ours)
                for tag, value in {**tags, KEY_TAG: key}.items():
                    self.client.set_tag(run.info.run_id, tag, value)
                if run_id and made_by_mlflow_run not in (None, run_id):
                    self.client.set_tag(made_by_mlflow_run, "mlflow.note.content", f"Went on with the run {run_id}.")
            else:
                run = self._create_run(name, {**tags, KEY_TAG: key})
        except Exception as error:  # MLflow raises what the store below it raises
            user = os.environ.get("MLFLOW_TRACKING_USERNAME")
            if http_status(error) == 401:
                got = f"the password of {user!r}" if user else "a command without MLFLOW_TRACKING_USERNAME"
                raise TrackingError(
                    f"MLflow at {self.uri} must know who you are, but it does not take {got}. Set "
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to what its admin gave you."
                ) from error
            if is_forbidden(error):
                experiment = self._whose_experiment(run_id or made_by_mlflow_run)
                raise TrackingError(
                    f"MLflow at {self.uri} must let you write into the experiment, but it forbids {experiment} to "
                    f"{user or 'you'}. Ask its owner for the permission EDIT, or use an experiment of your own "
                    "(--experiment-name with mlflow run, MLFLOW_EXPERIMENT_NAME with compressor)."
                ) from error
            raise TrackingError(
                f"MLflow at {_without_password(self.uri)} must take new runs, but it does not: {_reason(error)}. Check "
                "MLFLOW_TRACKING_URI."
            ) from error
        try:
            _require_artifacts(run.info.artifact_uri, self.uri)
        except TrackingError as error:
            self.fail(run.info.run_id, str(error))
            raise
        return str(run.info.run_id), str(run.info.experiment_id)

    def _whose_experiment(self, run_id: str | None) -> str:
        """The name of the experiment that a run belongs to, or would, as far as the server tells it."""
        try:
            number = self.client.get_run(run_id).info.experiment_id if run_id else self._experiment_id()
            return f"{self.client.get_experiment(number).name!r} (experiment {number})"
        except Exception:  # whoever may not write there may not be allowed to read its name either
            return "it"

    def _find_run(self, key: str) -> str | None:
        """The id of the run with that key; None where there is none."""
        found = self.client.search_runs([self._experiment_id()], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _create_run(self, name: str, tags: Mapping[str, str]) -> Any:
        """A new run in the experiment that the environment names, with MLflow's own tags of user, source and commit."""
        from mlflow.tracking.context.registry import resolve_tags

        return self.client.create_run(self._experiment_id(), tags=resolve_tags(dict(tags)), run_name=name)

    def _experiment_id(self) -> str:
        """The id of the experiment that the environment names, made where it is not there."""
        from mlflow.exceptions import MlflowException

        experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if not experiment_id:
            wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
            if self.client.get_experiment_by_name(wanted) is None:
                try:
                    self.client.create_experiment(wanted)
                except MlflowException:
                    if self.client.get_experiment_by_name(wanted) is None:  # else another process was faster
                        raise
            experiment_id = self.client.get_experiment_by_name(wanted).experiment_id
        return str(experiment_id)

    def deliver(self, entry: Entry, experiment_id: str, run_ids: Mapping[str, str], folder: Path, again: bool) -> Any:
        """Sends one entry; the id of the run it made, or what the kind gives.

        With `again` the entry may have been sent before: a run is then looked for before it is made. Paths of files are
        seen from `folder`.
        """
        return _KINDS[entry["kind"]](_Delivery(self, experiment_id, run_ids, folder, again), entry)

    def find_finished(self, experiment_id: str, fingerprint: str) -> list[tuple[str, Path]]:
        """Finished runs of an experiment with that fingerprint, newest first, each with its directory."""
        found = self.client.search_runs(
            [experiment_id],
            f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}' and attributes.status = 'FINISHED'",
            max_results=20,
            order_by=["attributes.start_time DESC"],
        )
        return [(run.info.run_id, Path(run.data.tags.get(DIRECTORY_TAG, "/nonexistent"))) for run in found]

    def kill(self, key: str) -> None:
        """Marks the run with that key as KILLED, if there is one."""
        run_id = self._find_run(key)
        if run_id is not None:
            self.client.set_terminated(run_id, "KILLED")

    def kill_running(self, run_id: str) -> None:
        """Marks a run and those below it as KILLED, where they are still said to be running."""
        experiment_id = self.client.get_run(run_id).info.experiment_id
        below = self.client.search_runs([experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
        for run in (self.client.get_run(run_id), *below):
            if run.info.run_id != run_id:
                self.kill_running(run.info.run_id)
            elif run.info.status == "RUNNING":
                self.client.set_terminated(run_id, "KILLED")

    def fail(self, run_id: str, message: str) -> None:
        """Marks a run as FAILED, with the reason."""
        self.client.set_tag(run_id, "error", message)
        self.client.set_terminated(run_id, "FAILED")


def is_random_name(name: str | None) -> bool:
    """Whether a run's name is one that MLflow draws where nobody gives one, such as intelligent-fly-553."""
    from mlflow.utils import name_utils

    predicates, nouns = (
        {word.lower() for word in words} for words in (name_utils._GENERATOR_PREDICATES, name_utils._GENERATOR_NOUNS)
    )
    predicate, _, rest = (name or "").partition("-")
    noun, _, number = rest.rpartition("-")
    return predicate in predicates and noun in nouns and number.isdecimal()


def find_registration_problems(name: str | None, alias: str | None) -> list[Problem]:
    """What MLflow will have against a registered model's name and alias, by its own rules."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils import validation

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
                    law=f"a name that MLflow takes ({brief(error).rstrip('.')})",
                    value=repr(value[:100]),
                    remedy="Use letters, digits, - and _.",
                )
            )
    return problems


def describe_dataset(table: "pd.DataFrame", *, name: str, source: str, digest: str) -> dict[str, str]:
    """What MLflow keeps of a data set: its name, hash, source, schema and size."""
    import mlflow.data

    entity = mlflow.data.from_pandas(table, source=source, name=name, digest=digest)._to_mlflow_entity()
    return {key: getattr(entity, key) for key in ("name", "digest", "source_type", "source", "schema", "profile")}


def download(uri: str, folder: Path) -> Path:
    """What a `runs:/…` or `models:/…` address holds: where it is on this machine, or a copy in `folder`.

    Raises:
        TrackingError: there is no such thing, or the server is away.
    """
    import mlflow

    require_server(mlflow.get_tracking_uri())
    remote = mlflow.get_tracking_uri().startswith("http")
    whole_run = uri.removeprefix("runs:/").strip("/") if uri.startswith("runs:/") else "/"
    what = {"artifact_uri": uri} if "/" in whole_run else {"run_id": whole_run}
    shutil.rmtree(folder, ignore_errors=True)  # an alias may have moved on
    try:
        return Path(mlflow.artifacts.download_artifacts(**what, dst_path=str(folder) if remote else None))
    except Exception as error:  # MLflow raises what the store below it raises
        reason = brief(error)
        raise TrackingError(
            f"{uri} must be in MLflow at {mlflow.get_tracking_uri()}, but it cannot be had: {reason}. "
            "Check the address and MLFLOW_TRACKING_URI."
        ) from error


def http_status(error: BaseException) -> int | None:
    """The status with which the server refused; None where it did not say."""
    found = re.search(r"failed with error code (\d{3}) != 200", str(error))
    named = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}.get(getattr(error, "error_code", ""))
    return int(found[1]) if found else named


def is_forbidden(error: BaseException) -> bool:
    """Whether the server is there, but does not let this user do what was asked."""
    return http_status(error) in (401, 403)


def is_connection_problem(error: BaseException) -> bool:
    """Whether the server is away, rather than displeased with one entry."""
    import requests

    causes = [error, error.__cause__, error.__context__]
    text = str(error)
    away = any(isinstance(c, requests.RequestException | OSError) for c in causes) or "API request to" in text
    return away or is_full_disk(error) or "database is locked" in text


def has_saved_views() -> bool:
    """Whether this MLflow has saved views of the runs page."""
    import mlflow

    major, minor = (int(part) for part in mlflow.__version__.split(".")[:2])
    return (major, minor) >= (3, 15)


def require_server(uri: str) -> None:
    """Nothing, if the tracking server answers.

    Raises:
        TrackingError: it does not.
    """
    if not uri.startswith("http"):
        return
    import requests

    try:
        for path in ("health", "api/2.0/mlflow/experiments/search?max_results=1"):  # the second asks its database
            requests.get(f"{uri.rstrip('/')}/{path}", timeout=_SERVER_TIMEOUT_S)
    except requests.RequestException as error:
        raise TrackingError(
            f"the MLflow server {uri} must answer, but it does not ({type(error).__name__}). "
            "Start it or unset MLFLOW_TRACKING_URI to log into mlflow.db in this folder."
        ) from error


def make_database(uri: str) -> None:
    """Makes the SQLite database of an address, where it is not there: beside its place, and then put into it.

    MLflow builds it in dozens of steps. Two processes at once, or one that is killed, would leave half of them.
    """
    path = _database_file(uri)
    if path is None or (path.is_file() and path.stat().st_size):
        return
    if path.is_dir():
        raise IsADirectoryError("it is a directory")
    import mlflow

    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path.with_name(f".{path.name}.lock"), wait=True, remove=True):
        if path.is_file() and path.stat().st_size:
            return
        new = path.with_name(f".{path.name}{TEMPORARY}")
        for old in path.parent.glob(f"{new.name}*"):  # of a process that was killed
            old.unlink()
        try:
            mlflow.MlflowClient(f"sqlite:///{new}").search_experiments(max_results=1)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def _database_file(uri: str) -> Path | None:
    """The file of a SQLite database; None for any other store."""
    path = uri.removeprefix("sqlite:///")
    return Path(path) if path != uri and path != ":memory:" and "?" not in path else None


def _reason(error: Exception) -> str:
    """What an error of MLflow says, without the statement that failed and the address of an explanation of it."""
    return re.split(r" \(Background on this error| \[SQL:", brief(error))[0].rstrip(". ")


def _without_password(uri: str) -> str:
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:…@", uri)


def _absolute(uri: str) -> str:
    """The address of a store, a database's file by its whole path: commands may go on in another folder."""
    path = uri.removeprefix("sqlite:///")
    return f"sqlite:///{Path(path).absolute()}" if uri.startswith("sqlite:///") and path != ":memory:" else uri


def _require_artifacts(artifact_uri: str, tracking_uri: str) -> None:
    """An experiment that a server made keeps its artifacts behind that server, out of reach of a local database."""
    if artifact_uri.startswith("mlflow-artifacts:") and not tracking_uri.startswith("http"):
        raise TrackingError(
            "the experiment must take artifacts from here, but an MLflow server made it and keeps them behind itself. "
            "Set MLFLOW_TRACKING_URI to the server's address, or use another experiment (--experiment-name with mlflow "
            "run, MLFLOW_EXPERIMENT_NAME with compressor)."
        )


class _Delivery:
    """What the functions below need to deliver an entry."""

    def __init__(
        self, log: MlflowLog, experiment_id: str, run_ids: Mapping[str, str], folder: Path, again: bool
    ) -> None:
        self.client, self.experiment_id = log.client, experiment_id
        self.run_ids, self.folder, self.again = run_ids, folder, again

    def run_id(self, entry: Entry) -> str:
        """The id of the run an entry belongs to."""
        return self.run_ids[entry["run"]]

    def tags(self, entry: Entry) -> list[Any]:
        """The tags of an entry, names of runs replaced by their ids."""
        from mlflow.entities import RunTag

        return [RunTag(key, self.with_ids(value)) for key, value in entry.get("tags", {}).items()]

    def with_ids(self, text: str) -> str:
        """A text with the ids of runs that were not yet known when it was written."""
        for name, run_id in self.run_ids.items():
            text = text.replace(run_placeholder(name), run_id)
        return text


def run_placeholder(name: str) -> str:
    """What stands for the id of a run that MLflow has not made yet."""
    return f"<run id of {name}>"


def _create(delivery: _Delivery, entry: Entry) -> str:
    if entry["run"] in delivery.run_ids:  # told twice, as the first was damaged
        return delivery.run_ids[entry["run"]]
    parent = delivery.run_ids[entry["parent"]]
    if delivery.again:
        found = delivery.client.search_runs(
            [delivery.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent}' and tags.`{KEY_TAG}` = '{entry['run']}'",
            max_results=1,
        )
        if found:
            return str(found[0].info.run_id)
    tags = {tag.key: tag.value for tag in delivery.tags(entry)}
    run = delivery.client.create_run(
        delivery.experiment_id,
        entry["start_ms"],
        tags={**tags, "mlflow.parentRunId": parent, KEY_TAG: entry["run"]},
        run_name=entry["name"],
    )
    return str(run.info.run_id)


def _log(delivery: _Delivery, entry: Entry) -> None:
    from mlflow.entities import Metric, Param

    params = {key: str(value)[:_MAX_PARAM] for key, value in entry.get("params", {}).items()}
    if entry.get("new_params_only"):  # `mlflow run` logs the declared ones before our code starts
        known = delivery.client.get_run(delivery.run_id(entry)).data.params
        params = {key: value for key, value in params.items() if key not in known}
    delivery.client.log_batch(
        delivery.run_id(entry),
        metrics=[Metric(name, value, entry["now_ms"], step) for name, value, step in entry.get("metrics", ())],
        params=[Param(key, value) for key, value in params.items()],
        tags=delivery.tags(entry),
    )


def _artifact(delivery: _Delivery, entry: Entry) -> None:
    path = delivery.folder / entry["path"]
    log = delivery.client.log_artifacts if path.is_dir() else delivery.client.log_artifact
    log(delivery.run_id(entry), str(path), entry["folder"])


def _dataset(delivery: _Delivery, entry: Entry) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tag = InputTag("mlflow.data.context", entry["context"])
    delivery.client.log_inputs(delivery.run_id(entry), [DatasetInput(Dataset(**entry["dataset"]), [tag])])


def _view(delivery: _Delivery, entry: Entry) -> None:
    state = json.loads(delivery.with_ids(json.dumps(entry["state"])))
    value = encode_view(f"{entry['name']} {delivery.run_id(entry)[:6]}", state, entry["now_ms"])
    delivery.client.set_experiment_tag(delivery.experiment_id, f"mlflow.sharedViewState.{entry['key']}", value)


_GRAPH_STEP, _SERVED_STEP = 1, 2
"""Of a logged model's own metrics. MLflow gives each new model what its run has at step 0: not those of another model.

The served model's step is the last, since the run shows what was logged last.
"""


def _served_model(delivery: _Delivery, entry: Entry) -> str:
    """A model that MLflow can serve, from its code and files; its address. `register_as` makes it a version."""
    import mlflow

    before = _registered_before(delivery, entry)
    if before is not None:
        return _name_version(delivery, entry, str(before.version)) or str(before.source)
    with _active(delivery.run_id(entry)):
        info = mlflow.pyfunc.log_model(
            name=entry["name"],
            python_model=entry["code"],
            artifacts={key: str(delivery.folder / path) for key, path in entry["artifacts"].items()},
            model_config=entry["config"],
            input_example=entry["example"],
            pip_requirements=entry["requirements"],
            metadata=entry["metadata"],
            registered_model_name=entry["register_as"],
        )
        mlflow.log_metrics(entry["metrics"], step=_SERVED_STEP, model_id=info.model_id)
        _forget_paths(delivery, info.model_id)
    if entry["register_as"]:
        return _name_version(delivery, entry, str(info.registered_model_version)) or str(info.model_uri)
    return str(info.model_uri)


def _registered_before(delivery: _Delivery, entry: Entry) -> Any:
    """The version that an earlier process has registered of this very model, before it was killed; None without."""
    if not delivery.again or not entry["register_as"]:
        return None
    found = delivery.client.search_model_versions(f"run_id = '{delivery.run_id(entry)}'")
    return next(
        (v for v in found if (v.name, v.tags.get(DIGEST_TAG)) == (entry["register_as"], entry.get("digest"))), None
    )


def _name_version(delivery: _Delivery, entry: Entry, number: str) -> str | None:
    """Tells what a registered version is, and gives it its alias; its address by that, if it has one."""
    name, alias = entry["register_as"], entry["alias"]
    delivery.client.set_model_version_tag(name, number, DIGEST_TAG, entry.get("digest", ""))
    _describe_version(delivery, entry, number)
    if alias:
        delivery.client.set_registered_model_alias(name, alias, number)
    return f"models:/{name}@{alias}" if alias else None


def _describe_version(delivery: _Delivery, entry: Entry, number: str) -> None:
    """Gives a registered version its description, and what it is as tags, by which versions are found and compared."""
    name = entry["register_as"]
    if entry.get("description"):
        delivery.client.update_model_version(name, number, description=entry["description"])
    for key, value in {**entry["metadata"], **entry["metrics"]}.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        delivery.client.set_model_version_tag(name, number, key, text)


def _forget_paths(delivery: _Delivery, model_id: str) -> None:
    """Writes a served model's description anew, without the paths that its files had on this machine."""
    from mlflow.models import Model

    model = Model.load(f"models:/{model_id}")
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "MLmodel"
        model.save(str(file))
        delivery.client.log_model_artifact(model_id, str(file))


def _onnx_model(delivery: _Delivery, entry: Entry) -> str:
    """An ONNX file in MLflow's own ONNX flavour, for any batch and length."""
    import mlflow
    import numpy as np
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from exporters.graph.onnx_export import MAX_PROTO_BYTES

    model = onnx.load(str(delivery.folder / entry["path"]))  # a fresh one: MLflow may empty what it is given
    inputs = [TensorSpec(np.dtype(np.int64), (-1,) * np.ndim(values), name) for name, values in entry["inputs"].items()]
    classes = np.shape(entry["logits"])[-1] if np.ndim(next(iter(entry["inputs"].values()))) == 2 else -1
    logits = TensorSpec(np.dtype(np.float32), (-1, classes), "logits")
    with _active(delivery.run_id(entry)):
        info = mlflow.onnx.log_model(
            model,
            name=entry["name"],
            signature=ModelSignature(inputs=Schema(inputs), outputs=Schema([logits])),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=model.ByteSize() > MAX_PROTO_BYTES,
            pip_requirements=[f"onnxruntime=={version('onnxruntime')}", f"onnx=={version('onnx')}"],
        )
        mlflow.log_metrics(entry.get("metrics", {}), step=_GRAPH_STEP, model_id=info.model_id)
    return str(info.model_uri)


@contextmanager
def _active(run_id: str) -> Iterator[None]:
    """A run as MLflow's active one in this thread, which is where models are logged."""
    import mlflow

    with mlflow.start_run(run_id=run_id, nested=True):
        yield


def _end(delivery: _Delivery, entry: Entry) -> None:
    for tag in delivery.tags(entry):
        delivery.client.set_tag(delivery.run_id(entry), tag.key, tag.value)
    delivery.client.set_terminated(delivery.run_id(entry), entry["status"], entry["end_ms"])


def _reopen(delivery: _Delivery, entry: Entry) -> None:
    delivery.client.update_run(delivery.run_id(entry), status="RUNNING")


def now_ms() -> int:
    """The time as MLflow writes it."""
    return int(time.time() * 1000)


_KINDS: dict[str, Callable[[_Delivery, Entry], Any]] = {
    "create": _create,
    "log": _log,
    "artifact": _artifact,
    "dataset": _dataset,
    "view": _view,
    "served_model": _served_model,
    "onnx_model": _onnx_model,
    "end": _end,
    "reopen": _reopen,
}
