"""Batches of SFT: which rows each step has, packed and unpacked, on one process and on several."""

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from serve import DEFAULT_MODEL
from trainer.recipe.model import Optimizer
from trainer.recipe.stages import ColdStart
from trainer.rows.batch import make_batch
from trainer.rows.conversation import Conversation
from trainer.rows.row import Row
from trainer.sft import trainer as sft_trainer
from trainer.sft.plan import CHUNK_STEPS, Plan, Share, pack, partition
from trainer.sft.trainer import as_inputs, token_losses

ASKED = Conversation([{"role": "user", "content": "?"}], True, True, False)
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=60)


def row_of(length: int, first: int = 100) -> Row:
    prompt = max(1, length // 3)
    ids = [first + at % 50 for at in range(length)]
    return Row(ids, [0.0] * prompt + [1.0] * (length - prompt), prompt, "think", ASKED)


def tree(length: int, first: int) -> Row:
    row = row_of(length, first)
    row.add_branch(length - 3, [first + 1, first + 2], [first + 3], [2.0], kind="cut")
    return row


@dataclass
class Source:
    """Rows of known lengths; every eleventh is left out."""

    seed: int = 0
    size: int | None = None
    examples: "Source" = field(init=False)

    def __post_init__(self) -> None:
        self.examples = self

    def at(self, index: int) -> Row | str:
        return "too long" if index % 11 == 10 else row_of(5 + index * 7919 % 40, first=index % 300)


def stage(**members: object) -> ColdStart:
    return ColdStart.model_validate(
        {"optimizer": Optimizer(adamw_lr=1e-3), "batch_tokens": 256, "max_length": 64, **members}
    )


def rows_of(share: Share) -> list[Row]:
    return [row for part in share.micro_batches for sequence in part for row in sequence]


@given(LENGTHS, st.integers(1, 12))
def test_a_partition_loses_nothing_and_has_no_larger_part_than_needed(lengths: list[int], parts: int) -> None:
    lengths.sort()
    bounds = partition(lengths, parts)
    assert len(bounds) == parts
    assert [i for begin, end in bounds for i in range(begin, end)] == list(range(len(lengths)))
    assert sum(begin < end for begin, end in bounds) == min(parts, len(lengths))
    areas = [max(lengths[begin:end], default=0) * (end - begin) for begin, end in bounds]
    assert max(areas) <= max(lengths) * -(-len(lengths) // parts)


@given(LENGTHS)
def test_packing_loses_nothing_and_overfills_nothing(lengths: list[int]) -> None:
    rows = [row_of(length) for length in lengths]
    sequences = pack(rows, 60)
    assert sorted(len(row.ids) for rows in sequences for row in rows) == sorted(lengths)
    assert all(sum(len(row.ids) for row in rows) <= 60 for rows in sequences)
    half_empty = [sum(len(row.ids) for row in rows) <= 30 for rows in sequences]
    assert sum(half_empty) <= 1


@pytest.mark.parametrize("packing", [False, True])
def test_steps_are_functions_of_their_number(packing: bool) -> None:
    settings = stage(tokens=256 * 70, packing=packing)
    plan = Plan(Source(), settings)
    assert plan.steps == 70
    shares = [plan.share(step) for step in range(plan.steps)]
    fresh = Plan(Source(), settings)
    assert [fresh.share(step) for step in (65, 3, 40)] == [shares[65], shares[3], shares[40]]
    assert sum(share.tokens for share in shares) == pytest.approx(256 * 70, rel=0.1)
    assert all(share.weight == sum(sum(row.weights) for row in rows_of(share)) for share in shares)
    assert plan.left_out["too long"] > 0


def test_an_epoch_has_every_row_once() -> None:
    plan = Plan(Source(size=500), stage(epochs=1.0))
    seen = [tuple(row.ids) for step in range(plan.steps) for row in rows_of(plan.share(step))]
    source = Source(size=500)
    expected = [tuple(row.ids) for i in range(500) if isinstance(row := source.at(i), Row)]
    assert sorted(seen) == sorted(expected)
    assert plan.steps > CHUNK_STEPS
    with pytest.raises(ValueError, match="endless; give tokens"):
        Plan(Source(), stage(epochs=1.0))


@given(processes=st.integers(1, 5), limit=st.sampled_from([None, 60, 100]))
@settings(max_examples=15, deadline=None)
def test_processes_share_the_same_step(processes: int, limit: int | None) -> None:
    settings = stage(tokens=256 * 40, micro_batch_tokens=limit)
    alone, together = Plan(Source(), settings), Plan(Source(), settings, processes)
    for step in (0, 1, 33):
        shares = [together.share(step, process) for process in range(processes)]
        assert len({len(share.micro_batches) for share in shares}) == 1
        assert {share.weight for share in shares} == {alone.share(step).weight}
        found = sorted(tuple(row.ids) for share in shares for row in rows_of(share))
        assert found == sorted(tuple(row.ids) for row in rows_of(alone.share(step)))
        for share in shares:
            for part in share.micro_batches:
                area = max((len(s[0].ids) for s in part), default=0) * len(part)
                assert limit is None or area <= limit or len(part) == 1


def test_a_source_without_usable_rows_is_refused() -> None:
    class Nothing(Source):
        def at(self, index: int) -> Row | str:
            return "without a worked reply"

    with pytest.raises(
        ValueError, match=r"the first 256 rows cannot be trained on: {.without a worked reply.: 256}"
    ):
        Plan(Nothing(), stage(tokens=1000))


@pytest.mark.parametrize(
    "rows", [[row_of(30, 10), row_of(17, 90), row_of(9, 200)], [tree(30, 10), tree(17, 90)]]
)
def test_packed_and_unpacked_losses_are_equal(rows: list[Row]) -> None:
    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32).eval()
    vocabulary = model.config.vocab_size
    apart, together = make_batch([[row] for row in rows], pad=0), make_batch([rows], pad=0)
    with torch.no_grad():
        found = [token_losses(model, as_inputs(batch), vocabulary) for batch in (apart, together)]
    summed = [
        (losses * b.weights[:, 1:]).sum() for (losses, _), b in zip(found, (apart, together), strict=True)
    ]
    torch.testing.assert_close(summed[0], summed[1], atol=1e-3, rtol=1e-5)
    assert found[0][1].sum() == found[1][1].sum()
    begin = 0
    for place, row in enumerate(rows):
        alone = found[0][0][place, : len(row.ids) - 1]
        packed = found[1][0][0, begin : begin + len(row.ids) - 1]
        torch.testing.assert_close(packed, alone, atol=1e-3, rtol=1e-4)
        begin += len(row.ids)


def test_the_tiled_head_gives_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.trainer.utils import add_fused_lm_head

    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
    add_fused_lm_head(model, outputs=("log_probs", "is_top1"))
    inputs = as_inputs(make_batch([[tree(30, 10)], [row_of(17, 90)]], pad=0))
    whole, right = token_losses(model, inputs, model.config.vocab_size)
    monkeypatch.setattr(sft_trainer, "MOST_LOGITS", 0)
    tiled, tiled_right = token_losses(model, inputs, model.config.vocab_size)
    torch.testing.assert_close(whole, tiled, atol=1e-4, rtol=1e-4)
    assert torch.equal(right, tiled_right)


def test_a_process_without_rows_still_takes_part() -> None:
    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
    losses, _ = token_losses(model, as_inputs(make_batch([], pad=0)), model.config.vocab_size)
    losses.sum().backward()
    assert all(not weights.grad.any() for weights in model.parameters())
