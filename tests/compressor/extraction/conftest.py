"""Rows and a super-network that members are extracted from."""

import json

import pytest
from transformers import PreTrainedTokenizerFast

from compressor.data.loading import load_task_data
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from compressor.training.super_network import SuperNetwork
from conftest import sentence_rows, tiny_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(120)))
    return load_task_data(
        DataSource(task_name="custom", train_file=str(path), text_columns=("text",), label_column="label")
    )


@pytest.fixture(scope="module")
def net(tokenizer: PreTrainedTokenizerFast) -> SuperNetwork:
    model = tiny_model(num_labels=2)
    model.config.id2label, model.config.label2id = {0: "0", 1: "1"}, {"0": 0, "1": 1}
    return SuperNetwork(model=model, tokenizer=tokenizer)
