"""Pushing to the Hub, whose client is a fake: no network is asked."""

from pathlib import Path

import pytest

from compressor.errors import HubError
from compressor.hub import push_model, require_hub
from fake_hub import TOKEN, FakeHub, take_the_hub_s_place


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return take_the_hub_s_place(tmp_path / "hub", monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory as `extract` leaves it."""
    folder = tmp_path / "model"
    for name in ("config.json", "README.md", "1_Pooling/config.json", "sub_network.json", ".compressor/command.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def refusal(repository: str) -> str:
    with pytest.raises(HubError) as raised:
        require_hub(repository)
    return str(raised.value)


def test_what_is_pushed(hub: FakeHub, model: Path) -> None:
    assert push_model(model, "me/small", without=["sub_network.json"]) == "https://huggingface.co/me/small"
    files = {str(path.relative_to(hub.folder)) for path in hub.folder.rglob("*") if path.is_file()}
    assert files == {"me/small/config.json", "me/small/README.md", "me/small/1_Pooling/config.json"}
    assert hub.private == {"me/small": True}


def test_a_name_without_an_owner_is_the_user_s(hub: FakeHub, model: Path) -> None:
    require_hub("small")
    assert push_model(model, "small") == "https://huggingface.co/me/small"
    assert (hub.folder / "me" / "small" / "config.json").is_file()


@pytest.mark.parametrize("name", ["a/b/c", "a--b", "x y", "", "a" * 100, "me/small.git"])
def test_names_that_no_repository_has(hub: FakeHub, name: str) -> None:
    assert refusal(name).startswith("--push-to-hub must be NAME or OWNER/NAME, but the Hub has no ")


def test_a_token_is_needed(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert refusal("me/small") == (
        "--push-to-hub must be given with a token, but there is none. Set HF_TOKEN, or: hf auth login."
    )


def test_a_hub_that_is_away_is_told_before_the_work(hub: FakeHub) -> None:
    hub.failing["whoami"] = ConnectionError(f"no route to huggingface.co with {TOKEN}")
    assert refusal("me/small") == (
        "--push-to-hub must find a Hub that knows your token, but no route to huggingface.co with …. Check the network "
        "and HF_TOKEN, or leave --push-to-hub out."
    )


def test_a_hub_that_refuses_costs_no_files(hub: FakeHub, model: Path) -> None:
    hub.failing["upload_folder"] = PermissionError(f"403 Forbidden for {TOKEN}.")
    with pytest.raises(HubError) as raised:
        push_model(model, "me/small")
    assert str(raised.value) == (
        f"the model must be pushed to me/small, but 403 Forbidden for …. All files are kept in {model}; push them "
        f"with: hf upload me/small {model}"
    )
    assert (model / "config.json").is_file()
