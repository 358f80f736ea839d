"""What a greedy reply under a budget must be, told from replies without one.

The model is asked three things: its reply to a question, how it goes on after given tokens, and how a text is
spelt. From those follow every cut reply and its report.
"""

from dataclasses import dataclass, field
from typing import Any

import httpx

GREEDY = {"temperature": 1, "top_k": 1, "seed": 5}
"""Greedy for several choices too, which vLLM refuses at temperature 0."""

LONGEST = 240


@dataclass(frozen=True)
class Expected:
    """ids: of the whole reply. cause, tokens, inserted: of its report."""

    ids: list[int]
    cause: str
    tokens: int
    inserted: int


@dataclass
class Reference:
    """The model of one server. http: a client of it."""

    http: httpx.Client
    natural: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)
    answers: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        form = self.http.get("/v1/thinking/format").raise_for_status().json()
        self.open, self.close = form["open_id"], form["close_id"]
        self.stop_text: str = form["stop_text"]
        self.off = self.spelt(f"{form['open']}\n\n{form['close']}\n\n")

    def spelt(self, text: str) -> list[int]:
        body = {"prompt": text, "add_special_tokens": False}
        return self._post("/tokenize", body)["tokens"]

    def expected(self, question: str, budget: int | None, most: int, stop_text: str | None) -> Expected:
        """The reply to a question under a budget, of at most `most` tokens."""
        prompt, natural = self._natural(question)
        stop = self.spelt(self.stop_text if stop_text is None else stop_text)
        if budget == 0:
            ids = self._after([*prompt, *self.off], most)
            return Expected(ids, "disabled", 0, 0)
        thought, opened = 0, False
        for position, token in enumerate(natural[:most]):
            if token == self.close:
                opened = False
            elif not opened and token == self.open:
                if thought == budget:
                    kept = natural[:position]
                    return Expected(
                        kept + self._after([*prompt, *kept], most - position), "natural", thought, 0
                    )
                opened = True
            elif opened and not (token == natural[-1] and position == len(natural) - 1):
                if thought == budget:
                    return self._cut(prompt, natural[:position], stop, most, "budget", thought)
                thought += 1
        length = opened and len(natural) > most
        return Expected(natural[:most], "length" if length else "natural", thought, 0)

    def stopped(self, question: str, thought: int, most: int, stop_text: str | None) -> list[Expected]:
        """What a reply may be that its client stopped after `thought` tokens of thinking.

        Before its first token it gets an empty block in place of the early-stop text.
        """
        prompt, natural = self._natural(question)
        assert natural[0] == self.open
        kept = natural[: 1 + thought]
        stop = self.spelt(self.stop_text if stop_text is None else stop_text)
        replies = [] if self.close in kept else [self._cut(prompt, kept, stop, most, "client", thought)]
        if thought == 0:
            replies.append(self._cut(prompt, [], self.off, most, "client", 0))
        return replies

    def _cut(
        self, prompt: list[int], kept: list[int], inserted: list[int], most: int, cause: str, thought: int
    ) -> Expected:
        room = most - len(kept) - len(inserted)
        if room <= 0:
            # Without room for what would be inserted the reply ends where it is.
            return Expected(kept, "length" if kept else cause, thought, 0)
        ids = [*kept, *inserted]
        return Expected(ids + self._after([*prompt, *ids], room), cause, thought, len(inserted))

    def _natural(self, question: str) -> tuple[list[int], list[int]]:
        if question not in self.natural:
            body = {"messages": [{"role": "user", "content": question}], "max_tokens": LONGEST, **GREEDY}
            reply = self._post("/v1/chat/completions", {**body, "return_token_ids": True})
            self.natural[question] = reply["prompt_token_ids"], reply["choices"][0]["token_ids"]
        return self.natural[question]

    def _after(self, prompt: list[int], most: int) -> list[int]:
        """How the model goes on, at most `most` tokens; it may not open a block."""
        key = tuple(prompt)
        if key not in self.answers:
            body = {"prompt": prompt, "max_tokens": LONGEST, "logit_bias": {str(self.open): -100}, **GREEDY}
            reply = self._post("/v1/completions", {**body, "return_token_ids": True})
            self.answers[key] = reply["choices"][0]["token_ids"]
        return self.answers[key][:most]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self.http.post(path, json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()
