"""What is served how fast: forms of one ONNX graph, a sub-network and int8, at a base encoder's shape, random weights.

All of them take turns in one process of ONNX Runtime: PyTorch's export at its default opset, ONNX Runtime's own
transformer optimizer on top of it (which knows BERT), our portable and fused graphs, our int8, and a sub-network with
about a quarter of the encoder's MACs (half the heads and units in half of the layers) in fp32 and int8. The ratios
count; the machine's mood does not. `python benchmarks/export_latency.py` takes about five minutes.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from compressor.network.costs import create_cost_model
from compressor.network.families import get_dimensions
from compressor.network.modeling_sliced import ENCODER_FAMILIES
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from exporters.graph.onnx_export import example_inputs, export_onnx
from exporters.graph.quantization import quantize_int8
from exporters.timing.latency import describe_environment, measure_latencies
from exporters.timing.runners import open_runner

SHAPES = ((1, 32), (1, 128), (8, 32), (8, 128))
BASE_SIZES: dict[str, dict[str, Any]] = {
    "deberta-v2": {  # v3-base; the defaults are those of v2-xlarge
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "electra": {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
}
"""Where a family's default configuration is not of base size."""


class Names:
    """Stands in for a tokenizer: the exporter asks for its inputs' names alone."""

    model_input_names = ("input_ids", "token_type_ids", "attention_mask")
    pad_token_id = 0


def export_default(model: Any, path: Path) -> None:
    """PyTorch's exporter as it comes."""
    import onnx

    inputs = example_inputs(model, Names(), batch_size=2, length=17)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", min=1, max=512)}
    program = torch.onnx.export(
        model,
        kwargs=inputs,
        dynamo=True,
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_shapes=dict.fromkeys(inputs, axes),
    )
    assert program is not None
    for key, value in (("vocab_size", str(model.config.vocab_size)), ("max_positions", "512")):
        entry = program.model_proto.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save_model(program.model_proto, path)


def optimize(source: Path, path: Path) -> None:
    """ONNX Runtime's transformer optimizer, as its documentation has it for BERT."""
    from onnxruntime.transformers import optimizer

    model = optimizer.optimize_model(str(source), model_type="bert", num_heads=12, hidden_size=768, use_gpu=False)
    model.save_model_to_file(str(path))


def main() -> None:
    """Exports all forms, times them in turn; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=sorted(ENCODER_FAMILIES), default="bert")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = AutoConfig.for_model(arguments.family, **BASE_SIZES.get(arguments.family, {}))
    model = AutoModelForSequenceClassification.from_config(config).eval()
    dimensions, cost_model = get_dimensions(model), create_cost_model(model)
    half = dimensions.num_layers // 2
    kept = (tuple(range(dimensions.num_heads // 2)), tuple(range(dimensions.num_units // 2)))
    quarter = SubNetwork(*((members,) * half + ((),) * (dimensions.num_layers - half) for members in kept))
    macs = [cost_model.macs(sub_network, 128) for sub_network in (quarter, full_sub_network(dimensions))]
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            name: Path(folder) / f"{name}.onnx"
            for name in ("default", "optimized", "portable", "fused", "int8", "quarter", "quarter_int8")
            if name != "optimized" or arguments.family == "bert"
        }
        with torch.no_grad():
            export_default(model, paths["default"])
        if "optimized" in paths:
            optimize(paths["default"], paths["optimized"])
        export_onnx(model, Names(), paths["portable"], portable=True)
        export_onnx(model, Names(), paths["fused"])
        export_onnx(slice_model(model, quarter), Names(), paths["quarter"])
        for name, source in (("int8", "fused"), ("quarter_int8", "quarter")):
            quantize_int8(paths[source], paths[name])
        runners = {name: open_runner(path, arguments.threads) for name, path in paths.items()}
        rows = []
        for batch_size, length in SHAPES:
            latencies, noise = measure_latencies(
                runners, [batch_size], [length], threads=arguments.threads, runs=arguments.runs
            )
            p50 = {latency.model: latency.p50_ms for latency in latencies}
            row = {
                "batch_size": batch_size,
                "length": length,
                **{f"{name}_ms": round(value, 1) for name, value in p50.items()},
                "fused_of_default": round(p50["fused"] / p50["default"], 3),
                **({"fused_of_optimized": round(p50["fused"] / p50["optimized"], 3)} if "optimized" in p50 else {}),
                "quarter_of_fused": round(p50["quarter"] / p50["fused"], 3),
                "int8_speed_up": round(p50["fused"] / p50["int8"], 2),
                "quarter_int8_speed_up": round(p50["quarter"] / p50["quarter_int8"], 2),
                "noisy_rows": noise.noisy,
            }
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            rows.append(row)
    print(
        json.dumps(
            {
                "benchmark": "export_latency",
                "family": arguments.family,
                "environment": asdict(describe_environment(arguments.threads)),
                "quarter_macs": round(macs[0] / macs[1], 3),
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
