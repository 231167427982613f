"""What trials on other machines are sent is what they would read here, and never the test rows."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compressor.cluster.files import unpack_files
from compressor.data.batches import EncodedRows, encode_parts
from compressor.data.loading import load_data
from compressor.errors import TaskDataError
from compressor.network.families import max_positions
from compressor.standard_nas.inputs import open_inputs, pack_inputs
from compressor.standard_nas.record import BaseModel, TrialSpec
from compressor.standard_nas.trial_actor import INPUTS_DIR
from compressor.training.settings import TrainingSettings
from conftest import sentence_rows
from running import WriteRows


def word_rows(count: int) -> list[dict[str, Any]]:
    """Rows with a label for each word."""
    texts = [str(row["text"]).split() for row in sentence_rows(count)]
    return [{"tokens": words, "ner_tags": ["B-PER" if word == "w1" else "O" for word in words]} for words in texts]


@pytest.mark.parametrize(
    ("rows", "source"),
    [
        (sentence_rows(60), {}),
        ([{**row, "label": 0.5 * n} for n, row in enumerate(sentence_rows(60))], {"regression": True}),
        (word_rows(60), {"task_name": "ner"}),
    ],
    ids=["classes", "numbers", "words"],
)
def test_what_is_sent_is_what_is_read(
    rows: list[dict[str, Any]], source: dict[str, Any], base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    data = load_data(write_rows(rows), **source)
    base_model = BaseModel(name_or_path=str(base_model_dir))
    spec = TrialSpec(source=data.source, base_model=base_model, settings=TrainingSettings(seed=5))
    read = open_inputs(spec, tmp_path)
    encoded = encode_parts(data, read.tokenizer, max_positions(read.base))
    (base_model_dir / "pytorch_model.bin").write_bytes(b"not sent")
    try:
        packed = pack_inputs(base_model, data, encoded)
    finally:
        (base_model_dir / "pytorch_model.bin").unlink()
    assert not any("test" in name or name.endswith(".bin") for name in packed)
    unpack_files(packed, tmp_path / INPUTS_DIR)
    sent = open_inputs(spec, tmp_path)
    assert (sent.task, sent.label_names, sent.data_digest) == (read.task, read.label_names, read.data_digest)
    assert sent.tokenizer.get_vocab() == read.tokenizer.get_vocab()
    for name, weights in read.base.state_dict().items():
        assert torch.equal(sent.base.state_dict()[name], weights)
    for part in ("train", "validation"):
        assert_equal(getattr(sent, part), getattr(read, part))


def test_a_trial_trains_on_no_rows_but_those_of_its_search(
    base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    """The file is read by each trial, hours after the search has read it."""
    path = write_rows(sentence_rows(60))
    data, base_model = load_data(path), BaseModel(name_or_path=str(base_model_dir))
    spec = TrialSpec(
        source=data.source,
        base_model=base_model,
        settings=TrainingSettings(seed=5),
        depends_on={"data_digest": data.digest},
    )
    assert open_inputs(spec, tmp_path).data_digest == data.digest
    assert write_rows(sentence_rows(61)) == path
    with pytest.raises(TaskDataError, match="the rows must be those that the search began with"):
        open_inputs(spec, tmp_path)


def assert_equal(sent: EncodedRows, read: EncodedRows) -> None:
    for field in fields(EncodedRows):
        one, other = getattr(sent, field.name), getattr(read, field.name)
        if field.name == "structure" and other is not None:
            assert np.array_equal(one.groups, other.groups)
            assert (one.tags is None) == (other.tags is None)
            assert one.tags is None or np.array_equal(one.tags, other.tags)
        elif field.name == "columns":
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name]) for name in other)
        elif isinstance(other, np.ndarray):
            assert np.array_equal(one, other)
        else:
            assert one == other
