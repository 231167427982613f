"""What is run: a graph or a model, on made-up texts."""

from dataclasses import replace

from exporters.timing.runners import Inputs, Runner, make_inputs


def _runner(calls: list[Inputs]) -> Runner:
    names = ("input_ids", "attention_mask")
    return Runner(run=calls.append, input_names=names, takes_choices=False, vocab_size=50, max_positions=20)


def test_inputs_of_choices() -> None:
    calls: list[Inputs] = []
    runner = replace(_runner(calls), takes_choices=True)
    assert make_inputs(runner, [3, 5], num_choices=4)["input_ids"].shape == (2, 4, 5)
