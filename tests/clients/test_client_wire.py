"""The pure parts of the client: request bodies, server-sent events, stream assembly, the cut marker."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import (
    AnswerDelta,
    APIError,
    Entropy,
    EntropyDelta,
    ThinkingDelta,
    ThinkingReport,
    TokenLogprob,
    errors,
    wire,
)
from clients.events import EventStream, SSEParser
from clients.terminal.display import CutMarker

STOP_TEXT = "Considering the limited time by the user, I have to give the solution now.\n"


@st.composite
def split_points(draw: st.DrawFn, data: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=30)))
    return [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]


single_line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))


@given(
    st.data(), st.lists(st.lists(single_line, min_size=1), max_size=8), st.sampled_from(["\n", "\r\n", "\r"])
)
def test_events_survive_any_chunk_boundaries(
    data: st.DataObject, events: list[list[str]], newline: str
) -> None:
    text = ": a comment" + newline
    for lines in events:
        text += "event: x" + newline + "".join(f"data: {line}{newline}" for line in lines) + newline
    parser = SSEParser()
    chunks = data.draw(split_points(text.encode()))
    received = [event for chunk in chunks for event in parser.feed(chunk)]
    # A lone CR before end of data may still become CRLF, but the line it ends is complete either way.
    assert received == ["\n".join(lines) for lines in events]


def test_event_details() -> None:
    parser = SSEParser()
    assert parser.feed(
        "\ufeffdata:no space\n\ndata:  two spaces\n\ndata\n\nid: 1\n\ndata: open".encode()
    ) == [
        "no space",
        " two spaces",
        "",
    ]
    assert parser.feed(b"\n") == []


@given(st.data(), st.text(), st.text())
def test_stream_text_survives_any_chunk_boundaries(data: st.DataObject, thinking: str, answer: str) -> None:
    thinking, answer = (t.encode(errors="replace").decode() for t in (thinking, answer))
    pieces = [{"reasoning": c} for c in thinking] + [{"content": c} for c in answer]
    chunks = [{"choices": [{"index": 0, "delta": piece}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    raw = "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}\r\n\r\n" for chunk in chunks)
    stream = EventStream()
    deltas = [d for chunk in data.draw(split_points(raw.encode())) for d in stream.feed(chunk)]
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thinking
    assert "".join(d.text for d in deltas if isinstance(d, AnswerDelta)) == answer
    finished = stream.finish()
    assert finished is not None
    assert (finished.reply.thinking, finished.reply.answer) == (thinking, answer)


def test_chat_body_holds_what_was_asked_and_nothing_else() -> None:
    assert wire.chat_body("hi", {}, "m", stream=False) == {
        "messages": [{"role": "user", "content": "hi"}],
        "model": "m",
    }
    body = wire.chat_body(
        [{"role": "system", "content": "s"}],
        {
            "budget": 0,
            "stop_text": "</think>",
            "enable_thinking": False,
            "temperature": 0.0,
            "max_tokens": None,
            "return_token_ids": True,
            "extra": {"chat_template_kwargs": {"x": 1}, "top_p": 0.5},
        },
        "m",
        stream=True,
    )
    assert body == {
        "messages": [{"role": "system", "content": "s"}],
        "model": "m",
        "temperature": 0.0,
        "thinking": {"budget": 0, "stop_text": "</think>"},
        "chat_template_kwargs": {"enable_thinking": False, "x": 1},
        "return_token_ids": True,
        "top_p": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_members_of_thinking() -> None:
    body = wire.chat_body("hi", {"thinking": {"deadline": 2.5, "soft": 8}, "budget": 3}, "m", stream=False)
    assert body["thinking"] == {"deadline": 2.5, "soft": 8, "budget": 3}
    assert wire.completion_body("hi", {"thinking": {"loop": True}}, "m")["thinking"] == {"loop": True}
    wanted = {"effort": "low", "target_accuracy": 0.9, "max_cost": 40.0, "family": "chain"}
    assert wire.chat_body("hi", {**wanted}, "m", stream=False)["thinking"] == wanted  # type: ignore[typeddict-item]
    with pytest.raises(ValueError, match="budget is given both"):
        wire.chat_body("hi", {"thinking": {"budget": 3}, "budget": 3}, "m", stream=False)


def test_nothing_of_a_report_is_lost() -> None:
    members = {"stop_cause": "deadline", "budget": None, "tokens": 3, "inserted_tokens": 2, "blocks": 1}
    members |= {"seconds": 0.5, "deadline": 1.5, "deadline_missed": False}
    members |= {"calibrated": True, "expected_accuracy": 0.9}
    report = wire.parse_report(members | {"id": "think-1", "novelty": [1]})
    assert report == ThinkingReport(**members, extra={"novelty": [1]})


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="bugdet"):
        wire.chat_body("hi", {"bugdet": 3}, "m", stream=False)  # type: ignore[typeddict-unknown-key]
    with pytest.raises(TypeError, match="enable_thinking"):
        wire.completion_body("hi", {"enable_thinking": True}, "m")  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_api_root(url: str) -> None:
    assert wire.api_root(url) == "http://h:1"


def test_bad_base_url() -> None:
    with pytest.raises(ValueError, match="127"):
        wire.api_root("127.0.0.1:8000")


def test_choices_are_kept_apart_and_ordered() -> None:
    stream = wire.StreamAssembler()
    report = {"stop_cause": "budget", "budget": 1, "tokens": 1, "inserted_tokens": 5, "blocks": 1}
    chunks = [
        {
            "id": "r",
            "model": "m",
            "prompt_token_ids": [9],
            "choices": [{"index": 1, "delta": {"reasoning": "b"}}],
        },
        {"choices": [{"index": 0, "delta": {"reasoning": "a", "reasoning_content": "a"}, "token_ids": [1]}]},
        {"choices": [{"index": 0, "delta": {"content": "A"}, "token_ids": [2, 3]}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "thinking": report}]},
        {"choices": [{"index": 1, "delta": {"content": "B"}, "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    ]
    deltas = [delta for chunk in chunks for delta in stream.feed(chunk)]
    assert deltas == [ThinkingDelta("b", 1), ThinkingDelta("a", 0), AnswerDelta("A", 0), AnswerDelta("B", 1)]
    reply = stream.reply()
    assert [(c.index, c.thinking, c.answer, c.finish_reason) for c in reply.choices] == [
        (0, "a", "A", "stop"),
        (1, "b", "B", "length"),
    ]
    assert reply.report == ThinkingReport("budget", 1, 1, 5, blocks=1)
    assert reply.choices[0].token_ids == [1, 2, 3]
    assert reply.choices[1].report is None
    assert reply.choices[1].token_ids is None
    assert reply.prompt_token_ids == [9]
    assert reply.usage is not None
    assert reply.usage.reasoning_tokens is None


def test_truncated_stream_does_not_finish() -> None:
    stream = EventStream()
    list(stream.feed(b'data: {"choices": [{"index": 0, "delta": {"content": "half"}}]}\n\n'))
    assert stream.finish() is None


@pytest.mark.parametrize(
    ("content", "message", "param"),
    [
        (b'{"error": {"message": "no", "param": "n", "code": 400}}', "no", "n"),
        (b'{"message": "no"}', "no", None),
        (b'{"error": "no"}', "no", None),
        (b"<html>bad gateway</html>", "<html>bad gateway</html>", None),
        (b"", "empty response body", None),
        (b'{"detail": []}', '{"detail": []}', None),
    ],
)
def test_errors_of_many_servers(content: bytes, message: str, param: str | None) -> None:
    error = errors.parse_error(400, content)
    assert (error.status, error.message, error.param) == (400, message, param)


def test_error_inside_a_stream() -> None:
    stream = EventStream()
    with pytest.raises(APIError, match="engine died"):
        list(stream.feed(b'data: {"error": {"message": "engine died", "code": 500}}\n\n'))


def mark(text: str, sizes: list[int]) -> tuple[str, str]:
    marker, own, start = CutMarker(STOP_TEXT), "", 0
    for size in sizes:
        own += marker.feed(text[start : start + size])
        start += size
    own += marker.feed(text[start:])
    rest, cut = marker.end()
    return own + rest, cut


@given(st.text(alphabet="Considerg thlmtby\n"), st.lists(st.integers(1, 20)))
def test_cut_is_found_at_any_chunk_boundaries(thinking: str, sizes: list[int]) -> None:
    own, cut = mark(thinking + STOP_TEXT, sizes)
    assert own + cut == thinking + STOP_TEXT
    assert cut == STOP_TEXT


@pytest.mark.parametrize(
    "thinking", ["", "so 3", STOP_TEXT + "but wait", STOP_TEXT[:-9], "x" + STOP_TEXT[1:]]
)
@given(sizes=st.lists(st.integers(1, 20)))
def test_no_cut_is_seen_where_none_is(thinking: str, sizes: list[int]) -> None:
    assert mark(thinking, sizes) == (thinking, "")


def test_cut_marker_holds_nothing_back_without_a_stop_text() -> None:
    marker = CutMarker("")
    assert marker.feed("Cons") == "Cons"
    assert marker.end() == ("", "")


def test_logprobs_are_asked_as_each_route_wants_it() -> None:
    assert wire.chat_body("hi", {"logprobs": 3}, "m", stream=False) | {"messages": 0} == {
        "messages": 0,
        "model": "m",
        "logprobs": True,
        "top_logprobs": 3,
    }
    assert wire.completion_body([1], {"logprobs": 0}, "m") == {"prompt": [1], "model": "m", "logprobs": 0}
    assert "logprobs" not in wire.chat_body("hi", {}, "m", stream=False)


def test_logprobs_of_both_routes() -> None:
    one = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5}]}
    two = {"token": "b", "logprob": -9999.0, "top_logprobs": []}
    three = {"token": "c", "logprob": -2.0, "top_logprobs": [{"token": "d", "logprob": -1.0}, one]}
    expected = [
        TokenLogprob("a", -0.5, (("a", -0.5),)),
        TokenLogprob("b", None),
        TokenLogprob("c", -2.0, (("a", -0.5), ("d", -1.0))),
    ]
    chat = {"choices": [{"index": 0, "message": {}, "logprobs": {"content": [one, two, three]}}]}
    columns = {
        "tokens": ["a", "b", "c"],
        "token_logprobs": [-0.5, None, -2.0],
        "top_logprobs": [{"a": -0.5}, None, {"d": -1.0, "a": -0.5, "e": -9999.0}],
    }
    completion = {"choices": [{"index": 0, "text": "abc", "logprobs": columns}]}
    for payload in (chat, completion):
        assert wire.parse_reply(payload).choices[0].logprobs == expected
    assembler = wire.StreamAssembler()
    for entry in (one, two, three):
        list(
            assembler.feed(
                {"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": [entry]}}]}
            )
        )
    assert assembler.reply().choices[0].logprobs == expected
    assert wire.parse_reply({"choices": [{"index": 0, "message": {}}]}).choices[0].logprobs is None


def test_retry_after() -> None:
    assert errors.parse_retry_after("7") == 7.0
    assert errors.parse_retry_after("0.5") == 0.5
    assert errors.parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    later = errors.parse_retry_after("Wed, 21 Oct 2065 07:28:00 GMT")
    assert later is not None
    assert later > 1e9
    assert errors.parse_retry_after("soon") is None
    assert errors.parse_retry_after("Fri, 31 Dec 9999 23:59:59 -0500") is None
    assert errors.parse_retry_after(None) is None
    assert errors.parse_error(429, b"slow down", 3.0).retry_after == 3.0


def test_entropy_while_it_streams_and_in_the_report() -> None:
    """The live events join to the report's columns, also where the last tokens are in the report alone."""
    first = {"tokens": ["a", "b"], "entropy": [0.5, None], "margin": [0.25, None], "upper": [0.75, None]}
    whole = {
        "texts": ["a", "b", "c"],
        "values": [0.5, None, 0.125],
        "margin": [0.25, None, 1.0],
        "exact": False,
        "upper": [0.75, None, 0.25],
        "residual": [0.01, None, 0.0],
        "tokens": 2,
    }
    ending = {"stop_cause": "length", "budget": None, "tokens": 2, "inserted_tokens": 1, "entropy": whole}
    chunks = [
        {"choices": [{"index": 1, "delta": {"reasoning": "ab"}, "thinking": {"entropy": first}}]},
        {"choices": [{"index": 1, "delta": {}, "finish_reason": "length", "thinking": ending}]},
    ]
    stream = wire.StreamAssembler()
    assert [delta for chunk in chunks for delta in stream.feed(chunk)] == [
        EntropyDelta(["a", "b"], [0.5, None], [0.25, None], [0.75, None], 1),
        ThinkingDelta("ab", 1),
        EntropyDelta(["c"], [0.125], [1.0], [0.25], 1),
    ]
    report = stream.reply().choices[0].report
    assert report is not None
    columns = {name: value for name, value in whole.items() if name != "tokens"}
    assert report.entropy == Entropy(**columns)  # type: ignore[arg-type]
    hidden = {**ending, "entropy": {**whole, "texts": None}}
    chunk = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length", "thinking": hidden}]}
    assert list(wire.StreamAssembler().feed(chunk)) == []


def test_thinking_tokens_counted_in_every_chunk() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 2}}
    chunk = {"choices": [{"index": 0, "delta": {"reasoning": "x"}}], "usage": usage}
    assert list(wire.StreamAssembler().feed(chunk)) == [ThinkingDelta("x", 0, 2)]
