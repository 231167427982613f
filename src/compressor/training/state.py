"""Where a training run stands after an epoch, on disk: whoever resumes from there gets the very same weights.

Weights, the optimizer's moments, the schedule, and every random state: PyTorch's (dropout), the data order's and the
sub-networks'. Safetensors and JSON, written beside their place and renamed into it.
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from compressor.digests import Inputs
from compressor.errors import CompressorError
from compressor.files import INCOMPLETE, new_directory, read_json, write_json
from compressor.network.families import (
    get_family,
    get_layer_order,
    get_member_order,
    set_layer_order,
    set_member_order,
)
from compressor.records import Count, Errors, parse_record
from compressor.training.ranks import Ranks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TENSORS, _VALUES = "state.safetensors", "state.json"
_RANDOM = "random/"
_CPU, _GPU = f"{_RANDOM}cpu", f"{_RANDOM}cuda"
"""The tensors of PyTorch's random states: the CPU's, and that of the GPU that trains."""


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What one epoch ended with."""

    epoch: Count
    """From 1."""
    step: Count
    """Optimizer steps so far."""
    loss: float
    """Mean over the epoch of the summed losses of a step."""
    error: Errors
    """Validation error of the model as a whole."""
    smallest_error: Errors | None
    """Validation error of the search space's smallest sub-network; None where a model is trained alone."""
    own_loss: float | None = None
    """Mean loss of the model as a whole, over the steps that update it; None where none does."""
    sub_network_loss: float | None = None
    """Mean loss of a sub-network, over all updates of one; None where there are none."""


@dataclass(frozen=True, kw_only=True)
class StateValues:
    """What the next epoch depends on besides tensors."""

    learning_rates: tuple[float, ...]
    """Learning rates of the optimizer's groups of parameters."""
    schedule: dict[str, Any]
    generators: dict[str, dict[str, Any]]
    """The states of the random generators, by name."""
    layer_order: tuple[int, ...] = ()
    """The layers' order of importance; empty where none was noted."""
    member_orders: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    """The order of heads (units) in each layer, where they could not change places."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """Of the loss, where training computes in float16."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All that the next epoch depends on."""

    reports: tuple[EpochReport, ...]
    """The reports of the epochs so far."""
    tensors: dict[str, Tensor]
    """By kind and name: `model/…`, `optimizer/<parameter>/…`, `random/…`."""
    values: StateValues

    @classmethod
    def capture(
        cls,
        reports: list[EpochReport],
        model: "PreTrainedModel",
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        generators: dict[str, np.random.Generator],
        scaler: torch.amp.GradScaler,
    ) -> "TrainingState":
        """Return the state as it is now; it shares memory with the model, so it is to be saved before the next step."""
        # A flat dictionary, as safetensors takes; the part before the slash says what a tensor is of.
        tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": tensor for name, tensor in moments.items()}
        tensors[_CPU] = torch.get_rng_state()
        if model.device.type == "cuda":  # of this GPU alone: a training may resume where there are fewer
            tensors[_GPU] = torch.cuda.get_rng_state(model.device)
        groups = get_family(model.config.model_type).groups
        values = StateValues(
            learning_rates=tuple(group["lr"] for group in optimizer.param_groups),
            # Functions, which are no JSON; `create_optimizer` makes the same ones again.
            schedule={key: value for key, value in schedule.state_dict().items() if key != "lr_lambdas"},
            generators={name: dict(rng.bit_generator.state) for name, rng in generators.items()},
            layer_order=tuple(get_layer_order(model)),
            member_orders={group.name: get_member_order(model, group) for group in groups if group.member_inputs},
            scaler=scaler.state_dict(),
        )
        return cls(reports=tuple(reports), tensors=tensors, values=values)

    def restore(
        self,
        model: "PreTrainedModel",
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        generators: dict[str, np.random.Generator],
        scaler: torch.amp.GradScaler,
    ) -> None:
        """Put all of them back, in place, on the devices they are on."""
        # In place: the optimizer holds these parameters.
        model.load_state_dict(self._kind("model"))
        if self.values.layer_order:
            set_layer_order(model, self.values.layer_order)
        for group in get_family(model.config.model_type).groups:
            set_member_order(model, group, self.values.member_orders.get(group.name, ()))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self._kind("optimizer").items():
            index, _, moment = name.partition("/")
            moments.setdefault(int(index), {})[moment] = tensor
        groups = optimizer.state_dict()["param_groups"]
        for group, learning_rate in zip(groups, self.values.learning_rates, strict=True):
            group["lr"] = learning_rate
        # With the present groups, since their other settings are part of what the training depends on.
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        schedule.load_state_dict({**self.values.schedule, "lr_lambdas": [None] * len(groups)})
        for name, rng in generators.items():
            rng.bit_generator.state = self.values.generators[name]
        if self.values.scaler:
            scaler.load_state_dict(self.values.scaler)
        torch.set_rng_state(self.tensors[_CPU])
        if model.device.type == "cuda" and _GPU in self.tensors:
            torch.cuda.set_rng_state(self.tensors[_GPU], model.device)

    def shared_by(self, ranks: Ranks) -> "TrainingState":
        """Return the first process's state; PyTorch's random states stay each process's own."""
        noted = asdict(_Noted(run={}, reports=self.reports, values=self.values))
        first = parse_record(_Noted, ranks.agree(lambda: noted))
        own = {name: tensor for name, tensor in self.tensors.items() if name.startswith(_RANDOM)}
        shared = ranks.share({name: tensor for name, tensor in self.tensors.items() if name not in own})
        return TrainingState(reports=first.reports, tensors=shared | own, values=first.values)

    def _kind(self, kind: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(f"{kind}/"): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{kind}/")
        }


@dataclass(frozen=True, kw_only=True)
class _Noted:
    """The file of a state's values."""

    run: dict[str, Any]
    reports: tuple[EpochReport, ...]
    values: StateValues


@dataclass(frozen=True, kw_only=True)
class TrainingStates:
    """A directory that holds the newest state of one training run."""

    directory: Path
    inputs: Inputs
    """What the training depends on: the state of another training is not taken."""

    @property
    def reports(self) -> list[EpochReport]:
        """Of the epochs that need not be trained again."""
        state = self.load()
        return [] if state is None else list(state.reports)

    def load(self) -> TrainingState | None:
        """Return the newest state, on the CPU; None where there is none of this training.

        One that cannot be read, because its files were damaged, is removed with a note: the training begins anew.
        """
        newest = self._newest()
        if newest is None:
            return None
        try:
            noted = parse_record(_Noted, read_json(newest / _VALUES))
            # Of other rows or settings: whole, but not of this training.
            if not self.inputs.same_as(Inputs(values=noted.run)):
                return None
            tensors = load_file(newest / _TENSORS)
        except (CompressorError, OSError, SafetensorError, ValueError):
            print(f"Note: the state of an interrupted training in {newest} is damaged: the training begins anew.")
            shutil.rmtree(newest)
            return None
        return TrainingState(reports=noted.reports, tensors=tensors, values=noted.values)

    def save(self, state: TrainingState) -> None:
        """Write a state in place of the older one."""
        name = f"epoch-{len(state.reports)}"
        with new_directory(self.directory / name) as temporary:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
            save_file(tensors, temporary / _TENSORS)
            noted = _Noted(run=self.inputs.identity, reports=state.reports, values=state.values)
            write_json(temporary / _VALUES, asdict(noted))
        for older in self.directory.iterdir():
            # Only once the new one is whole: a process that is killed in between leaves both, and the newest counts.
            if older.name != name:
                shutil.rmtree(older, ignore_errors=True)

    def clear(self) -> None:
        """Remove the directory: the training is over."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _newest(self) -> Path | None:
        whole = [path for path in self.directory.glob("epoch-*") if (path / _VALUES).is_file()]
        whole = [path for path in whole if not (path / INCOMPLETE).exists()]
        return max(whole, key=lambda path: int(path.name.removeprefix("epoch-")), default=None)
