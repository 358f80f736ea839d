"""Rollouts by running `thinkdial serve` processes: the server cuts, and each cut is checked here."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
from safetensors.torch import save_file
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from clients.wire import api_root, auth_headers
from serve.budget import UNLIMITED
from serve.formats import load_format
from serve.segments import BARRED
from trainer.adapters import merged_weights
from trainer.rollouts.cut import Reply, begin_replies
from trainer.rollouts.probe import FOLLOWING, Probed, probe_ids, verify
from trainer.rollouts.types import Rollout, RolloutRequest, Sampling, ServerError, SyncReport
from trainer.saving import saving

KEY_VARIABLE = "THINKDIAL_API_KEY"
"""Environment variable with the servers' API key, if they ask for one."""

CONNECTIONS = 256
"""Requests to one server at once; the server's own batch decides what runs."""

SECONDS = 3600.0
"""Longest wait for a reply."""


class ServersBackend:
    """A `RolloutBackend` on servers that were started with `--weight-updates FOLDER` on one checkpoint.

    urls: of the servers, without "/v1"; prompts are spread over them, those that are equal stay together.
    checkpoint: what they serve now. folder: that of `--weight-updates`, seen from here and by the servers.
    tolerance: of the probe, in nats.
    """

    def __init__(
        self, urls: Sequence[str], checkpoint: Path, folder: Path, *, tolerance: float = 0.02
    ) -> None:
        if not urls:
            raise ValueError("urls: [] is wrong because there is no server to ask; give at least one")
        self.urls = [api_root(url) for url in urls]
        self.checkpoint = checkpoint
        self.folder = folder
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.form = load_format(tokenizer, checkpoint)
        self.context: int = AutoConfig.from_pretrained(checkpoint).max_position_embeddings
        self.probe = probe_ids(tokenizer)
        self.tolerance = tolerance
        self.version = 0
        self._models: dict[str, str] = {}

    def generate(
        self, requests: Sequence[RolloutRequest], sampling: Sampling, tokens_per_call: int | None = None
    ) -> list[Rollout]:
        """See `RolloutBackend`."""
        replies = begin_replies(
            requests, self.form, self.context, version=self.version, tokens_per_call=tokens_per_call
        )
        places = self._places(requests)

        async def all_replies(clients: Mapping[str, httpx.AsyncClient]) -> None:
            async with asyncio.TaskGroup() as tasks:
                for reply, url in zip(replies, places, strict=True):
                    tasks.create_task(self._generate(clients[url], url, reply, sampling))

        self._with_clients(all_replies)
        return [reply.rollout() for reply in replies]

    def _places(self, requests: Sequence[RolloutRequest]) -> list[str]:
        """A server for each request: equal prompts share one, and the servers get as many tokens each."""
        weights: dict[tuple[int, ...], int] = {}
        for request in requests:
            weights[request.prompt_ids] = weights.get(request.prompt_ids, 0) + request.max_tokens
        load = dict.fromkeys(self.urls, 0)
        place = {}
        for prompt, weight in sorted(weights.items(), key=lambda item: -item[1]):
            place[prompt] = min(load, key=lambda url: load[url])
            load[place[prompt]] += weight
        return [place[request.prompt_ids] for request in requests]

    async def _generate(self, client: httpx.AsyncClient, url: str, reply: Reply, sampling: Sampling) -> None:
        while not reply.finished:
            segment, left = reply.segment(), reply.tracker.left
            body: dict[str, Any] = {
                "prompt": segment.prompt_ids,
                "max_tokens": min(segment.max_tokens, reply.left),
                "seed": segment.seed,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "logprobs": 0,
                "thinking": {"budget": left or UNLIMITED},
            }
            if segment.barred:
                body["logit_bias"] = {str(self.form.open_id): BARRED}
            if left == 0 and reply.tracker.in_block:
                # The budget is used up and what follows has not been seen: one token tells.
                body["max_tokens"] = 1
            choice = await self._complete(client, url, body)
            whole = body["max_tokens"] == segment.max_tokens
            end = choice["finish_reason"] if whole or choice["finish_reason"] == "stop" else None
            was_cut = choice["thinking"]["stop_cause"] == "budget"
            self._take(reply, choice["token_ids"], choice["logprobs"]["token_logprobs"], end, was_cut)

    def _take(
        self, reply: Reply, ids: list[int], logprobs: list[float], end: str | None, was_cut: bool
    ) -> None:
        """Feed a server's tokens by the rules of cutting; what those insert it must have inserted too.

        was_cut: the server says that it cut the thinking, which a stop text that begins with the close tag
        does not tell.
        """
        taken = 0
        while taken < len(ids) and not reply.finished:
            last = taken + 1 == len(ids)
            before = len(reply.token_ids)
            tracker = reply.tracker
            if was_cut and tracker.in_block and tracker.left == 0 and ids[taken] == self.form.close_id:
                # In its place came a token of thinking, which the server dropped: any one will do.
                reply.feed([self.form.open_id], [0.0], None)
            else:
                reply.feed(ids[taken : taken + 1], logprobs[taken : taken + 1], end if last else None)
            added = reply.token_ids[before:]
            if added != ids[taken : taken + len(added)]:
                if last:
                    return  # one token past the budget, dropped: the cut is ours to make
                raise RuntimeError(
                    f"the server wrote {ids[taken : taken + len(added)]} where the rules of cutting give "
                    f"{added}: it is of another version, or serves with another early-stop text"
                )
            taken += len(added)

    async def _complete(self, client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
        """The one choice of a completion."""
        if url not in self._models:
            models = await _asked(client, "GET", url, "/v1/models")
            self._models[url] = models["data"][0]["id"]
        # The rest of the sampling parameters would come from the checkpoint's generation config.
        fixed = {
            "model": self._models[url],
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "return_token_ids": True,
        }
        completion = await _asked(client, "POST", url, "/v1/completions", {**fixed, **body})
        return completion["choices"][0]

    def _with_clients(self, work: Callable[[Mapping[str, httpx.AsyncClient]], Awaitable[Any]]) -> Any:
        """Run `work` in an event loop of its own, with a client for each server."""
        headers = auth_headers(os.environ.get(KEY_VARIABLE))
        limits = httpx.Limits(max_connections=CONNECTIONS)

        async def run() -> Any:
            clients = {
                url: httpx.AsyncClient(headers=headers, limits=limits, timeout=SECONDS) for url in self.urls
            }
            try:
                return await work(clients)
            except ExceptionGroup as group:
                # Of a lost server every request fails in the same way.
                raise group.exceptions[0] from group
            finally:
                for client in clients.values():
                    await client.aclose()

        return asyncio.run(run())

    def sync(self, model: PreTrainedModel, version: int) -> SyncReport:
        """See `RolloutBackend`. The weights travel as safetensors in the servers' folder."""
        start = monotonic()
        name = f"version-{version}"
        self._save(model, self.folder / name)

        async def update(clients: Mapping[str, httpx.AsyncClient]) -> list[Probed]:
            async def one(url: str) -> Probed:
                body = {"path": name, "version": version}
                await _asked(clients[url], "POST", url, "/v1/weights", body)
                return await self._probed(clients[url], url)

            return await asyncio.gather(*map(one, self.urls))

        try:
            probed = self._with_clients(update)
        finally:
            shutil.rmtree(self.folder / name)
        found = [verify(each, model, self.probe, self.tolerance, version) for each in probed]
        self.version = version
        largest, mean = max(largest for largest, _ in found), sum(mean for _, mean in found) / len(found)
        return SyncReport(version, monotonic() - start, largest, mean)

    def _save(self, model: PreTrainedModel, folder: Path) -> None:
        """A checkpoint's folder with the model's weights; the rest is that of the first checkpoint."""
        shutil.rmtree(folder, ignore_errors=True)
        tensors = {name: weight.cpu().contiguous() for name, weight in merged_weights(model)}
        with saving(folder):
            shutil.copytree(self.checkpoint, folder, ignore=shutil.ignore_patterns("*.safetensors*", "*.bin"))
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    async def _probed(self, client: httpx.AsyncClient, url: str) -> Probed:
        body = {"prompt": self.probe, "max_tokens": 1, "temperature": 0.0}
        # First what follows it, from the prefix cache: a request for the prompt's would write to that.
        ended = await self._complete(
            client, url, {**body, "logprobs": FOLLOWING, "return_tokens_as_token_ids": True}
        )
        told = await self._complete(client, url, {**body, "prompt_logprobs": 0})
        following = {
            int(name.removeprefix("token_id:")): logprob
            for name, logprob in ended["logprobs"]["top_logprobs"][0].items()
        }
        logprobs = [
            entry[str(token)]["logprob"]
            for token, entry in zip(self.probe[1:], told["prompt_logprobs"][1:], strict=True)
        ]
        return Probed(logprobs, following)

    def close(self) -> None:
        """The servers go on."""


async def _asked(
    client: httpx.AsyncClient, method: str, url: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The JSON of a server's response. Raises ServerError if it is gone, or for any status but 200."""
    try:
        response = await client.request(method, url + path, json=body)
    except httpx.TransportError as error:
        raise ServerError(
            f"rollout server {url} is lost ({type(error).__name__}: {error}); start it again on the "
            "checkpoint that the stage began with"
        ) from error
    if response.status_code != httpx.codes.OK:
        raise ServerError(f"rollout server {url} answers {response.status_code}: {response.text[:500]}")
    return response.json()
