"""Checkpoint folders: made, given thinking, loaded with adapters, saved whole with what they came with."""

import json
from pathlib import Path

import pytest
import torch
from micro_models import SHAPE
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from serve import DEFAULT_MODEL
from serve.formats import load_format
from trainer.adapters import merged_weights
from trainer.checkpoints import (
    add_thinking,
    load_model,
    load_tokenizer,
    local_folder,
    new_checkpoint,
    save_checkpoint,
)
from trainer.recipe.model import Lora, Model, Thinking

IDS = torch.arange(40).reshape(2, 20)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "checkpoint"
    new_checkpoint(SHAPE, 0, folder, ["You are a careful assistant."])
    return folder


def test_a_model_from_nothing_loads_and_depends_on_its_seed_alone(fresh: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    new_checkpoint(SHAPE, 0, tmp_path / "same", ["You are a careful assistant."])
    new_checkpoint(SHAPE, 1, tmp_path / "other", ["You are a careful assistant."])
    assert torch.equal(before, torch.random.get_rng_state())
    first = (fresh / "model.safetensors").read_bytes()
    assert first == (tmp_path / "same" / "model.safetensors").read_bytes()
    assert first != (tmp_path / "other" / "model.safetensors").read_bytes()
    model = AutoModelForCausalLM.from_pretrained(fresh)
    assert model(IDS).logits.shape == (2, 20, model.config.vocab_size)
    assert load_format(load_tokenizer(fresh), fresh).stop_ids
    assert len(load_tokenizer(fresh).encode(" careful")) == 1


def test_a_saved_checkpoint_keeps_all_but_the_weights(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in DEFAULT_MODEL.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    format_file = source / "thinking_format.json"
    members = json.loads(format_file.read_text("utf-8")) | {"stop_text": "Enough.\n</think>\n\n"}
    format_file.write_text(json.dumps(members, indent=2) + "\n", "utf-8")
    generation = source / "generation_config.json"
    generation.write_text(
        json.dumps(json.loads(generation.read_text("utf-8")) | {"do_sample": True, "temperature": 0.6}),
        "utf-8",
    )
    model = load_model(source, Model(path=source))
    with torch.no_grad():
        model.model.norm.weight.mul_(2)
    save_checkpoint(model, load_tokenizer(source), tmp_path / "saved")
    for name in ("thinking_format.json", "tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "saved" / name).read_bytes() == (source / name).read_bytes(), name
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text("utf-8"))
    assert (saved["temperature"], saved["do_sample"]) == (0.6, True)
    torch.testing.assert_close(
        load_model(tmp_path / "saved", Model(path=source))(IDS).logits, model(IDS).logits
    )


def test_adapters_are_merged_as_peft_merges_them(fresh: Path, tmp_path: Path) -> None:
    settings = Model(path=fresh, lora=Lora(rank=4, alpha=6))
    model = load_model(fresh, settings)
    again = load_model(fresh, settings)
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), f"{name}: adapters must be the same for every process"
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights)
    before = model(IDS).logits
    save_checkpoint(model, load_tokenizer(fresh), tmp_path / "saved")
    assert torch.equal(model(IDS).logits, before), "saving changed the model that is being trained"
    expected = model.merge_and_unload()
    saved = load_model(tmp_path / "saved", Model(path=fresh))
    assert saved.state_dict().keys() == expected.state_dict().keys()
    for name, weights in expected.state_dict().items():
        torch.testing.assert_close(saved.state_dict()[name], weights, msg=name)
    assert not torch.allclose(saved(IDS).logits, load_model(fresh, Model(path=fresh))(IDS).logits, atol=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_engine_is_given_what_a_checkpoint_holds(fresh: Path, tmp_path: Path, dtype: str) -> None:
    model = load_model(fresh, Model(path=fresh, lora=Lora(rank=4, alpha=6), dtype=dtype))
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights)
    given = dict(merged_weights(model))
    save_checkpoint(model, load_tokenizer(fresh), tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert given.keys() == saved.keys()
    for name, weights in saved.items():
        assert torch.equal(given[name], weights), name


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_adapters_that_could_not_be_merged_are_refused(fresh: Path, target: str) -> None:
    with pytest.raises(ValueError, match=rf"target_modules: '[a-z.]*{target}' is wrong"):
        load_model(fresh, Model(path=fresh, lora=Lora(rank=4, alpha=6, target_modules=["q_proj", target])))


def test_gathered_weights_are_saved_in_place_of_the_models(fresh: Path, tmp_path: Path) -> None:
    model = load_model(fresh, Model(path=fresh))
    weights = {name: tensor * 2 for name, tensor in model.state_dict().items()}
    save_checkpoint(model, load_tokenizer(fresh), tmp_path / "saved", weights)
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert torch.equal(saved["model.norm.weight"], torch.full((32,), 2.0))


def test_a_half_written_checkpoint_is_replaced(fresh: Path, tmp_path: Path) -> None:
    partial = tmp_path / "saved.partial"
    partial.mkdir()
    (partial / "model-00001-of-00002.safetensors").write_bytes(b"half")
    save_checkpoint(load_model(fresh, Model(path=fresh)), load_tokenizer(fresh), tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").glob("*.safetensors")) == ["model.safetensors"]
    assert not partial.exists()


@pytest.fixture(scope="module")
def without_thinking(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model of another architecture, without tags in its tokenizer or thinking in its template."""
    folder = tmp_path_factory.mktemp("plain") / "plain"
    tokenizer = load_tokenizer(fresh)
    kept = json.loads(tokenizer.backend_tokenizer.to_str())
    kept["added_tokens"] = [token for token in kept["added_tokens"] if "think" not in token["content"]]
    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(kept)),
        eos_token="<|endoftext|>",
        chat_template="{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    )
    config = LlamaConfig(
        vocab_size=len(plain),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=False,
        eos_token_id=plain.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = plain.eos_token_id
    model.save_pretrained(folder)
    plain.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "thinking",
    [Thinking(), Thinking(open="<mm:think>", close="</mm:think>", stop_text="Stop.</mm:think>\n")],
)
def test_a_model_is_given_thinking(without_thinking: Path, tmp_path: Path, thinking: Thinking) -> None:
    with pytest.raises(ValueError, match="has no thinking"):
        load_format(load_tokenizer(without_thinking), without_thinking)
    folder = tmp_path / "thinks"
    add_thinking(without_thinking, Model(path=without_thinking, thinking=thinking), folder)
    plain, tokenizer = load_tokenizer(without_thinking), load_tokenizer(folder)
    form = load_format(tokenizer, folder)
    assert (form.open, form.close, form.opened_by) == (thinking.open, thinking.close, "model")
    assert thinking.stop_text in (None, form.stop_text)
    assert len(tokenizer) == len(plain) + 2
    user = [{"role": "user", "content": "1+1?"}]
    off = tokenizer.apply_chat_template(
        user, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert off.endswith(f"<|im_start|>assistant\n{thinking.open}\n\n{thinking.close}\n\n")

    model = AutoModelForCausalLM.from_pretrained(folder)
    before = AutoModelForCausalLM.from_pretrained(without_thinking)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    assert model.generation_config.eos_token_id == ends
    assert tokenizer.eos_token == "<|im_end|>"
    for table in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before, table)().weight, getattr(model, table)().weight
        assert torch.equal(new[: len(plain)], old)
        spelling = plain.encode(thinking.close, add_special_tokens=False)
        torch.testing.assert_close(new[form.close_id], old[spelling].mean(0))


def test_thinking_is_refused_where_it_cannot_be_given(fresh: Path, without_thinking: Path) -> None:
    lora = Model(path=without_thinking, thinking=Thinking(), lora=Lora(rank=2, alpha=2))
    with pytest.raises(ValueError, match="tokens whose embeddings lora does not train"):
        add_thinking(without_thinking, lora, without_thinking / "x")
    with pytest.raises(ValueError, match="one from nothing has it"):
        Model(shape=SHAPE, thinking=Thinking())


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json; give a checkpoint's folder"):
        local_folder(tmp_path)
