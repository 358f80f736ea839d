"""A row of a file or data set as an example, by the names of its columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.jsonl import decode
from evals.problems import Problem
from evals.problems.hub import level_of
from evals.problems.jsonl import prefixed
from trainer.examples import Example

MEMBERS = ("problem", "answer", "thinking", "response", "messages", "level", "subject", "id", "chance", "set")
ROLES = ("system", "developer", "user", "assistant")
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Members of an assistant's message that hold its thinking apart from its content."""


class RowReader:
    """Reads rows whose members are named by `columns`; a member that it does not name has its own name.

    A row is `problem` with `answer`, `response` or both, or `messages` in OpenAI's form. The last of the
    messages may be the assistant's: it is the reply. Thinking is what `thinking` or the message's
    `reasoning_content` holds, or what stands between the tags at the beginning of the reply. An example
    without `answer` can be trained on but not graded: its answer is "".
    """

    def __init__(self, name: str, columns: Mapping[str, str], tags: tuple[str, str]) -> None:
        """Raises ValueError when `columns` names a member that examples do not have."""
        unknown = [member for member in columns if member not in MEMBERS]
        if unknown:
            raise ValueError(f"columns: {unknown[0]!r} is no member of an example; give {', '.join(MEMBERS)}")
        self._name = name
        self._columns = {member: columns.get(member, member) for member in MEMBERS}
        self._named = set(columns)
        self._open, self._close = tags

    def read(self, row: object, where: str, number: int) -> Example:
        """The example in a row.

        Args:
            row: one JSON object or data set row.
            where: names the row in errors, as file:line.
            number: of the row, its id where it has none.

        Raises:
            ValueError: a column is missing or of the wrong type; the message begins with `where`.
        """
        if not isinstance(row, Mapping):
            raise ValueError(f"{where}: expected an object with columns, got {type(row).__name__}")
        for member in self._named:
            if self._columns[member] not in row:
                raise ValueError(
                    f"{where}: there is no column {self._columns[member]!r} (columns.{member}); the row has "
                    f"{', '.join(map(repr, row))}"
                )
        turns = self._value(row, "messages")
        answer = self._text(row, "answer", where)
        thinking = self._text(row, "thinking", where)
        response = self._text(row, "response", where)
        if turns is None:
            problem = self._text(row, "problem", where)
            messages: tuple[tuple[str, str], ...] = ()
            if not problem:
                raise ValueError(
                    f"{where}: column {self._columns['problem']!r} is missing or empty; name the column "
                    f"of the problem in columns.problem, or of the messages in columns.messages; the row has "
                    f"{', '.join(map(repr, row))}"
                )
        else:
            if isinstance(turns, str):
                turns = _decoded(turns, f"{where}: column {self._columns['messages']!r}")
            problem, messages, reply = self._conversation(turns, where)
            if reply is not None:
                if response is not None:
                    raise ValueError(
                        f"{where}: the reply is both the last of {self._columns['messages']!r} and column "
                        f"{self._columns['response']!r}; leave one of them out"
                    )
                reasoning, response = reply
                thinking = reasoning if reasoning is not None else thinking
        if response is not None and thinking is None:
            thinking, response = self.split(response, where)
        if response is None and (thinking is not None or not answer):
            raise ValueError(
                f"{where}: there is neither an answer nor a response; name the columns in columns.answer or "
                f"columns.response; the row has {', '.join(map(repr, row))}"
            )
        identity = self._text(row, "id", where) or str(number)
        name = self._text(row, "set", where) or self._name
        subject = self._value(row, "subject")
        if not isinstance(subject, str | None):
            raise ValueError(
                f"{where}: column {self._columns['subject']!r} is {subject!r}; expected a string"
            )
        return Example(
            Problem(
                id=prefixed(name, identity),
                problem=problem,
                answer=answer or "",
                level=level_of(self._value(row, "level")),
                subject=subject,
                chance=self._chance(row, where),
                set=name,
                messages=messages,
            ),
            thinking=thinking.strip("\n") or None if thinking is not None else None,
            response=response,
        )

    def split(self, reply: str, where: str) -> tuple[str | None, str]:
        """Thinking and response of a reply that may begin with a tagged block; an empty block is none."""
        head, closed, tail = reply.partition(self._close)
        opened = head.lstrip().startswith(self._open)
        if opened and not closed:
            raise ValueError(f"{where}: the reply's {self._open} never closes with {self._close}")
        if not closed:
            return None, reply
        thinking = head.lstrip().removeprefix(self._open) if opened else head
        return thinking.strip("\n") or None, tail.lstrip("\n")

    def _conversation(
        self, turns: object, where: str
    ) -> tuple[str, tuple[tuple[str, str], ...], tuple[str | None, str] | None]:
        """The last user turn, the prompt's turns (none if that turn is all of it), and the reply."""
        column = self._columns["messages"]
        if not isinstance(turns, Sequence) or not turns:
            raise ValueError(f"{where}: column {column!r} is {turns!r}; expected a list of messages")
        told = []
        for index, turn in enumerate(turns):
            place = f"{where}: column {column!r}, message {index}"
            if not isinstance(turn, Mapping) or turn.get("role") not in ROLES:
                raise ValueError(
                    f"{place} is {turn!r}; expected an object with a role of {', '.join(ROLES)} and a content"
                )
            told.append((str(turn["role"]), _content(turn, place)))
        reply = None
        if told[-1][0] == "assistant":
            text = told.pop()[1]
            reasoning = next((turns[-1][name] for name in REASONING if turns[-1].get(name)), None)
            reply = (reasoning, text) if reasoning is not None else self.split(text, where)
        if not told or told[-1][0] != "user":
            raise ValueError(
                f"{where}: column {column!r} has no user's message before its end; expected turns that end "
                "with the user's, or with the user's and the assistant's"
            )
        # Serving removes the thinking of earlier turns, so it is none of the prompt.
        history = [(role, self.split(text, where)[1] if role == "assistant" else text) for role, text in told]
        return history[-1][1], tuple(history) if len(history) > 1 else (), reply

    def _value(self, row: Mapping[str, Any], member: str) -> Any:
        return row.get(self._columns[member])

    def _text(self, row: Mapping[str, Any], member: str, where: str) -> str | None:
        value = self._value(row, member)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(
                f"{where}: column {self._columns[member]!r} is {value!r}; expected a string or a number"
            )
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    def _chance(self, row: Mapping[str, Any], where: str) -> float | None:
        value = self._value(row, "chance")
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise ValueError(
                f"{where}: column {self._columns['chance']!r} is {value!r}; expected a number from 0 to 1"
            )
        return value


def _content(turn: Mapping[str, Any], place: str) -> str:
    """A message's text: a string, or parts of type text."""
    content = turn.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise ValueError(f"{place} has the content {content!r}; expected a string or parts of type text")


def _decoded(text: str, place: str) -> Any:
    """Some data sets hold messages as JSON in a string."""
    return decode(text, f"{place} is neither a list of messages nor JSON of one")
