"""Rollouts by vLLM in this process: its engine core, stepped here, all replies in one batch."""

import gc
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from transformers import PreTrainedModel

from serve.cli import is_cpu_build, prepare_environment
from serve.formats import load_format
from serve.segments import BARRED
from trainer.adapters import merged_weights
from trainer.rollouts.cut import Reply, begin_replies
from trainer.rollouts.probe import FOLLOWING, Probed, probe_ids, verify
from trainer.rollouts.types import Rollout, RolloutRequest, Sampling, SyncReport

GIB = 2**30
STEP_TOKENS = 4096
"""Most tokens of one engine step, prompts' included."""
ENDS = ("stop", "length")
"""vLLM's finish reasons of a reply that is whole, by their numbers."""


class EngineBackend:
    """A `RolloutBackend` on one vLLM engine core in this process.

    checkpoint: folder of the model to begin with. dtype: of the engine's weights. kv_cache_gib: of its cache.
    tolerance: of the probe, in nats. max_rows: replies in one batch.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        dtype: str = "float32",
        kv_cache_gib: float = 1.0,
        tolerance: float = 0.02,
        seed: int = 0,
        max_rows: int = 256,
    ) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        prepare_environment(str(checkpoint), is_cpu_build())
        self._joined = torch.distributed.is_initialized()
        with preserved_torch_state():
            from vllm.engine.arg_utils import EngineArgs
            from vllm.tokenizers import cached_tokenizer_from_config
            from vllm.v1.engine.core import EngineCore
            from vllm.v1.executor.abstract import Executor

            arguments = engine_arguments(
                checkpoint, dtype=dtype, kv_cache_gib=kv_cache_gib, seed=seed, max_num_seqs=max_rows
            )
            config = EngineArgs(**arguments).create_engine_config()
            self._core = EngineCore(config, Executor.get_class(config), log_stats=False)
        tokenizer = cached_tokenizer_from_config(config.model_config)
        self.form = load_format(tokenizer, checkpoint)
        self.context: int = config.model_config.max_model_len
        self._eos_token_id = tokenizer.eos_token_id
        self._generation_config = config.model_config.try_get_generation_config()
        self._numbers = itertools.count()
        self.probe = probe_ids(tokenizer)
        self.tolerance = tolerance
        self.version = 0
        # The first sync is to find the probe in the prefix cache, if it is not reset.
        self._probed()

    def generate(
        self, requests: Sequence[RolloutRequest], sampling: Sampling, tokens_per_call: int | None = None
    ) -> list[Rollout]:
        """See `RolloutBackend`."""
        replies = begin_replies(
            requests, self.form, self.context, version=self.version, tokens_per_call=tokens_per_call
        )
        running = {self._add(reply, sampling): reply for reply in replies}
        with preserved_rng():
            while running:
                self._step(running, sampling)
        return [reply.rollout() for reply in replies]

    def _step(self, running: dict[str, Reply], sampling: Sampling) -> None:
        """One engine step: feed the replies their tokens, and add the segments that follow ended ones."""
        dropped = []
        for output in self._outputs():
            reply = running[output.request_id]
            reason = output.finish_reason
            end = None if reason is None else ENDS[reason]
            logprobs = output.new_logprobs.logprobs[:, 0].tolist() if output.new_token_ids else []
            if reply.feed(output.new_token_ids, logprobs, end):
                continue
            del running[output.request_id]
            if end is None:
                dropped.append(output.request_id)
            if not reply.finished:
                running[self._add(reply, sampling)] = reply
        if dropped:
            self._core.abort_requests(dropped)

    def _outputs(self) -> Iterable[Any]:
        outputs, executed = self._core.step_fn()
        self._core.post_step(model_executed=executed)
        return outputs[0].outputs if outputs and 0 in outputs else ()

    def _add(self, reply: Reply, sampling: Sampling) -> str:
        """Start the reply's next segment; its request id."""
        from vllm.sampling_params import SamplingParams

        segment = reply.segment()
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=segment.seed,
            max_tokens=segment.max_tokens,
            logprobs=0,
            detokenize=False,
            logit_bias={self.form.open_id: BARRED} if segment.barred else None,
        )
        return self._add_request(segment.prompt_ids, params)

    def _add_request(self, prompt_ids: list[int], params: Any) -> str:
        from vllm.v1.engine import EngineCoreRequest

        params.update_from_generation_config(self._generation_config, self._eos_token_id)
        request_id = str(next(self._numbers))
        request = EngineCoreRequest(
            request_id=request_id,
            prompt_token_ids=prompt_ids,
            mm_features=None,
            sampling_params=params,
            pooling_params=None,
            arrival_time=monotonic(),
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        self._core.add_request(*self._core.preprocess_add_request(request))
        return request_id

    def sync(self, model: PreTrainedModel, version: int) -> SyncReport:
        """See `RolloutBackend`."""
        start = monotonic()
        self._core.collective_rpc("take_weights", kwargs={"weights": merged_weights(model)})
        self.reset_cache()
        largest, mean = verify(self._probed(), model, self.probe, self.tolerance, version)
        self.version = version
        return SyncReport(version, monotonic() - start, largest, mean)

    def reset_cache(self) -> None:
        """Forget the prefixes that are cached."""
        self._core.reset_prefix_cache()

    def _probed(self) -> Probed:
        from vllm.sampling_params import SamplingParams

        greedy = {"temperature": 0.0, "max_tokens": 1, "detokenize": False}
        # First what follows it, from the prefix cache: a request for the prompt's would write to that.
        (ended,) = self._run(SamplingParams(**greedy, logprobs=FOLLOWING))
        (told,) = self._run(SamplingParams(**greedy, prompt_logprobs=0))
        return Probed(
            told.new_prompt_logprobs_tensors.logprobs[:, 0].tolist(),
            dict(
                zip(
                    ended.new_logprobs.logprob_token_ids[0].tolist(),
                    ended.new_logprobs.logprobs[0].tolist(),
                    strict=True,
                )
            ),
        )

    def _run(self, params: Any) -> list[Any]:
        """The engine's outputs for the probe."""
        self._add_request(self.probe, params)
        with preserved_rng():
            outputs = list(self._outputs())
        return outputs

    def close(self) -> None:
        """Free the engine's memory."""
        if self._joined:
            # The engine core's own end would destroy the trainer's process group.
            self._core.model_executor.shutdown()
            self._core.scheduler.shutdown()
            gc.unfreeze()
        else:
            self._core.shutdown()


def engine_arguments(
    checkpoint: Path, *, dtype: str, kv_cache_gib: float, seed: int, **more: Any
) -> dict[str, Any]:
    """vLLM's engine arguments for rollouts of a checkpoint. more: further ones."""
    cpu = is_cpu_build()
    found: dict[str, Any] = {
        "model": str(checkpoint),
        "dtype": dtype,
        "seed": seed,
        "enforce_eager": cpu,
        "max_model_len": -1,  # as long as the model's, or the cache allows
        "kv_cache_memory_bytes": int(kv_cache_gib * GIB),
        "logprobs_mode": "processed_logprobs",
        "max_num_batched_tokens": STEP_TOKENS,
        "async_scheduling": False,
        "worker_extension_cls": "serve.weights.WeightUpdates",
    }
    if cpu:
        found |= {"worker_cls": "serve.cpu_worker.SeedSafeCPUWorker", "block_size": 32}
    return found | more


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave torch's global random generator as it was: the trainer's dropout must not depend on rollouts."""
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@contextmanager
def preserved_torch_state() -> Iterator[None]:
    """Leave torch as the trainer has it: vLLM seeds it and, on CPU, replaces `torch.set_num_threads`."""
    set_num_threads, threads = torch.set_num_threads, torch.get_num_threads()
    with preserved_rng():
        yield
    torch.set_num_threads = set_num_threads
    torch.set_num_threads(threads)
