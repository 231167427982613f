"""ONNX = PyTorch for a sub-network of every search space × task head × BERT and RoBERTa: 42 exports of tiny models.

The tests export 14 of them: every space with both families and two task heads. Then every task head × other family,
and × configuration of it that differs in a switch, one space each.
`python benchmarks/export_parity.py` does all in five minutes; the last line is JSON, and the exit code is 1 if a logit
differs by more than 1e-4 of the largest.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from compressor.network.modeling_sliced import ENCODER_FAMILIES
from compressor.network.slicing import slice_model
from compressor.spaces import SEARCH_SPACES, create_search_space
from exporters.graph.onnx_export import export_onnx
from exporters.graph.parity import check_onnx_parity

sys.path.append(str(Path(__file__).parents[1] / "tests"))
FAMILIES = ("bert", "roberta")
LARGEST_DIFFERENCE = 1e-4


def export_differences(model_type: str, task_head: str, search_space: str, path: Path, tokenizer: Any) -> list[float]:
    """The logit differences of one export over shapes and paddings, relative to the largest logit."""
    from conftest import DIMENSIONS, tiny_model

    seed = [ord(letter) for letter in f"{model_type} {task_head} {search_space}"]  # another one in every case
    sub_network = create_search_space(search_space, DIMENSIONS).draw(np.random.default_rng(seed))
    model = slice_model(tiny_model(model_type, task_head), sub_network)
    export_onnx(model, tokenizer, path)
    return list(check_onnx_parity(path, model, tokenizer, []).values())


def main() -> None:
    """Exports all; one JSON line last."""
    from conftest import SWITCHES, TASK_HEADS, word_tokenizer

    cases = [(name, head, space) for name in FAMILIES for head in TASK_HEADS for space in SEARCH_SPACES]
    others = [name for name in (*ENCODER_FAMILIES, *SWITCHES) if name not in FAMILIES]
    cases += [(name, head, "large") for name in others for head in TASK_HEADS]
    largest = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            name = " ".join(case)
            largest[name] = max(export_differences(*case, Path(folder) / "model.onnx", word_tokenizer()))
            print(f"{name}: {largest[name]:.1e}", flush=True)
    print(json.dumps({"benchmark": "export_parity", "exports": len(largest), "largest": max(largest.values())}))
    sys.exit(int(max(largest.values()) > LARGEST_DIFFERENCE))


if __name__ == "__main__":
    main()
