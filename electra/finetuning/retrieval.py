"""The tasks 'embed' and 'rerank': settings and data -> the loss, pooling and layers that are used, and the files that sentence-transformers reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from electra import config
from electra.contracts import Example, Features, Head, Task
from electra.data.task_batches import evaluation_batches
from electra.errors import UserError
from electra.inference.embeddings import NORMALIZE, Pooling, SentenceModules, read_modules, save_modules
from electra.model.encoder import Encoder
from electra.model.huggingface import Checkpoint
from electra.model.similarity import RankingObjective, SimilarityObjective
from electra.model.task_models import POOLINGS, SentenceEncoder, TaskNetwork, TaskObjective, pooled
from electra.settings import EmbeddingSettings, FinetuneSettings
from electra.storage.resolve import modules_folder
from electra.tasks.similarity import KINDS, decode, featurize, kind_of, score
from electra.terminal import say

FITTING = {
    "embed": {
        "pairs": ("ranking", "symmetric-ranking"),
        "triplets": ("ranking",),
        "scored triplets": ("ranking",),
        "scored pairs": ("cosent", "cosine"),
        "classes": ("batch-all-triplet",),
        "plain texts": ("ranking", "symmetric-ranking"),
    },
    "rerank": {
        "scored pairs": ("binary",),
        "triplets": ("listwise", "binary"),
        "scored triplets": ("margin-mse", "listwise", "binary"),
    },
}
"""Task -> kind of training data -> the losses for it, the default first."""
UNUSED = {
    "embed": ("head", "calibrate", "class_weights", "truncate", "freeze_encoder_epochs"),
    "rerank": ("calibrate", "class_weights", "truncate"),
}
"""Task -> settings without effect on it."""
OF_BOTH = ("text_columns", "loss")
"""Settings of 'embed' that 'rerank' has, too."""
CROSS_ENCODER = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}
"""What config.json of a re-ranker says to sentence-transformers."""


def check_unused(settings: FinetuneSettings) -> None:
    """Check that no setting of these tasks is given for another, and none of other tasks for these.

    Raises:
        UserError: one is.
    """
    own = [field.name for field in dataclasses.fields(EmbeddingSettings) if getattr(settings.embedding, field.name) != field.default]
    if settings.task not in FITTING:
        if own:
            where = "tasks embed and rerank" if own[0] in OF_BOTH else "task embed"
            raise UserError(f"{config.flag_name(own[0])} is for the {where}; {settings.task} does not use it: leave it out")
        return
    if settings.task == "rerank" and (wrong := [name for name in own if name not in OF_BOTH]):
        raise UserError(f"{config.flag_name(wrong[0])} is for the task embed; a re-ranker makes no vectors: leave it out")
    for field in dataclasses.fields(FinetuneSettings):
        if field.name in UNUSED[settings.task] and getattr(settings, field.name) != field.default:
            raise UserError(f"{config.flag_name(field.name)} has no effect on {settings.task}; leave it out")


def resolve(settings: FinetuneSettings, training: Sequence[Example], dev: Sequence[Example], start: Checkpoint) -> FinetuneSettings:
    """Settings with the loss, pooling and prompts that are used; `layers` stays as given.

    Raises:
        UserError: a loss for other data, dev data without anything to score, sizes above the vectors', or modules that are not trained.
    """
    chosen, kind, task = settings.embedding, kind_of(training), settings.task
    if kind_of(dev) == "plain texts":
        raise UserError("the dev file has texts alone, on which nothing can be scored; give pairs, scored pairs or texts with a label by --dev")
    loss: Any = chosen.loss if chosen.loss != "auto" else FITTING[task][kind][0]
    if loss not in FITTING[task][kind]:
        raise UserError(f"--loss {loss} does not fit the training data, {KINDS[kind][1]}; expected {' or '.join(FITTING[task][kind])}")
    scores = [float(str(example.label)) for example in training] if loss == "cosine" else [0.0]
    if not -1 <= min(scores) <= max(scores) <= 1:
        raise UserError(f"--loss cosine learns cosines, from -1 to 1; the similarities are from {min(scores):g} to {max(scores):g}: scale them")
    if task == "rerank":
        return dataclasses.replace(settings, embedding=dataclasses.replace(chosen, loss=loss))
    width = start.config.hidden_size
    if wrong := [size for size in chosen.matryoshka if not 1 <= size <= width]:
        raise UserError(f"--matryoshka {wrong[0]}: the vectors have {width} numbers; give sizes from 1 to {width}")
    modules = start_modules(start, settings.model)
    pooling: Any = modules.pooling.modes[0] if chosen.pooling == "auto" else chosen.pooling
    prompts: dict[str, Any] = {name: getattr(chosen, name) or modules.prompts.get(key, "") for name, key in PROMPTS.items()}
    return dataclasses.replace(settings, embedding=dataclasses.replace(chosen, loss=loss, pooling=pooling, **prompts))


def with_length(chosen: FinetuneSettings, given: FinetuneSettings, start: Checkpoint) -> FinetuneSettings:
    """Settings whose `max_length`, unless it was given, is that of the sentence encoder to start from."""
    if given.task != "embed" or "max_length" in config.given(given):
        return chosen
    if (file := given.output / "config.toml").exists():
        return dataclasses.replace(chosen, max_length=config.read_toml(file).get("max_length", chosen.max_length))
    declared = start_modules(start, given.model).max_length
    return dataclasses.replace(chosen, max_length=min(declared, start.config.max_position_embeddings)) if declared else chosen


def cut_lines(features: Sequence[Features], max_length: int) -> list[str]:
    """How many texts are as long as what is read of them, in a line; none where none is."""
    lengths = [len(each.ids) for feature in features for each in (feature, *feature.others)]
    cut = sum(length >= max_length for length in lengths)
    what = f"{cut:,} of {len(lengths):,} inputs of the training set have {max_length} tokens or more"
    return [f"{what}; what follows is cut (--max-length)"] if cut else []


PROMPTS = {"query_prompt": "query", "document_prompt": "document"}
"""Setting -> name of the prompt in a model's files."""


def start_modules(start: Checkpoint, model: str) -> SentenceModules:
    """How the vectors of the model to start from are made.

    Raises:
        UserError: modules that would not be trained as they are used.
    """
    modules = read_modules(modules_folder(model, start.path))
    if modules.pooling.modes[1:] or modules.pooling.modes[0] not in POOLINGS:
        modes = " + ".join(modules.pooling.modes)
        raise UserError(f"{model}: pooling {modes} cannot be trained; expected {', '.join(POOLINGS)}: start from another model")
    if other := [module.kind for module in modules.later if module.kind != "Normalize"]:
        raise UserError(f"{model}: its module {other[0]} after the pooling cannot be trained; start from a model without it")
    if modules.lowercase or modules.truncate == "tail" or not modules.pooling.include_prompt:
        what = "do_lower_case, truncation at the left and prompts whose tokens are not pooled"
        raise UserError(f"{model}: {what} cannot be trained; start from another model")
    return modules


def describe(settings: FinetuneSettings, training: Sequence[Example]) -> str:
    """What the vectors are trained on, and how."""
    chosen, kind = settings.embedding, kind_of(training)
    if settings.task == "rerank":
        return f"rerank: {len(training):,} {kind} ({KINDS[kind][1]}); loss {chosen.loss}"
    sizes = f", and of vectors shortened to {', '.join(map(str, chosen.matryoshka))} numbers" if chosen.matryoshka else ""
    return f"embed: {len(training):,} {kind} ({KINDS[kind][1]}); loss {chosen.loss}{sizes}; vectors: {chosen.pooling} of all tokens".replace(
        "cls of all tokens", "state of [CLS]"
    )


def with_prompts(task: Task, settings: FinetuneSettings) -> Task:
    """The task whose texts have the prompts before them."""
    chosen = settings.embedding
    return dataclasses.replace(task, featurize=functools.partial(featurize, prompts=(chosen.query_prompt, chosen.document_prompt)))


# ---- layers ----


def with_layers(start: Checkpoint, settings: FinetuneSettings, dev: Sequence[Features], examples: Sequence[Example], head: Head) -> Checkpoint:
    """The checkpoint without the layers above the chosen one; of 'auto' the layer whose vectors score best on the dev set before training.

    Raises:
        UserError: no such layer.
    """
    wanted, most = settings.embedding.layers, start.config.num_hidden_layers
    if wanted == "all":
        return start
    if wanted == "auto":
        scores = layer_scores(start.encoder, settings.embedding.pooling, dev, examples, head, settings.loop.batch_size)
        number = 1 + int(np.argmax(scores[1:]))
        shown = ", ".join(f"{layer}: {value:.4f}" for layer, value in enumerate(scores) if layer)
        say(f"embed: {KINDS[kind_of(examples)][0]} on the dev set by layer, before training: {shown}; layer {number} is used")
    else:
        number = int(wanted)
        if number > most:
            raise UserError(f"--layers {number}: the model has {most} layers; give 1 to {most}, auto or all")
    encoder = Encoder(dataclasses.replace(start.config, num_hidden_layers=number))
    kept = {name: value for name, value in start.encoder.state_dict().items() if not name.startswith("layers.") or int(name.split(".")[1]) < number}
    encoder.load_state_dict(kept)
    return dataclasses.replace(start, module=encoder, config=encoder.config)


def layer_scores(
    encoder: Encoder, pooling: str, features: Sequence[Features], examples: Sequence[Example], head: Head, batch_size: int
) -> list[float]:
    """The main metric of the vectors of the embeddings and of each layer."""
    found: list[dict[int, np.ndarray]] = [{} for _ in range(encoder.config.num_hidden_layers + 1)]
    encoder.eval()
    with torch.no_grad():
        for indices, batch in evaluation_batches(features, batch_size):
            for layer, states in enumerate(encoder.layer_states(batch)):
                rows = pooled(states, batch, pooling).unflatten(0, (batch.group, -1)).transpose(0, 1)
                found[layer].update(zip(indices, rows.numpy(), strict=True))
    metric = KINDS[kind_of(examples)][0]
    predictions = [decode([rows[i] for i in range(len(features))], features, examples, head) for rows in found]
    return [score(examples, answers, head)[metric] for answers in predictions]


# ---- network and files ----


def network(encoder: Encoder, start: Encoder, settings: EmbeddingSettings) -> SentenceEncoder:
    """The network that is trained; a BERT's pooler, which nothing trains, stays with it."""
    encoder.kept = start.kept
    return SentenceEncoder(encoder, settings.pooling)


def objective(module: TaskNetwork, head: Head, settings: EmbeddingSettings) -> TaskObjective:
    """Its loss."""
    if not isinstance(module, SentenceEncoder):
        return RankingObjective(module, head, loss=settings.loss)
    return SimilarityObjective(module, head, loss=settings.loss, scale=settings.similarity_scale, dimensions=settings.matryoshka)


def save(folder: Path, settings: FinetuneSettings, start: Checkpoint) -> None:
    """Write the files next to a saved encoder's that make it a sentence-transformers folder."""
    chosen = settings.embedding
    prompts: Mapping[str, Any] = {name: getattr(chosen, setting) for setting, name in PROMPTS.items()}
    modules = start_modules(start, settings.model)
    # Its default prompt and `truncate_dim` are not: the vectors are trained and scored without them.
    made = SentenceModules(pooling=Pooling(modes=(chosen.pooling,)), later=(NORMALIZE,), prompts={**modules.prompts, **prompts})
    save_modules(made, folder, start.config.hidden_size, settings.max_length)
