"""Models and searches by address: a local directory, `runs:/<id>/…` or `models:/NAME@alias` in MLflow."""

import hashlib
import os
import shutil
from pathlib import Path

from compressor.errors import ModelError
from compressor.files import cache_folder, local_path
from compressor.locks import renewed_directory

SUPER_NETWORK, MODEL_DIR, SEARCHED = ("super_network.json", "config.json"), ("config.json",), ("search_results.json",)
EXPORTED, BENCHMARKED = ("export.json",), ("latency.json",)
TIMED = ("export.json", "config.json", "*.onnx", "openvino_model*.xml")
FAMILY = ("family.json",)
"""Files by which a directory of each kind is known, the surest first."""


def is_address(text: str) -> bool:
    """Return whether a text is an address in MLflow rather than a path."""
    return text.startswith(("runs:/", "models:/"))


def locate(text: str, *markers: str) -> Path:
    """Return the local path behind a directory or an address; the folder (or ONNX file) below it that holds a marker.

    What is fetched over a network is kept in the user's cache folder; a local artifact store is read in place.

    Raises:
        TrackingError: MLflow has no such thing, or is away.
        ModelError: what is there is of another kind.
        FileError: no disk can have the path.
    """
    if not is_address(text):
        return local_path(text)
    from mlproject.tracking.delivery import download

    # The same address at another server is another thing.
    key = hashlib.sha256(f"{os.environ.get('MLFLOW_TRACKING_URI')} {text}".encode()).hexdigest()[:16]
    root = download(text, cache_folder() / key)
    for marker in markers:
        # An export has a `config.json` too, and is no model in PyTorch.
        files = [file for file in root.rglob(marker) if marker != "config.json" or not _is_export(file.parent)]
        found = sorted(files, key=lambda file: (len(file.parts), str(file)))
        folders = [file if "*" in marker else file.parent for file in found]
        # The least deep: checkpoints and parts of models lie below what is meant.
        nearest = [folder for folder in folders if len(folder.parts) == len(folders[0].parts)]
        if len(nearest) > 1:
            names = ", ".join(str(folder.relative_to(root)) for folder in nearest[:6])
            raise ModelError(f"{text} must hold one model, but holds {names}. Add one of them to the address.")
        if nearest:
            return _with_tokenizer(nearest[0], root)
    raise ModelError(
        f"{text} must hold {' or '.join(markers)}, but does not. Give the address of the run that made it, such as "
        "runs:/<id>/supernet, runs:/<id>/model or runs:/<id>/onnx."
    )


def _is_export(folder: Path) -> bool:
    """Return whether a directory's `config.json` describes graphs in ONNX, not weights for PyTorch."""
    return any((folder / name).is_file() for name in EXPORTED)


def _with_tokenizer(folder: Path, root: Path) -> Path:
    """Return the model folder of MLflow's transformers flavour with its tokenizer, which lies elsewhere there."""
    tokenizer = root / "components" / "tokenizer"
    if not tokenizer.is_dir() or not (folder / "config.json").is_file() or (folder / "tokenizer.json").is_file():
        return folder
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    merged = cache_folder() / f"{digest}-model"
    # Made anew: what was fetched may be newer than what was merged before.
    with renewed_directory(merged) as new:
        for part in (folder, tokenizer):
            shutil.copytree(part, new, dirs_exist_ok=True)
    return merged
