"""The border to the Hugging Face Hub: its client, whose repositories are folders here."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import RepoUrl
from huggingface_hub.utils import filter_repo_objects

TOKEN = "hf_nobodymayreadthisone"


class FakeHub:
    """As much of `huggingface_hub.HfApi` as is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: dict[str, bool] = {}
        self.failing: dict[str, Exception] = {}
        """What calls raise, by their names."""

    def __call__(self) -> "FakeHub":
        """Itself: this object stands where the class was."""
        return self

    def whoami(self) -> dict[str, str]:
        self._answer("whoami")
        return {"name": "me"}

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> RepoUrl:
        self._answer("create_repo")
        assert exist_ok
        name = repo_id if "/" in repo_id else f"me/{repo_id}"
        self.private.setdefault(name, private)
        return RepoUrl(f"https://huggingface.co/{name}")

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, commit_message: str, ignore_patterns: list[str]
    ) -> None:
        self._answer("upload_folder")
        assert repo_id in self.private
        assert commit_message
        names = [str(path.relative_to(folder_path)) for path in folder_path.rglob("*") if path.is_file()]
        for name in filter_repo_objects(names, ignore_patterns=ignore_patterns):
            target = self.folder / repo_id / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder_path / name, target)

    def _answer(self, call: str) -> None:
        if call in self.failing:
            raise self.failing[call]


def take_the_hub_s_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A Hub in a folder, which knows a token."""
    hub = FakeHub(folder)
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub
