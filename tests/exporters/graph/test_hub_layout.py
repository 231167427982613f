"""An export as the Hub's tools look for it: names and configuration."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from compressor.network.families import ENCODER_FAMILIES
from compressor.network.saving import to_loadable_model
from compressor.network.slicing import slice_model
from conftest import DIMENSIONS, tiny_model
from exported import ODD
from exporters.graph.hub_layout import link_graphs, write_stock_config


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_an_export_has_the_configuration_of_its_family(model_type: str, tmp_path: Path) -> None:
    model = to_loadable_model(slice_model(tiny_model(model_type), ODD), ODD, DIMENSIONS)
    write_stock_config(tmp_path, model, ["bad", "so so", "good"])
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.model_type == model_type
    assert config.id2label == {0: "bad", 1: "so so", 2: "good"}
    assert config.label2id == {"bad": 0, "so so": 1, "good": 2}
    assert config.architectures == [type(tiny_model(model_type)).__name__]
    assert getattr(config, ENCODER_FAMILIES[model_type].groups[-1].size_field) == 3  # of the widest layer
    assert config.num_hidden_layers == 3
    assert not {"kept_heads", "kept_units", "auto_map"} & json.loads((tmp_path / "config.json").read_text()).keys()


@pytest.mark.parametrize("links", [True, False])
def test_graphs_have_the_hub_s_names_too(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError("not supported")

    if not links:
        monkeypatch.setattr("os.link", no_links)
    for name in ("model.onnx", "model.onnx.data", "model.int8.onnx"):
        (tmp_path / name).write_text(name)
    link_graphs(tmp_path, {"fp32": "model.onnx", "int8": "model.int8.onnx"})
    made = {file.name: file for file in (tmp_path / "onnx").iterdir()}
    assert {name: file.read_text() for name, file in made.items()} == {
        "model.onnx": "model.onnx",
        "model.onnx.data": "model.onnx.data",  # the graph names it so
        "model_quantized.onnx": "model.int8.onnx",
    }
    assert all(file.stat().st_nlink == 1 + links for file in made.values())
