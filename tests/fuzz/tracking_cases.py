"""Addresses and names of MLflow that lead nowhere."""

from fuzz.harness import Case

UNUSABLE = (
    "MLFLOW_TRACKING_URI must name an MLflow server or database that can be used, but URI cannot: …. "
    "Give it as http://host:port or sqlite:///mlflow.db, or unset it."
)
SILENT = (
    "the MLflow server URI must answer, but it does not (…). "
    "Start it or unset MLFLOW_TRACKING_URI to log into mlflow.db in this folder."
)
NO_NEW_RUNS = "MLflow at URI must take new runs, but it does not: …. Check MLFLOW_TRACKING_URI…."
URIS = {
    "mssql://x": UNUSABLE,
    "http://[::1": UNUSABLE,
    "ftp://localhost/x": UNUSABLE,
    "nonsense://x": UNUSABLE,
    "s3://bucket/folder": UNUSABLE,
    "uc:x": UNUSABLE,
    "file:///dev/null": UNUSABLE,
    "/dev/null/x": UNUSABLE,
    "train.jsonl": UNUSABLE,
    "sqlite+nonsense:///x.db": UNUSABLE,
    "sqlite:///train.jsonl": UNUSABLE.replace("URI cannot", "sqlite:///{folder}/train.jsonl cannot"),
    "http://": SILENT,
    "https://": SILENT,
    "http:///x": SILENT,
    "http://127.0.0.1:1": SILENT,
    "http://localhost:99999": SILENT,
}
"""Where runs are to go, and what is said of it."""
NAMES = {
    "MLFLOW_RUN_ID": ("x", "0" * 32, "../.."),
    "MLFLOW_EXPERIMENT_ID": ("9", "x", "-1"),
    "MLFLOW_EXPERIMENT_NAME": ("x" * 1000,),
}
ADDRESSES = (
    "runs:/",
    "runs:/x",
    "runs:/x/y",
    "runs:/../../x",
    "runs:/0123456789abcdef0123456789abcdef/supernet",
    "models:/",
    "models:/x",
    "models:/x/1",
    "models:/x@y",
    "models:/x/none/y",
    "models:/@",
    "models:/m-0123456789abcdef0123456789abcdef",
)
NOT_THERE = "ADDRESS must be in MLflow at sqlite:///…/mlflow.db, but it cannot be had: …. "
NOT_THERE += "Check the address and MLFLOW_TRACKING_URI."

CASES = [
    *(
        Case(
            name=f"MLflow at {uri}",
            words="search --supernet net",
            environment={"MLFLOW_TRACKING_URI": uri},
            database=True,
            error=error.replace("URI must answer", f"{uri} must answer").replace("URI cannot", f"{uri} cannot"),
        )
        for uri, error in URIS.items()
    ),
    *(
        Case(
            name=f"{name}={value[:40]}",
            words="search --supernet net",
            environment={name: value},
            database=True,
            error=NO_NEW_RUNS.replace("at URI", "at sqlite:///…/mlflow.db"),
        )
        for name, values in NAMES.items()
        for value in values
    ),
    *(
        Case(
            name=f"{words} {address}",
            words=f"{words} {address}",
            database=True,
            error=NOT_THERE.replace("ADDRESS", address),
        )
        for address in ADDRESSES
        for words in ("search --supernet", "export --model", "evaluate --data train.jsonl --model")
    ),
]
