"""`thinkdial chat` as a filter: JSON for programs, several messages in one run, and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from scripted_server import ScriptedServer
from test_chat import CHAT, HALF, MODELS, NO_FORMAT, QUESTION, STREAM, piped

Scripted = Callable[..., ScriptedServer]


def test_one_object_for_each_reply(server: Any) -> None:
    done = piped(QUESTION, "--base-url", server.base_url, "--budget", "6", "--temperature", "0", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    reply = json.loads(line)
    assert set(reply) == {"answer", "thinking", "report", "usage", "finish_reason", "model"}
    assert "\\boxed" in reply["answer"]
    assert "Considering the limited time" in reply["thinking"]
    assert reply["report"]["stop_cause"] == "budget"
    assert reply["report"]["budget"] == reply["report"]["tokens"] == 6
    assert "deadline" not in reply["report"]
    assert reply["usage"]["reasoning_tokens"] == 6
    assert (reply["finish_reason"], reply["model"]) == ("stop", server.model)


def test_a_conversation_line_by_line(server: Any) -> None:
    lines = ["/budget 3", QUESTION, "", "/budget off", "/deadline 60s", QUESTION, "/quit", "never asked"]
    flags = ("--temperature", "0", "--lines", "--json")
    done = piped("\n".join(lines), "--base-url", server.base_url, *flags)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["report"]["budget"], second["report"]["budget"]) == (3, None)
    assert second["report"]["deadline"] == 60
    # The first question and answer are in the second prompt, without their thinking.
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"] + 20
    assert done.stderr.splitlines() == ["budget 3", "no limit", "no limit, 60 s"]


def test_text_line_by_line(scripted: Scripted) -> None:
    server = scripted(MODELS, NO_FORMAT, STREAM, STREAM)
    done = piped("first\nsecond\n", "--base-url", server.base_url, "--lines")
    assert (done.returncode, done.stdout) == (0, "Seven.\nSeven.\n")
    assert [turn["content"] for turn in server.body(3)["messages"]] == ["first", "Seven.", "second"]


def test_exit_codes(scripted: Scripted) -> None:
    wrong = piped("/budget lots\n", "--base-url", scripted(MODELS, NO_FORMAT).base_url, "--lines")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "budget is 'lots'; it must be a number of tokens" in wrong.stderr
    broken = piped("question", "--base-url", scripted(MODELS, NO_FORMAT, HALF).base_url, "--json")
    assert (broken.returncode, broken.stdout) == (1, "")
    assert "broke" in broken.stderr
    for flags, said in [
        (("--effort", "lots"), "effort is 'lots'"),
        (("--deadline", "-1"), "deadline is '-1'"),
        (("--budget", "3", "--effort", "low"), "--budget and --effort are both given"),
        (("--thinking", "[1]"), "must be a JSON object"),
        (("--thinking", '{"budget": 3}'), "flags of their own"),
    ]:
        done = piped("question", *flags)
        assert done.returncode == 2
        assert said in done.stderr


def test_ctrl_c_in_a_pipe(scripted: Scripted) -> None:
    server = scripted(MODELS, NO_FORMAT, [*HALF, 3.0])
    with subprocess.Popen(
        [*CHAT, "--base-url", server.base_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        chat.stdin.write("question")
        chat.stdin.close()
        assert chat.stdout.read(7) == "Half an"
        chat.send_signal(signal.SIGINT)
        assert chat.wait(timeout=10) == 130
