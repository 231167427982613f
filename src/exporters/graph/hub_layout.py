"""What other tools look for beside a graph: a stock `config.json`, and the graphs in `onnx/` under the Hub's names.

transformers.js and optimum load an export directory by them. Nothing of ours reads either.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.data.heads import form_of
from compressor.network.families import get_family
from compressor.network.modeling_sliced import SLICED_PREFIX

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HUB_FOLDER = "onnx"
HUB_NAMES = {"fp32": "model.onnx", "int8": "model_quantized.onnx", "fp16": "model_fp16.onnx"}
"""The file name of each form, as transformers.js asks for it: `dtype` fp32, q8 and fp16."""


def write_stock_config(directory: Path, model: "PreTrainedModel", labels: Sequence[str]) -> Path:
    """Write the configuration of the model's family, with its labels and sizes; of sliced layers the widest's units.

    It describes the graph's inputs and outputs. No weights lie beside it, so no class can build a wrong model from it.
    """
    from transformers import AutoConfig

    values = model.config.to_dict()
    model_type = values.pop("model_type").removeprefix(SLICED_PREFIX)
    units = get_family(model_type).groups[-1]
    if kept := values.pop("kept_units", None):
        values[units.size_field] = max(1, *kept)
    # Of our own classes alone; readers of the stock configuration do not know them.
    for name in ("kept_heads", "heads_numbers", "auto_map"):
        values.pop(name, None)
    # The stock class, since transformers.js knows no others.
    config = AutoConfig.for_model(model_type, **values)
    config.architectures = [type(model).__name__.removeprefix("Sliced")]
    # Not where outputs are no labels, such as the coordinates of a vector.
    if labels and form_of(model).names_outputs:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    config.save_pretrained(directory)
    return directory / "config.json"


def link_graphs(directory: Path, files: Mapping[str, str]) -> None:
    """Give the ONNX graphs of a directory, by form, their names on the Hub too; links, which take no room.

    Where the disk knows no links they are copies.
    """
    (directory / HUB_FOLDER).mkdir()
    for form in HUB_NAMES.keys() & files.keys():
        file = files[form]
        for source, target in ((file, HUB_NAMES[form]), (f"{file}.data", f"{file}.data")):
            if (directory / source).is_file():
                _link(directory / source, directory / HUB_FOLDER / target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without links
        shutil.copyfile(source, target)
