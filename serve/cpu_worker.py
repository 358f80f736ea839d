"""A CPU worker that survives two kinds of request that end vLLM 0.32's: seeded ones, and a short first one.

And one that does not keep the first request for log-probabilities waiting: see `init_device`.

A prompt that is prefilled in chunks is sampled at the end of each; vLLM discards all but the last sample and
rewinds the request's random generator with `Generator.set_offset`. CPU generators do not have that, and vLLM
0.32's engine dies (`GPUModelRunner._bookkeeping_sync`). Here the rows to be discarded are sampled without
their own generator: there is nothing to rewind, and a seed gives one reply however its prompt was chunked.

vLLM's attention kernels use AMX tiles where the processor has them, and Linux kills a process that does so
without having asked. Only large matrix products ask (in oneDNN): a first prompt of few tokens was the end.
"""

from typing import Any

import numpy as np
import torch
import vllm.v1.sample.sampler as sampler
import vllm.v1.worker.cpu_worker as cpu_worker
from vllm.v1.sample.ops.logprobs import batched_count_greater_than
from vllm.v1.worker.cpu_model_runner import CPUModelRunner


class SeedSafeCPUModelRunner(CPUModelRunner):
    def sample_tokens(self, *args: Any, **kwargs: Any) -> Any:
        generators: dict[int, torch.Generator] = self.input_batch.generators
        discarded = np.nonzero(self.discard_request_mask.np[: self.input_batch.num_reqs])[0]
        held = {int(row): generators.pop(int(row)) for row in discarded if int(row) in generators}
        output = super().sample_tokens(*args, **kwargs)
        generators.update(held)
        return output


class SeedSafeCPUWorker(cpu_worker.CPUWorker):
    def init_device(self) -> None:
        # The worker names its runner's class in this module and offers no other way to choose it.
        cpu_worker.CPUModelRunner = SeedSafeCPUModelRunner
        if torch.cpu._is_amx_tile_supported():
            torch.cpu._init_amx()
        # Where a log-probability ranks is counted by a function that is compiled at its first call: a minute
        # on a small machine, for a thousandth of a step.
        sampler.batched_count_greater_than = batched_count_greater_than._torchdynamo_orig_callable
        super().init_device()
