"""Builds vLLM's API server around a `ThinkingEngine` and runs it."""

import argparse
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
import vllm.envs as envs
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount
from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import setup_server
from vllm.entrypoints.launchers.utils.server_utils import get_uvicorn_log_config
from vllm.entrypoints.launchers.utils.ssl import SSLCertRefresher
from vllm.entrypoints.serve.exception_handling.handlers.http import http_exception_handler
from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
from vllm.logger import configure_logging_from_args, init_logger
from vllm.platforms import current_platform
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.registry import RENDERER_REGISTRY
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser

from serve import http, logs, openapi, orphans, playground, updates
from serve.engine import ThinkingEngine
from serve.formats import ThinkingFormat, find_format
from serve.grants import measured_curve
from serve.keys import KEY_VARIABLES, KeyRing, load_keys
from serve.lifecycle import serve_until_stopped
from serve.limits import METRICS, Admission, Gate
from serve.literals import RENDERERS, LiteralSafe
from serve.load import make_shedding, step_watches
from serve.metrics import ThinkingMetrics
from serve.open_files import allow_open_files
from serve.profile import ThinkingProfile, find_profile
from serve.reasoning_parser import register
from serve.trace import ThinkingTracker
from serve.turns import take_turns

logger = init_logger("vllm.thinkdial")


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
    try:
        keys = load_keys(args.api_key or [], ours.api_key_file, os.environ, ours.default_thinking)
        profile = _profile(ours, args)
        for default in (ours.default_thinking, *keys.defaults):
            measured_curve(default, profile)
        if ours.latency_target is not None and profile is None:
            raise ValueError(
                "--latency-target: the server has no thinking profile of the model, which tells where "
                "lowering a budget costs least; make one with thinkdial eval sweep, then thinkdial eval "
                "profile, and put it beside the checkpoint or give it with --profile"
            )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    configure_logging_from_args(args)
    validate_parsed_serve_args(args)
    RENDERER_REGISTRY.renderers |= {mode: ("serve.literals", it.__name__) for mode, it in RENDERERS.items()}
    if args.headless or (args.api_server_count or 1) != 1:
        parser.error("one process serves HTTP: --headless and --api-server-count above 1 are not possible")
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
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if form is not None and not config.structured_outputs_config.reasoning_parser:
        register(form, args, config)
    LiteralSafe.tags = None if form is None else (form.open, form.close)
    # The gate asks for them, on every route; vLLM does so on some only, and hands them to its engine.
    args.api_key = None
    for name in KEY_VARIABLES:
        os.environ.pop(name, None)
    try:
        return _serve(ours, args, engine_args, config, form, profile, keys)
    except KeyboardInterrupt:  # a signal during start-up
        return 0


def _profile(ours: argparse.Namespace, args: argparse.Namespace) -> ThinkingProfile | None:
    """The profile that the flags ask for. Raises ValueError or OSError if it is wrong."""
    if ours.weight_updates is not None and ours.profile is not None:
        raise ValueError(
            f"--profile: {ours.profile} tells of weights that --weight-updates replaces; drop one of them"
        )
    if ours.weight_updates is not None or ours.no_profile:
        return None
    return find_profile(args.model, args.served_model_name or [args.model], ours.profile)


def _serve(
    ours: argparse.Namespace,
    args: argparse.Namespace,
    engine_args: AsyncEngineArgs,
    config: VllmConfig,
    form: ThinkingFormat | None,
    profile: ThinkingProfile | None,
    keys: KeyRing,
) -> int:
    """Start the engine, then HTTP; a start-up that a signal interrupts still shuts its engine down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    allow_open_files()
    _, sock = setup_server(args, reuse_port=False)
    if current_platform.is_cpu() and config.parallel_config.world_size == 1:
        _run_worker_in_engine(config)
    # The HTTP side drains. An engine that does would refuse the second phase of requests that run.
    config.shutdown_timeout = 0
    shedding = None
    if ours.latency_target is not None and profile is not None:
        shedding = make_shedding(profile, ours.latency_target, ours.shedding_floor, config)
    orphans.leave_none()
    # Before there is an event loop, so that a forked engine process inherits none.
    engine = ThinkingEngine.from_vllm_config(
        vllm_config=config,
        usage_context=UsageContext.OPENAI_API_SERVER,
        enable_log_requests=engine_args.enable_log_requests,
        aggregate_engine_logging=engine_args.aggregate_engine_logging,
        disable_log_stats=engine_args.disable_log_stats,
        stat_loggers=None if shedding is None else [step_watches(shedding)],
    )
    take_turns(engine.engine_core.resources.output_socket)
    try:
        engine.thinking_format = form
        engine.default_thinking = ours.default_thinking
        engine.profile = profile
        engine.shedding = shedding
        return uvloop.run(_serve_http(ours, args, engine, sock, keys))
    finally:
        engine.shutdown(timeout=0)
        sock.close()


def _run_worker_in_engine(config: VllmConfig) -> None:
    """One process less to start, and none that imports vLLM again.

    vLLM's CPU platform spawns a worker process so that each can bind its OpenMP threads; with one worker and
    unbound threads there is nothing to bind. Halves the start-up time of a small model.
    """
    if os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "nobind":
        config.parallel_config.distributed_executor_backend = "uni"
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"


async def _serve_http(
    ours: argparse.Namespace,
    args: argparse.Namespace,
    engine: ThinkingEngine,
    sock: socket.socket,
    keys: KeyRing,
) -> int:
    """vLLM's application with our routes and middleware, until it ends. Returns the exit code."""
    await engine.reset_mm_cache()
    # vLLM reads its environment again for every token unless told that it stays as it is.
    envs.enable_envs_cache()
    tasks = await engine.get_supported_tasks()
    app = build_app(args, tasks, engine.model_config)
    app.include_router(http.router)
    app.include_router(playground.router)
    if ours.weight_updates is not None:
        app.include_router(updates.router(ours.weight_updates))
    # vLLM registers this for FastAPI's own errors only: an unknown route would answer in another shape.
    app.exception_handler(HTTPException)(_http_error)
    # vLLM answers every method on this path, besides its route for GET.
    app.router.routes = [it for it in app.routes if not (isinstance(it, Mount) and it.path == METRICS)]
    openapi.install(app, keys=len(keys) > 0)
    metrics = ThinkingMetrics()
    admission = Admission()
    gate = Middleware(
        Gate,
        keys=keys,
        admission=admission,
        max_bytes=ours.max_request_bytes,
        on_reject=metrics.request_rejected,
        log=ours.log_format == "json",
    )
    app.user_middleware = [gate, *app.user_middleware, Middleware(http.ThinkingMiddleware)]
    app.middleware_stack = app.build_middleware_stack()
    await init_app_state(engine, app.state, args, tasks)

    def on_finish(tracker: ThinkingTracker) -> None:
        metrics.choice_finished(tracker)
        logs.choice_finished(tracker)

    engine.on_finish = on_finish
    if engine.shedding is not None:
        engine.shedding.on_change = metrics.load_changed
        engine.shedding.on_shedding = logger.info
        engine.on_shed = metrics.request_shed
    if ours.log_format == "json":
        logs.log_to_stdout()
    config = _uvicorn_config(app, args)
    if args.enable_ssl_refresh:
        SSLCertRefresher(config.ssl, args.ssl_keyfile, args.ssl_certfile, args.ssl_ca_certs)
    return await serve_until_stopped(app, config, sock, engine, admission, args.shutdown_timeout)


async def _http_error(request: Request, error: HTTPException) -> Response:
    """As vLLM answers, with the error's own headers, such as `Allow`."""
    response = await http_exception_handler(request, error)
    response.headers.update(error.headers or {})
    return response


def _uvicorn_config(app: FastAPI, args: argparse.Namespace) -> uvicorn.Config:
    """Uvicorn as vLLM's flags want it."""
    options: dict[str, Any] = {}
    if (log_config := get_uvicorn_log_config(args)) is not None:
        options["log_config"] = log_config
    config = uvicorn.Config(
        app,
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
        **options,
    )
    # Uvicorn takes these limits only so.
    config.h11_max_incomplete_event_size = args.h11_max_incomplete_event_size
    setattr(config, "h11_max_header_count", args.h11_max_header_count)  # noqa: B010  vLLM's own addition
    config.load()
    return config
