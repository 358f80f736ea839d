"""A made machine for the simulator: prices of its steps, limits, tags."""

from evals.simulate.requests import Format, Limits
from evals.simulate.steps import LinearSteps

PRICES = LinearSteps(step=0.01, token=0.001, context=1e-6, prefill=1e-4, started=0.02, resumed=0.005)
ROOMY = Limits(max_num_seqs=64, max_batched_tokens=512, kv_blocks=4096, block_size=16)
TIGHT = Limits(max_num_seqs=16, max_batched_tokens=128, kv_blocks=40, block_size=16)
FORM = Format(open_tokens=1, close_tokens=1, stop_tokens=27, empty_tokens=4)
