"""`activate`: it leaves no trace and copies nothing for prefix sets."""

import pytest
import torch

from compressor.errors import SubNetworkError
from compressor.network.execution import activate, select
from compressor.network.sub_network import SubNetwork
from conftest import LAYERS, tiny_batch, tiny_model

SMALL = SubNetwork(heads=((0, 1), (0,), ()), units=((0, 1, 2), (), (0,)))
OTHER = SubNetwork(heads=((3,),) * LAYERS, units=((4, 9),) * LAYERS)


def state_of(model: torch.nn.Module) -> list[tuple[str, list[str]]]:
    return [(name, sorted(vars(module))) for name, module in model.named_modules()]


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_no_trace_is_left(model_type: str) -> None:
    model = tiny_model(model_type)
    batch, state, names = tiny_batch(model), state_of(model), list(model.state_dict())
    before = model(**batch).logits
    with activate(model, SMALL):
        assert list(model.state_dict()) == names
        assert not torch.equal(model(**batch).logits, before)
    assert state_of(model) == state
    assert torch.equal(model(**batch).logits, before)


def test_no_trace_after_an_exception() -> None:
    model = tiny_model()
    state = state_of(model)
    with pytest.raises(ZeroDivisionError), activate(model, SMALL):
        raise ZeroDivisionError
    assert state_of(model) == state


def test_an_unfit_sub_network_changes_nothing() -> None:
    model = tiny_model()
    state = state_of(model)
    with pytest.raises(SubNetworkError), activate(model, SubNetwork(heads=((9,),) * LAYERS, units=((),) * LAYERS)):
        pass
    assert state_of(model) == state


def test_one_at_a_time() -> None:
    model = tiny_model()
    batch = tiny_batch(model)
    with activate(model, SMALL):
        small = model(**batch).logits
        with pytest.raises(SubNetworkError, match="must be active at a time"), activate(model, OTHER):
            pass
        assert torch.equal(model(**batch).logits, small)
        with activate(tiny_model("roberta"), OTHER):  # another model may be
            pass


def test_several_backward_passes_in_one_block() -> None:
    model = tiny_model()
    batch = tiny_batch(model)
    with activate(model, OTHER):
        model(**batch).logits.sum().backward()
        once = model.classifier.weight.grad.clone()
        model(**batch).logits.sum().backward()
    torch.testing.assert_close(model.classifier.weight.grad, 2 * once)


def test_a_step_of_the_optimizer_inside_the_block_is_seen() -> None:
    model = tiny_model()
    batch = tiny_batch(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with activate(model, OTHER):
        before = model(**batch).logits
        before.sum().backward()
        optimizer.step()
        assert not torch.equal(model(**batch).logits, before)


def test_prefixes_are_views_and_other_sets_are_gathered() -> None:
    weight = torch.arange(12.0).reshape(4, 3)
    assert select(weight, (1, 2), 0).data_ptr() == weight[1].data_ptr()
    assert select(weight, (0, 2), 1).tolist() == [[0, 2], [3, 5], [6, 8], [9, 11]]


def test_works_under_inference_mode_and_autocast() -> None:
    model = tiny_model()
    with torch.inference_mode(), activate(model, OTHER), torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(model(**tiny_batch(model)).logits).all()


def test_no_work_for_what_is_dropped() -> None:
    """The profiler counts as many operations for the shared form as for the sliced one."""
    from torch.utils.flop_counter import FlopCounterMode

    from compressor.network.slicing import slice_model

    model = tiny_model(attn_implementation="eager")
    batch, counts = tiny_batch(model), []
    for run in (model, slice_model(model, OTHER)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            if run is model:
                with activate(model, OTHER):
                    model(**batch)
            else:
                run(**batch)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]
