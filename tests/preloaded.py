"""Imported by the server of processes that are killed, once: what each of its forks would take seconds for again."""

import os
from pathlib import Path

import torch

from quick import do_not_wait_for_the_disk, remember, remember_operators

do_not_wait_for_the_disk()
remember_operators()
torch.set_num_threads(1)
torch.onnx.export(torch.nn.Linear(3, 3).eval(), (torch.zeros(2, 3),), dynamo=True, verbose=False)
if "COMPRESSOR_TEST_GRAPHS" in os.environ:
    torch.onnx.export = remember(torch.onnx.export, Path(os.environ["COMPRESSOR_TEST_GRAPHS"]), refill=True)
