"""A trained reward model, scoring replies."""

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import AutoConfig, AutoModelForSequenceClassification, PretrainedConfig

from trainer.checkpoints import check_place, load_tokenizer, local_folder
from trainer.completion import Completion
from trainer.rewards.reading import Reader

SETTINGS = "reward"
"""Member of the model's configuration: mean and deviation of its scores."""
PASS_TOKENS = 16384
"""Padded tokens of one forward pass."""


class RewardScorer:
    """Scores replies with a sequence-classification model of one label, on this process's device.

    mean, deviation: of the scores of held-out replies when it was trained; 0 and 1 for one that was not
    trained here.
    """

    def __init__(self, folder: Path, reads: str = "reply") -> None:
        """folder: of the checkpoint, or its name on the hub. reads: as in `Reader`.

        Raises ValueError if it cannot be had, or is no reward model.
        """
        folder = local_folder(folder)
        config = check_reward_model(folder)
        settings = getattr(config, SETTINGS, {})
        self.mean: float = settings.get("mean", 0.0)
        self.deviation: float = settings.get("deviation", 1.0)
        self._context = config.max_position_embeddings
        self._reader = Reader(load_tokenizer(folder), folder, reads)
        self._device = PartialState().device
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype="auto")
        self._model = model.requires_grad_(False).eval().to(self._device)
        self._pad = config.pad_token_id

    def scores(self, replies: Sequence[Completion]) -> list[float]:
        """The model's own score of each reply, in their order.

        Raises ValueError for one that is longer than the model's context.
        """
        ids = [self._reader.ids(reply) for reply in replies]
        longest = max(map(len, ids), default=0)
        if longest > self._context:
            raise ValueError(
                f"reward model: a prompt and reply of {longest} tokens are more than its context of "
                f"{self._context}; give a lower max_tokens, or a reward model with a longer context"
            )
        found = [0.0] * len(ids)
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        for places in _packs(order, ids):
            for place, score in zip(places, self._forward([ids[place] for place in places]), strict=True):
                found[place] = score
        return found

    @torch.no_grad()
    def _forward(self, rows: Sequence[Sequence[int]]) -> list[float]:
        inputs = torch.full((len(rows), max(map(len, rows))), self._pad)
        mask = torch.zeros_like(inputs)
        for index, row in enumerate(rows):
            inputs[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        logits = self._model(
            input_ids=inputs.to(self._device), attention_mask=mask.to(self._device), use_cache=False
        ).logits
        return logits.squeeze(-1).double().tolist()


def check_reward_model(path: Path) -> PretrainedConfig:
    """The configuration of a reward model. Raises ValueError if this is none."""
    check_place(path)
    config = AutoConfig.from_pretrained(path)
    made = ", ".join(config.architectures or [])
    if not made.endswith("ForSequenceClassification") or config.num_labels != 1:
        raise ValueError(
            f"{str(path)!r} is a {made or 'model without architecture'} with {config.num_labels} labels, "
            "which is no reward model; give a checkpoint of a reward_model stage, or another "
            "...ForSequenceClassification with one label"
        )
    if config.pad_token_id is None:
        raise ValueError(
            f"{str(path)!r} has no pad_token_id, by which the end of a reply is found; add it to its "
            "config.json"
        )
    return config


def _packs(order: Sequence[int], ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of like length together, at most PASS_TOKENS with padding; a longer one stands alone."""
    packs: list[list[int]] = []
    for place in order:
        if packs and len(ids[place]) * (len(packs[-1]) + 1) <= PASS_TOKENS:
            packs[-1].append(place)
        else:
            packs.append([place])
    return packs
