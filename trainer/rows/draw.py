"""The rows of a stage, each drawn from the seed, the stage and its index alone."""

import random
from dataclasses import dataclass, field

from serve.formats import ThinkingFormat
from trainer.examples import Example
from trainer.recipe.data import RowMix
from trainer.recipe.stages import ColdStart, Fusion
from trainer.rows.conversation import draw_conversation, plain_conversation
from trainer.rows.replies import ReplyWriter
from trainer.rows.row import Row
from trainer.sources import ExampleStream

MOST_TRIES = 10_000
"""Examples looked at for one of a wanted level."""
SPARE = 10**9
"""Where in the stream the examples begin that are earlier turns or of a wanted level: no row's own."""
SPARE_DRAWS = 16
"""Draws after SPARE from one row's to the next's."""
LATE_LINES = 2
"""How many of a trace's last lines late cuts fall into."""


@dataclass(frozen=True)
class RowSource:
    """Rows of a cold start or a fusion stage.

    thinking: where think rows come from instead of the stage's sources (rejection sampling), if anywhere.
    """

    stage: ColdStart | Fusion
    seed: int
    form: ThinkingFormat
    examples: ExampleStream
    thinking: ExampleStream | None = None
    writer: ReplyWriter = field(init=False)

    def __post_init__(self) -> None:
        weight = self.stage.mix.answer_weight if isinstance(self.stage, Fusion) else 1.0
        object.__setattr__(self, "writer", ReplyWriter(self.form, weight))

    @property
    def size(self) -> int | None:
        """Rows in one pass over the sources; None is endless."""
        return self.examples.size

    def at(self, index: int) -> Row | str:
        """Row `index`, or why it is left out."""
        rng = random.Random(f"{self.seed}-{self.stage.name}-{index}")
        if isinstance(self.stage, Fusion):
            row = self._fusion_row(rng, index, self.stage.mix)
        else:
            row = self._cold_start_row(index)
        if isinstance(row, Row) and len(row.ids) > self.stage.max_length:
            return "longer than max_length"
        return row

    def _cold_start_row(self, index: int) -> Row | str:
        example = self.examples.at(index)
        if reason := self._unusable(example, thinks=True):
            return reason
        return self.writer.think_row(plain_conversation(example), example)

    def _fusion_row(self, rng: random.Random, index: int, mix: RowMix) -> Row | str:
        thinks = rng.random() * (mix.think + mix.no_think) < mix.think
        stream = self.thinking if thinks and self.thinking is not None else self.examples
        example = stream.at(index)
        if not thinks and mix.no_think_levels is not None:
            example = self._of_level(rng, index, mix.no_think_levels)
        if reason := self._unusable(example, thinks):
            return reason
        conversation = draw_conversation(
            rng,
            example,
            thinks,
            mix.flagged,
            mix.in_system,
            mix.multi_turn,
            mix.system_prompts,
            self._spare(index, 0) if mix.multi_turn else None,
            mix.overruled,
        )
        if not thinks:
            return self.writer.no_think_row(conversation, example)
        row = self.writer.think_row(conversation, example)
        for _ in range(mix.cuts):
            self._add_cut(rng, row, example, mix)
        if mix.no_think_branches:
            self.writer.add_no_think(row, conversation, example)
        return row

    def _unusable(self, example: Example, thinks: bool) -> str | None:
        """Why no reply can be made of an example."""
        texts = [example.response, example.thinking] if thinks else [example.response]
        if None in texts:
            return "without a worked reply"
        if any(tag in (text or "") for text in texts for tag in (self.form.open, self.form.close)):
            return "with a thinking tag inside the reply"
        return None

    def _of_level(self, rng: random.Random, index: int, levels: dict[int, float]) -> Example:
        """An example whose level is drawn by weight, of those the sources give: by rejection.

        Raises ValueError if the sources have none of these levels.
        """
        most = max(levels.values())
        for attempt in range(1, MOST_TRIES):
            example = self._spare(index, attempt)
            level = example.problem.level
            weight = levels.get(level, 0.0) if isinstance(level, int) else 0.0
            if rng.random() * most < weight:
                return example
        raise ValueError(
            f"mix.no_think_levels: {levels!r} is wrong because {MOST_TRIES} examples of the data had none of "
            "these levels; give levels that it has"
        )

    def _spare(self, index: int, attempt: int) -> Example:
        return self.examples.at(SPARE + index * SPARE_DRAWS + attempt)

    def _add_cut(self, rng: random.Random, row: Row, example: Example, mix: RowMix) -> None:
        begin, end = self.writer.thinking_span(row)
        if end - begin > 1:
            self.writer.add_cut(row, example, self._draw_cut(rng, end - begin, example, mix))

    def _draw_cut(self, rng: random.Random, length: int, example: Example, mix: RowMix) -> int:
        """How many of `length` thinking tokens to keep, at least 1 and fewer than all."""
        late = rng.random() < mix.late_cuts and example.problem.subject not in mix.evenly_cut
        if not late:
            return rng.randint(1, length - 1)
        last_lines = "\n".join((example.thinking or "").splitlines()[-LATE_LINES:]) + "\n"
        return rng.randint(max(1, length - len(self.form.encode(last_lines))), length - 1)
