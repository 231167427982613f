"""What a benchmark measured: the timed models, their latencies side by side, and how noisy the machine was.

`latency.json` says it, `latency.csv` its latencies as a table.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from compressor.errors import FileError, OptionError, shorten
from compressor.files import new_directory, resolve_from, seen_from, write_json
from compressor.records import FORMAT, Amount, ErrorInterval, Errors, broken, read_record, require_keys
from exporters.options import FORMS, BenchmarkOptions, Form, Precision, Runtime, Unnamed
from exporters.timing.latency import Environment, Latency, Noise, Shape

LATENCY_FILE, CSV_FILE = "latency.json", "latency.csv"
_NEXT_STEP = "Restore it, or time again with compressor benchmark"


@dataclass(frozen=True, kw_only=True)
class TimedModel:
    """A model of a benchmark."""

    path: Path
    """An ONNX file, an IR of OpenVINO, or a model directory."""
    runtime: Runtime | Literal["pytorch"]
    precision: Precision | Unnamed
    """`?` for a graph of another tool."""
    provider: str | None = None
    """Where it computed, as the runtime says; None where version 0.1.0 wrote it."""
    role: str | None = None
    """The name that its path was given, the same for all precisions of an export: dense or pruned in `compress`. None
    where version 0.1.0 wrote it."""
    error: Errors | None
    """1 − metric on the validation rows; None where it is not known."""
    error_interval: ErrorInterval | None
    """95 % interval of the error, where it is known."""
    mb: Amount
    """Size of its files in megabytes."""
    load_seconds: Amount
    """From the file to a model that answers."""
    peak_mb: Amount
    """Largest resident memory of a process that loads it and makes one call."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Latencies of models that were timed side by side; the first is the base of all ratios."""

    environment: Environment
    options: Annotated[BenchmarkOptions, require_keys("batch_sizes", "lengths", "threads", "runs", "provider")]
    models: dict[str, TimedModel]
    """By name, the base first."""
    noise: Noise | None = None
    """None where version 0.1.0 wrote it."""
    latencies: tuple[Latency, ...]

    @property
    def base(self) -> str:
        """The name of the first model."""
        return next(iter(self.models))

    @property
    def first_shape(self) -> Shape:
        """The kind of batch that was timed first."""
        return self.latencies[0].shape

    @property
    def shapes(self) -> list[Shape]:
        """The kinds of batches that were timed: by batch size, then by length, those of real texts last."""
        return sorted({row.shape for row in self.latencies}, key=_order)

    def of_model(self, name: str) -> list[Latency]:
        """Return the latencies of a model, as they were timed."""
        return [row for row in self.latencies if row.model == name]

    def at(self, shape: Shape) -> dict[str, Latency]:
        """Return the latencies at a batch size and length by model, the base first."""
        found = {row.model: row for row in self.latencies if row.shape == shape}
        return {name: found[name] for name in self.models if name in found}

    def role_at(self, directory: Path) -> str | None:
        """Return the role of the models whose graphs lie in a directory; None where none of them was timed."""
        directory = directory.expanduser().resolve()
        return next((self.role_of(name) for name, model in self.models.items() if model.path.parent == directory), None)

    def role_of(self, name: str) -> str:
        """Return the role of a model; of a file of version 0.1.0 its name without the precision."""
        model = self.models[name]
        suffix = "pytorch" if model.runtime == "pytorch" else model.precision
        return model.role or name.removesuffix(f"-{suffix}")

    def find(self, role: str, form: Form = "fp32") -> str | None:
        """Return the name of the graph of a role in a form; None where it was not timed."""
        for name, model in self.models.items():
            if self.role_of(name) == role and (model.runtime, model.precision) == FORMS[form]:
                return name
        return None

    def noise_note(self) -> str | None:
        """Return what a reader must know of latencies that others on the machine disturbed; None where nothing did."""
        noise = self.noise
        if noise is None or not noise.noisy:
            return None
        start, end = noise.load_average
        seen = [
            "" if noise.waited is None else f"this process waited for up to {noise.waited:.0%} of its time",
            f"ratios differed by up to {noise.block_spread:.0%} between blocks of rounds",
            f"it was put aside {noise.switches_per_second:.0f} times a second",
            f"the load average went from {start[0]:.1f} to {end[0]:.1f}" if start and end else "",
        ]
        again = f" though timed {noise.passes} times" if noise.passes > 1 else ""
        return (
            f"{noise.noisy} of {len(self.latencies)} rows are noisy{again}: {', '.join(filter(None, seen))}. Their "
            "milliseconds are those of a busy machine, their ratios known no closer than their intervals. Time them "
            "when nothing else runs."
        )

    def latency_table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table of latencies, models side by side."""
        header = ["model", "batch", "length", "p50 ms", "p90 ms", "p99 ms", "rows/s", f"of {self.base}'s p50 (95 %)"]
        return header, [
            [
                row.model,
                f"{row.batch_size}",
                f"{row.length}",
                f"{row.p50_ms:.2f}",
                f"{row.p90_ms:.2f}",
                f"{row.p99_ms:.2f}",
                f"{row.rows_per_second:.0f}",
                f"{row.ratio:.2f} ({row.ratio_low:.2f}–{row.ratio_high:.2f})" + (" noisy" if row.noisy else ""),
            ]
            for shape in self.shapes
            for row in self.at(shape).values()
        ]

    def model_table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table of what the timed models are."""
        return ["model", "runtime", "precision", "error", "file MB", "load s", "peak MB"], [
            [
                name,
                model.runtime,
                model.precision,
                "" if model.error is None else f"{model.error:.4f}",
                f"{model.mb:.1f}",
                f"{model.load_seconds:.2f}",
                f"{model.peak_mb:.0f}",
            ]
            for name, model in self.models.items()
        ]

    def to_json(self, directory: Path) -> dict[str, Any]:
        """Return the content of `latency.json` in a directory, from which its paths are seen."""
        values = asdict(self)
        for model in values["models"].values():
            model["path"] = seen_from(directory, model["path"])
        return {"format": FORMAT, **values}

    def save(self, directory: Path) -> Path:
        """Write `latency.json` and `latency.csv` into a directory."""
        import pandas as pd

        with new_directory(directory) as temporary:
            write_json(temporary / LATENCY_FILE, self.to_json(directory))
            pd.DataFrame([asdict(row) for row in self.latencies]).to_csv(temporary / CSV_FILE, index=False)
        return directory / LATENCY_FILE

    @classmethod
    def load(cls, directory: Path) -> "Benchmark":
        """Return the benchmark in a directory.

        Raises:
            FileError: `latency.json` is not there or broken.
        """
        file = directory / LATENCY_FILE
        try:
            read = read_record(file, cls, _NEXT_STEP)
        except OptionError as error:
            problem = shorten(error).rstrip(".")
            raise broken(file, problem, _NEXT_STEP) from None
        # Each model has latencies, and each latency is of a model that the file describes.
        if not read.models or {row.model for row in read.latencies} != set(read.models):
            raise FileError(
                f"the file {file} must hold latencies of each of its models, but does not. "
                "Restore it, or time again with compressor benchmark."
            )
        # Written as seen from the file, so that folders can be moved together.
        models = {
            name: replace(model, path=resolve_from(directory, str(model.path))) for name, model in read.models.items()
        }
        return replace(read, models=models)


def _order(shape: Shape) -> tuple[int, bool, int]:
    batch_size, length = shape
    # Numbers before words: a length may be "real", which cannot be compared with a number.
    return batch_size, isinstance(length, str), length if isinstance(length, int) else 0
