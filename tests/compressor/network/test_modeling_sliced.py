"""The file that goes along with a saved model: which transformers it needs."""

import configparser
import importlib.util
from pathlib import Path

import pytest
import transformers
from transformers import PreTrainedTokenizerFast

from compressor.network.modeling_sliced import MIN_TRANSFORMERS, require_transformers
from compressor.network.saving import save_sliced_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from conftest import DIMENSIONS, tiny_model

ODD = SubNetwork(heads=((0, 3), (), ()), units=((), (1, 2, 20), ()))


@pytest.mark.parametrize("version", ["4.57.6", "5.0.0", "5.13.2"])
def test_the_file_of_a_saved_model_refuses_an_older_transformers(
    version: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.57 loaded it without a word and failed in `forward`; in 5.0 CamemBERT lost weights."""
    save_sliced_model(tmp_path, slice_model(tiny_model(), ODD), tokenizer, ODD, DIMENSIONS, {})
    spec = importlib.util.spec_from_file_location("saved_classes", tmp_path / "modeling_sliced.py")
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setattr(transformers, "__version__", version)
    with pytest.raises(ImportError) as refused:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert str(refused.value) == (
        "transformers must be at least 5.14 for this model, whose layers differ in their sizes, but "
        f"{version} is installed. Upgrade it: pip install --upgrade transformers"
    )


def test_the_least_transformers_is_that_of_the_package() -> None:
    for version in ("5.14.0", "5.14.0.dev0", "5.24.0", "6.0.0rc1"):
        require_transformers(version)
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    assert f"transformers>={MIN_TRANSFORMERS},<6" in setup["options"]["install_requires"].split()
