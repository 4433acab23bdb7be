"""Pre-trained checkpoint -> metrics on held-out text and on a fixed corruption set; linear probes; previews of corrupted examples."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra import config
from electra.contracts import Batch, Example, Features, Head, Task
from electra.data.corruption_set import CorruptionSet, load_corruption, make_corruption
from electra.data.pretraining_batches import ExampleBuilder, held_out_batches
from electra.data.shards import Shards, open_shards, same_vocabulary
from electra.data.task_batches import evaluation_batches
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.word_statistics import check_unknown
from electra.errors import UserError, require
from electra.model import masking
from electra.model.encoder import Encoder
from electra.model.generators import ClozeModel, Generator, MaskedLanguageModel, ReplacementSource, TwoTowerGenerator
from electra.model.huggingface import Checkpoint, is_electric, load_checkpoint
from electra.model.objectives import CorruptionObjective, Discriminator, Electric, ReplacedTokenObjective
from electra.model.pretraining_models import main_network
from electra.settings import DataSettings, EvaluateSettings, ObjectiveSettings, WatchSettings
from electra.storage import resolve
from electra.tasks.input_spec import recorded
from electra.tasks.registry import TASKS, find_task
from electra.tasks.text_tasks import choose_examples
from electra.terminal import say
from electra.train.distributed import choose_device
from electra.train.evaluation import area_under_curve, autocast, evaluate


def held_out_metrics(settings: EvaluateSettings) -> dict[str, float]:
    """The nine pre-training metrics on held-out data."""
    shards, tokenizer, checkpoint = open_all(settings)
    objective: MaskedLanguageModel | ReplacedTokenObjective
    if isinstance(checkpoint.module, Discriminator):
        objective = detection(checkpoint, checkpoint.module, example_length(settings, checkpoint), tokenizer)
    else:
        assert isinstance(checkpoint.module, Generator)
        objective = MaskedLanguageModel(checkpoint.module, ObjectiveSettings(objective="mlm"), **vocabulary(tokenizer))
    device = choose_device()
    return evaluate(objective.to(device), held_out(settings, shards, tokenizer, checkpoint), device)


def detection(checkpoint: Checkpoint, discriminator: Discriminator, sequence_length: int, tokenizer: Tokenizer) -> ReplacedTokenObjective:
    """A discriminator and its generator in the objective they were trained with."""
    folder = checkpoint.path / "generator"
    found = load_checkpoint(folder) if (folder / "config.json").exists() else load_checkpoint(checkpoint.path, "generator")
    generator = found.module
    kind = Electric if is_electric(checkpoint) else ReplacedTokenObjective
    settings = ObjectiveSettings(objective="electric" if kind is Electric else "electra")
    noise: ReplacementSource
    if isinstance(generator, TwoTowerGenerator):
        noise = ClozeModel(generator, settings, **vocabulary(tokenizer))
    else:
        assert isinstance(generator, Generator)
        noise = MaskedLanguageModel(generator, settings, **vocabulary(tokenizer))
    return kind(discriminator, noise, settings, sequence_length=sequence_length)


def vocabulary(tokenizer: Tokenizer) -> dict[str, Any]:
    """What an objective needs of a tokenizer."""
    return {"vocab_size": tokenizer.vocab_size, "mask_id": tokenizer.mask_id, "special_ids": tokenizer.special_ids}


def corruption_metrics(settings: EvaluateSettings) -> dict[str, float]:
    """Metrics of the discriminator and of a context-free detector on a fixed corruption set, which is made if the file is missing."""
    assert settings.corruption is not None
    checkpoint = load_checkpoint(settings.model, "discriminator")
    tokenizer = load_tokenizer(checkpoint.path)
    if not settings.corruption.exists():
        make_set(settings).save(settings.corruption)
    fixed = load_corruption(settings.corruption, tokenizer.fingerprint)
    metrics: dict[str, float] = {}
    for source in fixed.corrupted:
        scores, labels, loss = [], [], 0.0
        with torch.inference_mode():
            for batch, corrupted, replaced in fixed.batches(source, settings.batch_size):
                logits = checkpoint.module(batch, corrupted)
                loss += F.binary_cross_entropy_with_logits(logits, replaced.float(), reduction="sum").item()
                scores.append(logits.numpy())
                labels.append(replaced.numpy())
        score, label = np.concatenate(scores), np.concatenate(labels)
        metrics[f"{source}_disc_auc"] = area_under_curve(score, label)
        metrics[f"{source}_context_free_auc"] = area_under_curve(*fixed.context_free_scores(source))
        if not is_electric(checkpoint):  # an Electric's energies rank tokens but are not probabilities
            metrics[f"{source}_disc_loss"] = loss / len(label)
            metrics[f"{source}_disc_accuracy"] = float(((score > 0) == label).mean())
        metrics[f"{source}_replaced_fraction"] = float(label.mean())
    return metrics


def make_set(settings: EvaluateSettings) -> CorruptionSet:
    """Make a corruption set from --data's held-out text with this model's generator."""
    if not settings.data:
        raise UserError(f"{settings.corruption} not found; give --data SHARDS to make it")
    shards, tokenizer, checkpoint = open_all(settings)
    generator = load_checkpoint(settings.model, "generator")
    special = torch.tensor(sorted(tokenizer.special_ids))

    def choose(batch: Batch) -> torch.Tensor:
        return masking.choose_positions(batch, masking.num_masked(batch.lengths, 0.15), special)

    @torch.inference_mode()
    def generate(batch: Batch, at: torch.Tensor) -> torch.Tensor:
        logits = generator.module(batch, masking.mask_positions(batch, at, tokenizer.mask_id, 1.0), at)
        chance = masking.uniforms(batch.keys[batch.rows[at]], batch.positions[at], masking.SAMPLE)
        return masking.sample_tokens(logits[:, : tokenizer.vocab_size], chance)

    counts = sum(np.bincount(s.train.ids[:20_000_000], minlength=tokenizer.vocab_size) for s in shards)
    return make_corruption(
        held_out(settings, shards, tokenizer, checkpoint), choose, generate, np.asarray(counts, float), tokenizer.fingerprint, settings.seed
    )


def open_all(settings: EvaluateSettings) -> tuple[list[Shards], Tokenizer, Checkpoint]:
    """The data, the model's tokenizer and the model, which share a vocabulary."""
    checkpoint = load_checkpoint(settings.model)
    if resolve.head_of(checkpoint.architecture) not in ("replaced-tokens", "masked-lm"):
        raise UserError(
            f"{settings.model} is {resolve.with_article(checkpoint.architecture)}; pre-training metrics need a pre-trained one; "
            "score a fine-tuned one with --task"
        )
    shards = {str(path): open_shards(path) for path in settings.data}
    same_vocabulary(shards)
    if "sequence_length" in config.given(settings) and settings.sequence_length > (limit := checkpoint.config.max_position_embeddings):
        raise UserError(f"--sequence-length {settings.sequence_length} is above the {limit} positions of {settings.model}; lower it")
    tokenizer = load_tokenizer(checkpoint.path)
    for path, folder in shards.items():
        if not tokenizer.matches(folder.fingerprint):
            raise UserError(f"{path} was prepared with another vocabulary than {settings.model} has; prepare it with --tokenizer {checkpoint.path}")
    for line in check_unknown(shards, most=1.0):
        say(line)
    return list(shards.values()), tokenizer, checkpoint


def example_length(settings: EvaluateSettings, checkpoint: Checkpoint) -> int:
    """The longest example in tokens; without --sequence-length the length the model was trained at (128 where that is not recorded)."""
    length = settings.sequence_length
    if "sequence_length" not in config.given(settings):
        length = recorded(checkpoint.hf_config)[1] or length
    return min(length, checkpoint.config.max_position_embeddings)


def held_out(settings: EvaluateSettings, shards: list[Shards], tokenizer: Tokenizer, checkpoint: Checkpoint) -> list[Batch]:
    """The held-out examples, as batches."""
    data = DataSettings(data=tuple(str(s.path) for s in shards), sequence_length=example_length(settings, checkpoint))
    batches = held_out_batches(
        [s.held_out for s in shards], ExampleBuilder(data, tokenizer), settings.batch_size, settings.num_examples, settings.seed
    )
    if not batches:
        raise UserError(f"{', '.join(str(s.path) for s in shards)}: no held-out documents; prepare with a larger --held-out")
    return batches


# ---- linear probe: logistic regression on frozen mean states, scored on dev ----

TRAIN_EXAMPLES = 4000
"""Size of the fixed sample of the training set: enough for a regression on some hundred features, in seconds."""
MAX_LENGTH = 128
STRENGTH = 0.1
"""scikit-learn's C; a strong penalty, since the features are many and correlated."""


@dataclass(frozen=True, kw_only=True)
class ProbeData:
    """A task's labelled examples."""

    task: Task
    head: Head
    train: Sequence[Example]
    dev: Sequence[Example]


def read_probe(settings: WatchSettings) -> ProbeData | None:
    """The task of --probe and a fixed sample of its training examples; None without --probe.

    Raises:
        UserError: an unknown task, one without classes, or no data.
    """
    if settings.probe is None:
        if settings.probe_data is not None or settings.probe_every:
            raise UserError("--probe-data and --probe-every need --probe TASK")
        return None
    task = find_task(settings.probe)
    if settings.probe_data is None:
        raise UserError(f"--probe {settings.probe} needs data: give --probe-data FOLDER, as for 'electra finetune {task.name} --data'")
    require("sklearn", "train")
    train, dev = task.read(settings.probe_data, "train"), task.read(settings.probe_data, "dev")
    head = task.head(train)
    if head.kind != "classification":
        classes = ", ".join(name for name, known in TASKS.items() if known.main_metric in ("accuracy", "matthews"))
        raise UserError(f"--probe {settings.probe}: {task.name} has no classes; choose one of {classes}")
    if len({example.label for example in train}) < 2:
        raise UserError(f"--probe {settings.probe}: the training examples in {settings.probe_data} all have one label; give the whole set")
    return ProbeData(task=task, head=head, train=choose_examples(train, TRAIN_EXAMPLES, swapped=False), dev=dev)


def open_probe(
    settings: WatchSettings,
    tokenizer: Tokenizer,
    objective: MaskedLanguageModel | CorruptionObjective,
    device: torch.device,
    precision: str,
    sequence_length: int = MAX_LENGTH,
) -> Callable[[], dict[str, float]] | None:
    """The probe of --probe: () -> {"probe_TASK": the task's main metric on dev}; None without --probe.

    The features are the last layer's states, averaged over a text's tokens as in `electra embed`; only the regression is trained. Texts are cut
    to 128 tokens, and to the `sequence_length` of the pre-training.
    """
    data = read_probe(settings)
    if data is None:
        return None
    task, head = data.task, data.head
    known, unseen = (task.featurize(examples, tokenizer, min(MAX_LENGTH, sequence_length), head) for examples in (data.train, data.dev))

    def probe() -> dict[str, float]:
        encoder = main_network(objective).encoder
        layer = fitted_layer(mean_states(encoder, known, device, precision), [feature.label for feature in known], len(head.labels))
        logits = layer(mean_states(encoder, unseen, device, precision))
        # Decoded and scored as by `electra evaluate`: the task's own functions.
        predictions = task.decode([*logits], unseen, data.dev, head)
        return {f"probe_{task.name}": task.score(data.dev, predictions, head)[task.main_metric]}

    return probe


def fitted_layer(states: np.ndarray, labels: Sequence[object], num_labels: int) -> Callable[[np.ndarray], np.ndarray]:
    """(N, D) states and their classes -> a linear layer, (M, D) states -> (M, C) logits: scikit-learn's logistic regression on standardized states.

    A class that no example has is never the answer.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=300)).fit(states, np.array(labels))

    def logits(unseen: np.ndarray) -> np.ndarray:
        found = regression.decision_function(unseen)
        # Of two classes scikit-learn gives the second one's logit; the first one's is zero.
        found = np.stack([np.zeros_like(found), found], 1) if found.ndim == 1 else found
        every = np.full((len(unseen), num_labels), -np.inf)
        every[:, regression.classes_] = found
        return every

    return logits


def mean_states(encoder: Encoder, features: Sequence[Features], device: torch.device, precision: str) -> np.ndarray:
    """Features -> (N, D) means of the last layer's states over each text's tokens; leaves the encoder's mode unchanged."""
    means = np.zeros((len(features), encoder.config.hidden_size), np.float32)
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad(), autocast(device, precision):
            for indices, batch in evaluation_batches(features, 64):
                hidden = encoder(batch.to(device)).float()
                summed = hidden.new_zeros(len(indices), hidden.shape[1]).index_add_(0, batch.rows.to(device), hidden)
                means[indices] = (summed / torch.tensor(batch.lengths, device=device)[:, None]).cpu().numpy()
    finally:
        encoder.train(was_training)
    return means


# ---- preview of corrupted examples ----

WIDTH = 110
"""Width in columns."""
LINES = 2
"""Rows of tokens per example."""


def examples_shown(objective: MaskedLanguageModel | CorruptionObjective, batch: Batch, tokenizer: Tokenizer) -> list[str]:
    """The inputs of an objective's networks for `batch`, aligned by token; leaves the objective's mode and gradients unchanged.

    `masked` is the generator's (or a BERT's) input, `corrupted` the discriminator's; `label` is R for a replaced token and = if the
    generator's sample is the original.
    """
    networks: dict[str, nn.Module] = {} if objective.generator is None else {"masked": objective.generator}
    if isinstance(objective, CorruptionObjective):
        networks["corrupted"] = main_network(objective)
    was_training = objective.training
    objective.eval()
    try:
        with torch.no_grad(), _read_ids(networks, batch) as found:
            objective(batch)
    finally:
        objective.train(was_training)
    lines: list[str] = []
    start = 0
    for number, length in enumerate(batch.lengths, 1):
        ids = {"original": batch.ids, **found}
        pieces = {name: [tokenizer.pieces[i] for i in values[start : start + length].tolist()] for name, values in ids.items()}
        if "corrupted" in pieces:
            chosen = [piece != masked for piece, masked in zip(pieces["original"], pieces.get("masked", pieces["corrupted"]), strict=True)]
            pairs = zip(pieces["original"], pieces["corrupted"], chosen, strict=True)
            pieces["label"] = ["R" if read != piece else "=" if was else "." for piece, read, was in pairs]
        lines += [f"example {number} of the first batch, {length} tokens", *_rows(pieces)]
        start += length
    return lines


@contextlib.contextmanager
def _read_ids(networks: dict[str, nn.Module], batch: Batch) -> Iterator[dict[str, Tensor]]:
    """Record the (T,) ids that each network is called with."""
    found: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            given = [value for value in inputs if isinstance(value, Tensor) and value.shape == batch.ids.shape and value.dtype == torch.int64]
            found[name] = given[0] if given else batch.ids

        return hook

    handles = [network.register_forward_pre_hook(record(name)) for name, network in networks.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _rows(pieces: dict[str, list[str]]) -> list[str]:
    """Aligned rows of tokens, at most LINES."""
    label = max(map(len, pieces))
    widths = [max(map(_columns, column)) for column in zip(*pieces.values(), strict=True)]
    lines: list[str] = []
    at = 0
    for _ in range(LINES):
        first, used = at, label + 2
        while at < len(widths) and (used + widths[at] + 1 <= WIDTH or at == first):
            used += widths[at] + 1
            at += 1
        cells = slice(first, at)
        for name, row in pieces.items():
            padded = (piece + " " * (width - _columns(piece)) for piece, width in zip(row[cells], widths[cells], strict=True))
            lines.append(f"  {name:<{label}} {' '.join(padded)}".rstrip())
        if at == len(widths):
            return lines
    return [*lines, "  ..."]


def _columns(text: str) -> int:
    """Terminal columns of a text; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
