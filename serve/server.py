"""Builds vLLM's API server around a `ThinkingEngine` and runs it."""

import argparse
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop
import vllm.envs as envs
from starlette.middleware import Middleware
from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import serve_http, setup_server
from vllm.entrypoints.launchers.utils.server_utils import get_uvicorn_log_config
from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
from vllm.logger import configure_logging_from_args
from vllm.platforms import current_platform
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.registry import RENDERER_REGISTRY
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser

from serve import http
from serve.engine import ThinkingEngine
from serve.formats import ThinkingFormat, find_format
from serve.literals import LiteralSafeRenderer
from serve.reasoning_parser import register


def run(ours: argparse.Namespace, arguments: Sequence[str], *, show_help: bool = False) -> int:
    """Parse vLLM's arguments and serve until a signal comes. Returns the exit code.

    ours: the flags of `serve.cli.parse`.
    """
    cli_env_setup()
    parser = make_arg_parser(
        FlexibleArgumentParser(prog="thinkdial serve", usage="thinkdial serve [MODEL] [flags]")
    )
    if show_help:
        parser.print_help()
        return 0
    args = parser.parse_args(list(arguments))
    configure_logging_from_args(args)
    validate_parsed_serve_args(args)
    RENDERER_REGISTRY.renderers["hf"] = ("serve.literals", "LiteralSafeRenderer")
    engine_args = AsyncEngineArgs.from_cli_args(args)
    try:
        config = engine_args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    except ValueError as error:
        parser.error(str(error))
    try:
        form = find_format(
            cached_tokenizer_from_config(config.model_config),
            Path(args.model),
            chat_template=load_chat_template(args.chat_template),
            open=ours.thinking_open,
            close=ours.thinking_close,
            stop_text=ours.thinking_stop_text,
        )
    except ValueError as error:
        parser.error(str(error))
    if form is not None and not config.structured_outputs_config.reasoning_parser:
        register(form, args, config)
    LiteralSafeRenderer.tags = None if form is None else (form.open, form.close)
    with suppress(KeyboardInterrupt):  # a signal during start-up
        _serve(ours, args, engine_args, config, form)
    return 0


def _serve(
    ours: argparse.Namespace,
    args: argparse.Namespace,
    engine_args: AsyncEngineArgs,
    config: VllmConfig,
    form: ThinkingFormat | None,
) -> None:
    """Start the engine, then HTTP; a start-up that a signal interrupts still shuts its engine down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _, sock = setup_server(args, reuse_port=False)
    if current_platform.is_cpu() and config.parallel_config.world_size == 1:
        _run_worker_in_engine(config)
    # Before there is an event loop, so that a forked engine process inherits none.
    engine = ThinkingEngine.from_vllm_config(
        vllm_config=config,
        usage_context=UsageContext.OPENAI_API_SERVER,
        enable_log_requests=engine_args.enable_log_requests,
        aggregate_engine_logging=engine_args.aggregate_engine_logging,
        disable_log_stats=engine_args.disable_log_stats,
    )
    try:
        engine.thinking_format = form
        engine.default_thinking = ours.default_thinking
        uvloop.run(_serve_until_signal(engine, args, sock))
    finally:
        engine.shutdown(timeout=config.shutdown_timeout)
        sock.close()


def _run_worker_in_engine(config: VllmConfig) -> None:
    """One process less to start, and none that imports vLLM again.

    vLLM's CPU platform spawns a worker process so that each can bind its OpenMP threads; with one worker and
    unbound threads there is nothing to bind. Halves the start-up time of a small model.
    """
    if os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "nobind":
        config.parallel_config.distributed_executor_backend = "uni"
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"


async def _serve_until_signal(engine: ThinkingEngine, args: argparse.Namespace, sock: socket.socket) -> None:
    await engine.reset_mm_cache()
    # vLLM reads its environment again for every token unless told that it stays as it is.
    envs.enable_envs_cache()
    await (await _serve_http(engine, args, sock))


async def _serve_http(engine: ThinkingEngine, args: argparse.Namespace, sock: socket.socket) -> Any:
    """vLLM's application with our route and middleware; returns what ends the HTTP server."""
    tasks = await engine.get_supported_tasks()
    app = build_app(args, tasks, engine.model_config)
    app.include_router(http.router)
    # Innermost, so that vLLM's own middleware has checked the API key by then.
    app.user_middleware.append(Middleware(http.ThinkingMiddleware))
    app.middleware_stack = app.build_middleware_stack()
    await init_app_state(engine, app.state, args, tasks)
    uvicorn: dict[str, Any] = {}
    if (log_config := get_uvicorn_log_config(args)) is not None:
        uvicorn["log_config"] = log_config
    return await serve_http(
        app,
        sock=sock,
        enable_ssl_refresh=args.enable_ssl_refresh,
        host=args.host,
        port=args.port,
        log_level=args.uvicorn_log_level,
        access_log=not args.disable_uvicorn_access_log,
        timeout_keep_alive=envs.VLLM_HTTP_TIMEOUT_KEEP_ALIVE,
        ssl_keyfile=args.ssl_keyfile,
        ssl_certfile=args.ssl_certfile,
        ssl_ca_certs=args.ssl_ca_certs,
        ssl_cert_reqs=args.ssl_cert_reqs,
        ssl_ciphers=args.ssl_ciphers,
        h11_max_incomplete_event_size=args.h11_max_incomplete_event_size,
        h11_max_header_count=args.h11_max_header_count,
        **uvicorn,
    )
