"""What an export is: a graph per form, fp32 verified against PyTorch and the others judged by their error.

`export.json` says it, with the digests of the files beside it.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from compressor.digests import FILES_KEY, digest_files, require_same_files
from compressor.errors import FileError
from compressor.files import is_plain_name, resolve_from, seen_from, write_json
from compressor.records import FORMAT, Amount, Count, ErrorInterval, Errors, Share, broken, parse_record, read_record
from exporters.options import FORMS, RUNTIME_NAMES, Form, Provider

EXPORT_FILE, ONNX_FILE = "export.json", "model.onnx"
_NEXT_STEP = "Restore it, or export again with compressor export"
_VERIFIED = tuple(name for name, (_, precision) in FORMS.items() if precision == "fp32")
FASTEST_FIRST: tuple[Form, ...] = ("int8", "openvino-int8", "openvino-bf16", "openvino-fp32", "fp32")
"""For single texts of changing lengths, as they are served (benchmarks/LOG.md); fp16 is for GPUs."""
FASTEST_ON_GPU: tuple[Form, ...] = ("fp16", "fp32")
_ONE_ROW_NOTE = (
    "int8 rounds numbers by their range over a whole batch, so an answer depends on the rows beside it: the served "
    "model computes row by row, and so was the error measured. Do so too where you run the graph yourself."
)


@dataclass(frozen=True, kw_only=True)
class ExportedForm:
    """A model for one runtime, in one precision."""

    file: str
    """The name of the graph in the export's directory."""
    mb: Amount
    """Size of the graph in megabytes, weights included."""
    error: Errors
    """1 − metric on the validation rows."""
    error_interval: ErrorInterval
    """95 % interval of the error."""


@dataclass(frozen=True, kw_only=True)
class VerifiedForm(ExportedForm):
    """A model in fp32, whose logits are those of PyTorch."""

    parity: Annotated[dict[str, Amount], MinLen(1)]
    """The largest difference of a logit, relative to the largest logit, of each kind of batch."""


@dataclass(frozen=True, kw_only=True)
class JudgedForm(ExportedForm):
    """A model in a smaller precision, compared with fp32 on the validation rows."""

    loss: float
    """Its error minus that of fp32."""
    loss_at_most: float | None = None
    """How much it loses at most, with `confidence`; None where version 0.1.0 wrote it."""
    confidence: Share | None = None
    max_loss: Amount
    """What was allowed."""
    accepted: bool
    """Whether it surely loses no more than that."""
    label_agreement: Share | None
    """The share of rows with the same label; None for values."""
    difference: Amount
    """The largest difference of a logit, relative to the largest logit."""
    int8_embeddings: bool | None = None
    """Whether embedding tables are int8 too; None for other precisions."""


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What an export and its file say alike."""

    task: str
    portable: bool
    """Whether the graphs have standard ONNX operators alone."""
    provider: Provider = "cpu"
    """Where they were verified and judged, and are to be served."""
    params: Count
    """Parameters of the exported model."""
    lengths: tuple[Count, ...]
    """Tokens of the validation rows, in ascending order; of many rows some."""
    model_files: dict[str, str] | None = None
    """Digests of the model's files; None where it was exported from memory, or by version 0.1.0."""
    data_digest: str | None = None
    """Digest of the rows; None where version 0.1.0 wrote it."""


@dataclass(frozen=True, kw_only=True)
class _Written(_Facts):
    """What `export.json` holds."""

    model: str | None
    forms: dict[str, dict[str, Any]]
    files: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Export(_Facts):
    """An exported model: its graphs in `directory`, and how good they are."""

    directory: Path
    model: Path | None
    """The directory of the exported model; None where it was exported from memory."""
    fp32: VerifiedForm
    smaller: Mapping[Form, JudgedForm]
    """In smaller precisions."""
    openvino: VerifiedForm | None = None
    """In fp32 for OpenVINO; None where nothing was exported for it."""

    @property
    def verified(self) -> dict[Form, VerifiedForm]:
        """In fp32, by runtime."""
        return {"fp32": self.fp32, **({} if self.openvino is None else {"openvino-fp32": self.openvino})}

    @property
    def forms(self) -> dict[Form, ExportedForm]:
        """All forms, fp32 first."""
        return {**self.verified, **self.smaller}

    @property
    def accepted(self) -> dict[Form, ExportedForm]:
        """The forms to use, fp32 first: all but those that may lose too much."""
        return {**self.verified, **{name: form for name, form in self.smaller.items() if form.accepted}}

    @property
    def best(self) -> Form:
        """The form to serve: of those that are accepted the one that a CPU (GPU) is known to compute fastest."""
        accepted, order = self.accepted, FASTEST_ON_GPU if self.provider == "cuda" else FASTEST_FIRST
        return next(form for form in order if form in accepted)

    def path(self, form: Form = "fp32") -> Path:
        """Return the graph of a form."""
        return self.directory / self.forms[form].file

    def describe(self, judged: str = "the validation rows", asked: Collection[Form] = ()) -> list[str]:
        """Return in lines what each form is, and which may lose too much, as far as what was `judged` can tell.

        Where OpenVINO's in bfloat16 was `asked` for and this machine cannot make it, a line says so.
        """
        lines = []
        for name, fp32 in self.verified.items():
            lines.append(
                f"Exported {self.path(name)} ({fp32.mb:.1f} MB): {RUNTIME_NAMES[FORMS[name][0]]} = PyTorch within "
                f"{max(fp32.parity.values()):.1e} on {len(fp32.parity)} checks, error {fp32.error:.4f}."
            )
        if "openvino-bf16" in asked and "openvino-bf16" not in self.forms:
            lines.append("Note: this CPU does not compute in bfloat16, so openvino-bf16 was not made.")
        for name, form in self.smaller.items():
            agreement = "" if form.label_agreement is None else f", {form.label_agreement:.1%} of the labels agree"
            lines.append(
                f"{name}: {form.file} ({form.mb:.1f} MB), error {form.error:.4f} ({form.loss:+.4f}{agreement})."
            )
            if not form.accepted:
                lines.append(
                    f"Note: {name} may lose more than --max-int8-loss {form.max_loss:g}: at most "
                    f"{form.loss_at_most:.4f} with {100 * (form.confidence or 0):.4g} % confidence, as far as {judged} "
                    "can tell. So it is not registered and not counted as a result. More of them tell more; or allow "
                    "more."
                )
        return [*lines, *([_ONE_ROW_NOTE] if "int8" in self.smaller else [])]

    def to_json(self) -> dict[str, Any]:
        """Return the content of `export.json` but for the digests of the files; paths as seen from `directory`."""
        return {
            "model": None if self.model is None else seen_from(self.directory, self.model),
            "task": self.task,
            "portable": self.portable,
            "provider": self.provider,
            "params": self.params,
            "lengths": list(self.lengths),
            "forms": {name: asdict(form) for name, form in self.forms.items()},
            "model_files": self.model_files,
            "data_digest": self.data_digest,
        }

    def save(self, directory: Path | None = None) -> Path:
        """Write `export.json` beside the graphs, into `directory` where they are to be moved from there."""
        directory = directory or self.directory
        return write_json(
            directory / EXPORT_FILE, {"format": FORMAT, **self.to_json(), FILES_KEY: digest_files(directory)}
        )

    @classmethod
    def load(cls, directory: Path, only: Collection[str] | None = None) -> "Export":
        """Return the export in a directory, whose files (or `only` those) are the ones that were exported.

        Raises:
            FileError: `export.json` is not there or broken, or names files outside of its directory.
            ModelError: a file was changed or is missing.
        """
        file = directory / EXPORT_FILE
        written = read_record(file, _Written, _NEXT_STEP)
        if "fp32" not in written.forms:
            raise _wrong_forms(file, "has no fp32")
        # Those in fp32 have parity, the others what they lose: two types, told apart by the form's name.
        in_fp32 = {name: form for name, form in written.forms.items() if name in _VERIFIED}
        others = {name: form for name, form in written.forms.items() if name not in _VERIFIED}
        try:
            verified = parse_record(dict[Form, VerifiedForm], in_fp32)
            smaller = parse_record(dict[Form, JudgedForm], others)
        except ValueError as error:
            raise broken(file, f"forms.{error}", _NEXT_STEP) from None
        outside = [form.file for form in (*verified.values(), *smaller.values()) if not is_plain_name(form.file)]
        if outside:
            # Or a changed file could have us open any path of this machine.
            raise _wrong_forms(file, f"names {outside[0]!r}")
        require_same_files(
            directory,
            written.files,
            EXPORT_FILE,
            "export again with compressor export",
            only=tuple(written.files or ()) if only is None else only,  # an older export may have left others
        )
        facts = {field.name: getattr(written, field.name) for field in fields(_Facts)}
        model = None if written.model is None else resolve_from(directory, written.model)
        return cls(
            directory=directory.expanduser().resolve(),
            model=model,
            fp32=verified["fp32"],
            openvino=verified.get("openvino-fp32"),
            smaller=smaller,
            **facts,
        )


def _wrong_forms(file: Path, problem: str) -> FileError:
    return FileError(
        f"the variants in {file} must be fp32 and others, each a file beside it, but it {problem}. "
        "Restore it, or export again with compressor export."
    )
