"""A BERT of Hugging Face -> the same network under ELECTRA's names: a masked LM where it has that head, else an encoder.

BERT's encoder is ELECTRA's with embeddings as wide as the rest, and its masked-LM head is the generator's: dense, gelu, LayerNorm, the
word embeddings and a bias. The pooler and next-sentence head have no counterpart and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

RENAMED = (
    (r"^bert\.", "electra."),
    (r"^cls\.predictions\.transform\.", "generator_predictions."),
    (r"^cls\.predictions\.(decoder\.)?bias$", "generator_lm_head.bias"),
)
LEFT_OUT = ("pooler.", "electra.pooler.", "cls.seq_relationship.", "cls.predictions.decoder.weight")


def as_electra(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json's values and weights of a BERT -> those of an ELECTRA; `architectures` says which."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if not name.startswith(LEFT_OUT) and not name.endswith("position_ids"):
            renamed[name] = tensor
    has_head = "generator_predictions.dense.weight" in renamed
    if not has_head:
        renamed = {name.removeprefix("electra."): tensor for name, tensor in renamed.items()}
    # What a BERT's config.json leaves out are the values of BertConfig.
    defaults = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    changes = {"model_type": "electra", "architectures": ["ElectraForMaskedLM" if has_head else "ElectraModel"]}
    found = {**defaults, **values, **changes}
    return found | {"embedding_size": found["hidden_size"]}, renamed
