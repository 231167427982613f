"""Files that are whole or absent."""

import errno
import os
from pathlib import Path

import pytest

from compressor.errors import FileError, OutputError
from compressor.files import (
    append_json_line,
    check_output_dir,
    new_directory,
    new_files,
    read_json,
    read_json_lines,
    remove_temporaries,
    seen_from,
    without_home,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_text(tmp_path / "a.txt", "old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not (tmp_path / "a.json").exists()


def test_unreadable_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FileError, match="must hold JSON, but does not parse"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileError, match="must exist, but it does not"):
        read_json(tmp_path / "b.json")


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_directory(tmp_path / "model") as directory:
        (directory / "half").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with new_directory(tmp_path / "model") as directory:
        (directory / "whole").write_text("x")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["whole"]
    with new_directory(tmp_path / "model") as directory:
        (directory / "more").write_text("y")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["more", "whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_link_to_a_directory_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with new_directory(check_output_dir(tmp_path / "link")) as directory:
        (directory / "file").write_text("x")
    assert (tmp_path / "link" / "file").read_text() == "x"


def test_output_directories(tmp_path: Path) -> None:
    assert check_output_dir(tmp_path / "new") == tmp_path / "new"
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--output-dir must be a directory, but .* is a file"):
        check_output_dir(tmp_path / "file")
    with pytest.raises(OutputError) as raised:
        check_output_dir(tmp_path)
    assert str(raised.value) == (
        f"--output-dir must be new or empty, but {tmp_path} holds 1 files or folders. "
        "Choose another --output-dir or add --overwrite-output-dir."
    )
    assert check_output_dir(tmp_path, overwrite=True) == tmp_path


def test_a_line_that_a_full_disk_cuts_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lines.jsonl"
    append_json_line(file, {"first": 1})
    write = os.write

    def almost_full(handle: int, content: bytes) -> int:
        if len(content) > 5:
            return write(handle, content[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "write", almost_full)
        append_json_line(file, {"second": 2})
    append_json_line(file, {"third": 3})
    assert read_json_lines(file) == [{"first": 1}, {"third": 3}]


def test_lines_that_are_no_json_are_none(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"a": 1}\n\xff\xfe\n\n{"b"\n{"c": 3}\n{"cut')
    assert read_json_lines(file) == [{"a": 1}, None, None, None, {"c": 3}]
    assert file.read_bytes().endswith(b'{"c": 3}\n')


def test_only_what_is_half_written_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_directory(tmp_path / "model") as directory:
        left = tmp_path / "deep" / directory.name  # a killed process leaves such a name
        left.mkdir(parents=True)
        (left / "half").touch()
        raise ZeroDivisionError
    (tmp_path / ".hidden").touch()
    (tmp_path / "deep" / "whole").touch()
    remove_temporaries(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [".hidden", "deep", "deep/whole"]


def test_files_go_through_a_folder_inside_the_directory_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_directory(tmp_path / "out") as directory:
        assert directory.parent == tmp_path / "out"
        (directory / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


def test_a_path_as_a_file_that_travels_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert seen_from(tmp_path / "onnx", tmp_path / "model") == "../model"
    assert seen_from(Path("a/b"), Path("a")) == ".."
    assert seen_from(tmp_path, tmp_path / "onnx" / "model.onnx") == "onnx/model.onnx"
    assert seen_from(Path("/data/onnx"), Path("/home/someone/model")) == "model"  # the rest would name the user


def test_a_path_without_the_user_s_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert without_home("/home/someone/data/train.csv") == "~/data/train.csv"
    assert without_home("/home/someone-else/train.csv") == "/home/someone-else/train.csv"
    assert Path("~/data/train.csv").expanduser() == Path("/home/someone/data/train.csv")


def test_several_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    graph = tmp_path / "model.xml"
    with pytest.raises(ZeroDivisionError), new_files(graph) as folder:
        (folder / "model.bin").write_text("half")
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []
    with new_files(graph) as folder:
        for name in ("model.bin", "model.xml"):
            (folder / name).write_text(name)
        assert not graph.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.xml"]
