"""Whether the Hugging Face Hub can be reached: asked once, so that no network costs seconds, not minutes."""

from functools import cache
from pathlib import Path


@cache
def hub_answers() -> bool:
    """Whether the Hub answers at all; False in offline mode (`HF_HUB_OFFLINE=1`)."""
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        requests.head(constants.ENDPOINT, timeout=5)
    except requests.RequestException:
        return False
    return True


def hub_options(source: str) -> dict[str, bool]:
    """What `from_pretrained` is told besides: to stay in its cache for a name that no Hub answers."""
    return {"local_files_only": True} if not Path(source).is_dir() and not hub_answers() else {}
