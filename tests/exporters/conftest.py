"""Exported graphs that several tests look at: an export takes two seconds."""

from pathlib import Path

import pytest
import torch.onnx
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from conftest import tiny_model
from exported import FACTS, ODD, Exported
from exporters.graph.onnx_export import export_onnx
from quick import remember


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast, graphs: Path) -> Exported:
    """Gives a sliced model and its graph, alone in a folder: made by the first test that asks, only to be read."""
    made: dict[tuple[str, str, SubNetwork, bool], tuple[PreTrainedModel, Path]] = {}

    def export(
        model_type: str = "bert",
        task_head: str = "classification",
        sub_network: SubNetwork = ODD,
        *,
        portable: bool = False,
    ) -> tuple[PreTrainedModel, Path]:
        key = (model_type, task_head, sub_network, portable)
        if key not in made:
            model = slice_model(tiny_model(model_type, task_head), sub_network)
            path = tmp_path_factory.mktemp("exported") / "model.onnx"
            facts = FACTS | {"head": task_head}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch.onnx, "export", remember(torch.onnx.export, graphs))
                made[key] = model, export_onnx(model, tokenizer, path, facts, portable=portable)
        return made[key]

    return export
