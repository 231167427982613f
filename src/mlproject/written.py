"""The result files of the stages as their readers count on them: read, their form and their parts checked."""

from pathlib import Path
from typing import Any

from compressor.errors import SearchError
from compressor.shapes import (
    COSTS,
    DIMENSIONS,
    FILES,
    SOURCE,
    Amount,
    Count,
    Interval,
    NullableAmount,
    read_record,
)

RESULTS_FILE = "search_results.json"

_INTERVAL = (Interval, None)
_TRIVIAL = ({"name": str, "error": Amount, "test_error": Amount}, None)
_RESULTS = {
    "supernet?": (str, None),
    "supernet_from_here?": str,
    "supernet_digest?": str,
    "supernet_files?": FILES,
    "supernet_run_id?": (str, None),
    "model_name_or_path?": str,
    "source": SOURCE,
    "data_digest": str,
    "options": {"search_space": str, "search_strategy": str, "seed": int, "per_device_eval_batch_size?": Count},
    "dimensions": DIMENSIONS,
    "layer_order?": [Count],
    "trivial?": _TRIVIAL,
    "objectives": [str],
    "hypervolume_reference": [Amount],
    "hypervolumes": [Amount],
    "seconds": Amount,
    "measured_at?": dict,
    "front": [Count],
    "evaluations": [
        {
            "index": Count,
            "name": str,
            "config": ({str: (Count, str)}, None),
            "sub_network": str,
            "error": Amount,
            **COSTS,
            "eval_seconds": Amount,
            "macs?": NullableAmount,
            "latency_ms?": NullableAmount,
            "error_interval?": _INTERVAL,
            "test_error?": NullableAmount,
            "on_front?": bool,
            "epochs?": (Count, None),
            "model?": (str, None),
            "kept": {"heads": [str], "units": [str]},
            "num_layers?": Count,
            "num_heads?": Count,
            "num_units?": Count,
        }
    ],
}


def read_search_results(path: Path) -> dict[str, Any]:
    """The content of a search's result file, given the file or its directory.

    Raises:
        FileError: there is no such file, or it is broken.
        SearchError: its parts do not belong together.
    """
    file = path / RESULTS_FILE if path.is_dir() else path
    results = read_record(file, _RESULTS, "Point to the output directory of compressor search or nas")
    evaluations, number = results["evaluations"], len(results["evaluations"])
    origin = "model_name_or_path" if results.get("supernet") is None else "supernet_digest"
    whole = (
        bool(results["front"])
        and all(place in range(number) for place in results["front"])
        and [evaluation["index"] for evaluation in evaluations] == list(range(number))
        and len(results["hypervolumes"]) == number
        and all(evaluation.get(name) is not None for evaluation in evaluations for name in results["objectives"])
        and all(_is_plain(evaluation["name"]) for evaluation in evaluations)  # models are written into folders so named
        and all(
            evaluation["kept"].get("hash", evaluation["sub_network"]) == evaluation["sub_network"]
            for evaluation in evaluations
        )
        and origin in results
    )
    if not whole:
        raise SearchError(
            f"--search must be made by compressor search or nas, but the parts of {file} do not belong together. "
            "Restore it, or search again."
        )
    return results


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file in the very directory."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")
