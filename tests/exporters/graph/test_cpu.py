"""What the processor calls itself, wherever it runs."""

from exporters.graph.cpu import cpu_flags, cpu_name


def test_this_machine_has_a_name_and_flags() -> None:
    assert cpu_name()
    assert cpu_name() == cpu_name().strip()
    assert all(flag == flag.strip() for flag in cpu_flags())
