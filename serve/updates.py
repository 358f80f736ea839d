"""POST /v1/weights: a trainer has this server take over a checkpoint. Only there with `--weight-updates`."""

import asyncio
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from serve.engine import ThinkingEngine
from serve.live import KEY


class WeightUpdate(BaseModel):
    """path: a checkpoint's folder, relative to that of `--weight-updates`. version: what to call it."""

    model_config = ConfigDict(extra="forbid")
    path: str
    version: int


def checkpoint_in(folder: Path, path: str) -> Path | None:
    """The folder with safetensors that a request names; None for any that is not in `folder`."""
    try:
        checkpoint = (folder / path).resolve()
        inside = checkpoint.is_relative_to(folder.resolve())
        return checkpoint if inside and any(checkpoint.glob("*.safetensors")) else None
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return None


def router(folder: Path) -> APIRouter:
    """The route. folder: the only one whose checkpoints are loaded."""
    routes = APIRouter()
    lock = asyncio.Lock()

    @routes.post("/v1/weights")
    async def update_weights(update: WeightUpdate, request: Request) -> JSONResponse:
        """Replies that run end with the weights they began with; those that come meanwhile wait."""
        key = request.scope.get(KEY)
        if key is not None and not key.may_update_weights:
            message = f"key {key.name!r} may not update weights; its entry lacks may_update_weights = true"
            return _error(403, "PermissionDeniedError", message)
        checkpoint = checkpoint_in(folder, update.path)
        if checkpoint is None:
            message = (
                f"path is {update.path!r}; it must be a folder with safetensors in that of --weight-updates"
            )
            return _error(400, "BadRequestError", message)
        engine: ThinkingEngine = request.app.state.engine_client
        async with lock:
            await engine.pause_generation(mode="wait", clear_cache=True)
            try:
                await engine.collective_rpc("take_weights", kwargs={"path": str(checkpoint)})
                await engine.reset_prefix_cache()
            finally:
                await engine.resume_generation()
        return JSONResponse({"version": update.version})

    return routes


def _error(status: int, kind: str, message: str) -> JSONResponse:
    detail = {"message": message, "type": kind, "param": "path", "code": status}
    return JSONResponse({"error": detail}, status_code=status)
