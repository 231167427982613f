"""The pages under docs/: their commands run, their error messages are the tool's, their links lead somewhere.

Blocks marked `bash` run here, in order, with a tiny random encoder in place of the demo; `python` blocks too; `yaml`
blocks that begin with a file's name are that file. Blocks
marked `sh` need another machine, a network, minutes or an id of your own: their `compressor` and `mlflow` lines are
parsed, the scripts they name must exist. Blocks marked `text` are output. docs/paper.md is tested with the README.
"""

import ast
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mlflow
import pytest
import yaml

import compressor.data.demo_base
from compressor.files import module_environment
from compressor.search import choosing
from compressor.search.choosing import Judged
from compressor.search.options import Choice
from compressor.search.record import EvaluatedSubNetwork
from conftest import copy_database
from mlproject.cli import cli, main
from samples import sample_table

ROOT = Path(__file__).parents[1]
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md")) if path.stem != "paper"}
_TUTORIAL = ["tutorial"]
RUN_AFTER = {
    "choosing": _TUTORIAL,
    "configuration": _TUTORIAL,
    "evaluating": ["serving"],
    "family": _TUTORIAL,
    "in-the-ui": _TUTORIAL,
    "serving": _TUTORIAL,
    "tracking-server": _TUTORIAL,
}
"""Pages whose commands continue where those of others ended."""


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and text of a page's fenced blocks."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGES[page], flags=re.S | re.M)


def lines(page: str, language: str) -> list[str]:
    return [line for kind, text in blocks(page) if kind == language for line in text.splitlines() if line.strip()]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {kind for page in PAGES for kind, _ in blocks(page)} <= {"bash", "sh", "python", "text", "yaml"}


@pytest.mark.parametrize(("page", "line"), [(page, line) for page in PAGES for line in lines(page, "sh")])
def test_commands_that_do_not_run_here_parse(page: str, line: str) -> None:
    command, *words = shlex.split(line.removesuffix("&"))
    if command == "compressor":
        cli.commands[words[0]].make_context(words[0], words[1:])
    elif command == "torchrun":
        from torch.distributed.run import get_args_parser

        known = get_args_parser().parse_args(words)
        assert (known.module, known.training_script) == (True, "mlproject")
        name, *words = known.training_script_args
        cli.commands[name].make_context(name, words)
    elif command == "mlflow":
        import mlflow.cli  # takes seconds, which every process of the tests would wait for

        mlflow.cli.cli.commands[words[0]].make_context(words[0], words[1:])
    elif command == "ray":
        from ray.scripts.scripts import cli as ray_cli

        ray_cli.commands[words[0]].make_context(words[0], words[1:])
    elif command == "python":
        assert (ROOT / words[0]).is_file()
    else:
        assert command in ("pip", "curl", "export", "docker", "kubectl"), command


@pytest.mark.parametrize("text", [text for page in PAGES for kind, text in blocks(page) if kind == "yaml"])
def test_yaml_parses(text: str) -> None:
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(text))


def test_what_the_page_on_serving_says_of_mlflow_s_image() -> None:
    """Of MLflow's code, since no image is built here."""
    import inspect

    import mlflow.cli  # takes seconds, which every process of the tests would wait for
    from mlflow.models import container
    from mlflow.pyfunc import scoring_server

    (text,) = [text for kind, text in blocks("serving") if kind == "yaml"]
    deployment, service = yaml.safe_load_all(text)
    pod = deployment["spec"]["template"]
    (one,) = pod["spec"]["containers"]
    port = container.DEFAULT_NGINX_SERVER_PORT
    assert f"listen {port} " in (Path(container.__file__).parent / "scoring_server" / "nginx.conf").read_text()
    assert one["ports"] == [{"containerPort": port}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert one[probe]["httpGet"] == {"path": "/ping", "port": port}
    assert 'app.get("/ping")' in inspect.getsource(scoring_server.init)
    assert service["spec"]["ports"] == [{"port": 80, "targetPort": port}]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert 'os.environ.get("MLFLOW_MODELS_WORKERS", cpu_count)' in inspect.getsource(container)
    assert container.DISABLE_NGINX == "DISABLE_NGINX"
    for name in ("serve", "generate-dockerfile", "build-docker"):
        command = mlflow.models.cli.commands.commands[name]
        assert not any("--enable-mlserver" in option.opts for option in command.params)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> "Iterator[Sandbox]":
    """The folder in which the tutorial has run."""
    folder = tmp_path_factory.mktemp("docs")
    made = Sandbox(folder, copy_database(migrated_database, folder))
    yield made
    made.stop()


class Sandbox:
    """A folder with the environment of the shell that a reader types into."""

    def __init__(self, folder: Path, mlflow_uri: str) -> None:
        self.folder = folder
        self.outs: dict[str, str] = {}
        self.model: Path | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        self.environment = {"MLFLOW_TRACKING_URI": mlflow_uri}
        self.server: subprocess.Popen[bytes] | None = None

    def run(self, page: str, monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
        """Runs the commands of a page, after those of the pages it goes on from; once each."""
        for before in RUN_AFTER.get(page, []):
            self.run(before, monkeypatch, model)
        if page in self.outs:
            return
        self.outs[page] = ""
        self.model = model
        monkeypatch.setattr(compressor.data.demo_base, "find_demo_model", lambda: model)
        monkeypatch.setattr("mlproject.stages.search.measure_latency_table", lambda *of: sample_table(of[-1]))
        monkeypatch.setattr("compressor.search.choosing._by_tier", tiers_of_all)
        monkeypatch.chdir(self.folder)
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        mlflow.set_tracking_uri(self.environment["MLFLOW_TRACKING_URI"])
        for kind, text in blocks(page):
            if kind == "bash":
                for command in split_commands(text):
                    self.outs[page] += self.do(command)
            elif kind == "yaml" and text.startswith("# "):
                Path(text.split()[1]).write_text(text)
            elif kind == "python":
                exec(compile(text, f"{page}.md", "exec"), {})
        self.stop()

    def do(self, command: str) -> str:
        """One command: ours in this process, a server in the background, others in a shell, whose output it gives.

        Long searches (from 100 sub-networks on) are a tenth as long, since nothing here learns from what they find.
        Those that start a Ray cluster have a process of their own: Ray ends one without a word that loses its cluster.
        """
        command = re.sub(r"(?<=--num-samples )(\d\d)0\b", r"\1", command)
        if "--num-processes" in command or command.startswith(("torchrun", "compressor nas --ray")):
            command = f"{command} --model-name-or-path {self.model}"  # for processes that know of no other demo
        words = shlex.split(command.removesuffix("&"))
        if "--ray" in words:
            environment = {**module_environment(), "HF_DATASETS_CACHE": str(self.folder / "cache")}
            line = [sys.executable, "-m", "mlproject", *words[1:]]
            done = subprocess.run(line, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, done.stderr[-3000:]
        elif words[0] == "compressor":
            try:
                main(words[1:])
            except SystemExit as stop:
                assert not stop.code, command
        elif command.endswith("&"):
            self.serve(words)
        elif words[0] != "export":  # of settings for other processes
            return subprocess.run(
                ["bash", "-c", command.replace("localhost:5001", f"127.0.0.1:{self.port}")],
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            ).stdout
        return ""

    def serve(self, words: list[str]) -> None:
        """Starts `mlflow models serve …` and waits until it listens."""
        self.stop()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.server = subprocess.Popen(
            [sys.executable, "-m", *[self.port if word == "5001" else word for word in words]],
            env={**os.environ, "PATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(self.port))) == 0:
                    return
            time.sleep(0.3)
        raise AssertionError("mlflow models serve did not start")

    def stop(self) -> None:
        """Ends the server."""
        if self.server is not None:
            os.killpg(self.server.pid, signal.SIGTERM)
            self.server.wait(timeout=30)
            self.server = None


def tiers_of_all(judged: Judged, choice: Choice) -> dict[str, EvaluatedSubNetwork]:
    """Tiers of all that was evaluated: the tiny encoder learns nothing here, so that its front has one member."""
    return choosing._spread(judged.result.evaluations, choice.tiers)


def split_commands(text: str) -> list[str]:
    """The commands of a block; a quoted text may go over several lines."""
    commands, begun = [], ""
    for line in text.splitlines():
        begun = f"{begun}\n{line}" if begun else line
        if begun.count('"') % 2 == 0:
            commands.append(begun.strip())
            begun = ""
    return [command for command in commands if command]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_footprint", "quick_exports")
@pytest.mark.skipif(shutil.which("curl") is None, reason="the pages ask the served model with curl")
@pytest.mark.parametrize("page", [page for page in PAGES if lines(page, "bash")])
def test_commands_run(page: str, sandbox: Sandbox, base_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.run(page, monkeypatch, base_model_dir)
    if "/invocations" in "".join(lines(page, "bash")):
        assert '"predictions": [{"label": ' in sandbox.outs[page]


def test_links_and_pictures_are_there() -> None:
    for name, text in {**PAGES, "README": (ROOT / "README.md").read_text()}.items():
        folder = ROOT if name == "README" else ROOT / "docs"
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            file = folder / path if path else folder / f"{name}.md"
            assert file.exists(), f"{name}: {target}"
            if anchor:
                titles = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.M)
                assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 250_000, picture.name


def test_readme_names_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page for page in PAGES if f"(docs/{page}.md" not in readme] == []


# Errors

_IN_OTHER_WORDS = {"…. …": "… of layer … must lie in 0..…", "… must be …": "--… must be …"}
"""Messages that are put together from parts: what the page says instead."""


@cache
def source_trees() -> dict[Path, ast.Module]:
    """The parsed files of the package."""
    return {path: ast.parse(path.read_text()) for path in sorted((ROOT / "src").rglob("*.py"))}


def raised_messages() -> Iterator[tuple[str, str]]:
    """Where a message is raised and how it begins: up to ", but", with … for each value."""
    trees = source_trees()
    names, found = {"CompressorError"}, 0
    while found < len(names):
        found = len(names)
        names |= {
            node.name
            for tree in trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id in names for b in node.bases)
        }
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                for message in texts(node.args[0], tree):
                    yield f"{path.name}:{node.lineno}", message.partition(", but")[0].rstrip(".")
            keywords = {word.arg: word.value for word in node.keywords} if isinstance(node, ast.Call) else {}
            if {"option", "law", "remedy"} <= keywords.keys():  # of a Problem, which becomes a message with others
                parts = [
                    "…" if isinstance(part, ast.Name) else texts(part, tree)[0]
                    for part in (keywords["option"], keywords["law"])
                ]
                yield f"{path.name}:{node.lineno}", " must be ".join(parts)


def texts(node: ast.expr, tree: ast.Module) -> list[str]:
    """The texts that an expression can be, with … for each value; of a call of a function those it returns."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
        return ["".join(parts)]
    if isinstance(node, ast.BinOp):
        return texts(node.left, tree)
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name), ast.dump(node)
    name = node.func.id
    trees = (tree, *source_trees().values())
    function = next(n for one in trees for n in ast.walk(one) if isinstance(n, ast.FunctionDef) and n.name == name)
    returned = [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None]
    return [text for value in returned for text in texts(value, tree)]


def test_every_error_has_its_remedy() -> None:
    explained = set(re.findall(r"^- `(.+?)` — \S", PAGES["troubleshooting"], flags=re.M))
    raised = [(where, _IN_OTHER_WORDS.get(message, message)) for where, message in raised_messages()]
    assert [place for place in raised if place[1] not in explained] == []
    assert explained - {message for _, message in raised} == set()


def test_readme_lists_the_parameters_of_every_entry_point() -> None:
    from mlflow.projects._project_spec import load_project

    table = PAGES["commands"].partition("## Parameters")[2].partition("\n## ")[0]
    listed: dict[str, set[str]] = {}
    for row in re.findall(r"^\|[^|]*\| (`.+`) \| (`.+`) \|$", table, flags=re.M):
        entry_points, parameters = (set(re.findall(r"`([\w-]+)`", cell)) for cell in row)
        for name in entry_points:
            listed.setdefault(name, set()).update(parameters)
    project = load_project(str(ROOT))
    assert listed == {name: set(entry.parameters) for name, entry in project._entry_points.items()}


def test_the_files_that_the_architecture_names_are_there() -> None:
    """A path from `src`, its end, or a file's name."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    files = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py")]
    named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)\b", text))
    assert named
    assert [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []
