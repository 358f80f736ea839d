"""Checkpoint folders, which transformers and vLLM load: made from nothing, loaded to train, saved whole."""

import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from tokenizers import AddedToken
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from evals.problems import thinkmath
from serve.checkpoint import check_checkpoint
from serve.formats import CLOSE, FORMAT_FILE, OPEN, STOP_SENTENCE, ThinkingFormat, find_format, load_format
from trainer.adapters import add_lora, merged_weights, plain_model
from trainer.recipe.model import Model, ModelShape
from trainer.saving import saving, sync
from trainer.tokenizer import CHAT_TEMPLATE, build_tokenizer

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
"""What Qwen3's chat template writes around a turn."""
CORPUS_PROBLEMS = 2000
"""thinkmath problems that a tokenizer is learnt from."""
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
"""What is fetched of a model on the hub: weights in one form only."""
REPEATS = 100
"""How often the other texts stand in that corpus, so that each of their words is one token."""


def new_checkpoint(
    shape: ModelShape, seed: int, folder: Path, texts: Sequence[str] = (), taken_from: Path | None = None
) -> None:
    """Write a Qwen3 model with random weights (float32, embeddings tied) and a tokenizer.

    taken_from: the checkpoint folder whose tokenizer it is; None learns one on thinkmath. texts: what is then
    read too, such as system prompts, whose words become tokens.

    Raises:
        ValueError: `taken_from` has more tokens than the shape.
    """
    tokenizer = new_tokenizer(shape, texts) if taken_from is None else load_tokenizer(taken_from)
    if len(tokenizer) > shape.vocab_size:
        raise ValueError(
            f"model.shape.vocab_size: {shape.vocab_size} is wrong because {str(taken_from)!r} has "
            f"{len(tokenizer)} tokens; give as many or more"
        )
    config = new_config(shape, tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    save_checkpoint(model, tokenizer, folder)


def thinking_tokenizer(path: Path, model: Model) -> tuple[PreTrainedTokenizerBase, ThinkingFormat]:
    """The tokenizer of a checkpoint, given `model.thinking`: tags that are tokens, and a template with them.

    Raises:
        ValueError: the template is Qwen3's and the model has no tokens for its turns; or the tags are new
            tokens and the embeddings are not trained.
    """
    thinking = model.thinking
    assert thinking is not None
    tokenizer = load_tokenizer(path)
    tags = [thinking.open, thinking.close]
    added = tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    if added and model.lora is not None:
        raise ValueError(
            f"model.lora: model.thinking adds {tags} to {str(path)!r}, tokens whose embeddings lora does not "
            "train; leave out lora, or give a model that has the tags"
        )
    if thinking.template is not None:
        tokenizer.chat_template = thinking.template.read_text(encoding="utf-8")
    else:
        missing = [token for token in (TURN_START, TURN_END) if token not in tokenizer.get_vocab()]
        if missing:
            raise ValueError(
                f"model.thinking.template: Qwen3's template needs the tokens {missing}, which {str(path)!r} "
                "lacks; give a template in this model's own words"
            )
        template = CHAT_TEMPLATE.read_text(encoding="utf-8")
        tokenizer.chat_template = template.replace(OPEN, thinking.open).replace(CLOSE, thinking.close)
        tokenizer.eos_token = TURN_END
    form = load_format(tokenizer, open=thinking.open, close=thinking.close, stop_text=thinking.stop_text)
    return tokenizer, form


def add_thinking(path: Path, settings: Model, folder: Path) -> None:
    """Write the checkpoint at `path` with thinking added, as `thinking_tokenizer` says.

    A tag's embedding is the mean of those of the tokens it was spelt with, so that training begins near what
    the text meant to the model.
    """
    plain = load_tokenizer(path)
    tokenizer, form = thinking_tokenizer(path, settings)
    spelt = {tag: plain.encode(tag, add_special_tokens=False) for tag in (form.open, form.close)}
    model = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tables = {id(table): table for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for table in tables.values():
            for tag, ids in spelt.items():
                table.weight[tokenizer.convert_tokens_to_ids(tag)] = table.weight[ids].mean(0)
    known = model.generation_config.eos_token_id
    ends = known if isinstance(known, list) else [known] if known is not None else []
    model.generation_config.eos_token_id = list(dict.fromkeys([tokenizer.eos_token_id, *ends]))
    model.config.eos_token_id = tokenizer.eos_token_id
    _save(model, tokenizer, folder, model.state_dict(), form)


def local_folder(path: Path) -> Path:
    """A checkpoint's folder on this machine; a hub name's is fetched first.

    Raises:
        ValueError: it is neither a folder with a `config.json` nor a model of the hub that can be had.
    """
    check_place(path)
    if path.is_dir():
        return path
    try:
        # One process fetches, the others then find its copy.
        with PartialState().local_main_process_first():
            return Path(snapshot_download(str(path), allow_patterns=HUB_FILES))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ValueError(
            f"{str(path)!r} is neither a folder nor a model that can be fetched from the hub "
            f"({str(error).splitlines()[0]})"
        ) from error


def new_tokenizer(shape: ModelShape, texts: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """A tokenizer learnt on thinkmath, the early-stop text and `texts`, whose words become tokens."""
    items = itertools.islice(thinkmath.stream("train", seed=0), CORPUS_PROBLEMS)
    corpus = [
        f"{item.problem.problem}\n{item.trace}\nThe answer is \\boxed{{{item.problem.answer}}}."
        for item in items
    ]
    stop_text = f"{STOP_SENTENCE}\n{CLOSE}\n\n"
    corpus += [stop_text, "system user assistant think no_think", *texts] * REPEATS
    return build_tokenizer(corpus, shape.vocab_size, shape.max_position_embeddings)


def new_config(shape: ModelShape, tokenizer: PreTrainedTokenizerBase) -> Qwen3Config:
    """The configuration of a Qwen3 model of this shape."""
    return Qwen3Config(
        **shape.model_dump(exclude={"rope_theta"}),
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="float32",
    )


def check_place(path: Path) -> None:
    """Raises ValueError unless this is a checkpoint's folder, whole, or may be a model's name on the hub."""
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{str(path)!r} has no config.json; give a checkpoint's folder")
        check_checkpoint(path)
    elif path.is_absolute() or len(path.parts) != 2:
        raise ValueError(
            f"there is no folder {str(path)!r}; give a checkpoint's, or a hub name as owner/name"
        )


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder, with its chat template."""
    return AutoTokenizer.from_pretrained(path)


def check_one_tokenizer(first: Path, other: Path, field: str) -> None:
    """Raise ValueError, naming `field`, unless two checkpoint folders have the same tokens and ids."""
    if load_tokenizer(first).get_vocab() != load_tokenizer(other).get_vocab():
        raise ValueError(
            f"{field}: {str(other)!r} is wrong because its tokenizer is not that of {str(first)!r}; give "
            "checkpoints of one tokenizer"
        )


def load_model(path: Path, model: Model) -> PreTrainedModel:
    """Load a checkpoint folder for training, as the recipe's model section says.

    With `lora`, the weights are frozen and wrapped with fresh adapters, the same ones at every call.

    Raises:
        ValueError: the folder has no weights, or a file of it is not whole.
    """
    check_checkpoint(path, weights=True)
    loaded = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, model.dtype))
    if model.gradient_checkpointing:
        loaded.gradient_checkpointing_enable({"use_reentrant": False})
    return loaded if model.lora is None else add_lora(loaded, model.lora)


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint folder; it appears whole or not at all.

    Every process calls this; the main one writes and the others wait. The folder holds the weights, adapters
    merged into them (`model` itself stays as it is), the tokenizer with its chat template, the generation
    config and the thinking format.

    model: as `load_model` gave it, unwrapped from accelerate. weights: its whole state dict, where its own
    parameters are sharded over processes.
    """
    source = Path(tokenizer.name_or_path) if tokenizer.name_or_path else None
    form = find_format(tokenizer, source)
    _save(model, tokenizer, folder, model.state_dict() if weights is None else weights, form)


def _save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    form: ThinkingFormat | None,
) -> None:
    processes = PartialState()
    if processes.is_main_process:
        partial = folder.with_name(f"{folder.name}.partial")
        if partial.exists():
            shutil.rmtree(partial)
        with saving(folder):
            partial.mkdir(parents=True)
            plain_model(model).save_pretrained(partial, state_dict=dict(merged_weights(model, weights)))
            tokenizer.save_pretrained(partial)
            if form is not None:
                members = {"open": form.open, "close": form.close, "stop_text": form.stop_text}
                text = json.dumps(members, indent=2) + "\n"
                (partial / FORMAT_FILE).write_text(text, encoding="utf-8")
            sync(partial)
            partial.rename(folder)
    processes.wait_for_everyone()
