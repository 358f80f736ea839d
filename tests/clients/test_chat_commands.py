"""The commands, the gauge and the line history of `thinkdial chat`, typed on a pseudo-terminal."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import STREAM_HEAD, STREAM_TAIL, ScriptedServer, event
from terminal import COLUMNS, screen_after
from test_chat import MODELS, NO_FORMAT, QUESTION, STREAM, terminal

from clients.terminal.display import column_after

Scripted = Callable[..., ScriptedServer]


def long(tokens: int) -> tuple[str, ...]:
    """Flags with which a reply thinks for so many tokens at least."""
    floor = json.dumps({"min_tokens": tokens})
    return ("--max-tokens", "900", "--temperature", "0", "--thinking", floor)


def test_the_gauge_stands_below_the_thinking_and_goes(server: Any) -> None:
    with terminal("--base-url", server.base_url, *long(64), "--budget", "64", "--deadline", "60s") as chat:
        chat.expect("budget 64, 60 s >")
        chat.type(QUESTION + "\r")
        chat.expect("\r\n")
        shown = chat.expect("thinking stopped: ")
        told = [int(count) for count in re.findall(r"[█░]{20} (\d+) of 64 thinking tokens", shown)]
        assert told == sorted(told)
        assert len(set(told)) > 20
        assert told[-1] == 64
        assert "of 60s · /now or Ctrl-C: answer now" in shown
        # Somewhere on the way: text above, and the gauge alone on the line below.
        reached = next(count for count in told if count >= 32)
        *above, gauge = screen_after(shown[: shown.index(f" {reached} of 64 ")])
        full = reached * 20 // 64
        assert gauge == "█" * full + "░" * (20 - full)
        assert not any("░" in line or "█" in line for line in above)
        last = screen_after(shown)
        assert not any("░" in line or "█" in line for line in last)
        thought = "".join(line for line in last if line)
        assert "Considering the limited time" in thought
        chat.expect("budget 64, 60 s >")
        chat.type("\x04")
        assert chat.wait() == 0


@pytest.mark.parametrize("ending", ["/now\r", "\x03"])
def test_answer_now_while_the_user_types_on(server: Any, ending: str) -> None:
    """What is typed during a reply is shown below it, and is not lost: the prompt goes on with it."""
    with terminal("--base-url", server.base_url, *long(700)) as chat:
        chat.expect("thinking on >")
        chat.type(QUESTION + "\r")
        chat.expect("thinking tokens")
        chat.type("/budget 33")
        chat.expect("/now or Ctrl-C: answer now  /budget 33")
        chat.type("\x7f\r" + ending + "/he")
        assert "thinking stopped: client" in chat.expect("inserted")
        chat.expect("thinking on > /budget 3")
        chat.expect("budget 3 >")
        chat.expect("/he")
        chat.type("lp\r")
        chat.expect("Ctrl-C        while the model thinks: answer now")
        chat.expect("budget 3 >")
        chat.type("/now\r")
        chat.expect("no reply is thinking; type /now, or Ctrl-C, while one does")
        chat.expect("budget 3 >")
        chat.type("\x04")
        assert chat.wait() == 0


def test_turning_the_dial(server: Any) -> None:
    with terminal("--base-url", server.base_url, "--effort", "high", "--temperature", "0") as chat:
        for typed, said in [
            (
                "/effort lots",
                "effort is 'lots'; it must be one of none, minimal, low, medium, high",
            ),
            ("/effort", "/effort takes one value: /effort low or /effort off"),
            ("/deadline soon", "deadline is 'soon'; it must be a time above 0 or off: /deadline 3s"),
            ("/deadline 0s", "deadline is '0s'; it must be a time above 0 or off"),
            ("/deadline", "/deadline takes one value"),
            ("/sistem", "did you mean /system?"),
            ("/save", "/save takes a file name"),
            ("/save chat.txt", "its name must end in .json or .md"),
            ("/save /nowhere/chat.md", "cannot be written: No such file or directory"),
        ]:
            chat.expect("effort high >")
            chat.type(typed + "\r")
            chat.expect(said)
        for typed, prompt in [
            ("/deadline 500ms", "effort high, 0.5 s >"),
            ("/deadline 1m", "effort high, 60 s >"),
            ("/effort low", "effort low, 60 s >"),
            ("/deadline off", "effort low >"),
            ("/budget 5", "budget 5 >"),
            ("/effort max", "effort max >"),
            ("/effort off", "thinking on >"),
            ("/effort none", "thinking off >"),
            ("/reset", "effort high >"),
        ]:
            chat.type(typed + "\r")
            chat.expect(prompt)
        chat.type("/effort minimal\r")
        chat.expect("effort minimal >")
        chat.type(QUESTION + "\r")
        # Ten percent of 200 tokens, as the server maps the level.
        assert re.search(r"thinking tokens \(budget \d+\)", chat.expect("inserted"))
        chat.expect("effort minimal >")
        chat.type("/quit\r")
        assert chat.wait() == 0


def test_what_is_kept_of_a_conversation(scripted: Scripted, tmp_path: Path) -> None:
    server = scripted(MODELS, NO_FORMAT, STREAM, STREAM, STREAM)
    saved = tmp_path / "a chat.json"
    with terminal("--base-url", server.base_url, "--system", "Be brief.") as chat:
        for typed, said in [
            ("/history", "system: Be brief."),
            ("first", "no thinking report"),
            ("/history", "user: first\r\nassistant: Seven."),
            (f"/save {saved}", "1 turns saved in"),
            (f"/save {saved}", "is there already; give another name"),
            (f"/save {tmp_path / 'chat.md'}", "1 turns saved in"),
            ("/system  Answer in French. ", "system message set"),
            ("/system", "system message: Answer in French."),
            ("second", "no thinking report"),
            ("/reset", "as at the start: thinking on"),
            ("/system off", "no system message"),
            ("/history", "nothing has been said"),
            ("third", "no thinking report"),
        ]:
            chat.expect("thinking on >")
            chat.type(typed + "\r")
            chat.expect(said)
        chat.expect("thinking on >")
        chat.type("\x04")
        assert chat.wait() == 0
    first = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "Seven."}]
    brief, french = ({"role": "system", "content": text} for text in ("Be brief.", "Answer in French."))
    assert server.body(2)["messages"] == [brief, *first[:1]]
    assert server.body(3)["messages"] == [french, *first, {"role": "user", "content": "second"}]
    assert server.body(4)["messages"] == [{"role": "user", "content": "third"}]
    # Another server may refuse what only ours knows.
    assert server.body(2)["stream_options"] == {"include_usage": True}
    document = json.loads(saved.read_text("utf-8"))
    assert document["system"] == "Be brief."
    (turn,) = document["turns"]
    assert (turn["question"], turn["answer"], turn["thinking"]) == ("first", "Seven.", "SECRET thought")
    assert turn["report"] is None
    markdown = (tmp_path / "chat.md").read_text("utf-8")
    assert markdown == (
        "**system**: Be brief.\n\n**user**: first\n\n> SECRET thought\n\n**assistant**: Seven.\n"
    )


def test_typed_lines_are_kept_for_the_next_time(scripted: Scripted, tmp_path: Path) -> None:
    for typed in ("/budget 77\r", "\x1b[A\r"):
        server = scripted(MODELS, NO_FORMAT)
        with terminal("--base-url", server.base_url, XDG_STATE_HOME=str(tmp_path)) as chat:
            chat.expect("thinking on >")
            chat.type(typed)
            chat.expect("budget 77 >")
            chat.type("\x04")
            assert chat.wait() == 0
    kept = tmp_path / "thinkdial" / "chat_history"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "+/budget 77\n" in kept.read_text("utf-8")


def test_a_place_where_nothing_can_be_kept(scripted: Scripted, tmp_path: Path) -> None:
    server = scripted(MODELS, NO_FORMAT)
    (tmp_path / "thinkdial").write_text("no folder")
    with terminal("--base-url", server.base_url, XDG_STATE_HOME=str(tmp_path)) as chat:
        chat.expect("typed lines are not kept: ")
        chat.expect("thinking on >")
        chat.type("/budget 5\r")
        chat.expect("budget 5 >")
        chat.type("\x04")
        assert chat.wait() == 0


def test_wide_and_long_text_leaves_the_screen_whole(scripted: Scripted) -> None:
    """Lines that fill the terminal, and characters of two columns: the footer stays below, once."""
    pieces = ["a" * 60, "b" * 40, "字" * 49, "字" * 30, "é\tx", "c" * 250, "\n\nd"]

    def delta(text: str) -> bytes:
        return event({"id": "r", "model": "m", "choices": [{"index": 0, "delta": {"reasoning": text}}]})

    pauses = [step for text in pieces for step in (delta(text), 0.15)]
    server = scripted(MODELS, NO_FORMAT, [STREAM_HEAD, *pauses, *STREAM[2:-1], STREAM_TAIL])
    with terminal("--base-url", server.base_url) as chat:
        chat.expect("thinking on >")
        chat.type("question\r")
        chat.expect("\r\n")
        shown = chat.expect("no thinking report")
        assert "~7 thinking tokens" in shown
        assert "".join(screen_after(shown)).count("thinking tokens") == 0
        chat.expect("thinking on >")
        chat.type("\x04")
        assert chat.wait() == 0
    text = "".join(pieces)
    plain = "".join(screen_after(shown))
    for run in ("a" * 60, "b" * 40, "c" * 250):
        assert run in plain
    assert text.count("字") == plain.count("字")


@settings(deadline=None)
@given(st.text(st.sampled_from("ab\n\t")), st.integers(0, COLUMNS - 1))
def test_the_cursor_is_known(text: str, column: int) -> None:
    """Character by character or at once, it ends in the same column of the terminal."""
    at = column
    for character in text:
        at = column_after(character, at, COLUMNS)
    assert at == column_after(text, column, COLUMNS) <= COLUMNS
    assert column_after("\n" + "a" * 2 * COLUMNS, column, COLUMNS) == COLUMNS
    assert column_after("字" * (COLUMNS // 2) + "字", 0, COLUMNS) == 2
