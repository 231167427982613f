"""What holds the project together: layout, dependency direction, one list of everything."""

import ast
import configparser
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def test_one_file_alone_is_called_mlproject() -> None:
    """MLflow takes the first entry that matches, whatever its case: a folder of that name breaks `mlflow run`."""
    assert [path.name for path in ROOT.iterdir() if path.name.lower() == "mlproject"] == ["MLproject"]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("compressor", {"exporters", "mlproject", "mlflow", "click", "onnx", "onnxruntime", "openvino", "nncf"}),
        ("exporters", {"mlproject"}),
    ],
)
def test_imports_point_one_way(package: str, forbidden: set[str]) -> None:
    for path in SOURCES:
        if path.is_relative_to(ROOT / "src" / package):
            assert not packages(path) & forbidden, path


@pytest.mark.parametrize(("room", "below"), [("graph", {"graph"}), ("timing", {"graph", "timing"})])
def test_rooms_of_exporters_import_those_below_alone(room: str, below: set[str]) -> None:
    for path in (ROOT / "src" / "exporters" / room).glob("*.py"):
        ours = {name.split(".")[1] for name in imported(path) if name.startswith("exporters.")}
        assert ours <= below, path


MAX_FILES, MAX_LINES, MAX_PARAMETERS = 12, 60, 8
FOLDERS = sorted({path.parent for path in SOURCES})
ORDER = {
    "compressor": (
        "cluster",
        "data",
        "network",
        "spaces",
        "evaluation",
        "sharding",
        "drawing",
        "training",
        "search",
        "standard_nas",
        "extraction",
        "comparison",
    ),
    "exporters": ("graph", "timing", "report", "served"),
    "mlproject": ("tracking", "inputs", "stages", "cli"),
}
"""The folders of each package: one imports only those before it."""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_folders_are_short(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MAX_FILES


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines of a function without its docstring and lines that are comments alone."""
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) and first.end_lineno else 0
    comments = sum(line.strip().startswith("#") for line in lines[function.lineno - 1 : function.end_lineno])
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1 - docstring - comments


def test_functions_fit_a_screen() -> None:
    for path in SOURCES:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{path.relative_to(ROOT)}: {node.name}"
                given = node.args
                names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                assert code_lines(node, text.splitlines()) <= MAX_LINES, where
                assert len([name for name in names if name not in ("self", "cls")]) <= MAX_PARAMETERS, where


NO_LOGIC = {
    "compressor/errors": "names of errors",
    "compressor/network/dimensions": "five numbers",
    "compressor/cluster/options": "numbers whose limits are tested in test_options.py",
    "compressor/extraction/options": "numbers whose limits are tested in test_options.py",
    "compressor/search/options": "numbers whose limits are tested in test_options.py",
    "exporters/options": "numbers whose limits are tested in test_options.py",
}
"""Modules that need no test of their own, and why."""
TESTED_IN = {
    "compressor/comparison/figures": "mlproject/stages/test_compare",
    "compressor/comparison/report": "mlproject/stages/test_compare",
    "compressor/data/demo": "compressor/data/test_loading",
    "compressor/data/reading": "compressor/data/test_loading",
    "compressor/data/rows": "compressor/data/test_loading",
    "compressor/data/sources": "compressor/data/test_loading",
    "compressor/drawing/plots": "compressor/drawing/test_files",
    "compressor/evaluation/latency": "exporters/timing/test_latency",
    "compressor/extraction/figures": "exporters/report/test_page",
    "compressor/extraction/trimming": "compressor/extraction/test_vocabulary",
    "compressor/search/figures": "exporters/report/test_page",
    "compressor/search/shared": "mlproject/commands/test_search",
    "compressor/spaces/layers": "compressor/spaces/test_space",
    "compressor/spaces/subsets": "compressor/spaces/test_space",
    "compressor/standard_nas/backend": "compressor/standard_nas/test_tuner",
    "compressor/standard_nas/trial": "mlproject/commands/test_nas",
    "exporters/report/front": "exporters/report/test_page",
    "exporters/report/inputs": "exporters/report/test_page",
    "exporters/found_models": "exporters/test_benchmark",
}
"""Modules that are tested by what is made of them: pages and pictures, entries of a registry, parts of a command."""


def test_tests_mirror_the_library() -> None:
    """`src/compressor/network/costs.py` is tested in `tests/compressor/network/test_costs.py`, and so on."""
    modules = {str(p.relative_to(ROOT / "src").with_suffix("")) for p in SOURCES if p.name != "__init__.py"}
    library = {name for name in modules if name.split("/")[0] in ("compressor", "exporters")}
    mirrored = {name for name in library if (ROOT / "tests" / name).with_name(f"test_{Path(name).name}.py").is_file()}
    assert library - mirrored == NO_LOGIC.keys() | TESTED_IN.keys()
    assert not NO_LOGIC.keys() & TESTED_IN.keys()
    assert all((ROOT / "tests" / f"{place}.py").is_file() for place in TESTED_IN.values())


def test_folders_build_on_those_before_them() -> None:
    for package, order in ORDER.items():
        for place, folder in enumerate(order):
            later = {f"{package}.{name}" for name in order[place + 1 :]}
            for path in (ROOT / "src" / package / folder).rglob("*.py"):
                found = {".".join(name.split(".")[:2]) for name in imported(path)}
                assert not found & later, path


def test_no_modules_import_each_other_in_a_circle() -> None:
    """As they are loaded: what a type hint or the inside of a function needs is left out."""
    modules = {
        ".".join(p.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__"): p for p in SOURCES
    }
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found: set[str] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                # `from package import module` loads the module, any other name the package alone.
                below = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= below & modules.keys() or {node.module}
        graph[name] = found & modules.keys() - {name}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names a circle


def test_mlflow_is_imported_in_one_file_of_mlproject() -> None:
    importing = {path.name for path in (ROOT / "src" / "mlproject").rglob("*.py") if "mlflow" in packages(path)}
    assert importing == {"delivery.py"}


def test_hugging_face_attribute_names_live_in_one_file() -> None:
    for path in SOURCES:
        if path.name != "modeling_sliced.py":
            text = path.read_text()
            assert not any(name in text for name in ("encoder.layer", "attention.self", "intermediate.dense")), path


def test_syne_tune_s_schedulers_live_in_one_file() -> None:
    importing = {p.name for p in SOURCES if any("schedulers.a" in n or "_scheduler" in n for n in imported(p))}
    assert importing == {"schedulers.py"}


def test_nothing_is_pickled() -> None:
    for path in SOURCES:
        assert not packages(path) & {"pickle", "cloudpickle", "joblib", "dill"}, path
        assert "torch.load" not in path.read_text()
        assert "torch.save" not in path.read_text()


def test_conda_and_setup_name_the_same_dependencies() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = setup["options"]["install_requires"].split("\n") + setup["options.extras_require"]["demo"].split("\n")
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    pip = next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    assert sorted(pip) == sorted(line for line in wanted if line)
    assert not any(line.startswith(("-e", ".")) for line in pip)


def test_importing_is_fast_and_silent() -> None:
    """`--help` needs neither PyTorch nor MLflow nor transformers nor Ray."""
    heavy = "{'torch', 'mlflow', 'transformers', 'ray'}"
    code = f"import sys; import mlproject.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src", check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_project_speaks_of_itself_alone() -> None:
    files = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True).stdout.split()
    readable = {".py", ".md", ".cfg", ".toml", ".yaml", ".yml", ""}
    for name in files:
        path = ROOT / name
        if path.suffix in readable and path.is_file() and path != Path(__file__):
            text = path.read_text()
            assert not any(word in text for word in ("/work/", "../shared", "/root/")), name


def test_the_process_that_hands_out_the_tests_loads_nothing_heavy() -> None:
    """It reads `conftest.py` before it starts those that run them, which wait for it."""
    code = "import sys, conftest; print({'torch', 'transformers', 'mlflow', 'datasets', 'scipy'} & set(sys.modules))"
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True)
    assert (done.stdout, done.stderr) == (b"set()\n", b"")


def test_ray_is_loaded_where_a_cluster_is_asked_for_alone() -> None:
    """It is an extra, and takes a second: modules import it within the functions that need it, if at all."""
    for path in SOURCES:
        at_once = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [alias.name for node in at_once if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in at_once if isinstance(node, ast.ImportFrom)]
        assert "ray" not in {name.partition(".")[0] for name in names}, path
