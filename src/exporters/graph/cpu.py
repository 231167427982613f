"""What this machine's processor is and which instructions it has, as far as the system tells."""

import platform
from pathlib import Path

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")
"""Instruction sets that decide how fast small numbers are."""


def cpu_name() -> str:
    """Return the processor's name."""
    return _cpu_fields().get("model name", platform.processor())


def cpu_flags() -> list[str]:
    """Return all instruction sets of the processor; none where the system does not tell."""
    return _cpu_fields().get("flags", "").split()


def relevant_cpu_flags() -> tuple[str, ...]:
    """Return the instruction sets that decide how fast small numbers are."""
    known = cpu_flags()
    return tuple(flag for flag in _FLAGS if flag in known)


def _cpu_fields() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return {}
    lines = dict(line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in lines.items()}
