"""The Dockerfile and files for clusters as text: no builder and no cluster is at hand where tests run."""

import configparser
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml

from mlproject.cli import cli

ROOT = Path(__file__).parents[1]
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
STAGES = [lines.splitlines() for lines in re.split(r"(?m)^(?=FROM )", "\n".join(LINES))[1:]]


def words(instruction: str, stage: list[str]) -> list[str]:
    return [line.removeprefix(f"{instruction} ") for line in stage if line.startswith(f"{instruction} ")]


def test_all_stages_begin_with_one_pinned_image() -> None:
    assert [words("FROM", stage)[0].split(" AS ") for stage in STAGES] == [
        ["${PYTHON_IMAGE}", "wheel"],
        ["${PYTHON_IMAGE}", "packages"],
        ["${PYTHON_IMAGE}"],
    ]
    (image,) = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", LINES[0])
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", image)  # a release of Python and of Debian
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    least = setup["options"]["python_requires"].removeprefix(">=")
    assert tuple(map(int, image.removeprefix("python:").split("-")[0].split("."))) >= tuple(map(int, least.split(".")))


def test_the_last_stage_has_the_wheel_s_packages_and_no_source() -> None:
    *_, last = STAGES
    assert words("COPY", last) == ["--from=packages /opt/compressor /opt/compressor"]
    assert words("COPY", STAGES[1]) == ["--from=wheel /wheels /wheels"]
    assert "python -m build --wheel --outdir /wheels" in words("RUN", STAGES[0])
    assert not any("pip install" in command for command in words("RUN", last))


def test_it_runs_as_a_user_of_its_own() -> None:
    *_, last = STAGES
    commands = [line for line in last if line.startswith(("USER ", "CMD ", "ENTRYPOINT "))]
    assert commands == ["USER compressor", 'CMD ["compressor", "--help"]']  # MLflow gives a command, not arguments
    (made,) = words("RUN", last)
    assert "useradd --create-home --uid 1000 compressor" in made
    assert words("WORKDIR", last) == ["/home/compressor"]


def test_no_cache_stays_in_a_layer() -> None:
    for command in (command for stage in STAGES for command in words("RUN", stage)):
        assert ("pip install" in command) == ("--no-cache-dir" in command), command
        assert ("apt-get" in command) == ("rm -rf /var/lib/apt/lists/*" in command), command
        assert command.count("apt-get install") == command.count("--no-install-recommends")


def test_extras_are_an_argument() -> None:
    assert 'EXTRAS=""' in words("ARG", STAGES[1])
    (install,) = words("RUN", STAGES[1])
    assert install.endswith('"$(echo /wheels/*.whl)${EXTRAS:+[${EXTRAS}]}"')
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = re.findall(
        r"EXTRAS=([\w,-]+)", (ROOT / "Dockerfile").read_text() + (ROOT / "docs/more-machines.md").read_text()
    )
    assert named
    assert {extra for names in named for extra in names.split(",")} <= set(setup["options.extras_require"])


@pytest.mark.parametrize("file", ["LICENSE", "README.md", "pyproject.toml", "setup.cfg", "src"])
def test_what_the_wheel_is_made_of_is_sent_to_the_builder(file: str) -> None:
    assert (ROOT / file).exists()
    assert file in " ".join(words("COPY", STAGES[0])).split()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert f"!{file}" in ignored


def yaml_files(page: str) -> dict[str, Any]:
    """The files of a page by name: blocks whose first line is `# NAME`."""
    blocks = re.findall(r"^```yaml\n# (\S+)[^\n]*\n(.*?)^```", (ROOT / "docs" / f"{page}.md").read_text(), re.M | re.S)
    return {name: yaml.safe_load(text) for name, text in blocks}


def test_a_ray_cluster_on_kubernetes_has_one_image_and_the_address_that_is_asked() -> None:
    files = yaml_files("more-machines")
    cluster, job = files["ray-cluster.yaml"], files["trials.yaml"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups] + [job["spec"]["template"]["spec"]]
    assert {container["image"] for pod in pods for container in pod["containers"]} == {
        "registry.example.com/compressor:1-ray"
    }
    ports = {port["name"]: port["containerPort"] for port in groups[0]["template"]["spec"]["containers"][0]["ports"]}
    words = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert f"--ray=ray://{cluster['metadata']['name']}-head-svc:{ports['client']}" in words
    assert words[0] == "compressor"
    cli.commands[words[1]].make_context(words[1], words[2:])


def test_mlflow_takes_the_project_and_the_job_for_kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own functions, without the packages that talk to Docker and Kubernetes."""
    files = yaml_files("more-machines")
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(yaml.safe_dump(files["job.yaml"]))
    project = (ROOT / "MLproject").read_text()
    assert project.count("conda_env: conda.yaml\n") == 1
    environment = "docker_env:\n  image: registry.example.com/compressor:1\n"
    assert environment in (ROOT / "docs/more-machines.md").read_text()
    Path("MLproject").write_text(project.replace("conda_env: conda.yaml\n", environment))
    monkeypatch.setitem(sys.modules, "docker", MagicMock())
    for name in ("kubernetes", "kubernetes.config", "kubernetes.client", "kubernetes.client.rest"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    monkeypatch.setitem(sys.modules, "kubernetes.config.config_exception", MagicMock(ConfigException=OSError))
    from mlflow.projects import _parse_kubernetes_config, _project_spec
    from mlflow.projects.kubernetes import _get_kubernetes_job_definition

    loaded = _project_spec.load_project(".")
    assert loaded.docker_env == {"image": "registry.example.com/compressor:1"}
    config = _parse_kubernetes_config(files["kubernetes.json"])
    command = ["python", "src", "compress"]
    job = _get_kubernetes_job_definition(
        "films", "image:1", "sha256:0", command, {"A": "b"}, config["kube-job-template"]
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["command"]) == ("image:1@sha256:0", command)
    assert container["volumeMounts"] == [{"name": "films", "mountPath": "/home/compressor/films"}]


def test_mlflow_makes_a_new_cluster_of_the_file_for_databricks() -> None:
    from mlflow.projects.databricks import before_run_validations

    cluster = yaml_files("more-machines")["cluster.json"]
    assert set(cluster) == {"new_cluster", "libraries"}
    before_run_validations("databricks", cluster)
