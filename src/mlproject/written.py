"""The result files of the stages as their readers count on them: read, their form and their parts checked."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from compressor.digests import FILES_KEY, require_same_files
from compressor.errors import FileError, SearchError
from compressor.shapes import (
    COSTS,
    DIMENSIONS,
    FILES,
    SOURCE,
    Amount,
    Count,
    Interval,
    NullableAmount,
    Number,
    Positive,
    find_problem,
    read_record,
)

RESULTS_FILE = "search_results.json"
ONNX_FILE, EXPORT_FILE = "model.onnx", "export.json"
LATENCY_FILE = "latency.json"

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
_EXPORT = {
    "model": str,
    "task?": str,
    "portable": bool,
    "params": Count,
    "lengths?": [Count],
    "forms": {
        str: {
            "file": str,
            "mb": Amount,
            "error": Amount,
            "error_interval?": _INTERVAL,
            "loss_at_most?": Number,
            "confidence?": Amount,
        }
    },
    "files?": FILES,
}
_FP32 = {"parity": {str: Amount}}
_SMALLER = {
    "loss": Number,
    "max_loss": Number,
    "accepted": bool,
    "label_agreement": NullableAmount,
    "difference": Number,
}
"""What a form of another precision has besides."""
_LATENCY = {
    "environment": {"cpu": str, "cpu_flags": [str], "threads": Count},
    "options?": {
        "batch_sizes?": [Count],
        "lengths?": [Count],
        "threads?": Count,
        "runs?": Count,
        "provider?": str,
    },
    "noise?": {
        "noisy": Count,
        "waited": NullableAmount,
        "block_spread": Amount,
        "switches_per_second": Amount,
        "load_average": [[Amount]],
        "passes": Count,
    },
    "models": {
        str: {
            "path": str,
            "runtime": str,
            "precision": str,
            "error": NullableAmount,
            "error_interval?": _INTERVAL,
            "mb": Amount,
            "load_seconds": Amount,
            "peak_mb": Amount,
        }
    },
    "latencies": [
        {
            "model": str,
            "batch_size": Count,
            "length": (Count, "real"),
            "p50_ms": Positive,
            "p90_ms": Amount,
            "p99_ms?": Amount,
            "rows_per_second?": Amount,
            "ratio": Positive,
            "ratio_low": Amount,
            "ratio_high": Amount,
            "runs": Count,
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


def read_export(folder: Path, only: Collection[str] | None = None) -> dict[str, Any]:
    """What `export.json` of a directory says; its files (or `only` those) are the ones that were exported.

    Raises:
        FileError: the file is broken, or names files outside of its directory.
        ModelError: a file was changed or is missing.
    """
    file = folder / EXPORT_FILE
    export = read_record(file, _EXPORT, "Restore it, or export again with compressor export")
    outside = [form["file"] for form in export["forms"].values() if not _is_plain(form["file"])]
    if outside or "fp32" not in export["forms"]:
        problem = f"names {outside[0]!r}" if outside else "has no fp32"
        raise FileError(
            f"the forms in {file} must be fp32 and others, each a file beside it, but it {problem}. "
            "Restore it, or export again with compressor export."
        )
    for precision, form in export["forms"].items():
        wrong = find_problem(form, _FP32 if precision == "fp32" else _SMALLER, f"forms.{precision}")
        if wrong is not None or form.get("parity") == {}:
            raise FileError(
                f"the file {file} must be as it was written, but {wrong or 'its parity is empty'}. "
                "Restore it, or export again with compressor export."
            )
    written = export.get(FILES_KEY)
    require_same_files(
        folder,
        written,
        EXPORT_FILE,
        "export again with compressor export",
        only=tuple(written or ()) if only is None else only,  # an older export may have left others
    )
    return export


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file in the very directory."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def read_latencies(folder: Path) -> dict[str, Any]:
    """What `latency.json` of a directory says.

    Raises:
        FileError: the file is broken.
    """
    file = folder / LATENCY_FILE
    report = read_record(file, _LATENCY, "Restore it, or time again with compressor benchmark")
    timed = {row["model"] for row in report["latencies"]}
    if not timed or timed != set(report["models"]):
        raise FileError(
            f"the file {file} must hold latencies of each of its models, but does not. "
            "Restore it, or time again with compressor benchmark."
        )
    return report
