"""Served models that are none, and rows that they cannot be judged by."""

from fuzz.harness import Case, remove, write, write_lines

EVALUATE = "evaluate --data train.jsonl --model"
NO_MODEL = (
    "a served model must be made by compressor export, but {folder}/NAME is not. Run it first, or give models:/…."
)


def rows_case(name: str, error: str, *rows: object, options: str = "") -> Case:
    """A case of evaluating an export on these rows."""
    return Case(
        name=f"evaluate on {name}",
        words=f"evaluate --model onnx --data new.jsonl {options}".strip(),
        change=write_lines("new.jsonl", *rows),
        error=error,
    )


REPLAY = "replay --champion onnx --challenger onnx --requests"
NO_REQUEST = (
    "each line of requests.jsonl must be a request of a model of kind single, but line 1 is not: …. Write a row …"
)

CASES = [
    *(
        Case(name=f"evaluate {name}", words=f"{EVALUATE} {name}", error=NO_MODEL.replace("NAME", name))
        for name in ("none", "net", "model", "search", "train.jsonl")
    ),
    Case(
        name="evaluate beside no model",
        words=f"{EVALUATE} onnx --baseline none",
        error=NO_MODEL.replace("NAME", "none"),
    ),
    Case(
        name="evaluate a graph that is gone",
        words=f"{EVALUATE} onnx",
        change=remove("onnx/model.onnx"),
        error="… model.onnx …",
    ),
    Case(
        name="evaluate on no file",
        words="evaluate --model onnx --data no.csv",
        error="the data file {folder}/no.csv must exist, but it does not. Check the path.",
    ),
    Case(
        name="evaluate on an empty file",
        words="evaluate --model onnx --data new.csv",
        change=write("new.csv"),
        error="new.csv must be a csv file, but it cannot be read: No columns to parse from file. Correct the file.",
    ),
    rows_case(
        "rows without texts",
        "column 'text' must exist in the data rows, but their columns are 'label'. Name it with --text-column.",
        {"label": 1},
    ),
    rows_case(
        "rows without labels",
        "column 'label' must exist in the data rows, but their columns are 'text'. Name it with --label-column.",
        {"text": "w1"},
    ),
    rows_case(
        "a row without a label",
        "column 'label' must hold a label in every row, but row 2 of the data rows has none (1 such rows). …",
        {"text": "w1", "label": 1},
        {"text": "w2", "label": None},
    ),
    rows_case(
        "unknown labels",
        "the labels of the data rows must be among 0, 1, but got 2 too. Correct the file or give training rows with …",
        {"text": "w1", "label": 1},
        {"text": "w2", "label": 2},
    ),
    rows_case(
        "texts that are numbers",
        "column 'text' must hold text, but row 1 of the data rows holds 5. Correct the file or name another …",
        {"text": 5, "label": 1},
    ),
    rows_case(
        "a pair for a model of single texts",
        "--text-column must name as many columns as the model takes, 1, but got 2. Correct it.",
        {"text": "w1", "label": 1},
        options="--text-column text,label",
    ),
    rows_case(
        "a metric of another head",
        "the metric of the task must be one of accuracy, f1, f1_macro, matthews_correlation, but got 'spearman'. …",
        {"text": "w1", "label": 1},
        options="--metric spearman",
    ),
    *(
        Case(name=f"evaluate {options}", words=f"{EVALUATE} onnx {options}", error=error)
        for options, error in (
            ("--max-error -1", "--max-error must be at least 0, but got -1.0. Raise it."),
            ("--max-error nan", "--max-error must be a number, but got nan. Correct it."),
            ("--confidence 1", "--confidence must be at most 0.999, but got 1.0. Lower it."),
            (
                "--max-error-increase 0.1",
                "--max-error-increase must be given with --baseline, but got it alone. Name …",
            ),
        )
    ),
]

CASES += [
    *(
        Case(
            name=f"replay {content!r}",
            words=f"{REPLAY} requests.jsonl",
            change=write("requests.jsonl", content),
            error=NO_REQUEST,
        )
        for content in ("w1", "5", "null", '{"text": "w1"}', '{"inputs": {}}', '{"inputs": [1]}', "[" * 5000, '"w1')
    ),
    Case(
        name="replay nothing",
        words=f"{REPLAY} requests.jsonl",
        change=write("requests.jsonl", "\n\n"),
        error="--requests must hold at least one request, but {folder}/requests.jsonl holds none. Check the file.",
    ),
    Case(
        name="replay bytes",
        words=f"{REPLAY} requests.jsonl",
        change=write("requests.jsonl", b"\xff\xfe"),
        error="--requests must be a file of JSON lines, but {folder}/requests.jsonl cannot be read: …. Check the path.",
    ),
    Case(
        name="replay a file that is not there",
        words=f"{REPLAY} none.jsonl",
        error="--requests must be a file of JSON lines, but {folder}/none.jsonl cannot be read: …. Check the path.",
    ),
    Case(
        name="replay no champion",
        words="replay --champion none --challenger onnx --requests train.jsonl",
        error=NO_MODEL.replace("NAME", "none"),
    ),
    Case(
        name="replay two servers",
        words="replay --champion http://localhost:1 --challenger http://localhost:2 --requests train.jsonl",
        error="one of --champion and --challenger must be a model or an export, but both are addresses of servers, …",
    ),
    Case(
        name="replay a server that is away",
        words="replay --champion onnx --challenger http://localhost:1 --requests requests.jsonl",
        change=write_lines("requests.jsonl", "w1"),
        error="a served model must answer every request, but http://localhost:1 does not: …. Look at the request.",
    ),
    *(
        Case(name=f"replay --rate {rate}", words=f"{REPLAY} train.jsonl --rate {rate}", error=error)
        for rate, error in (
            ("0", "--rate must be above 0, but got 0.0. Raise it."),
            ("inf", "--rate must be at most 100,000, but got inf. Lower it."),
        )
    ),
]
