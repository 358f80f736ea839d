"""A row token by token: the prompt, what is trained and how much, what is inserted, where branches fork."""

from dataclasses import dataclass

from serve.formats import ThinkingFormat
from trainer.rows.row import Row

GIVEN, PROMPT, TRAINED, HEAVY = "\x1b[33m", "\x1b[2m", "\x1b[32m", "\x1b[1;32m"
RESET = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens one after another that are treated alike. state: prompt, inserted, untrained, or trained."""

    state: str
    weight: float
    ids: list[int]


def show_row(row: Row, form: ThinkingFormat, colours: bool) -> str:
    """The row as text, a line for each run of tokens treated alike, branches after the place they fork at.

    Trained text is green, inserted text yellow, the prompt dim; without colours each line says so.
    """
    lines = []
    for number, (begin, end) in enumerate(row.segments()):
        if number == 0:
            head, prompt = f"{row.kind} row, {end} tokens", row.prompt
        else:
            branch = row.branches[number - 1]
            before = form.tokenizer.decode(row.ids[max(0, branch.fork - 4) : branch.fork])
            head = (
                f"{branch.kind} branch, {end - begin} tokens, forks at token {branch.fork} after {before!r}"
            )
            prompt = begin
        lines.append(head)
        states = [_state(row, number, at, prompt) for at in range(begin, end)]
        for run in _runs(states, row.weights[begin:end], row.ids[begin:end]):
            lines.append("  " + show_run(run, form, colours))
    return "\n".join(lines)


def show_run(run: Run, form: ThinkingFormat, colours: bool) -> str:
    """One line: what the tokens are, how many, and their text with its line feeds marked."""
    tokens = [form.tokenizer.decode([token]) for token in run.ids]
    text = "·".join(token.replace("\n", "⏎") for token in tokens)
    weight = f"×{run.weight:g}" if run.state == "trained" else ""
    label = f"{run.state + weight:<12}{len(run.ids):>5}  "
    if not colours:
        return label + text
    colour = {"prompt": PROMPT, "inserted": GIVEN, "untrained": PROMPT}.get(
        run.state, HEAVY if run.weight > 1 else TRAINED
    )
    return f"{label}{colour}{text}{RESET}"


def _state(row: Row, segment: int, at: int, prompt: int) -> str:
    if segment == 0 and at < prompt:
        return "prompt" if row.weights[at] == 0 else "trained"
    if row.weights[at] > 0:
        return "trained"
    if segment and at < row.branches[segment - 1].start + row.branches[segment - 1].given:
        return "inserted"
    return "untrained"


def _runs(states: list[str], weights: list[float], ids: list[int]) -> list[Run]:
    runs: list[Run] = []
    for state, weight, token in zip(states, weights, ids, strict=True):
        if runs and (runs[-1].state, runs[-1].weight) == (state, weight):
            runs[-1].ids.append(token)
        else:
            runs.append(Run(state, weight, [token]))
    return runs
