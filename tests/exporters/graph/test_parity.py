"""ONNX and PyTorch compute the same."""

import onnx
import pytest
from transformers import PreTrainedTokenizerFast

from compressor.errors import ParityError
from compressor.network.slicing import slice_model
from exported import DENSE, ODD, Exported
from exporters.graph.parity import check_onnx_parity


@pytest.mark.slow
def test_another_model_s_file_fails_parity(exported: Exported, tokenizer: PreTrainedTokenizerFast) -> None:
    model, path = exported(sub_network=DENSE)
    onnx.checker.check_model(str(path))
    with pytest.raises(ParityError, match=r"ONNX and PyTorch \(batch 1, length 1\) must agree within 0.0001"):
        check_onnx_parity(path, slice_model(model, ODD), tokenizer, [])
