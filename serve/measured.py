"""Has vLLM tell enough of each token's distribution to measure it, and shows callers no more than they asked.

A measured request asks vLLM for more log-probabilities than its caller. They are measured where vLLM's
front end unpacks them, as arrays, before it makes a Python object of each; only the caller's go on.
"""

import copy
from dataclasses import dataclass
from typing import Any

import vllm.v1.engine.output_processor as output_processor
from vllm.config import ModelConfig
from vllm.exceptions import VLLMValidationError
from vllm.outputs import CompletionOutput
from vllm.sampling_params import SamplingParams
from vllm.tokenizers.detokenizer_utils import TokenizerLike
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.input_processor import InputProcessor
from vllm.v1.engine.logprobs import LogprobsProcessor
from vllm.v1.outputs import LogprobsLists

from serve.entropy import Measured, measure

WHOLE = 2048
"""Vocabularies up to this size are looked at as a whole; of larger ones the `--max-logprobs` most likely."""

MEASURED_ARG = "thinkdial_measured"
"""Member of `SamplingParams.extra_args`: how many log-probabilities the caller asked, how many are looked at,
and the size of the vocabulary."""


def looked_at(config: ModelConfig) -> int:
    """How many tokens of the vocabulary are looked at; two at least, as a margin is between two."""
    vocabulary: int = config.get_vocab_size()
    if vocabulary <= WHOLE or config.max_logprobs == -1:
        return vocabulary
    return max(2, min(config.max_logprobs, vocabulary))


def check_measurable(params: SamplingParams, config: ModelConfig) -> None:
    """Raises VLLMValidationError where the entropy of thinking tokens cannot be told."""
    problem = ""
    if config.logprobs_mode.endswith("logits"):
        problem = f"the server runs with --logprobs-mode {config.logprobs_mode}, which has no probabilities"
    elif params.logprob_token_ids:
        problem = "logprob_token_ids asks for other tokens than the most likely ones"
    if problem:
        raise VLLMValidationError(
            f"thinking.entropy is true, but {problem}; leave it out", parameter="thinking.entropy"
        )


def with_measures(params: SamplingParams, config: ModelConfig) -> SamplingParams:
    """A copy whose tokens come with measures, and with the log-probabilities that `params` asks."""
    asked, count, vocabulary = params.logprobs, looked_at(config), config.get_vocab_size()
    params = copy.copy(params)
    params.logprobs = vocabulary if asked == -1 else max(count, asked or 0)
    params.flat_logprobs = False
    params.extra_args = {**(params.extra_args or {}), MEASURED_ARG: [asked, count, vocabulary]}
    return params


def hide_logprobs(output: CompletionOutput) -> None:
    """Take the log-probabilities out of an output whose caller did not ask for any."""
    output.logprobs = output.cumulative_logprob = None


@dataclass
class MeasuringProcessor(LogprobsProcessor):
    """vLLM's, which keeps no more columns than its request wants, and measures them if that is asked.

    vLLM sends each request as many columns as any in its batch has asked for.
    """

    count: int = 0
    vocabulary: int = 0

    @classmethod
    def from_new_request(
        cls, tokenizer: TokenizerLike | None, request: EngineCoreRequest
    ) -> "MeasuringProcessor":
        made: Any = super().from_new_request(tokenizer, request)
        assert request.sampling_params is not None
        asked = (request.sampling_params.extra_args or {}).get(MEASURED_ARG)
        if asked is not None:
            shown, made.count, made.vocabulary = asked
            # The token itself, for its text.
            made.num_logprobs = shown or 0
        return made

    def _update_sample_logprobs(self, logprobs_lists: LogprobsLists) -> None:
        token_ids, logprobs, ranks, _ = logprobs_lists
        assert self.num_logprobs is not None
        width = token_ids.shape[1] if self.num_logprobs == -1 else self.num_logprobs + 1
        super()._update_sample_logprobs(LogprobsLists(token_ids[:, :width], logprobs[:, :width], ranks, None))
        if self.count:
            assert isinstance(self.logprobs, list)
            # The first column is the sampled token's, which is among the most likely ones too, or is none.
            measures = measure(logprobs[:, 1 : self.count + 1], self.vocabulary)
            entries = self.logprobs[-len(measures) :]
            self.logprobs[-len(measures) :] = [
                Measured(entry, it) for entry, it in zip(entries, measures, strict=True)
            ]


def install(processor: InputProcessor) -> None:
    """Have vLLM's front end measure.

    Its check of --max-logprobs is lifted from `processor`: callers' own numbers must be checked before.
    """
    output_processor.LogprobsProcessor = MeasuringProcessor
    processor.model_config = copy.copy(processor.model_config)
    processor.model_config.max_logprobs = -1
