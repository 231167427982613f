"""Smaller numbers: dynamic int8 for CPUs, fp16 for GPUs, made from an exported fp32 graph."""

import logging
from pathlib import Path
from typing import Any

from exporters.graph.fused import DOMAIN

INT8_SUFFIX, FP16_SUFFIX = ".int8.onnx", ".fp16.onnx"
ONE_ROW = "one_row"
"""In a graph's metadata: rows are to be computed one at a time, so that an answer depends on its text alone."""


def quantize_int8(path: Path, output: Path, *, tables: bool = True) -> Path:
    """Write the int8 variant of an fp32 graph: weights per channel, activations as they come (dynamic quantization).

    Matrix products are quantized, and embedding `tables`, which are most of a small model's file. Weights have 7 bits,
    whatever CPU makes the file: it is served on others too, and on those without VNNI products of 8 bits can overflow.

    Activations are rounded by their range over the whole batch, padding included, so a row's answer depends on the
    others: the file's metadata say that it is made for one row at a time (`ONE_ROW`).
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends a pre-processing that fused graphs do not need
    try:
        quantize_dynamic(
            _mark(_split_attention(onnx.load(str(path)))),
            output,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=["MatMul", "Gemm", *(["Gather"] if tables else [])],
            # Products with a weight alone: in Q·Kᵀ and P·V both sides are activations.
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        logging.disable(disabled)
    return output


def _mark(model: Any) -> Any:
    entry = model.metadata_props.add()
    entry.key, entry.value = ONE_ROW, "true"
    return model


def _split_attention(model: Any) -> Any:
    """Return the graph with each fused `Attention` split into one product for Q, K and V, and the rest."""
    from onnx import TensorProto, helper

    nodes = []
    for number, node in enumerate(model.graph.node):
        if node.op_type != "Attention" or node.domain != DOMAIN:
            nodes.append(node)
            continue
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        hidden, weight, bias, mask, *position_bias = node.input  # of these the first is the past, which is empty
        product, parts = f"qkv_{number}", [f"{part}_{number}" for part in "qkv"]
        sizes = helper.make_tensor(f"qkv_sizes_{number}", TensorProto.INT64, [3], attributes["qkv_hidden_sizes"])
        model.graph.initializer.append(sizes)
        # [batch, length, hidden] · [hidden, Q + K + V], then split by the three sizes: a product with a weight is
        # quantized.
        nodes += [
            helper.make_node("MatMul", [hidden, weight], [product], f"node_{product}"),
            helper.make_node("Split", [product, sizes.name], parts, f"node_split_{number}", axis=-1),
            helper.make_node(
                "MultiHeadAttention",
                [*parts, bias, mask, *position_bias[1:]],
                list(node.output),
                f"node_attention_{number}",
                domain=DOMAIN,
                num_heads=attributes["num_heads"],
            ),
        ]
    # protobuf's lists cannot be assigned: emptied, and filled in the new order.
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def convert_fp16(path: Path, output: Path) -> Path:
    """Write the half-precision form of an fp32 graph, for GPUs; inputs stay integers, logits become fp32 again."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(str(path)), keep_io_types=True)
    onnx.save_model(model, str(output))
    return output
