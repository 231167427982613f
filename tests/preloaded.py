"""Imported by the server of processes that are killed, once: what each of its forks would take seconds for again."""

import torch

from quick import do_not_wait_for_the_disk, remember_operators

do_not_wait_for_the_disk()
remember_operators()
torch.set_num_threads(1)
torch.onnx.export(torch.nn.Linear(3, 3).eval(), (torch.zeros(2, 3),), dynamo=True, verbose=False)
