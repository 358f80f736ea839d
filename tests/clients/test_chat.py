"""`thinkdial chat` as its user sees it: through pipes and on a pseudo-terminal."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scripted_server import (
    STREAM_HEAD,
    STREAM_TAIL,
    ScriptedServer,
    event,
    json_response,
)
from terminal import Terminal

from clients import AnswerDelta, Client, Event, Finished, ThinkingDelta
from clients.terminal.answer_now import AnswerNow
from clients.terminal.dial import Dial
from clients.terminal.display import Screen
from clients.terminal.main import early_stop_text
from clients.terminal.session import Session

CHAT = [sys.executable, "-m", "clients.cli", "chat"]
QUESTION = "Modulo 10, b=5, t=b+6, m=t*7, u=m+3, c=u+9. What is c?"
Scripted = Callable[..., ScriptedServer]


def piped(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CHAT, "--max-tokens", "200", *arguments], input=text, capture_output=True, text=True, timeout=120
    )


def terminal(*arguments: str, **env: str) -> Terminal:
    inherited = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    history = () if "XDG_STATE_HOME" in env else ("--history", "off")
    return Terminal([*CHAT, "--max-tokens", "200", *history, *arguments], inherited | env)


def test_a_pipe_gets_one_cut_reply(server: Any) -> None:
    done = piped(QUESTION, "--base-url", server.base_url, "--budget", "2", "--temperature", "0")
    assert done.returncode == 0
    assert done.stdout.strip()
    assert "thinking" not in done.stdout
    notes = done.stderr.splitlines()
    assert notes[0].startswith("thinking: ")
    assert any(line.startswith("✂ cut: Considering the limited time") for line in notes)
    assert re.fullmatch(
        r"thinking stopped: budget · 2 thinking tokens \(budget 2\) · \d+ inserted · \d+\.\d s", notes[-1]
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert " > " not in done.stdout + done.stderr


@pytest.mark.parametrize("off", [("--no-think",), ("--budget", "0")])
def test_a_pipe_without_thinking(server: Any, off: tuple[str, ...]) -> None:
    done = piped(QUESTION, "--base-url", server.base_url, *off)
    assert done.returncode == 0
    assert done.stdout.strip()
    assert re.fullmatch(r"thinking off · \d+\.\d s\n", done.stderr)


def test_a_natural_end_shows_no_cut(server: Any) -> None:
    done = piped(QUESTION, "--base-url", server.base_url, "--budget", "off", "--temperature", "0")
    assert done.returncode == 0
    assert "✂" not in done.stderr
    assert "(no limit) · 0 inserted" in done.stderr


def test_no_server() -> None:
    done = piped(QUESTION, "--base-url", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "thinkdial chat: no server at http://127.0.0.1:9; start one with: thinkdial serve\n"


def test_an_empty_pipe(server: Any) -> None:
    done = piped("\n", "--base-url", server.base_url)
    assert done.returncode == 2
    assert "standard input is empty" in done.stderr


def test_a_server_error_in_a_pipe(server: Any) -> None:
    done = piped(QUESTION, "--base-url", server.base_url, "--model", "nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("thinkdial chat: HTTP 404")
    assert "nobody" in done.stderr


def test_a_conversation_on_a_terminal(server: Any) -> None:
    with terminal("--base-url", server.base_url, "--budget", "2", "--temperature", "0") as chat:
        assert server.model in chat.expect("Ctrl-D leaves.")
        chat.expect("budget 2 >")
        chat.type(QUESTION + "\r")
        shown = chat.expect(" s\x1b[0m")
        assert re.search(r"\x1b\[2m[^\x1b]+\x1b\[0m", shown), "thinking is dim"
        assert re.search(r"\x1b\[33m✂ cut: Considering the limited time[^\x1b]+\x1b\[0m", shown)
        assert "thinking stopped: budget · 2 thinking tokens (budget 2)" in shown
        chat.expect("budget 2 >")
        chat.type("/no_think\r")
        chat.expect("thinking off until /think")
        chat.expect("thinking off >")
        chat.type(QUESTION + "\r")
        shown = chat.expect(" s\x1b[0m")
        assert "✂" not in shown
        assert "\x1b[2m" not in shown
        assert "thinking off · " in shown
        chat.expect("thinking off >")
        chat.type("/think\r")
        chat.expect("budget 2 >")
        chat.type("/budget off\r")
        chat.expect("no limit >")
        chat.type("/clear\r")
        chat.expect("conversation forgotten")
        chat.expect("no limit >")
        chat.type(QUESTION + "\r")
        assert "(no limit) · 0 inserted" in chat.expect(" s\x1b[0m")
        chat.expect("no limit >")
        chat.type("\x04")
        assert chat.wait() == 0


def test_wrong_commands_say_what_is_right(server: Any) -> None:
    with terminal("--base-url", server.base_url) as chat:
        for typed, said in [
            ("/budget much", "budget is 'much'; it must be a number of tokens (0 or more) or off"),
            ("/budget -5", "budget is '-5'; it must be a number of tokens (0 or more) or off"),
            ("/budget", "/budget takes one value"),
            ("/bugdet 5", "unknown command /bugdet; the commands are /budget N, "),
            ("/think 5", "/think takes no value, but got '5'"),
            ("/help", "/no_think     thinking off until /think"),
        ]:
            chat.expect("thinking on >")
            chat.type(typed + "\r")
            chat.expect(said)
        chat.expect("thinking on >")
        chat.type("/quit\r")
        assert chat.wait() == 0


def test_no_color(server: Any) -> None:
    with terminal("--base-url", server.base_url, "--budget", "2", NO_COLOR="1") as chat:
        chat.expect("budget 2 >")
        chat.type(QUESTION + "\r")
        chat.expect("thinking: ")
        reply = chat.expect("inserted · ")
        assert "\x1b" not in reply
        assert "✂ cut: " in reply
        assert "answer: " in reply
        chat.expect("budget 2 >")
        chat.type("\x04")
        assert chat.wait() == 0


def delta(**message: str) -> bytes:
    return event({"id": "r", "model": "m", "choices": [{"index": 0, "delta": message}]})


MODELS = [json_response({"data": [{"id": "m"}]})]
NO_FORMAT = [json_response({"error": {"message": "Not Found", "code": 404}}, 404)]
STREAM = [
    STREAM_HEAD,
    delta(reasoning="SECRET thought"),
    delta(content="\n\nSeven."),
    event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    event("[DONE]"),
    STREAM_TAIL,
]
HALF = [STREAM_HEAD, delta(reasoning="hmm"), delta(content="Half an")]


def test_history_keeps_answers_only_and_no_failed_turns(scripted: Scripted) -> None:
    server = scripted(MODELS, NO_FORMAT, STREAM, HALF, STREAM)
    with terminal("--base-url", server.base_url) as chat:
        chat.expect("thinking on >")
        chat.type("first\r")
        chat.expect("no thinking report from this server")
        chat.expect("thinking on >")
        chat.type("second\r")
        chat.expect("broke")
        chat.expect("thinking on >")
        chat.type("third\r")
        chat.expect("no thinking report from this server")
        chat.expect("thinking on >")
        chat.type("\x04")
        assert chat.wait() == 0
    first = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "Seven."}]
    assert server.body(2)["messages"] == first[:1]
    assert server.body(3)["messages"] == [*first, {"role": "user", "content": "second"}]
    assert server.body(4)["messages"] == [*first, {"role": "user", "content": "third"}]


def test_ctrl_c_stops_a_reply_not_the_chat(scripted: Scripted) -> None:
    server = scripted(MODELS, NO_FORMAT, [*HALF, 1.5])
    with terminal("--base-url", server.base_url) as chat:
        chat.expect("thinking on >")
        chat.type("question\r")
        chat.expect("Half an")
        chat.type("\x03")
        chat.expect("(stopped; Ctrl-D leaves)", timeout=1.2)
        chat.expect("thinking on >")
        chat.type("\x03")
        chat.expect("(stopped; Ctrl-D leaves)")
        chat.expect("thinking on >")
        chat.type("\x04")
        assert chat.wait() == 0


def test_ctrl_c_while_it_thinks_asks_for_the_answer(server: Any) -> None:
    shown = io.StringIO()
    with Client(server.base_url) as client:
        endless = {"min_tokens": 800, "logit_bias": {client.thinking_format().close_id: -100}}
        session = Session(
            client,
            Screen(shown, shown, styled=False),
            Dial(),
            {"temperature": 0, "max_tokens": 800, "extra": endless},
            early_stop_text(client),
        )
        seen: Counter[type] = Counter()

        def watch(event: Event) -> None:
            ctrl_c.watch(event)
            seen[type(event)] += 1
            if seen[ThinkingDelta] == 10 and not seen[AnswerDelta]:
                signal.raise_signal(signal.SIGINT)
                seen[ThinkingDelta] += 1

        with AnswerNow(client) as ctrl_c:
            session.ask(QUESTION, watch)
        assert seen[Finished] == 1
        assert "✂ cut: Considering the limited time" in shown.getvalue()
        assert "thinking stopped: client" in shown.getvalue()
        assert [turn["role"] for turn in session.history] == ["user", "assistant"]

        def interrupt_answer(event: Event) -> None:
            ctrl_c.watch(event)
            if isinstance(event, AnswerDelta):
                signal.raise_signal(signal.SIGINT)

        session.dial.thinking = False
        with pytest.raises(KeyboardInterrupt), AnswerNow(client) as ctrl_c:
            session.ask(QUESTION, interrupt_answer)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_server_that_goes_away_does_not_end_the_chat(scripted: Scripted) -> None:
    server = scripted(MODELS, NO_FORMAT)
    with terminal("--base-url", server.base_url) as chat:
        chat.expect("thinking on >")
        server.close()
        chat.type("question\r")
        chat.expect(f"no server at {server.base_url}; start one with: thinkdial serve")
        chat.expect("thinking on >")
        chat.type("/quit\r")
        assert chat.wait() == 0


def test_a_reply_cannot_control_the_terminal(scripted: Scripted) -> None:
    hostile = [STREAM_HEAD, delta(content="a\x1b]0;title\x07\x9b2Jb"), *STREAM[3:]]
    server = scripted(MODELS, NO_FORMAT, hostile)
    with terminal("--base-url", server.base_url) as chat:
        chat.expect("thinking on >")
        chat.type("question\r")
        chat.expect("a]0;title2Jb")
        chat.expect("thinking on >")
        chat.type("\x04")
        assert chat.wait() == 0
