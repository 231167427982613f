"""Output directories: new ones, used ones, and those where a command goes on."""

import os
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import OutputError
from mlproject.cli.resume import choose_output_dir, take_output_dir
from mlproject.tracking.events import EndRun, SetTags
from mlproject.tracking.outbox import TOP, Command, Header, Outbox, clear

OTHER = "Choose another --output-dir or add --overwrite-output-dir."


def values(path: Path | None, **more: Any) -> dict[str, Any]:
    given = {"output_dir": str(path) if path else None, "overwrite_output_dir": False, "resume": False, "seed": 0}
    return given | {"num_samples": 60} | more


def begin(path: Path, status: str | None, **more: Any) -> None:
    """Leaves a directory as a command does that was begun there and came to that end."""
    path.mkdir(parents=True)
    begun = choose_output_dir("search", values(path, **more))[1]
    outbox = Outbox(path)
    outbox.begin(Header(begun.command, begun.options, "sqlite:///mlflow.db"))
    if status is not None:
        outbox.add(end := EndRun(run=TOP, status=status, end_ms=1))
        outbox.mark_delivered(end)


def refusal(path: Path | None, command: str = "search", **more: Any) -> str:
    with pytest.raises(OutputError) as raised:
        choose_output_dir(command, values(path, **more))
    return str(raised.value)


def test_a_new_directory_is_taken(tmp_path: Path) -> None:
    path, now = choose_output_dir("search", values(tmp_path / "new"))
    assert path == tmp_path / "new"
    assert now == Command("search", {"seed": 0, "num_samples": 60})


@pytest.mark.parametrize("status", [None, "KILLED", "FAILED"])
def test_the_same_command_goes_on(tmp_path: Path, status: str | None) -> None:
    begin(tmp_path / "s", status)
    assert choose_output_dir("search", values(tmp_path / "s"))[0] == tmp_path / "s"
    assert choose_output_dir("search", values(tmp_path / "s", resume=True, num_samples=90))[0] == tmp_path / "s"


def test_other_options_or_commands_are_refused(tmp_path: Path) -> None:
    begin(tmp_path / "s", None)
    assert refusal(tmp_path / "s", seed=3) == (
        f"to resume in {tmp_path}/s the options must be those it was begun with, but --seed was 0 and is 3. {OTHER}"
    )
    assert refusal(tmp_path / "s", command="nas") == (
        f"--output-dir must be of compressor nas, but {tmp_path}/s is of search. {OTHER}"
    )


def test_a_finished_search_goes_on_for_more_samples_alone(tmp_path: Path) -> None:
    begin(tmp_path / "s", "FINISHED")
    assert (
        refusal(tmp_path / "s")
        == f"--output-dir must be new, empty or unfinished, but {tmp_path}/s is finished. {OTHER}"
    )
    assert choose_output_dir("search", values(tmp_path / "s", num_samples=90))[0] == tmp_path / "s"


def test_overwriting_forgets_what_was_begun(tmp_path: Path) -> None:
    begin(tmp_path / "s", "FINISHED")
    assert choose_output_dir("search", values(tmp_path / "s", overwrite_output_dir=True, seed=4))[0] == tmp_path / "s"
    clear(tmp_path / "s")
    assert Outbox(tmp_path / "s").header is None


def test_resume_finds_the_newest_unfinished_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "compressor-output"
    for name, status, seed in (("1", None, 0), ("2", "KILLED", 0), ("3", None, 7), ("4", "FINISHED", 0)):
        begin(folder / f"search-{name}", status, seed=seed)
    assert choose_output_dir("search", values(None, resume=True))[0] == folder / "search-2"
    assert refusal(None, resume=True, seed=9) == (
        "--resume must find an unfinished search with the same options in compressor-output, but none of 4 is. "
        "Name its --output-dir, or leave --resume out to begin."
    )


def test_resume_without_anything_begun(tmp_path: Path) -> None:
    assert refusal(tmp_path / "s", resume=True) == (
        f"--resume must find a command that was begun in {tmp_path}/s, but there is none. Leave --resume out to begin."
    )


def test_two_commands_at_once_are_refused(tmp_path: Path) -> None:
    refused = (
        f"--output-dir must be of one command at a time, but another one is at work in {tmp_path}/s (process "
        f"{os.getpid()}). Wait for its end, or choose another --output-dir."
    )
    with take_output_dir("search", values(tmp_path / "s")):
        for command, more in (("search", {}), ("nas", {}), ("search", {"overwrite_output_dir": True})):
            with pytest.raises(OutputError) as raised, take_output_dir(command, values(tmp_path / "s", **more)):
                pass
            assert str(raised.value) == refused
    assert not (tmp_path / "s").exists()


def test_a_directory_with_nothing_but_a_lock_is_new(tmp_path: Path) -> None:
    (tmp_path / "s" / ".compressor").mkdir(parents=True)
    (tmp_path / "s" / ".compressor" / "lock").touch()
    with take_output_dir("search", values(tmp_path / "s")) as (path, _):
        (path / "result").touch()
    assert (tmp_path / "s" / "result").exists()


def test_what_killed_processes_left_half_written_is_removed(tmp_path: Path) -> None:
    begin(tmp_path / "s", None)
    for name in (".s.1.compressor-tmp", "trials/3/.epoch-1.2.compressor-tmp", ".compressor/training/.x.compressor-tmp"):
        (tmp_path / "s" / name).mkdir(parents=True)
        (tmp_path / "s" / name / "half").touch()
    (tmp_path / "s" / ".mine").touch()
    (tmp_path / "s" / ".results.json.3.compressor-tmp").touch()
    with take_output_dir("search", values(tmp_path / "s")):
        left = {str(path.relative_to(tmp_path / "s")) for path in (tmp_path / "s").rglob("*")}
        assert {name for name in left if "compressor-tmp" in name} == set()
        assert ".mine" in left


def test_default_directories_of_one_second_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "now")
    with take_output_dir("search", values(None)) as (first, _), take_output_dir("search", values(None)) as (second, _):
        assert (first.name, second.name) == ("search-now", "search-now-2")


def test_a_finished_command_that_has_not_told_all_is_not_refused(tmp_path: Path) -> None:
    begin(tmp_path / "s", "FINISHED")
    Outbox(tmp_path / "s").add(SetTags(run=TOP, tags={"a": "b"}))
    assert choose_output_dir("search", values(tmp_path / "s"))[0] == tmp_path / "s"


def test_a_file_whose_name_is_no_text_can_be_gone_on_with(tmp_path: Path) -> None:
    odd = os.fsdecode(b"rows-\xff.csv")
    begin(tmp_path / "s", None, train_file=odd)
    assert choose_output_dir("search", values(tmp_path / "s", train_file=odd))[0] == tmp_path / "s"
