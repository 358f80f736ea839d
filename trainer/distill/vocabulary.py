"""Distillation of distributions needs one vocabulary: the same tokens under the same ids."""

from pathlib import Path

from transformers import AutoConfig

from trainer.checkpoints import load_tokenizer


def check_same_vocabulary(student: Path, teacher: Path) -> None:
    """Raise ValueError unless two checkpoint folders have the same vocabulary, down to unused rows."""
    ours, theirs = load_tokenizer(student).get_vocab(), load_tokenizer(teacher).get_vocab()
    if ours != theirs:
        different = sorted(
            token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)
        )
        raise ValueError(
            f"teacher: {str(teacher)!r} is wrong because its vocabulary is not the student's: "
            f"{len(different)} tokens differ, such as {different[0]!r} ({theirs.get(different[0])} there, "
            f"{ours.get(different[0])} in the student's); give a teacher of the same family, or begin with a "
            "student that has the teacher's tokenizer (model.tokenizer)"
        )
    sizes = [AutoConfig.from_pretrained(folder).get_text_config().vocab_size for folder in (student, teacher)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"teacher: {str(teacher)!r} is wrong because its embedding has {sizes[1]} rows and the student's "
            f"{sizes[0]}; resize one of them, as the tokens are the same"
        )
