"""The benchmarks of all rooms: what each is called, how it is run, and how long it takes."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A measurement that leaves `NAME.json`, as `serve.bench.results` writes it, in the folder of its --out.

    minutes: about how long it takes on two quiet cores. module, arguments: of `python -m`, without --out.
    """

    name: str
    minutes: float
    module: str
    arguments: str = ""

    @property
    def room(self) -> str:
        return self.module.partition(".")[0]

    def words(self, out: Path) -> list[str]:
        """What follows `python` on the command line."""
        return ["-m", self.module, *shlex.split(self.arguments), "--out", str(out)]

    def line(self, out: Path) -> str:
        """The command, as it is typed."""
        return shlex.join(["python", *self.words(out)])


BENCHMARKS = (
    Benchmark("throughput", 15, "serve.bench.throughput"),
    Benchmark("deadline", 2, "serve.bench.deadline"),
    Benchmark("entropy", 3, "serve.bench.entropy"),
    Benchmark("soak", 3, "serve.bench.soak"),
    Benchmark("curve_cost", 10, "evals.bench.curve_cost"),
    Benchmark("forked_vs_direct", 2, "evals.bench.forked_vs_direct"),
    Benchmark("effort_levels", 4, "evals.bench.effort_levels"),
    Benchmark("no_think", 1, "evals.bench.no_think"),
    Benchmark("report_scale", 3, "evals.bench.report_scale"),
    Benchmark("coverage", 15, "evals.bench.coverage", "--runs 500"),
    Benchmark("step_time", 5, "trainer.bench.step_time"),
    Benchmark("step_time_level5", 8, "trainer.bench.step_time", "--levels 5"),
    Benchmark("rollouts", 3, "trainer.bench.rollouts"),
)


def select(only: Sequence[str], benchmarks: Sequence[Benchmark] = BENCHMARKS) -> list[Benchmark]:
    """Those of the named rooms and benchmarks, in their order; all without a name.

    Raises ValueError for a name that is neither.
    """
    known = {name for benchmark in benchmarks for name in (benchmark.room, benchmark.name)}
    if unknown := [name for name in only if name not in known]:
        raise ValueError(
            f"only: {unknown[0]!r} is wrong because it is no room and no benchmark; give some of "
            + ", ".join(sorted(known))
        )
    return [b for b in benchmarks if not only or {b.room, b.name} & set(only)]
