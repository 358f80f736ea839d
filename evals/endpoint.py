"""What a sweep needs to know about the server it measures."""

from dataclasses import asdict, dataclass
from typing import Any

import httpx

from clients import APIError, AsyncClient, ThinkingFormat
from clients.wire import api_root


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


async def describe(base_url: str, client: AsyncClient, model: str | None) -> Endpoint:
    """Ask the server for its models and thinking format.

    Raises ValueError for what is no URL and for a model that is not served, httpx.TransportError when
    nobody answers.
    """
    async with httpx.AsyncClient(base_url=api_root(base_url), timeout=60) as http:
        response = await http.get("/v1/models")
        response.raise_for_status()
    served = {entry["id"]: entry for entry in response.json()["data"]}
    if model is None:
        model = next(iter(served))
    elif model not in served:
        raise ValueError(f"model: {model!r} is not served at {base_url}; it serves {', '.join(served)}")
    try:
        thinking = await client.thinking_format()
    except APIError as error:
        if error.status != 404:
            raise
        thinking = None
    return Endpoint(model, served[model].get("max_model_len"), thinking)
