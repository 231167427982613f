"""The Dockerfile as text: no builder is at hand where tests run."""

import configparser
import re
from pathlib import Path

import pytest

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
