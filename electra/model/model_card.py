"""What a pre-trained checkpoint's README.md says, written from the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from electra.settings import PretrainSettings

METRICS = (
    "masked_lm_loss",
    "masked_lm_accuracy",
    "sampled_masked_lm_accuracy",
    "disc_loss",
    "disc_accuracy",
    "disc_auc",
    "disc_precision",
    "disc_recall",
    "loss",
)


DETECT = 'from electra import load\n\nload("PATH").detect(["the chef ate the meal"])'
KINDS = {
    "electra": ("ELECTRA discriminator", "replaced-token-detection", DETECT),
    "electra-masked": ("ELECTRA discriminator, trained on chosen positions alone", "replaced-token-detection", DETECT),
    "electric": ("Electric", "pseudo-log-likelihood", 'from electra import load\n\nload("PATH").score(["the chef ate the meal"])'),
}
"""Objective -> what its network is, the hub's tag, how it is used; the others are masked LMs."""
MASKED_LM = (
    "masked language model of ELECTRA's shape (BERT)",
    "fill-mask",
    'from transformers import pipeline\n\npipeline("fill-mask", model="PATH")',
)


def pretraining_card(settings: PretrainSettings, corpora: Sequence[str], metrics: Mapping[str, float]) -> str:
    """Settings, a line per corpus and held-out metrics -> a model card in Markdown with the hub's front matter."""
    model, objective = settings.model, settings.objective
    kind, tag, use = KINDS.get(objective.objective, MASKED_LM)
    rows = "\n".join(f"| {name} | {metrics[name]:.4f} |" for name in METRICS if name in metrics)
    text = "\n".join(f"- {line}" for line in corpora)
    scores = f"## Held-out metrics\n\n| metric | value |\n|---|---|\n{rows}\n" if rows else ""
    return f"""---
library_name: transformers
tags: [electra, {tag}]
---

# {settings.preset or "model"}: {kind}

{model.num_hidden_layers} layers, hidden size {model.hidden_size}, {model.num_attention_heads} heads, embedding size {model.embedding_size}.
Pre-trained by `electra pretrain {settings.preset}`; `config.toml` of the run repeats it.

```python
{use}
```

## Data

{text}

{scores}
Replaced-token metrics depend on the generator that made the replacements; compare models on one fixed corruption set
(`electra evaluate --corruption`).

## Limits

The model knows the text it was trained on, with that text's errors and biases. It is an encoder to fine-tune, not a
generator of text.
"""
