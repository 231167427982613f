"""The Hugging Face Hub: whether it can be reached, asked once, so that no network costs seconds, and pushing to it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from shlex import quote

from compressor.errors import HubError, shorten


@cache
def is_hub_reachable() -> bool:
    """Return whether the Hub answers at all; False in offline mode (`HF_HUB_OFFLINE=1`)."""
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        # Any answer will do, an error of the server too: then its client says best what is wrong.
        requests.head(constants.ENDPOINT, timeout=5)
    except requests.RequestException:
        return False
    return True


def hub_options(source: str) -> dict[str, bool]:
    """Return further arguments of `from_pretrained`: to stay in its cache for a name that no Hub answers."""
    return {"local_files_only": True} if not Path(source).is_dir() and not is_hub_reachable() else {}


def require_hub(repository: str) -> None:
    """Raise unless the Hub takes models from here: the name is one that it has, and it knows the token.

    Raises:
        HubError: it does not.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise HubError(
            f"--push-to-hub must be NAME or OWNER/NAME, but the Hub has no {shorten(repr(repository), 60)}: "
            f"{_reason(error)}. Correct it."
        ) from error
    if get_token() is None:
        raise HubError("--push-to-hub must be given with a token, but there is none. Set HF_TOKEN, or: hf auth login.")
    try:
        HfApi().whoami()
    except Exception as error:  # whatever the client raises: there is no base of its errors
        raise HubError(
            f"--push-to-hub must find a Hub that knows your token, but {_reason(error)}. "
            "Check the network and HF_TOKEN, or leave --push-to-hub out."
        ) from error


def push_model(directory: Path, repository: str, without: Sequence[str] = ()) -> str:
    """Upload a model's directory into a repository, made private where there is none; its address.

    Hidden files, and those named in `without`, stay here.

    Raises:
        HubError: the Hub refuses it, or went away.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        made = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            folder_path=directory,
            commit_message="Model extracted by mlflow-compressor",
            # Hidden files hold the state of a run: paths of this machine, and what was not delivered yet.
            ignore_patterns=[".*", "*/.*", *without],
        )
    except Exception as error:  # whatever the client raises: there is no base of its errors
        raise HubError(
            f"the model must be pushed to {repository}, but {_reason(error)}. All files are kept in {directory}; "
            f"push them with: hf upload {repository} {quote(str(directory))}"
        ) from error
    return str(made)


def _reason(error: Exception) -> str:
    """Return what an error of the client says, without the token, should it ever say that."""
    from huggingface_hub import get_token

    text = str(error) or type(error).__name__
    token = get_token()
    return shorten(text.replace(token, "…") if token else text).rstrip(". ")
