"""Requests that are bombs: each is refused by name or answered, soon, and the server goes on.

Meanwhile and afterwards others are served: the engine holds nothing of what was refused.
"""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serve.launch import RunningServer

CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "1+1"}]
MEBIBYTE = 2**20
SOON = 60
"""Seconds that a bomb may take on a busy machine; most take milliseconds."""


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=SOON) as client:
        yield client
        assert client.get("/health").status_code == 200
        for _ in range(200):
            held = [line for line in client.get("/metrics").text.splitlines() if is_held(line)]
            if not held:
                break
        assert not held


def is_held(line: str) -> bool:
    names = ("vllm:num_requests_running{", "vllm:num_requests_waiting{", "vllm:kv_cache_usage_perc{")
    return line.startswith(names) and float(line.rsplit(" ", 1)[1]) > 0


def send(http: httpx.Client, text: str | bytes, path: str = CHAT, **headers: str) -> httpx.Response:
    response = http.post(path, content=text, headers={"content-type": "application/json", **headers})
    assert response.status_code < 500, response.text[:500]
    assert len(response.content) < 4 * MEBIBYTE
    return response


def chat(**body: Any) -> str:
    return json.dumps({"messages": USER, "max_tokens": 2, **body})


def nested(text: str, depth: int) -> str:
    return text.replace("BOMB", "[" * depth + "]" * depth)


@pytest.mark.parametrize("depth", [90, 400, 900, 960, 990, 1010, 5000, 100_000])
@pytest.mark.parametrize(
    "text",
    [
        '{"messages":[{"role":"user","content":"1"}],"max_tokens":1,"thinking_budget":2,"x":BOMB}',
        '{"messages":[{"role":"user","content":"1"}],"max_tokens":1,"chat_template_kwargs":{"q":BOMB}}',
        '{"messages":[{"role":"user","content":BOMB}],"max_tokens":1}',
        '{"messages":[{"role":"user","content":"1"}],"thinking":{"budget":BOMB}}',
        '{"messages":[{"role":"user","content":"1"}],"max_tokens":1,"tool_choice":"none",'
        '"tools":[{"type":"function","function":{"name":"f","parameters":{"x":BOMB}}}]}',
    ],
)
def test_nesting(http: httpx.Client, text: str, depth: int) -> None:
    assert send(http, nested(text, depth)).status_code in (200, 400)


def test_arguments_of_earlier_calls_nest_too(http: httpx.Client) -> None:
    for depth in (90, 400, 960, 100_000):
        function = {"name": "f", "arguments": nested('{"a":BOMB}', depth)}
        call = {"id": "1", "type": "function", "function": function}
        turns = [*USER, {"role": "assistant", "content": "", "tool_calls": [call]}]
        assert send(http, chat(messages=turns)).status_code in (200, 400)


NUMBERS = [
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "9" * 4000,
    "9" * 5000,
    "1" + "0" * 30,
    "2147483648",
    "-1e308",
]
FIELDS = ["thinking_budget", "n", "max_tokens", "temperature", "seed", "top_k", "min_tokens", "priority"]
FIELDS += ["top_logprobs", "presence_penalty", "truncate_prompt_tokens"]
MEMBERS = ["budget", "deadline", "soft", "max_cost", "target_accuracy", "answer_reserve", "min_tokens"]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:12])
def test_numbers(http: httpx.Client, number: str) -> None:
    """In every field that is a number, ours and vLLM's: JSON's and those that JSON has not."""
    for field in FIELDS:
        text = chat(max_tokens=2)[:-1].replace(f', "{field}": 2', "")
        response = send(http, f'{text}, "{field}": {number}}}')
        assert response.status_code in (200, 400), field
    for member in MEMBERS:
        send(http, f'{chat()[:-1]}, "thinking": {{"{member}": {number}}}}}')


COUNTS: dict[str, dict[str, Any]] = {
    "choices": {"n": 10**6},
    "choices of all prompts": {"prompt": ["a"] * 10**5},
    "many choices": {"n": 1000, "temperature": 1},
    "stop strings": {"stop": [f"s{i}" for i in range(10**5)], "thinking_budget": 2},
    "a long stop string": {"stop": ["a" * MEBIBYTE]},
    "stop tokens": {"stop_token_ids": list(range(10**5))},
    "logit bias": {"logit_bias": {str(i): 1 for i in range(10**5)}},
    "logit bias of no token": {"logit_bias": {"9" * 400: 1}},
    "infinite logit bias": {"logit_bias": {"1": 1e300}},
    "bad words": {"bad_words": ["a"] * 10**5},
    "tools": {
        "tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(10**4)],
        "tool_choice": "none",
    },
    "a long early-stop text": {"thinking": {"budget": 2, "stop_text": "a" * MEBIBYTE + "</think>"}},
    "a long wait text": {"thinking": {"min_tokens": 2, "wait_text": "a" * MEBIBYTE}},
    "endless loop": {"thinking": {"loop": {"repeats": 10**30, "tokens": 10**30}}},
    "endless probes": {"thinking": {"confident": {"every": 1, "tokens": 10**9, "threshold": 1e-300}}},
    "members": {f"member-{i}": 1 for i in range(10**5)},
    "one content": {"messages": [{"role": "user", "content": "what is " * (3 * MEBIBYTE)}]},
    "literals": {"messages": [{"role": "user", "content": "<think>" * MEBIBYTE}]},
    "messages": {"messages": USER * 10**5},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 10**5}]},
}


@pytest.mark.parametrize("bomb", COUNTS)
def test_counts(http: httpx.Client, bomb: str) -> None:
    assert send(http, chat(**COUNTS[bomb])).status_code in (200, 400)


def test_a_body_of_100_megabytes(http: httpx.Client) -> None:
    """Refused by its length, or while it comes."""
    refused = http.post(CHAT, content=b"a" * 10**8, headers={"content-type": "application/json"})
    assert refused.status_code == 413
    chunks = (b"a" * MEBIBYTE for _ in range(100))
    assert http.post(CHAT, content=chunks).status_code == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
def test_compressed_bodies_are_not_unpacked(http: httpx.Client, encoding: str) -> None:
    bomb = gzip.compress(b" " * 2**28)
    assert send(http, bomb, **{"content-encoding": encoding}).status_code in (400, 415)


OTHERS = [
    "/",
    "/invocations",
    "/ping",
    "/playground/main.js",
    "/detokenize",
    "/tokenize",
    "/v1/chat/completions/batch",
    "/v1/chat/completions/render",
    "/v1/completions",
    "/v1/completions/render",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/thinking/format",
    "/v1/thinking/profile",
    "/v1/thinking/x/stop",
    "/v1/weights",
]
BODIES = [
    "",
    "null",
    "[]",
    "{}",
    "{",
    "\0",
    "\ufeff{}",
    r'"\ud800"',
    '{"a":' * 2000,
    r'{"\ud800": 1}',
    r'{"thinking": {"\ud800": 1}}',
    '{"messages": null}',
    '{"messages": [null]}',
    r'{"messages": [{"role": "user", "content": "\ud800"}], "max_tokens": 1, "model": "thinkdial-default"}',
    '{"prompt": [[[]]]}',
    r'{"prompt": "\ud800", "max_tokens": 1}',
    '{"prompt": [-1], "max_tokens": 1}',
    '{"prompt": [4294967296], "max_tokens": 1}',
    '{"input": [[]]}',
    '{"tokens": [-1]}',
    '{"tokens": [99999999999999999999]}',
]


@pytest.mark.parametrize("path", OTHERS)
def test_every_route_takes_any_body(http: httpx.Client, path: str) -> None:
    """Also those that the OpenAPI document leaves out."""
    for body in BODIES:
        response = send(http, body.encode("utf-8", "surrogatepass"), path)
        assert response.status_code in (200, 400, 403, 404, 405, 415, 422), body
        assert "Traceback" not in response.text


@pytest.mark.parametrize(
    "path",
    ["/playground/../../keys.py", "/playground/%2e%2e/keys.py", "/playground/..%2fkeys.py", "//etc/passwd"],
)
def test_static_files_are_the_pages_own(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 404
    assert "api_key" not in response.text


@pytest.mark.parametrize("name", ["a" * 65, "a b", "a/b", "../x", "<script>", ""])
def test_names_of_running_requests(http: httpx.Client, name: str) -> None:
    response = send(http, chat(), **{"x-thinking-id": name})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-thinking-id"
