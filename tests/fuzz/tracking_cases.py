"""Addresses of MLflow that lead nowhere."""

from fuzz.harness import Case

CASES = [
    Case(
        name="a run that MLflow does not have",
        words="search --supernet runs:/0123456789abcdef0123456789abcdef/supernet",
        database=True,
        error="runs:/…/supernet must be in MLflow at sqlite:///…/mlflow.db, but it "
        "cannot be had: …. Check the address and MLFLOW_TRACKING_URI.",
    ),
]
