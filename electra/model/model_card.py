"""Model cards: what was done -> a checkpoint's README.md, with the hub's front matter.

`model_card` writes all of them; the functions after it say what each command's card contains (`electra.finetuning.results` does so for
fine-tuned models).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.settings import PretrainSettings
from electra.storage.resolve import HEADS, hub_name
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
AUTO = {
    "classification": "AutoModelForSequenceClassification",
    "tagging": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "masked-lm": "AutoModelForMaskedLM",
    "replaced-tokens": "AutoModelForPreTraining",
    "encoder": "AutoModel",
}
"""Head -> the class of `transformers` that opens it."""
ONNX_CALLS = {
    "text-classification": "await run('what a wonderful film', { top_k: null })",
    "token-classification": "await run('Ada Lovelace lived in London', { aggregation_strategy: 'simple' })",
    "question-answering": "await run('who cooked?', 'the chef cooked the meal')",
    "fill-mask": "await run('the chef [MASK] the meal')",
    "feature-extraction": "await run(['one text', 'another text'], { pooling: 'POOLING', normalize: true })",
}
"""The hub's task -> a call of its pipeline in transformers.js."""
OPENED = """import { AutoModelForSequenceClassification, AutoTokenizer } from '@huggingface/transformers';

const tokenizer = await AutoTokenizer.from_pretrained('NAME');
const model = await AutoModelForSequenceClassification.from_pretrained('NAME', { dtype: 'fp32' });
"""
REGRESSION_CALL = f"""{OPENED}const {{ logits }} = await model(tokenizer('what a wonderful film'));  // the number itself"""
RANKING_CALL = f"""{OPENED}const queries = ['who cooked?', 'who cooked?'], passages = ['the chef cooked the meal', 'it rains'];
const {{ logits }} = await model(tokenizer(queries, {{ text_pair: passages, padding: true, truncation: true }}));
console.log(logits.sigmoid().tolist());"""
ONNX_HEADING = "ONNX Runtime and transformers.js"
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
    base = hub_name(settings.init or settings.teacher or "")
    return model_card(f"{settings.preset or 'model'}: {kind}", about, sections, tags=("electra", tag), base_model=base)


def converted_card(name: str, network: str, source: str) -> str:
    """The card of a converted checkpoint; `network` describes it, `source` is the folder, file or hub name that it was converted from."""
    about = f"{network}, converted from `{shown_source(source)}` by `electra convert`. What it was trained on is not recorded here."
    return model_card(name, about, base_model=hub_name(source))


def shown_source(source: str) -> str:
    """A hub name as it is, of a path its last part."""
    return hub_name(source) or Path(source).name


def adapted_card(name: str, source: str, change: int) -> str:
    """The card of `source`, a folder or hub name, with `change` tokens more in its vocabulary (or if negative fewer)."""
    base, source = hub_name(source), shown_source(source)
    if change <= 0:
        about = f"`{source}` with {-change:,} fewer tokens in its vocabulary, by `electra vocab --trim`: those that a corpus uses least.\n"
        about += "A text of kept tokens has the answers of the original; other words are split into more tokens."
        return model_card(name, about, base_model=base)
    about = (
        f"`{source}` with {change} more tokens in its vocabulary, by `electra vocab --extend`.\n"
        "The new ones have not been trained: each starts as the mean of the tokens it replaces. Continue pre-training before use:\n\n"
        f"```sh\nelectra prepare CORPUS --tokenizer {name} --output shards\nelectra pretrain PRESET --data shards --init {name} --output RUN\n```"
    )
    return model_card(name, about, base_model=base)


def uploaded_card(name: str, architecture: str, labels: Sequence[str], num_parameters: int) -> str:
    """The card of a checkpoint without one: what it is, and how it is opened."""
    head = HEADS.get(architecture, "")
    about = [f"{architecture} with {num_parameters:,} parameters.", *([f"Labels: {', '.join(labels)}."] if labels else []), "", "```python"]
    if not in_transformers(architecture):
        about += ["from electra import load", "", f'model = load("{name}")']
    elif head in PIPELINE_TAGS:
        about += ["from transformers import pipeline", "", f'run = pipeline("{PIPELINE_TAGS[head]}", model="{name}")']
    else:
        about += [f"from transformers import {AUTO[head]}, AutoTokenizer", "", f'model = {AUTO[head]}.from_pretrained("{name}")']
        about += [f'tokenizer = AutoTokenizer.from_pretrained("{name}")']
    return model_card(name, "\n".join([*about, "```"]), library=None)


def in_transformers(architecture: str) -> bool:
    """Whether an architecture is a class of `transformers`."""
    return architecture in HEADS and not re.search("Original|Mean|TwoTower", architecture)


def pipeline_tag_of(architecture: str) -> str:
    """Architecture -> the hub's task."""
    return PIPELINE_TAGS.get(HEADS.get(architecture, ""), "feature-extraction")


def onnx_card(name: str, source: str, architecture: str, onnx: str) -> str:
    """The card of a folder with ONNX files alone, built from `source`; `onnx`: what `onnx_text` says of it."""
    about = f"`{source}` ({architecture}) for ONNX Runtime, made by `electra build --layout hub`."
    tag = pipeline_tag_of(architecture)
    return model_card(name, about, {ONNX_HEADING: onnx}, tags=("electra", "onnx"), pipeline_tag=tag, library="transformers.js")


def onnx_text(
    name: str,
    architecture: str,
    config: Mapping[str, Any],
    files: Sequence[tuple[str, str, int, float]],
    *,
    pooling: str = "mean",
    limits: Sequence[str] = (),
) -> str:
    """What a card says of the files in onnx/: how to run them, their differences, and what transformers.js does otherwise.

    Args:
        name: the folder's or the repository's.
        architecture, config: of the checkpoint.
        files: (dtype, file, size in bytes, largest difference of a logit) of each.
        pooling: of its vectors, as transformers.js names it.
        limits: what else transformers.js does otherwise.
    """
    tag = pipeline_tag_of(architecture)
    call = f"const run = await pipeline('{tag}', 'NAME', {{ dtype: 'fp32' }});\nconsole.log({ONNX_CALLS[tag]});"
    code = f"import {{ pipeline }} from '@huggingface/transformers';\n\n{call}"
    if tag == "text-classification" and len(config.get("id2label") or (0, 0)) == 1 and config.get("problem_type") in (None, "regression"):
        example = REGRESSION_CALL if config.get("problem_type") else RANKING_CALL
        code = f"// The pipeline's softmax makes 1 of every number, so not pipeline('{tag}').\n{example}"
    rows = "\n".join(f"| {dtype} | `{file}` | {data_size(size)} | {difference:.2g} |" for dtype, file, size, difference in files)
    table = "| dtype | file | size | largest difference of a logit |\n| --- | --- | ---: | ---: |\n" + rows
    parts = [f"In JavaScript:\n\n```js\n{code}\n```", table, "The difference is that from PyTorch in fp32, on random ids.", *limits, ONNX_LIMITS]
    return "\n\n".join(parts).replace("NAME", name).replace("POOLING", pooling)


LOCAL_PATH = re.compile(r"(?<![\w.:/~-])/(?:[\w.@+-]+/)+[\w.@+-]+")


def without_local_paths(text: str) -> str:
    """A text with the last two names of each absolute path of this machine in place of the path."""

    def shortened(found: re.Match[str]) -> str:
        path = Path(found[0])
        mine = any(path.is_relative_to(place) for place in (Path.home(), Path.cwd()) if place != Path("/"))
        return "/".join(path.parts[-2:]) if mine or path.exists() else found[0]

    return LOCAL_PATH.sub(shortened, text)


def model_card(
    title: str,
    about: str,
    sections: Mapping[str, str] | None = None,
    *,
    tags: Sequence[str] = ("electra",),
    pipeline_tag: str | None = None,
    library: str | None = "transformers",
    **metadata: Any,
) -> str:
    """A README.md in Markdown.

    Args:
        title: the heading.
        about: text under it.
        sections: heading -> text, in this order.
        tags: the hub's tags.
        pipeline_tag: the hub's task, such as 'text-classification'.
        library: the package that opens the checkpoint.
        metadata: what else `huggingface_hub.ModelCardData` takes: base_model, datasets, language, license, model_name with eval_results, ...
    """
    from huggingface_hub import ModelCardData

    head = ModelCardData(library_name=library, pipeline_tag=pipeline_tag, tags=list(tags), **metadata)
    parts = [f"---\n{head.to_yaml()}\n---", f"# {title}", about, *(f"## {name}\n\n{text}" for name, text in (sections or {}).items())]
    return without_local_paths("\n\n".join(part.strip("\n") for part in parts) + "\n")
