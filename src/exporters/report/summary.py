"""The comparison at the end of `compress`: the super-network and the extracted sub-network, as they were timed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compressor.data.heads.answers import name_error
from compressor.data.metrics.trivial import TrivialPredictor
from compressor.extraction.record import ExtractionReport
from exporters.benchmark_record import Benchmark
from exporters.export_record import Export
from exporters.options import find_form
from exporters.timing.latency import Latency


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """A timed model."""

    name: str
    served: bool
    """Whether it is a graph, as the table shows them; else a model in PyTorch."""
    error: float
    """1 − metric on the validation rows."""
    test_error: float | None
    """The same on the test rows; None for smaller precisions, of which only the validation error was looked at."""
    params: int
    relative_params: float
    relative_encoder_params: float
    file_mb: float
    latencies: tuple[Latency, ...]

    def to_json(self) -> dict[str, float | None]:
        """Return its values for `summary.json` and MLflow; keys of latencies tell batch size and length."""
        values: dict[str, float | None] = {
            "error": self.error,
            "test_error": self.test_error,
            "params": self.params,
            "relative_params": self.relative_params,
            "relative_encoder_params": self.relative_encoder_params,
            "file_mb": self.file_mb,
        }
        values |= {f"p50_ms_{row.shape_key}": row.p50_ms for row in self.latencies}
        return values | {f"speedup_{row.shape_key}": 1 / row.ratio for row in self.latencies}

    @property
    def first_p50_ms(self) -> float:
        """Its median latency for the kind of batch that was timed first."""
        return self.latencies[0].p50_ms


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All timed models; the super-network's role is `dense`, the extracted sub-network's `pruned` by default."""

    rows: tuple[SummaryRow, ...]
    chosen: str = "pruned"
    """The role of the extracted sub-network that counts: of a family the champion's."""

    @property
    def dense(self) -> SummaryRow:
        """The super-network's graph."""
        return self.row("dense")

    @property
    def pruned(self) -> SummaryRow:
        """The extracted sub-network's graph."""
        return self.row(self.chosen)

    def row(self, name: str) -> SummaryRow:
        """Return what is known of the model of this name."""
        return next(row for row in self.rows if row.name == name)

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """Return the content of `summary.json`."""
        return {row.name: row.to_json() for row in self.rows}

    def table(
        self, trivial: TrivialPredictor | None, *, against_full_model: bool = False
    ) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of a table with a column for each graph, and one for the trivial predictor.

        Errors `against_full_model` are called disagreement.
        """
        served = [row for row in self.rows if row.served]
        first = served[0].latencies
        lines: list[tuple[str, Callable[[SummaryRow], str]]] = [
            ("error (validation)", lambda row: f"{row.error:.4f}"),
            ("error (test)", lambda row: "" if row.test_error is None else f"{row.test_error:.4f}"),
            ("parameters (M)", lambda row: f"{row.params / 1e6:.2f}"),
            ("share of the encoder", lambda row: f"{row.relative_encoder_params:.1%}"),
            ("file (MB)", lambda row: f"{row.file_mb:.2f}"),
        ]
        cells = [[name_error(label, against_full_model), *map(show, served)] for label, show in lines]
        for place, latency in enumerate(first):
            cells.append([f"p50 (ms), {_describe(latency)}", *(f"{row.latencies[place].p50_ms:.2f}" for row in served)])
        for place, latency in enumerate(first):
            speed_ups = (f"{1 / row.latencies[place].ratio:.2f}" for row in served)
            cells.append([f"speed-up, {_describe(latency)}", *speed_ups])
        header = ["", *(row.name for row in served)]
        if trivial is None:
            return header, cells
        # It has errors, but no size and takes no time.
        of_trivial = trivial.cells(["error", "test_error", *[""] * (len(cells) - 2)])
        return [*header, trivial.name], [[*row, cell] for row, cell in zip(cells, of_trivial, strict=True)]

    def describe_change(self) -> str:
        """Return how error, file size and latency change from the super-network to the extracted sub-network."""
        dense, pruned = self.dense, self.pruned
        return (
            f"{dense.error:.4f} → {pruned.error:.4f} error, {dense.file_mb:.2f} → {pruned.file_mb:.2f} MB, "
            f"{dense.first_p50_ms:.2f} → {pruned.first_p50_ms:.2f} ms p50"
        )


def summarise(
    extractions: Mapping[str, ExtractionReport],
    exports: Mapping[str, Export],
    benchmark: Benchmark,
    chosen: str = "pruned",
) -> Summary:
    """Return the comparison of what was extracted and exported, both by role, and timed; `chosen` is a role."""
    rows = []
    for name, model in benchmark.models.items():
        role = benchmark.role_of(name)
        variant = extractions[chosen].super_network if role == "dense" else extractions[role].extracted
        assert variant is not None  # `compress` has trained it
        form = find_form(model.runtime, model.precision)
        smaller = None if form is None else exports[role].smaller.get(form)
        rows.append(
            SummaryRow(
                name=name,
                served=model.runtime != "pytorch",
                error=variant.error if smaller is None else smaller.error,
                # Test rows are looked at once, for the model: each more look would be one more pick on them.
                test_error=variant.test_error if smaller is None else None,
                params=variant.params,
                relative_params=variant.relative_params,
                relative_encoder_params=variant.relative_encoder_params,
                file_mb=model.mb,
                latencies=tuple(benchmark.of_model(name)),
            )
        )
    return Summary(rows=tuple(rows), chosen=chosen)


def _describe(latency: Latency) -> str:
    return f"batch {latency.batch_size}, length {latency.length}"
