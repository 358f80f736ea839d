"""The benchmarks of all rooms: what each is called, how it is run, and how long it takes."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A measurement that leaves `NAME.json`, as `serve.bench.results` writes it, in the folder of its --out.

    minutes: about how long it takes on two quiet cores; estimated for those whose module does not say it.
    module, arguments: of `python -m`, without --out. quick: the arguments for a look; None is the same.
    """

    name: str
    minutes: float
    module: str
    arguments: str = ""
    quick: str | None = None

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
    Benchmark("throughput", 15, "serve.bench.throughput", quick="--quick"),
    Benchmark("deadline", 2, "serve.bench.deadline"),
    Benchmark("entropy", 3, "serve.bench.entropy", quick="--rounds 3 --concurrency 16"),
    Benchmark("concurrency", 1, "serve.bench.concurrency", quick="--clients 100"),
    Benchmark("soak", 3, "serve.bench.soak", quick="--requests 500"),
    Benchmark("curve_cost", 10, "evals.bench.curve_cost", quick="--quick"),
    Benchmark("forked_vs_direct", 2, "evals.bench.forked_vs_direct", quick="--limit 50"),
    Benchmark("effort_levels", 4, "evals.bench.effort_levels", quick="--profiled 200 --held-out 200"),
    Benchmark("no_think", 1, "evals.bench.no_think", quick="--limit 50"),
    Benchmark("report_scale", 3, "evals.bench.report_scale", quick="--samples 10000"),
    Benchmark("simulate", 10, "evals.bench.simulate", quick="--requests 100 --rounds 1"),
    Benchmark("coverage", 15, "evals.bench.coverage", "--runs 500", quick="--runs 50"),
    Benchmark("step_time", 5, "trainer.bench.step_time", quick="--rounds 2"),
    Benchmark("step_time_level5", 8, "trainer.bench.step_time", "--levels 5", quick="--levels 5 --rounds 2"),
    Benchmark("rollouts", 3, "trainer.bench.rollouts", quick="--rounds 3"),
)


def for_a_look(benchmark: Benchmark) -> Benchmark:
    """The same on less, whose intervals say little."""
    return benchmark if benchmark.quick is None else replace(benchmark, arguments=benchmark.quick)


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
