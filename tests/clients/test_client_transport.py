"""Failing and foreign servers: what is retried, what is raised, what plain OpenAI-compatible servers give."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from scripted_server import (
    STREAM_HEAD,
    STREAM_TAIL,
    ScriptedServer,
    event,
    json_response,
    response,
)

from clients import AnswerDelta, APIError, AsyncClient, Client, Event, Finished, Reply, Started, ThinkingDelta
from serve.launch import free_port

Scripted = Callable[..., ScriptedServer]

COMPLETION = {
    "id": "r",
    "model": "m",
    "choices": [{"index": 0, "message": {"content": "7"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}
DELTA = event({"choices": [{"index": 0, "delta": {"content": "7"}}]})
FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
DONE = event("[DONE]")


class Both:
    """One way to call both clients, so that each test runs on both."""

    def __init__(self, asynchronous: bool) -> None:
        self.asynchronous = asynchronous

    def chat(self, url: str, *, timeout: float = 5.0, retries: int = 2, **options: Any) -> Reply:
        async def ask() -> Reply:
            async with AsyncClient(url, timeout=timeout, retries=retries) as client:
                return await client.chat("q", model="m", **options)

        if self.asynchronous:
            return asyncio.run(ask())
        with Client(url, timeout=timeout, retries=retries) as client:
            return client.chat("q", model="m", **options)

    def stream(self, url: str, received: list[Event], *, retries: int = 2) -> None:
        async def ask() -> None:
            async with AsyncClient(url, timeout=5.0, retries=retries) as client:
                async for each in client.stream("q", model="m"):
                    received.append(each)

        if self.asynchronous:
            asyncio.run(ask())
            return
        with Client(url, timeout=5.0, retries=retries) as client:
            for each in client.stream("q", model="m"):
                received.append(each)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


def test_refused_connections_are_retried_until_the_server_is_up(both: Both, scripted: Scripted) -> None:
    port = free_port()
    timer = threading.Timer(0.4, lambda: scripted([json_response(COMPLETION)], port=port))
    timer.start()
    assert both.chat(f"http://127.0.0.1:{port}", retries=4).answer == "7"
    timer.join()


def test_refused_connections_raise_when_retries_are_used_up(both: Both) -> None:
    with pytest.raises(httpx.ConnectError):
        both.chat(f"http://127.0.0.1:{free_port()}", retries=1)


def test_a_connection_dropped_before_a_byte_is_retried(both: Both, scripted: Scripted) -> None:
    server = scripted([], [], [json_response(COMPLETION)])
    assert both.chat(server.base_url).answer == "7"
    assert len(server.requests) == 3


def test_a_stream_dropped_before_a_byte_is_retried(both: Both, scripted: Scripted) -> None:
    server = scripted([], [STREAM_HEAD, DELTA, FINISH, DONE, STREAM_TAIL])
    received: list[Event] = []
    both.stream(server.base_url, received)
    assert received[:2] == [Started(None), AnswerDelta("7", 0)]
    assert isinstance(received[2], Finished)
    assert len(server.requests) == 2


def test_a_response_that_breaks_off_is_not_retried(both: Both, scripted: Scripted) -> None:
    server = scripted([json_response(COMPLETION)[:-5]])
    with pytest.raises(httpx.RemoteProtocolError):
        both.chat(server.base_url)
    assert len(server.requests) == 1


def test_a_garbled_response_is_not_retried(both: Both, scripted: Scripted) -> None:
    server = scripted([b"SMTP ready\r\n\r\n"])
    with pytest.raises(httpx.RemoteProtocolError):
        both.chat(server.base_url)
    assert len(server.requests) == 1


UNCHUNKED_HEAD = STREAM_HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"")


@pytest.mark.parametrize(
    "script",
    [
        [STREAM_HEAD, DELTA],
        [STREAM_HEAD, DELTA, STREAM_TAIL],
        [UNCHUNKED_HEAD, b'data: {"choices": [{"index": 0, "delta": {"content": "7"}}]}\n\n'],
    ],
    ids=["reset", "ended early", "closed without length"],
)
def test_a_stream_dropped_in_the_middle_is_an_error(
    both: Both, scripted: Scripted, script: list[bytes]
) -> None:
    server = scripted(script)
    received: list[Event] = []
    with pytest.raises(httpx.RemoteProtocolError):
        both.stream(server.base_url, received)
    assert received == [Started(None), AnswerDelta("7", 0)]
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_http_errors_are_raised_and_not_retried(both: Both, scripted: Scripted, status: int) -> None:
    error = {"error": {"message": "thinking.budget is -5", "param": "thinking.budget", "code": status}}
    server = scripted([json_response(error, status)], [json_response(error, status)])
    with pytest.raises(APIError) as caught:
        both.chat(server.base_url, budget=-5)
    assert caught.value.status == status
    assert caught.value.message == "thinking.budget is -5"
    assert caught.value.param == "thinking.budget"
    with pytest.raises(APIError, match=f"HTTP {status} .thinking.budget.: thinking.budget is -5"):
        both.stream(server.base_url, [])
    assert len(server.requests) == 2


def test_a_slow_answer_times_out_and_is_not_asked_again(both: Both, scripted: Scripted) -> None:
    server = scripted([1.5, json_response(COMPLETION)])
    with pytest.raises(httpx.ReadTimeout):
        both.chat(server.base_url, timeout=0.3)
    assert len(server.requests) == 1


def test_something_that_is_not_an_api(both: Both, scripted: Scripted) -> None:
    server = scripted([response(200, b"<html>hello</html>", "text/html")])
    with pytest.raises(APIError, match="not JSON"):
        both.chat(server.base_url)


def test_an_error_event_inside_a_stream(both: Both, scripted: Scripted) -> None:
    failure = event({"error": {"message": "engine died", "type": "InternalServerError", "code": 500}})
    server = scripted([STREAM_HEAD, DELTA, failure, DONE, STREAM_TAIL])
    with pytest.raises(APIError, match="HTTP 500: engine died"):
        both.stream(server.base_url, [])
    assert len(server.requests) == 1


@pytest.mark.parametrize("fields", [["reasoning"], ["reasoning_content"], ["reasoning", "reasoning_content"]])
def test_plain_servers_without_a_thinking_report(both: Both, scripted: Scripted, fields: list[str]) -> None:
    def part(text: str, key: str) -> bytes:
        delta = {"index": 0, key: dict.fromkeys(fields, text)}
        return event({"id": "r", "model": "m", "choices": [delta]})

    message = dict.fromkeys(fields, "3+4 is 7") | {"content": "7"}
    whole = COMPLETION | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    server = scripted(
        [json_response(whole)],
        [
            STREAM_HEAD,
            part("3+4 ", "delta") + part("is 7", "delta"),
            event({"id": "r", "model": "m", "choices": [{"index": 0, "delta": {"content": "7"}}]}),
            FINISH,
            event({"id": "r", "model": "m", "choices": [], "usage": COMPLETION["usage"]}),
            DONE,
            STREAM_TAIL,
        ],
    )
    reply = both.chat(server.base_url)
    assert (reply.thinking, reply.answer, reply.report, reply.finish_reason) == (
        "3+4 is 7",
        "7",
        None,
        "stop",
    )
    received: list[Event] = []
    both.stream(server.base_url, received)
    assert received == [
        Started(None),
        ThinkingDelta("3+4 ", 0),
        ThinkingDelta("is 7", 0),
        AnswerDelta("7", 0),
        Finished(reply),
    ]
    assert "thinking" not in server.body(0)
    assert "chat_template_kwargs" not in server.body(0)


def test_key_and_first_model_are_sent(scripted: Scripted) -> None:
    answer = [json_response(COMPLETION)]
    server = scripted([json_response({"data": [{"id": "first"}, {"id": "second"}]})], answer, answer)
    with Client(server.base_url + "/v1/", api_key="secret") as client:
        client.chat("q")
        client.chat("q")
    assert all(b"authorization: bearer secret" in request.lower() for request in server.requests)
    assert [server.body(i)["model"] for i in (1, 2)] == ["first", "first"]


def test_health_tells_up_from_down(scripted: Scripted) -> None:
    server = scripted([response(200, b"")], [response(503, b"")])
    with Client(server.base_url) as client:
        assert client.health()
        assert not client.health()
    with Client(f"http://127.0.0.1:{free_port()}") as client:
        assert not client.health()


@pytest.mark.parametrize(
    ("argument", "value"), [("timeout", 0), ("retries", -1), ("base_url", "localhost:8000")]
)
def test_bad_client_arguments(argument: str, value: Any) -> None:
    arguments = {"base_url": "http://127.0.0.1:1"} | {argument: value}
    with pytest.raises(ValueError, match=argument):
        Client(**arguments)
