"""The options of trials on a cluster, checked when they are made. Ray is not imported."""

from dataclasses import dataclass

from compressor.options import Limit, Problem, check_numbers, find_limits, flags_of, option

DEFAULT_MAX_FAILURES = 2


@dataclass(frozen=True, kw_only=True)
class TrialsOnCluster:
    """Where trials run, and what each of them takes there."""

    ray: str | None = option(
        None,
        "Ray cluster that computes: HOST:PORT, ray://HOST:PORT, auto for the one that runs on this machine, or "
        "local to start one here. Default: none, all in processes of this machine.",
    )
    cpus_per_trial: int | None = option(
        None,
        "With --ray: CPU cores of a trial. Default: 1.",
        limit=Limit(least=1, most=1024, reason="CPU cores that a machine of the cluster has"),
    )
    gpus_per_trial: float | None = option(
        None,
        "With --ray: GPUs of a trial; 0.5 lets two share one. Default: 1 where the cluster has GPUs and --device is "
        "not cpu, else 0.",
        limit=Limit(least=0, most=1, reason="a trial is one process, which computes on one GPU"),
    )
    max_failures: int | None = option(
        None,
        f"With --ray: how often a trial is started again whose machine is lost. Default: {DEFAULT_MAX_FAILURES}.",
        limit=Limit(least=0, most=1000, reason="each time a trial trains from the beginning"),
    )

    def __post_init__(self) -> None:
        given = [flags_of(name)[0] for name in find_limits(TrialsOnCluster) if getattr(self, name) is not None]
        wrong = [
            Problem(option=option, law="given with --ray", value="it alone", remedy="Add --ray, or drop it.")
            for option in (given[:1] if self.ray is None else [])
        ]
        check_numbers(self, wrong)
