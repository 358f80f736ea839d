"""Pieces of a reply: what a segment's outputs add, and the outputs of the caller's request they add up to."""

from dataclasses import dataclass, replace
from typing import Any

from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.detokenizer import IncrementalDetokenizer

from serve.formats import ThinkingFormat


@dataclass(slots=True)
class Delta:
    """What one engine output adds to a choice. source: an output of its request, if there is one yet."""

    token_ids: list[int]
    text: str
    logprobs: list[dict[int, Logprob]] | None
    source: RequestOutput | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


def stopped_by_token(choice: CompletionOutput | Delta) -> bool:
    return choice.finish_reason == "stop" and not isinstance(choice.stop_reason, str)


def delta_of(output: RequestOutput) -> Delta:
    (choice,) = output.outputs
    return Delta(
        token_ids=list(choice.token_ids),
        text=choice.text,
        logprobs=None if choice.logprobs is None else list(choice.logprobs),
        source=output,
        finish_reason=choice.finish_reason,
        stop_reason=choice.stop_reason,
    )


def split(delta: Delta, length: int, text: str) -> tuple[Delta, Delta]:
    """The first `length` tokens of a delta, whose text is `text`, and the rest, which has its end."""
    ids, logprobs = delta.token_ids, delta.logprobs
    head = replace(
        delta,
        token_ids=ids[:length],
        text=text,
        logprobs=None if logprobs is None else logprobs[:length],
        finish_reason=None,
        stop_reason=None,
    )
    rest = replace(
        delta,
        token_ids=ids[length:],
        text=delta.text[len(text) :],
        logprobs=None if logprobs is None else logprobs[length:],
    )
    return head, rest


def insert(piece: Delta, ids: tuple[int, ...], form: ThinkingFormat, params: SamplingParams) -> None:
    """Add inserted ids to the end of a piece; their log-probability is 0, as they were not chosen."""
    piece.token_ids = [*piece.token_ids, *ids]
    if params.detokenize:
        piece.text += form.decode(ids, skip_special_tokens=params.skip_special_tokens)
    if piece.logprobs is not None:
        texts = [form.decode((i,), skip_special_tokens=False) for i in ids]
        entries = [{i: Logprob(0.0, decoded_token=text)} for i, text in zip(ids, texts, strict=True)]
        piece.logprobs = [*piece.logprobs, *entries]


def text_of(tokenizer: Any, prompt_ids: list[int], params: SamplingParams, token_ids: list[int]) -> str:
    """Text of a reply's first tokens, as vLLM gives it, without a character that they leave incomplete."""
    if not params.detokenize:
        return ""
    request = EngineCoreRequest(
        request_id="",
        prompt_token_ids=prompt_ids,
        mm_features=None,
        sampling_params=params,
        pooling_params=None,
        arrival_time=0.0,
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
    )
    detokenizer = IncrementalDetokenizer.from_new_request(tokenizer, request)
    detokenizer.update(token_ids, stop_terminated=False)
    return detokenizer.get_next_output_text(finished=True, delta=False)


def empty_output(index: int) -> CompletionOutput:
    return CompletionOutput(index=index, text="", token_ids=[], cumulative_logprob=None, logprobs=None)


def add_to(output: CompletionOutput, delta: Delta) -> None:
    output.text += delta.text
    output.token_ids = [*output.token_ids, *delta.token_ids]
    if delta.logprobs is not None:
        output.logprobs = [*(output.logprobs or []), *delta.logprobs]
        chosen = zip(delta.token_ids, delta.logprobs, strict=True)
        output.cumulative_logprob = (output.cumulative_logprob or 0.0) + sum(
            entry[token].logprob for token, entry in chosen
        )


def request_output(
    source: RequestOutput | None,
    first: RequestOutput | None,
    prompt: dict[str, Any],
    request_id: str,
    outputs: list[CompletionOutput],
    finished: bool,
    *,
    cumulative: bool,
) -> RequestOutput:
    """An output of the caller's request, from one of a segment's.

    source: that output, if there is one. first: the request's first that tells of the prompt; to later
    segments the reply so far is prompt too. cumulative: the caller wants all that was told before as well.
    """
    ids = prompt["prompt_token_ids"]
    told = None if first is None or not (cumulative or source is first) else first.prompt_logprobs
    return RequestOutput(
        request_id=request_id,
        prompt=prompt.get("prompt"),
        prompt_token_ids=ids,
        prompt_logprobs=told and told[: len(ids)],
        outputs=outputs,
        finished=finished,
        metrics=source and source.metrics,
        lora_request=source and source.lora_request,
        num_cached_tokens=first and first.num_cached_tokens,
        num_cache_creation_tokens=first and first.num_cache_creation_tokens,
    )
