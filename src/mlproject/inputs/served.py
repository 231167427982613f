"""Served models by what a user calls them: a registered model, a run's logged model, or a directory of an export."""

from compressor.errors import OptionError
from exporters.served.evaluation import require_comparable
from exporters.served.models import ServedModel, describe_served, open_http, open_served
from mlproject.inputs.addresses import EXPORTED, is_address, locate
from mlproject.tracking.delivery import load_served

_LOGGED = "MLmodel"
"""The file by which MLflow knows a model."""


def find_served(text: str) -> ServedModel:
    """Return the served model behind `models:/NAME@alias`, `runs:/<id>/…`, or a directory.

    Raises:
        TrackingError: MLflow has no such thing, or is away.
        ModelError: what is there was not made by `compressor export`.
    """
    uri = text
    if not text.startswith("models:/"):
        path = locate(text, *EXPORTED, _LOGGED) if is_address(text) else locate(text)
        if not (path / _LOGGED).is_file():
            return open_served(text, path)
        uri = str(path)
    predict, kind, facts, model_id = load_served(uri)
    return describe_served(text, kind, facts, predict, model_id)


def find_pair(champion: str, challenger: str) -> tuple[ServedModel, ServedModel]:
    """Return two served models of the same task; one of them may be a server over HTTP.

    Raises:
        OptionError: both are servers, so that nothing tells what they take.
        TrackingError: MLflow has no such model, or is away.
        ModelError: one was not made by `compressor export`, or they answer different questions.
    """
    at_server = [name.startswith(("http://", "https://")) for name in (champion, challenger)]
    if all(at_server):
        raise OptionError(
            "one of --champion and --challenger must be a model or an export, but both are addresses of servers, which "
            "do not tell what they take. Name one by models:/… or its directory."
        )
    found = [
        # Models that can be opened come first: one of them tells what the server beside it takes.
        None if over_http else find_served(name)
        for name, over_http in zip((champion, challenger), at_server, strict=True)
    ]
    first, second = (
        model or open_http(name, next(filter(None, found)))
        for name, model in zip((champion, challenger), found, strict=True)
    )
    # A server says nothing of itself: it is taken for a model of the other one's kind (`open_http`).
    require_comparable(first, second)
    return first, second
