"""Model cards: what was done -> a checkpoint's README.md, with the hub's front matter.

`model_card` writes all of them; the functions after it say what each command's card contains (`electra.finetuning.results` does so for
fine-tuned models).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from electra.settings import PretrainSettings
from electra.storage.resolve import HEADS
from electra.terminal import data_size

METRICS = (
    "masked_lm_loss",
    "masked_lm_accuracy",
    "sampled_masked_lm_accuracy",
    "causal_lm_loss",
    "causal_lm_accuracy",
    "hidden_loss",
    "teacher_cosine",
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
    "electra-masked": ("ELECTRA discriminator, trained on the masked positions only", "replaced-token-detection", DETECT),
    "electric": ("Electric", "pseudo-log-likelihood", 'from electra import load\n\nload("PATH").score(["the chef ate the meal"])'),
    "distill": (
        "small encoder that learned the hidden states of a larger one",
        "feature-extraction",
        'import electra\n\nelectra.finetune("sst2", model="PATH", data="SST-2", output="RUN")',
    ),
    "clm": (
        "encoder trained as a causal language model, to be continued as a masked one",
        "causal-lm",
        'import electra\n\nelectra.pretrain("continue-mlm", init="PATH", data=["SHARDS"], output="RUN")',
    ),
}
"""Objective -> network, tag of the hub, usage; the others are masked LMs."""
MASKED_LM = (
    "masked language model of ELECTRA's shape (BERT)",
    "fill-mask",
    'from transformers import pipeline\n\npipeline("fill-mask", model="PATH")',
)
METRICS_NOTE = """Replaced-token metrics depend on the generator that made the replacements; compare models on one fixed corruption set
(`electra evaluate --corruption`)."""
PRETRAINED_LIMITS = """The model knows the text it was trained on, with that text's errors and biases. It is an encoder to fine-tune, not a
generator of text."""
PIPELINE_TAGS = {
    "classification": "text-classification",
    "tagging": "token-classification",
    "span": "question-answering",
    "masked-lm": "fill-mask",
}
"""Head -> the hub's task."""
ONNX_CALLS = {
    "text-classification": "await run('what a wonderful film', { top_k: null })",
    "token-classification": "await run('Ada Lovelace lived in London', { aggregation_strategy: 'simple' })",
    "question-answering": "await run('who cooked?', 'the chef cooked the meal')",
    "fill-mask": "await run('the chef [MASK] the meal')",
    "feature-extraction": "await run(['one text', 'another text'], { pooling: 'POOLING', normalize: true })",
}
"""The hub's task -> a call of its pipeline in transformers.js."""
REGRESSION_CALL = """import { AutoModelForSequenceClassification, AutoTokenizer } from '@huggingface/transformers';

const tokenizer = await AutoTokenizer.from_pretrained('NAME');
const model = await AutoModelForSequenceClassification.from_pretrained('NAME', { dtype: 'fp32' });
const { logits } = await model(tokenizer('what a wonderful film'));  // the number itself"""
ONNX_LIMITS = """transformers.js truncates a pair of texts at its end, so a long first text can leave no room for the second. Its pipelines read the
beginning of a long text, `electra predict` and `transformers` windows where a model was trained for them."""


def pretraining_card(settings: PretrainSettings, corpora: Sequence[str], metrics: Mapping[str, float], start: Sequence[str] = ()) -> str:
    """Settings, a line per corpus, held-out metrics and what the networks started from -> a model card in Markdown with the hub's front matter."""
    model, objective = settings.model, settings.objective
    kind, tag, use = KINDS.get(objective.objective, MASKED_LM)
    rows = "\n".join(f"| {name} | {metrics[name]:.4f} |" for name in METRICS if name in metrics)
    about = (
        f"{model.num_hidden_layers} layers, hidden size {model.hidden_size}, {model.num_attention_heads} heads, embedding size "
        f"{model.embedding_size}.\nPre-trained by `electra pretrain {settings.preset}`; `config.toml` of the run repeats it.\n\n"
        f"```python\n{use}\n```"
    )
    sections = {"Data": "\n".join(f"- {line}" for line in corpora)}
    if start:
        sections["Start"] = "\n".join(f"- {line}" for line in start)
    if rows:
        sections["Held-out metrics"] = f"| metric | value |\n|---|---|\n{rows}\n\n{METRICS_NOTE}"
    sections["Limits"] = PRETRAINED_LIMITS
    return model_card(f"{settings.preset or 'model'}: {kind}", about, sections, tags=("electra", tag))


def converted_card(name: str, network: str, source: str) -> str:
    """The card of a converted checkpoint; `network` describes it, `source` is what it was converted from."""
    return model_card(name, f"{network}, converted from `{source}` by `electra convert`. What it was trained on is not recorded here.")


def adapted_card(name: str, source: str, change: int) -> str:
    """The card of a checkpoint whose vocabulary has `change` tokens more (or if negative fewer)."""
    if change <= 0:
        about = f"`{source}` with {-change:,} fewer tokens in its vocabulary, by `electra vocab --trim`: those that a corpus uses least.\n"
        about += "A text of kept tokens has the answers of the original; other words are split into more tokens."
        return model_card(name, about)
    about = (
        f"`{source}` with {change} more tokens in its vocabulary, by `electra vocab --extend`.\n"
        "The new ones have not been trained: each starts as the mean of the tokens it replaces. Continue pre-training before use:\n\n"
        f"```sh\nelectra prepare CORPUS --tokenizer {name} --output shards\nelectra pretrain PRESET --data shards --init {name} --output RUN\n```"
    )
    return model_card(name, about)


def uploaded_card(name: str, found: Mapping[str, Any]) -> str:
    """The card of a checkpoint without one; `found` is what `electra.inference.inspect.describe` says of it."""
    labels = [f"- labels: {', '.join(found['labels'])}"] if found.get("labels") else []
    sizes = [f"- {key.replace('_', ' ')}: {value:,}" for key, value in found.items() if isinstance(value, int) and not isinstance(value, bool)]
    call = f'pipeline("text-classification", model="{name}")' if labels else f'load("{name}")'
    use = f"```python\nfrom electra import {call.partition('(')[0]}\n\nmodel = {call}\n```"
    about = "\n".join([f"{found['architecture']}, made with the electra toolkit.", "", *labels, *sizes, "", use])
    return model_card(name, about, pipeline_tag=PIPELINE_TAGS.get(HEADS.get(found["architecture"], "")))


def onnx_card(
    name: str,
    source: str,
    architecture: str,
    config: Mapping[str, Any],
    files: Sequence[tuple[str, str, int, float]],
    *,
    pooling: str = "mean",
    limits: Sequence[str] = (),
) -> str:
    """The card of a folder for the hub, built from `source`: how to run it.

    Args:
        name: the folder's.
        source, architecture, config: of the checkpoint.
        files: (dtype, file, size in bytes, largest difference of a logit) of each.
        pooling: of its vectors, as transformers.js names it.
        limits: what else transformers.js does otherwise.
    """
    tag = PIPELINE_TAGS.get(HEADS[architecture], "feature-extraction")
    call = f"const run = await pipeline('{tag}', 'NAME', {{ dtype: 'fp32' }});\nconsole.log({ONNX_CALLS[tag]});"
    code = f"import {{ pipeline }} from '@huggingface/transformers';\n\n{call}"
    if config.get("problem_type") == "regression":
        code = f"// The pipeline's softmax makes 1 of every number, so not pipeline('{tag}').\n{REGRESSION_CALL}"
    about = f"`{source}` ({architecture}) for ONNX Runtime, made by `electra build --layout hub`. In JavaScript:\n\n```js\n{code}\n```"
    rows = "\n".join(f"| {dtype} | `{file}` | {data_size(size)} | {difference:.2g} |" for dtype, file, size, difference in files)
    table = "| dtype | file | size | largest difference of a logit |\n| --- | --- | ---: | ---: |\n" + rows
    sections = {"Files": f"{table}\n\nThe difference is that from PyTorch in fp32, on random ids.", "Limits": "\n\n".join([*limits, ONNX_LIMITS])}
    return model_card(
        name, about.replace("NAME", name).replace("POOLING", pooling), sections, tags=("electra", "onnx"), pipeline_tag=tag, library="transformers.js"
    )


def model_card(
    title: str,
    about: str,
    sections: Mapping[str, str] | None = None,
    *,
    tags: Sequence[str] = ("electra",),
    pipeline_tag: str | None = None,
    library: str = "transformers",
) -> str:
    """A README.md in Markdown.

    Args:
        title: the heading.
        about: text under it.
        sections: heading -> text, in this order.
        tags: the hub's tags.
        pipeline_tag: the hub's task, such as 'text-classification'.
        library: the package that opens the checkpoint.
    """
    head = [f"library_name: {library}", *([f"pipeline_tag: {pipeline_tag}"] if pipeline_tag else []), f"tags: [{', '.join(tags)}]"]
    parts = ["\n".join(["---", *head, "---"]), f"# {title}", about, *(f"## {name}\n\n{text}" for name, text in (sections or {}).items())]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"
