"""What counts of a directory, and how a difference is told."""

import json
from pathlib import Path

import pytest

from compressor.digests import Inputs, combine, digest_files, digest_source, require_same_files
from compressor.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model.safetensors", "tokenizer.json", "vocab.txt", "modeling.py", "model.onnx", "README.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "config.json").write_text('{"hidden_act": "gelu", "transformers_version": "5.24.0"}')
    return tmp_path


def test_results_depend_on_weights_configuration_tokenizer_code_and_graphs(folder: Path) -> None:
    names = ["config.json", "model.onnx", "model.safetensors", "modeling.py", "tokenizer.json", "vocab.txt"]
    assert list(digest_files(folder)) == names


def test_the_version_that_saved_a_configuration_does_not_count(folder: Path) -> None:
    before = digest_files(folder)
    (folder / "config.json").write_text('{"transformers_version": "5.14.0", "hidden_act": "gelu"}')
    assert digest_files(folder) == before
    (folder / "config.json").write_text('{"hidden_act": "relu", "transformers_version": "5.24.0"}')
    assert combine(digest_files(folder)) != combine(before)


def test_how_a_model_of_others_pools_counts(folder: Path) -> None:
    assert digest_source(folder) == combine(digest_files(folder))  # as it was noted of any other model
    (folder / "modules.json").write_text("[]")
    (folder / "1_Pooling").mkdir()
    digests = set()
    for mode in ("mean", "cls"):
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
        digests.add(digest_source(folder))
    assert len(digests) == 2


def test_all_differences_are_named(folder: Path) -> None:
    written = digest_files(folder)
    require_same_files(folder, written, "super_network.json", "train again")
    require_same_files(folder, None, "super_network.json", "train again")  # of version 0.1.0
    (folder / "config.json").write_text(json.dumps({"hidden_act": "relu"}))
    (folder / "vocab.txt").unlink()
    (folder / "merges.txt").touch()
    with pytest.raises(ModelError) as raised:
        require_same_files(folder, written, "super_network.json", "train again")
    assert str(raised.value) == (
        f"the files of {folder} must be as super_network.json names them, but vocab.txt is missing, merges.txt was "
        "added, config.json was changed. Restore them, or train again."
    )
    require_same_files(folder, written, "export.json", "export again", only={"model.onnx"})


def test_the_same_inputs_whether_or_not_they_name_what_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"kept": [1, 2], "inner": {"old": 1}}')
    whole = {"kept": (1, 2), "inner": {"old": 1, "new": None}, "more": None}
    assert Inputs(values=whole).are_in(path)
    assert not Inputs(values={"kept": (1, 2), "inner": {"old": 1, "new": False}}).are_in(path)
    assert not Inputs(values={"kept": (1, 2)}).are_in(path)
    assert not Inputs(values={}).are_in(tmp_path / "b.json")
    assert Inputs(values=whole).hash == Inputs(values=json.loads(path.read_text())).hash


def test_a_budget_may_differ_and_the_rest_is_named() -> None:
    few, many = (Inputs(values={"seed": 0, "count": count}, budget=("count",), code="c") for count in (9, 60))
    assert few.same_as(many) and few.hash == many.hash and not few.same_amount_as(many)
    assert (few.identity, few.differences(many)) == ({"seed": 0}, [])
    other = Inputs(values={"seed": 1, "count": 9, "more": "x"}, budget=("count",), code="c")
    assert few.differences(other) == ["more", "seed"]
    assert not few.same_as(other) and few.hash != other.hash
    of_other_code = Inputs(values=few.values, budget=few.budget, code="d")
    assert not few.same_as(of_other_code) and few.hash != of_other_code.hash and few.same_amount_as(of_other_code)
