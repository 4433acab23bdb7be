"""Small random checkpoints made by `transformers`, and the same texts through `transformers` itself: the oracle of several test files."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from conftest import SPECIALS, WORDS

SHAPE: dict[str, Any] = {
    "embedding_size": 16,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
TEXTS = ("the chef cooked the meal", "an Épic film , was it ?", "", "she walked home again in the rain .", "naïve 42", "the " * 40)


def random_start(folder: Path, vocab: Path, **sizes: int) -> Path:
    """A discriminator of ours with random weights and the vocabulary of `vocab`, to fine-tune from."""
    from electra.data.tokenizer import load_tokenizer
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.huggingface import reinitialize, save_checkpoint
    from electra.model.objectives import Discriminator

    tokenizer = load_tokenizer(vocab)
    # The usual 0.02 makes the first steps of so narrow a network slow.
    shape = {**SHAPE, "max_position_embeddings": 40, "initializer_range": 0.2, **sizes}
    module = Discriminator(Encoder(EncoderConfig(vocab_size=tokenizer.vocab_size, **shape)))
    reinitialize(module, 7)
    save_checkpoint(module, folder)
    tokenizer.save(folder)
    return folder


def vocabulary() -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return list(dict.fromkeys([*SPECIALS, *letters, *(f"##{c}" for c in letters), *".,!?;:'\"()-", "##s", "##ed", "##ing", "##ly", *WORDS]))


@functools.cache
def checkpoints() -> dict[str, Path]:
    """'discriminator' (with its generator), 'lone' (without), 'classifier', 'regression', 'masked', 'generator' -> folders."""
    import torch
    import transformers

    from electra.data.tokenizer import load_tokenizer

    transformers.utils.logging.disable_progress_bar()
    root = Path(tempfile.mkdtemp())
    (root / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary()), encoding="utf-8")
    tokenizer = load_tokenizer(root / "vocab.txt")
    torch.manual_seed(7)

    def make(kind: str, folder: str, **more: Any) -> Path:
        config = transformers.ElectraConfig(vocab_size=len(vocabulary()), **SHAPE, **more)
        getattr(transformers, kind)(config).eval().save_pretrained(root / folder)
        tokenizer.save(root / folder)
        return root / folder

    labels = {"id2label": {0: "negative", 1: "neutral", 2: "positive"}, "label2id": {"negative": 0, "neutral": 1, "positive": 2}}
    out = {
        "vocab": root / "vocab.txt",
        "discriminator": make("ElectraForPreTraining", "discriminator"),
        "lone": make("ElectraForPreTraining", "lone"),
        "classifier": make("ElectraForSequenceClassification", "classifier", **labels),
        "regression": make("ElectraForSequenceClassification", "regression", num_labels=1, problem_type="regression"),
        "masked": make("ElectraForMaskedLM", "masked"),
    }
    return out | {"generator": make("ElectraForMaskedLM", "discriminator/generator")}


class Oracle:
    """A checkpoint and its tokenizer opened by `transformers`."""

    def __init__(self, kind: str, folder: Path) -> None:
        import transformers

        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = getattr(transformers, kind).from_pretrained(folder).eval()

    def __call__(self, text: str, pair: str | None = None) -> Any:
        import torch

        with torch.no_grad():
            return self.model(**self.tokenizer(text, pair, return_tensors="pt"), output_hidden_states=True)

    def logits(self, text: str, pair: str | None = None) -> np.ndarray:
        return self(text, pair).logits[0].numpy()


@functools.cache
def oracle(kind: str, name: str) -> Oracle:
    return Oracle(kind, checkpoints()[name])
