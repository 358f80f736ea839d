"""Rollouts in the trainer's process against the raw engine: replies' tokens per second, measured in turns.

    python -m trainer.bench.rollouts --out runs/bench

The raw engine is vLLM's `LLM.generate` in the same process, with the same prompts, seeds, log-probabilities
and natural lengths. The round's order alternates, each round begins with an empty prefix cache, and the ratio
is taken within a round. transformers' `generate` is timed on the same prompts for comparison.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, process_time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.problems import load
from serve import DEFAULT_MODEL
from serve.bench.results import Ratio, write_result
from trainer.rollouts.engine import EngineBackend, preserved_torch_state
from trainer.rollouts.types import RolloutRequest, Sampling

ANSWER_TOKENS = 16


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--samples", type=int, default=8, help="replies for each prompt")
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, required=True, help="folder of rollouts.json")
    args = parser.parse_args(argv)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    requests = [
        RolloutRequest(tuple(prompt), args.max_tokens, seed, answer_tokens=ANSWER_TOKENS)
        for number, prompt in enumerate(prompts(tokenizer, args.prompts))
        for seed in range(number * args.samples, (number + 1) * args.samples)
    ]
    ours = EngineBackend(args.model)
    ways: dict[str, Callable[[], int]] = {
        "ours": lambda: _ours(ours, requests),
        "raw": _raw(args.model, requests),
    }
    rounds = [_round(ways, reverse=bool(number % 2)) for number in range(args.rounds + 1)][1:]
    transformers = _measure(_transformers(args.model, tokenizer, requests))
    result = {
        "replies": len(requests),
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "ratio": _spread([row["ours"]["wall"] / row["raw"]["wall"] for row in rounds]),
        "ratio_cpu": _spread([row["ours"]["cpu"] / row["raw"]["cpu"] for row in rounds]),
        "tokens_per_second": _spread([row["ours"]["wall"] for row in rounds]),
        "tokens_per_cpu_second": _spread([row["ours"]["cpu"] for row in rounds]),
        "transformers": transformers,
    }
    ratio, cpu, spread = result["ratio"], result["ratio_cpu"], f"range of {args.rounds} rounds"
    write_result(
        args.out,
        "rollouts",
        result,
        ratios=[
            Ratio(what, "rollouts", "vLLM's LLM.generate", r["median"], r["low"], r["high"], spread, "higher")
            for what, r in (("tokens a second", ratio), ("tokens a second of CPU time", cpu))
        ],
    )
    print(json.dumps({name: value for name, value in result.items() if name != "rounds"}, indent=1))
    return 0


def prompts(tokenizer: Any, count: int) -> list[list[int]]:
    """Token ids of thinkmath problems as chat prompts that ask for thinking."""
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": problem.problem}], add_generation_prompt=True, return_dict=False
        )
        for problem in load("thinkmath", limit=count)
    ]


def _round(ways: dict[str, Callable[[], int]], *, reverse: bool) -> dict[str, dict[str, float]]:
    return {name: _measure(ways[name]) for name in sorted(ways, reverse=reverse)}


def _measure(work: Callable[[], int]) -> dict[str, float]:
    """Tokens per second of wall clock and of this process's CPU time."""
    wall, cpu = monotonic(), process_time()
    tokens = work()
    return {
        "tokens": tokens,
        "wall": tokens / (monotonic() - wall),
        "cpu": tokens / (process_time() - cpu),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def _ours(backend: EngineBackend, requests: Sequence[RolloutRequest]) -> int:
    backend.reset_cache()
    replies = backend.generate(requests, Sampling(1.0))
    return sum(len(reply.token_ids) for reply in replies)


def _raw(model: Path, requests: Sequence[RolloutRequest]) -> Callable[[], int]:
    """vLLM as its users call it, set up as ours is."""
    with preserved_torch_state():
        from vllm import LLM, SamplingParams

        from trainer.rollouts.engine import engine_arguments

        llm = LLM(**engine_arguments(model, dtype="float32", kv_cache_gib=1.0, seed=0, max_num_seqs=256))
    asked = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
    params = [
        SamplingParams(
            temperature=1.0, seed=request.seed, max_tokens=request.max_tokens, logprobs=0, detokenize=False
        )
        for request in requests
    ]

    def generate() -> int:
        llm.reset_prefix_cache()
        outputs = llm.generate(asked, params, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    return generate


def _transformers(model: Path, tokenizer: Any, requests: Sequence[RolloutRequest]) -> Callable[[], int]:
    """transformers' `generate` on all prompts as one batch."""
    network = AutoModelForCausalLM.from_pretrained(model)
    tokenizer.padding_side = "left"
    batch = tokenizer.pad({"input_ids": [list(r.prompt_ids) for r in requests]}, return_tensors="pt")
    sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

    def generate() -> int:
        with torch.no_grad():
            found = network.generate(**batch, **sampling, max_new_tokens=requests[0].max_tokens)
        replies = found[:, batch["input_ids"].shape[1] :]
        ends = (replies == tokenizer.eos_token_id).int()
        return int((ends.cumsum(-1) - ends == 0).sum())

    return generate


if __name__ == "__main__":
    raise SystemExit(main())
