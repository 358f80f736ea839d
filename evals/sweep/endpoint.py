"""What a sweep needs to know about the server it measures."""

from dataclasses import asdict, dataclass
from typing import Any

import httpx

from clients import APIError, AsyncClient, ThinkingFormat
from clients.wire import api_root, auth_headers


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A served model. `thinking` is None for servers that do not report a thinking format.

    `max_model_len` is the context length in tokens, None where the server does not tell.
    """

    model: str
    max_model_len: int | None
    thinking: ThinkingFormat | None

    def thinking_settings(self) -> dict[str, Any] | None:
        """The thinking format as the store keeps it: what replies depend on, exact stop ids included."""
        if self.thinking is None:
            return None
        return {k: v for k, v in asdict(self.thinking).items() if k not in ("model", "default_budget")}


async def describe(base_url: str, client: AsyncClient, model: str | None, api_key: str | None) -> Endpoint:
    """Ask the server for its models and thinking format.

    Raises ValueError for what is no URL or no such server and for a model that is not served, httpx.HTTPError
    when nobody answers or the list of models is refused.
    """
    headers = auth_headers(api_key)
    async with httpx.AsyncClient(base_url=api_root(base_url), headers=headers, timeout=60) as http:
        response = await http.get("/v1/models")
        response.raise_for_status()
    served = _models(response, base_url)
    if model is None:
        model = next(iter(served))
    elif model not in served:
        raise ValueError(f"model: {model!r} is not served at {base_url}; it serves {_some(list(served))}")
    try:
        thinking = await client.thinking_format()
    except APIError as error:
        if error.status not in (401, 403, 404, 405):
            raise
        thinking = None
    # vLLM and SGLang say max_model_len, OpenRouter context_length.
    context = served[model].get("max_model_len") or served[model].get("context_length")
    return Endpoint(model, context, thinking)


def _models(response: httpx.Response, base_url: str) -> dict[str, dict[str, Any]]:
    """The served models by name."""
    try:
        served = {entry["id"]: entry for entry in response.json()["data"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"base_url: {base_url} does not list its models; give the root of an OpenAI-compatible server"
        ) from error
    if not served:
        raise ValueError(f"base_url: {base_url} serves no model; load one there first")
    return served


def _some(names: list[str]) -> str:
    """Names for a message: hosted servers have hundreds."""
    rest = len(names) - 10
    return ", ".join(names[:10]) + (f" and {rest} more" if rest > 0 else "")
