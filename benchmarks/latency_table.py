"""How well a latency table predicts: random sub-networks as whole exported models, timed and predicted.

The table's graphs take turns with exports of the super-network and of sub-networks of several search spaces: so what
others do on the machine hits both alike. Times are medians as the table has them: of processor time on one thread.
`python benchmarks/latency_table.py` takes about four minutes for six tables of the demo encoder.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.tasks import TASKS
from compressor.evaluation.latency import Meters
from compressor.evaluation.latency_table import (
    ON_GPU,
    SERVED,
    LatencyKind,
    solve_latency_table,
    sub_networks_to_time,
)
from compressor.network.families import get_dimensions
from compressor.network.loading import load_base_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import full_sub_network
from compressor.spaces import create_search_space
from exporters.graph.onnx_export import export_onnx
from exporters.timing.latency import describe_environment
from exporters.timing.latency_table import FORMS, open_part, time_runners
from exporters.timing.runners import open_runner

SPACES = ("small", "medium", "large", "sublayer")


@dataclass(frozen=True)
class Predicted:
    """A sub-network, as it was predicted and as it was timed."""

    space: str
    num_layers: int
    num_heads: int
    num_units: int
    timed_ms: float
    predicted_ms: float

    @property
    def error(self) -> float:
        """By what share the prediction is too high."""
        return self.predicted_ms / self.timed_ms - 1


def main() -> None:
    """Times graphs and exports, prints the errors of each table; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-name-or-path", default="demo")
    parser.add_argument("--latency-of", default=",".join(one for one in SERVED if one not in ON_GPU))
    parser.add_argument("--shapes", default="1x32,1x128,8x32", help="batch size x length")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--num-sub-networks", type=int, default=12)
    arguments = parser.parse_args()
    model, tokenizer = load_base_model(arguments.model_name_or_path, TASKS["custom"], ("no", "yes"), seed=0)
    dimensions, rng = get_dimensions(model), np.random.default_rng(0)
    parts, drawn = sub_networks_to_time(dimensions), [("all", full_sub_network(dimensions))]
    for number in range(arguments.num_sub_networks):
        space = create_search_space(SPACES[number % len(SPACES)], dimensions)
        drawn.append((space.name, space.draw_trainable(rng)))
    shapes = [tuple(map(int, shape.split("x"))) for shape in arguments.shapes.split(",")]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        wholes = [
            export_onnx(slice_model(model, sub_network), tokenizer, Path(folder) / f"whole-{number}.onnx")
            for number, (_, sub_network) in enumerate(drawn)
        ]
        for form in arguments.latency_of.split(","):
            kinds = [
                LatencyKind(latency_of=form, threads=arguments.threads, batch_size=batch_size, length=length)
                for batch_size, length in shapes
            ]
            runners = [
                open_part(model, tokenizer, part, Path(folder) / f"{form}-{number}.onnx", kinds[0])
                for number, part in enumerate(parts)
            ]
            runners += [open_runner(FORMS[form](path), arguments.threads, kinds[0].provider) for path in wholes]
            for kind in kinds:
                timed = time_runners(runners, kind, Meters())
                times = list(zip(parts, timed.ms[: len(parts)], strict=True))
                table = solve_latency_table(kind, model.config.model_type, dimensions, times)
                rows = [
                    Predicted(space, one.num_layers, one.num_heads, one.num_units, ms, table.predict(one))
                    for (space, one), ms in zip(drawn, timed.ms[len(parts) :], strict=True)
                ]
                results.append(report(kind, rows, timed.waited))
    print(
        json.dumps(
            {
                "benchmark": "latency_table",
                "model": arguments.model_name_or_path,
                "environment": asdict(describe_environment(arguments.threads)),
                "tables": results,
            }
        )
    )


def report(kind: LatencyKind, rows: list[Predicted], waited: float | None) -> dict[str, Any]:
    """Print how far predictions are from what was timed; return it."""
    errors = np.abs([row.error for row in rows])
    print(f"{kind}; waited {waited or 0:.0%}")
    for row in rows:
        print(
            f"  {row.space:9}{row.num_layers:3} layers{row.num_heads:4} heads{row.num_units:6} units "
            f"{row.timed_ms:8.2f} ms, predicted {row.predicted_ms:8.2f} ({row.error:+.1%})"
        )
    found = {"median_error": round(float(np.median(errors)), 4), "worst_error": round(float(errors.max()), 4)}
    print(f"  median error {found['median_error']:.1%}, worst {found['worst_error']:.1%}", flush=True)
    return {"kind": asdict(kind), "waited": waited, **found, "rows": [asdict(row) for row in rows]}


if __name__ == "__main__":
    main()
