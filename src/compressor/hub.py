"""Whether the Hugging Face Hub can be reached: asked once, so that no network costs seconds, not minutes."""

from functools import cache


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
