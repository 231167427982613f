"""`export.json`: what it may hold, and that it is of the files beside it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import FileError, ModelError
from exporters.export_record import EXPORT_FILE, Export
from test_golden import VERSIONS, copy_golden

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The directory as each earlier version wrote it."""
    return copy_golden(request.param, tmp_path) / "onnx"


def change(folder: Path, edit: Change) -> Path:
    file = folder / EXPORT_FILE
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    return file


def test_what_was_saved_is_loaded(folder: Path) -> None:
    export = Export.load(folder)
    written = json.loads((folder / EXPORT_FILE).read_text())
    assert (export.directory, export.task, export.params) == (folder, "custom", written["params"])
    assert list(export.forms) == list(export.accepted) == ["fp32", "int8"]
    assert (export.best, export.path("int8")) == ("int8", folder / "model.int8.onnx")
    assert max(export.fp32.parity.values()) < 1e-5
    assert export.smaller["int8"].loss == written["forms"]["int8"]["loss"]
    export.save()
    assert Export.load(folder) == export


def test_a_precision_that_may_lose_too_much_is_not_served(folder: Path) -> None:
    export = Export.load(folder)
    int8 = replace(export.smaller["int8"], accepted=False)
    export = replace(export, smaller={"int8": int8})
    assert (list(export.forms), list(export.accepted), export.best) == (["fp32", "int8"], ["fp32"], "fp32")


def test_forms_for_openvino_are_kept_and_the_fastest_that_is_accepted_is_served(folder: Path) -> None:
    export = Export.load(folder)
    int8 = export.smaller["int8"]
    for name in ("openvino_model.xml", "openvino_model.int8.xml", "openvino_model.int8.bin"):
        (folder / name).write_text(name)
    forms = {"openvino-int8": replace(int8, file="openvino_model.int8.xml"), "openvino-bf16": int8}
    openvino = replace(export.fp32, file="openvino_model.xml")
    export = replace(export, openvino=openvino, smaller={**export.smaller, **forms})
    export.save()
    assert Export.load(folder) == export
    assert list(export.forms) == ["fp32", "openvino-fp32", "int8", "openvino-int8", "openvino-bf16"]
    assert export.path("openvino-fp32") == folder / "openvino_model.xml"
    refused = replace(int8, accepted=False)
    for name, best in {
        "int8": "openvino-int8",
        "openvino-int8": "openvino-bf16",
        "openvino-bf16": "openvino-fp32",
    }.items():
        export = replace(export, smaller={**export.smaller, name: refused})
        assert export.best == best
    (folder / "openvino_model.int8.bin").unlink()
    with pytest.raises(ModelError, match=r"but openvino_model.int8.bin is missing"):
        Export.load(folder)


def test_a_model_is_named_as_seen_from_the_export(folder: Path) -> None:
    export = replace(Export.load(folder), model=folder.parent / "model")
    export.save()
    assert json.loads((folder / EXPORT_FILE).read_text())["model"] == "../model"
    assert Export.load(folder).model == folder.parent / "model"
    replace(export, model=None).save()  # exported from memory
    assert Export.load(folder).model is None


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda e: e.update(params=-1), "params is -1"),
        (lambda e: e.update(portable="no"), 'portable is "no"'),
        (lambda e: e.update(model=3), "model is 3"),
        (lambda e: e.pop("task"), "it lacks 'task'"),
        (lambda e: e.update(lengths=["3"]), 'lengths[0] is "3"'),
        (lambda e: e.update(files={"model.onnx": 1}), "files.model.onnx is 1"),
        (lambda e: e.update(forms=[]), "forms is []"),
        (lambda e: e["forms"].update(int8=3), "forms.int8 is 3"),
        (lambda e: e["forms"].update(int4={"mb": 1}), 'forms.int4 is {"mb": 1}'),
        (lambda e: e["forms"]["fp32"].update(parity={}), "forms.fp32.parity is {}"),
        (lambda e: e["forms"]["fp32"].pop("parity"), "forms.fp32 lacks 'parity'"),
        (lambda e: e["forms"]["fp32"].update(error=-0.5), "forms.fp32.error is -0.5"),
        (lambda e: e["forms"]["fp32"].update(error_interval=[-5, 0.5]), "forms.fp32.error_interval is [-5, 0.5]"),
        (lambda e: e["forms"]["fp32"].update(error_interval=[0.5, 0.4]), "forms.fp32.error_interval is [0.5, 0.4]"),
        (lambda e: e["forms"]["int8"].update(accepted=1), "forms.int8.accepted is 1"),
        (lambda e: e["forms"]["int8"].update(label_agreement=2), "forms.int8.label_agreement is 2"),
        (lambda e: e["forms"]["int8"].update(int8_embeddings="yes"), 'forms.int8.int8_embeddings is "yes"'),
        (lambda e: e["forms"]["int8"].pop("loss"), "forms.int8 lacks 'loss'"),
    ],
)
def test_a_broken_file_is_refused(edit: Change, problem: str, folder: Path) -> None:
    file = change(folder, edit)
    with pytest.raises(FileError) as raised:
        Export.load(folder)
    assert str(raised.value) == (
        f"the file {file} must be as it was written, but {problem}. Restore it, or export again with compressor export."
    )


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda e: e["forms"].pop("fp32"), "has no fp32"),
        (lambda e: e["forms"].clear(), "has no fp32"),
        (lambda e: e["forms"]["fp32"].update(file="../model.onnx"), "names '../model.onnx'"),
        (lambda e: e["forms"]["int8"].update(file=""), "names ''"),
    ],
)
def test_forms_are_fp32_and_others_beside_it(edit: Change, problem: str, folder: Path) -> None:
    file = change(folder, edit)
    with pytest.raises(FileError) as raised:
        Export.load(folder)
    assert str(raised.value) == (
        f"the variants in {file} must be fp32 and others, each a file beside it, but it {problem}. "
        "Restore it, or export again with compressor export."
    )


def test_files_are_those_that_were_exported(folder: Path) -> None:
    Export.load(folder).save()
    (folder / "model.int8.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match=r"must be as export.json names them, but model.int8.onnx was changed"):
        Export.load(folder)
    assert list(Export.load(folder, only=["model.onnx"]).forms) == ["fp32", "int8"]
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match="but model.onnx is missing"):
        Export.load(folder, only=["model.onnx"])
