"""Result files whose form is not what their readers count on: cut, of wrong types, of a newer version, of two runs."""

from fuzz.harness import Case, drop_key, edit_json, write

FORM = "the file {folder}/FILE must be as it was written, but …. Restore it, or … again with compressor …."
RESULTS = (
    "the file {folder}/FILE must be as it was written, but …. Point to the output directory of compressor search or "
    "nas."
)
NEWER = (
    "the file {folder}/FILE must be of format 1, but is of 2, which a newer version wrote. Update mlflow-compressor."
)
PARTS = "--search must be made by compressor search or nas, but the parts of … do not belong together. Restore it, …"

REPORT = "report --search search --model model --onnx onnx --benchmark benchmark"
READ_BY = {
    "search/search_results.json": ("extract --search search", "compare search nas", REPORT),
    "nas/search_results.json": ("extract --search nas", "compare search nas"),
    "net/super_network.json": ("search --supernet net", "extract --search search", "export --model net", REPORT),
    "model/sub_network.json": ("export --model model", "benchmark --model model"),
    "model/extraction.json": (REPORT,),
    "model/parity.json": (REPORT,),
    "onnx/export.json": ("benchmark --model onnx", "benchmark --model onnx/model.onnx", REPORT),
    "benchmark/latency.json": (REPORT,),
}
"""Each file and the commands that read it."""

NEEDED = {
    "search/search_results.json": (
        "source", "data_digest", "options", "options.search_space", "dimensions", "dimensions.num_units", "objectives",
        "hypervolumes", "front", "evaluations", "evaluations.0.error", "evaluations.1.kept", "evaluations.0.params",
        "evaluations.1.name", "source.task_name", "source.text_columns",
    ),
    "net/super_network.json": (
        "data_digest", "label_names", "settings", "settings.search_space", "model_name_or_path", "epochs",
    ),
    "model/sub_network.json": ("sub_network", "sub_network.heads", "sub_network.dimensions"),
    "model/extraction.json": (
        "name", "chosen", "error", "finetuning", "parity", "kept", "kept.heads", "extracted", "test",
        "extracted.error", "super_network", "super_network.params",
    ),
    "onnx/export.json": (
        "model", "portable", "params", "forms", "forms.fp32.file", "forms.int8.mb",
        "forms.fp32.error", "forms.fp32.error_interval", "task", "lengths",
    ),
    "benchmark/latency.json": (
        "environment", "models", "latencies", "environment.cpu", "environment.torch", "models.onnx.path",
        "models.onnx.error", "latencies.0.p50_ms", "latencies.1.ratio", "latencies.0.p99_ms", "options", "options.runs",
    ),
}  # fmt: skip
"""Keys without which a file is not whole."""


def _error(file: str) -> str:
    return (RESULTS if file.endswith("search_results.json") else FORM).replace("FILE", file)


CASES = [
    Case(
        name="search_results.json, a front before",
        words="extract --search search",
        change=edit_json("search/search_results.json", "front", [-1]),
        error=_error("search/search_results.json"),
    ),
    *(
        Case(name=f"{file} is {what}: {words[:32]}", words=words, change=write(file, what), error=_error(file))
        for file, commands in READ_BY.items()
        for words in commands
        for what in ("[]", "{}", "null", '"text"', "3")
    ),
    *(
        Case(
            name=f"{file} of a newer version: {words[:32]}",
            words=words,
            change=edit_json(file, "format", 2),
            error=NEWER.replace("FILE", file),
        )
        for file, commands in READ_BY.items()
        for words in commands
    ),
    *(
        Case(name=f"{file} without {key}", words=READ_BY[file][-1], change=drop_key(file, key), error=_error(file))
        for file, keys in NEEDED.items()
        for key in keys
    ),
    *(
        Case(
            name=f"{file}, {key} of {value!r}",
            words=READ_BY[file][0],
            change=edit_json(file, key, value),
            error=_error(file),
        )
        for file, key, values in (
            ("search/search_results.json", "front", ({}, None, ["0"], [True], 0)),
            ("search/search_results.json", "evaluations", ({}, None, [1], "x")),
            ("search/search_results.json", "evaluations.0.error", ("0.1", None, [], True)),
            ("search/search_results.json", "dimensions.num_layers", (0, -1, 10**9, 2.5, "3", None)),
            ("search/search_results.json", "evaluations.0.kept.units", ("0-3", [1], None)),
            ("search/search_results.json", "objectives", ("error", [1], None)),
            ("net/super_network.json", "label_names", ("01", [0, 1], None)),
            ("net/super_network.json", "source.text_columns", ("text", [1], None)),
            ("net/super_network.json", "files", (["model.safetensors"], {"config.json": 1}, "x")),
            ("model/sub_network.json", "sub_network.units", ("0-3", [1], None)),
            ("model/sub_network.json", "chosen", ([], {}, "x")),
            ("model/sub_network.json", "error", ("0.1", [], True)),
            ("model/extraction.json", "error", ("0.1", None, [])),
            ("model/extraction.json", "extracted.error_interval", ("0.1", None, [None])),
            ("model/extraction.json", "parity", ([], None, {})),
            ("model/extraction.json", "chosen.reason", (3, [], {})),
            ("model/extraction.json", "chosen.config", (3, [1], {"num_layers": [2]})),
            ("model/extraction.json", "chosen.error", (-0.5, 2.5, "0.1")),
            ("model/extraction.json", "extracted.test_error", (2.5, -1, None)),
            ("model/extraction.json", "super_network.error_interval", ([-9, 0.5], [0.1, 9])),
            ("model/extraction.json", "extracted.params", (0, 2.5, None)),
            ("model/extraction.json", "finetuning.kept_epoch", (99, -1, None)),
            ("model/extraction.json", "test.mcnemar_p", (-1, 3, "no")),
            ("model/extraction.json", "repair.kept", (1, "yes", None)),
            ("model/sub_network.json", "chosen.reason", (3, [])),
            ("model/sub_network.json", "search", (3, [])),
            ("model/sub_network.json", "data_digest", (3, [])),
            ("onnx/export.json", "lengths", (3, ["3"], None)),
            ("onnx/export.json", "forms", ([], None, {"fp32": {}}, {"fp32": 3})),
            ("onnx/export.json", "forms.int8.accepted", ("yes", 1, None)),
            ("benchmark/latency.json", "latencies", ({}, None, [{}], [3])),
            ("onnx/export.json", "forms.fp32.error_interval", ([-9, 1], [1, 0], None)),
            ("benchmark/latency.json", "models.onnx.mb", ("1", None, [])),
            ("benchmark/latency.json", "models.onnx.error_interval", ([-9, 1], [0], "x")),
            ("benchmark/latency.json", "models.onnx.precision", (3, "int4", None)),
            ("benchmark/latency.json", "environment.torch", (3, [], None)),
            ("benchmark/latency.json", "latencies.0.noisy", (1, "no", None)),
            ("benchmark/latency.json", "options", ([], None, {"runs": 3})),
            ("benchmark/latency.json", "options.runs", (0, "3", 10**9)),
        )
        for value in values
    ),
    *(
        Case(name=f"search_results.json, {what}", words="extract --search search", change=change, error=PARTS)
        for what, change in (
            ("a front beyond", edit_json("search/search_results.json", "front", [99])),
            ("no front", edit_json("search/search_results.json", "front", [])),
            ("no evaluation", edit_json("search/search_results.json", "evaluations", [])),
            ("fewer hypervolumes", edit_json("search/search_results.json", "hypervolumes", [0.5])),
            ("an index twice", edit_json("search/search_results.json", "evaluations.1.index", 0)),
            (
                "a sub-network of another",
                edit_json("search/search_results.json", "evaluations.1.sub_network", "a"),
            ),
        )
    ),
    *(
        Case(name=f"{file} is {what}", words=words, change=write(file, what), error=_error(file))
        for file, words in (
            ("model/family.json", "export --model model"),
            ("onnx/family.json", "benchmark --model onnx"),
        )
        for what in (
            "[]",
            "{}",
            "null",
            '{"members": [], "champion": ""}',
            '{"members": ["../net"], "champion": "../net"}',
            '{"members": ["S"], "champion": "L"}',
            '{"members": ["S", "S"], "champion": "S"}',
            '{"members": "S", "champion": "S"}',
            '{"members": ["S"], "champion": "S", "tiers": [3]}',
        )
    ),
    *(
        Case(
            name=f"family.json of a member that is gone: {words[:9]}",
            words=words,
            change=write(file, '{"members": ["S"], "champion": "S"}'),
            error=error,
        )
        for file, words, error in (
            (
                "model/family.json",
                "export --model model",
                "--model must be a directory, but {folder}/model/S is not there. Run compressor extract first.",
            ),
            (
                "onnx/family.json",
                "benchmark --model onnx",
                "--model must be made by compressor export, extract or train-supernet, but {folder}/onnx/S is not. …",
            ),
        )
    ),
    Case(
        name="parity.json of another extraction",
        words=REPORT,
        change=edit_json("model/parity.json", "error_loaded", 0.125),
        error="the file {folder}/model/parity.json must say what extraction.json says of parity, but says something "
        "else. Restore it, or extract again with compressor extract.",
    ),
    Case(
        name="latency.json, a model without latencies",
        words=REPORT,
        change=drop_key("benchmark/latency.json", "models.onnx"),
        error="the file {folder}/benchmark/latency.json must hold latencies of each of its models, but does not. "
        "Restore it, or time again with compressor benchmark.",
    ),
    *(
        Case(
            name=f"export.json without {precision}",
            words="benchmark --model onnx",
            change=change,
            error="the variants in {folder}/onnx/export.json must be fp32 and others, each a file beside it, but it "
            "has no fp32. Restore it, or export again with compressor export.",
        )
        for precision, change in (
            ("fp32", drop_key("onnx/export.json", "forms.fp32")),
            ("any form", edit_json("onnx/export.json", "forms", {})),
        )
    ),
    Case(
        name="sub_network.json with other label names",
        words="export --model model",
        change=edit_json("model/sub_network.json", "label_names", ["1", "0"]),
        error="the labels of a model must be the same in sub_network.json and config.json, but in {folder}/model they "
        "are 1, 0 and 0, 1. Restore the files, or make the model again.",
    ),
    Case(
        name="sub_network.json that names no data",
        words="export --model model",
        change=drop_key("model/sub_network.json", "source"),
        error="--model must say which data it is for, but sub_network.json in {folder}/model names none. Make the "
        "model with compressor extract.",
    ),
]
