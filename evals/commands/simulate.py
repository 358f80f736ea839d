"""`thinkdial eval simulate`: plan budgets, KV memory and replicas for a GPU and a model."""

import argparse
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.commands.command import FAILED, WRONG_USAGE, fail

if TYPE_CHECKING:
    from evals.budgets import Budget
    from evals.simulate.plan import Load, Machine
    from evals.simulate.workload import Lognormal

OF_DATA_SHEETS = {"gpus": 1, "bandwidth_share": 0.7, "flops_share": 0.5, "overhead_ms": 2.0}
OF_MEMORY = {"memory_share": 0.92, "reserve_gib": 3.0}
OF_DRAWS = {"prompt_tokens": "200", "thinking_tokens": None, "answer_tokens": "300"}
"""Options that stand for something only beside some others, with their defaults."""
MAY_BE_NOTHING = ("overhead_ms", "reserve_gib", "stop_tokens", "seed")
SHARES = ("memory_share", "bandwidth_share", "flops_share")
BLOCK_SIZE = 16
"""Tokens of a block of vLLM's KV cache, unless a server says otherwise."""
_EXAMPLE = """examples:
  thinkdial eval simulate --model ./Qwen3-8B --gpu H100-80 --rate 20 --target 30 --budgets 0,512,2048,max \\
    --prompt-tokens 300,0.6 --thinking-tokens 2500,0.8 --answer-tokens 400,0.5
  thinkdial eval simulate --model ./my-model --steps steps.json --rate 30 --budgets 0,16,max --run runs/curve
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "simulate",
        help="plan budgets, KV memory and replicas for a GPU and a model",
        description="Simulate a server's continuous batching under a Poisson load, for each budget, from the "
        "data sheet of a GPU (roofline) or from measured step times (thinkdial eval steps): replicas, "
        "throughput, latency, KV cache. It starts nothing.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what serves")
    what.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="checkpoint, or its config.json"
    )
    times = what.add_mutually_exclusive_group(required=True)
    times.add_argument("--gpu", metavar="NAME", help="by its data sheet, e.g. A100-80, H100-80, L4")
    times.add_argument("--steps", type=Path, metavar="FILE", help="measured step times")
    what.add_argument("--gpus", type=int, metavar="N", help="of a replica, tensor parallel (1)")
    what.add_argument("--dtype", metavar="T", help="of the weights (the config's)")
    what.add_argument("--kv-dtype", metavar="T", help="of the KV cache (as the weights)")
    what.add_argument("--kv-gib", type=float, metavar="GIB", help="KV cache of a replica (what is left)")
    what.add_argument("--memory-share", type=float, metavar="S", help="--gpu-memory-utilization (0.92)")
    what.add_argument("--reserve-gib", type=float, metavar="GIB", help="a GPU's activations and graphs (3)")
    what.add_argument("--bandwidth-share", type=float, metavar="S", help="that is reached (0.7)")
    what.add_argument("--flops-share", type=float, metavar="S", help="that is reached (0.5)")
    what.add_argument("--overhead-ms", type=float, metavar="MS", help="of a step, --gpu (2)")
    what.add_argument("--max-num-seqs", type=int, metavar="N", help="as of the server (its default)")
    what.add_argument(
        "--max-num-batched-tokens", type=int, metavar="N", help="as of the server (its default)"
    )
    what.add_argument("--block-size", type=int, metavar="N", help="tokens of a cache block (16)")
    asked = parser.add_argument_group("what is asked")
    asked.add_argument("--rate", type=float, required=True, metavar="R", help="requests a second, in all")
    asked.add_argument("--budgets", required=True, metavar="B,C", help="thinking tokens, e.g. 0,512,max")
    asked.add_argument("--run", type=Path, metavar="DIR", dest="directory", help="lengths of a run's traces")
    for name, usual in (("prompt", " (200)"), ("thinking", ""), ("answer", " (300)")):
        asked.add_argument(
            f"--{name}-tokens", metavar="MEDIAN[,SIGMA]", help=f"lognormal, without --run{usual}"
        )
    asked.add_argument("--stop-tokens", type=int, metavar="N", help="of the early-stop text (27)")
    asked.add_argument("--profile", type=Path, metavar="FILE", help="thinking profile: expected accuracy")
    asked.add_argument("--target", type=float, metavar="S", help="most seconds of the 95th percentile")
    asked.add_argument("--replicas", type=int, metavar="N", help="so many, not the fewest")
    asked.add_argument("--requests", type=int, default=2000, metavar="N", help="to simulate (2000)")
    asked.add_argument("--seed", type=int, default=0, help="of arrivals and lengths (0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the plan as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Simulate and print."""
    from evals.budgets import parse_budgets
    from evals.simulate.plan import plan
    from evals.simulate.report import document, table
    from serve.profile import read_profile

    try:
        budgets = [_tokens(budget) for budget in parse_budgets(options.budgets)]
        load, machine, about = _setup(options)
        curve = None if options.profile is None else read_profile(options.profile).overall
        rows = plan(budgets, load, machine, curve, options.replicas)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}", FAILED)
    if options.out is not None:
        options.out.write_text(json.dumps(document(rows, about), indent=1) + "\n", "utf-8")
    print(table(rows, options.target))
    return 0


def _tokens(budget: "Budget") -> int | None:
    """A budget in tokens; None is no limit."""
    if budget == "max":
        return None
    if not isinstance(budget, int):
        raise ValueError(
            f"budgets: {budget!r} is wrong because it is not a number of tokens; give e.g. 0,512,max"
        )
    return budget


def _setup(options: argparse.Namespace) -> "tuple[Load, Machine, dict[str, Any]]":
    """Load, replica, and what is told of them. Raises ValueError for options that do not fit."""
    from evals.simulate.hardware import find_gpu, vllm_defaults
    from evals.simulate.plan import GIB, Load, Machine, cache_bytes
    from evals.simulate.requests import Format, Limits
    from evals.simulate.shape import read_shape
    from evals.simulate.steps import LinearSteps, MeasuredSteps, Roofline
    from evals.simulate.workload import lognormal_lengths, run_format, run_lengths

    _check(options)
    shape = read_shape(options.model, options.dtype, options.kv_dtype)
    gpu = None if options.gpu is None else find_gpu(options.gpu)
    kv_bytes = None if options.kv_gib is None else options.kv_gib * GIB
    block_size, blocks = options.block_size or BLOCK_SIZE, None
    steps: Roofline | LinearSteps
    if gpu is not None:
        shares = (options.bandwidth_share, options.flops_share)
        steps = Roofline(shape, gpu, options.gpus, *shares, options.overhead_ms / 1000)
        if kv_bytes is None:
            reserve = options.reserve_gib * GIB
            kv_bytes = cache_bytes(shape, gpu, options.gpus, options.memory_share, reserve)
    else:
        measured = MeasuredSteps.read(options.steps)
        steps = measured.fit()
        block_size = options.block_size or measured.limits.get("block_size", BLOCK_SIZE)
        blocks = measured.limits.get("kv_blocks")
    block_bytes = shape.kv_bytes_per_token * block_size
    if kv_bytes is not None:
        blocks = int(kv_bytes // block_bytes)
    if blocks is None:
        raise ValueError(f"kv_gib: none given, and {options.steps} does not tell the KV cache; give --kv-gib")
    seqs, batched = vllm_defaults(gpu)
    limits = Limits(
        max_num_seqs=options.max_num_seqs or seqs,
        max_batched_tokens=options.max_num_batched_tokens or batched,
        kv_blocks=blocks,
        block_size=block_size,
    )
    form = Format()
    if options.directory is not None:
        lengths, form = run_lengths(options.directory), run_format(options.directory)
    elif options.thinking_tokens is None:
        raise ValueError(
            "thinking_tokens: none given; give MEDIAN,SIGMA of the natural thinking, or --run DIR"
        )
    else:
        names = ("prompt_tokens", "thinking_tokens", "answer_tokens")
        prompt, thinking, answer = (_lognormal(name, getattr(options, name)) for name in names)
        lengths = lognormal_lengths(prompt, thinking, answer, options.requests, options.seed)
    if options.stop_tokens is not None:
        form = replace(form, stop_tokens=options.stop_tokens)
    load = Load(lengths, options.rate, options.requests, options.target, options.seed)
    about = {
        "arguments": options.arguments,
        "shape": asdict(shape) | {"kv_bytes_per_token": shape.kv_bytes_per_token},
        "gpu": None if gpu is None else asdict(gpu),
        "steps": asdict(steps),
        "limits": asdict(limits),
        "format": asdict(form),
        "rate": options.rate,
        "target": options.target,
    }
    return load, Machine(limits, steps, form, block_bytes), about


def _check(options: argparse.Namespace) -> None:
    """Fill in defaults. Raises ValueError for a number out of range, or an option that would do nothing."""
    for name, value in vars(options).items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        least = 0.0 if name in MAY_BE_NOTHING else math.ulp(0.0)
        most = 1.0 if name in SHARES else math.inf
        if not least <= value <= most:
            end = "" if most == math.inf else " and not above 1"
            raise ValueError(f"{name}: {value} is wrong because it must be above 0{end}; give such a number")
    unused = (
        (OF_DATA_SHEETS, options.gpu is None, "--steps says how long steps take"),
        (OF_MEMORY, options.gpu is None or options.kv_gib is not None, "the KV cache is known without it"),
        (OF_DRAWS, options.directory is not None, "--run gives the lengths"),
    )
    for defaults, is_unused, why in unused:
        for name, default in defaults.items():
            if getattr(options, name) is None:
                setattr(options, name, default)
            elif is_unused:
                raise ValueError(f"{name}: {getattr(options, name)} is wrong because {why}; leave one out")


def _lognormal(field: str, text: str) -> "Lognormal":
    from evals.simulate.workload import Lognormal

    try:
        return Lognormal(*(float(item) for item in text.split(",")))
    except (TypeError, ValueError):
        raise ValueError(
            f"{field}: {text!r} is wrong because it is no median from 1 on with a sigma; give e.g. 2000,0.8"
        ) from None
