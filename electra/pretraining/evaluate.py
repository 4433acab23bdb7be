"""Pre-trained checkpoint -> metrics on held-out text and on a fixed corruption set; linear probes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from electra import config
from electra.contracts import Batch, Example, Features, Head, Task
from electra.data import corruption_set
from electra.data.corruption_set import CorruptedText, CorruptionSet
from electra.data.pretraining_batches import ExampleBuilder, held_out_batches
from electra.data.shards import Shards, open_shards, same_vocabulary
from electra.data.task_batches import evaluation_batches
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.word_statistics import check_unknown, masking_info
from electra.errors import UserError, require
from electra.inference.backends import check_half
from electra.inference.predictor import Predictor, load_for
from electra.inference.replaced_tokens import FEWEST_WORDS, MOST_WORDS, corrupt_words, word_scores
from electra.inference.text_io import TextColumns, read_texts
from electra.model import masking
from electra.model.encoder import Encoder
from electra.model.generators import CausalLanguageModel, ClozeModel, Generator, MaskedLanguageModel, ReplacementSource, TwoTowerGenerator
from electra.model.huggingface import Checkpoint, is_causal, is_electric, load_checkpoint
from electra.model.objectives import (
    AllTokensMaskedLM,
    CorruptionObjective,
    Discriminator,
    Electric,
    LayerDistillation,
    PretrainingObjective,
    ReplacedTokenObjective,
    ReplaceMaskedLM,
)
from electra.model.pretraining_models import read_teacher, teacher_shape
from electra.settings import DataSettings, EvaluateSettings, ObjectiveSettings, PretrainSettings, WatchSettings
from electra.storage import resolve
from electra.tasks.input_spec import PRETRAINING, recorded
from electra.tasks.registry import TASKS, find_task
from electra.tasks.text_tasks import choose_examples
from electra.terminal import say
from electra.train.distributed import choose_device
from electra.train.evaluation import area_by_group, area_under_curve, autocast, average_precision, evaluate

NUM_EXAMPLES = {"short": 128, "long": 512}
"""Held-out examples of a run's evaluations."""
SHORT_SECONDS = 1200.0
"""A run with a smaller budget is short: its evaluations take fewer examples."""
RUN_SEED = 0
"""Seed of a run's evaluations."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """What the pre-training metrics of a model depend on, besides its weights and the text."""

    objective: ObjectiveSettings
    generator: str
    """What proposes replacements, as `ModelSettings.generator`."""
    data: DataSettings
    """Lengths and segments of the examples; its folders are those of the run."""
    num_examples: int
    batch_size: int
    seed: int
    precision: str = "auto"
    origin: str = ""
    """Where it comes from, in words."""

    def describe(self) -> str:
        """'masking: 15% of the tokens, ...', for the user."""
        values, plain = self.objective, ObjectiveSettings()
        words = [f"{100 * values.mask_prob:g}% of the tokens" + (", whole words" if values.mask_unit == "word" else "")]
        words += [f"mask_token_prob {values.mask_token_prob:g}"] if values.mask_token_prob != plain.mask_token_prob else []
        words += [f"mask_frequency_power {values.mask_frequency_power:g}"] if values.mask_frequency_power else []
        words += [f"temperature {values.temperature:g}"] if values.temperature != 1 else []
        words += ["disallow_correct"] if values.disallow_correct else []
        words += [f"generator {self.generator}"] if self.generator != "masked" else []
        others = {"clm": "next tokens", "distill": "the teacher's hidden states"}
        what = others.get(values.objective) or f"masking: {', '.join(words)}"
        examples = f"at most {self.num_examples:,} held-out examples of up to {self.data.sequence_length} tokens, seed {self.seed}"
        return f"{what}; {examples} ({self.origin})"


def num_evaluation_examples(settings: PretrainSettings) -> int:
    """Number of held-out examples per evaluation."""
    return NUM_EXAMPLES["short" if (settings.loop.budget or SHORT_SECONDS) < SHORT_SECONDS else "long"]


def spec_of_run(settings: PretrainSettings, origin: str = "as the run evaluates itself") -> EvaluationSpec:
    """How a run evaluates itself."""
    return EvaluationSpec(
        objective=settings.objective,
        generator=settings.model.generator,
        data=settings.data,
        num_examples=num_evaluation_examples(settings),
        batch_size=settings.loop.batch_size,
        seed=RUN_SEED,
        precision=settings.loop.precision,
        origin=origin,
    )


def record(settings: PretrainSettings, objective: PretrainingObjective) -> dict[str, Any]:
    """What is added to config.json, so that `electra evaluate` measures a checkpoint as its run did; the temperature is that of now."""
    spec = spec_of_run(settings)
    values = config.to_values(spec.objective)
    for name in ("mlm_first", "mlm_first_learning_rate", "clm_first", "temperature_end"):
        values.pop(name, None)
    if isinstance(objective, CorruptionObjective):
        values["temperature"] = float(objective.temperature())
    examples = {name: getattr(spec.data, name) for name in ("sequence_length", "single_segment_prob", "short_example_prob")}
    examples["weights"] = list(spec.data.weights)
    counts = {"num_examples": spec.num_examples, "batch_size": spec.batch_size, "precision": spec.precision}
    return {PRETRAINING: {"objective": values, "generator": spec.generator, "data": examples, "evaluation": counts}}


def spec_for(settings: EvaluateSettings, checkpoint: Checkpoint) -> EvaluationSpec:
    """How to measure a checkpoint: as its run did (by config.json, or by the config.toml of an older run), else with the paper's masking.

    Flags that were given come before either.

    Raises:
        UserError: a record that is not one.
    """
    length = min(recorded(checkpoint.hf_config)[1] or settings.sequence_length, checkpoint.config.max_position_embeddings)
    plain = EvaluationSpec(
        objective=ObjectiveSettings(objective="electric" if is_electric(checkpoint) else "clm" if is_causal(checkpoint) else "electra"),
        generator="masked",
        data=DataSettings(data=(), sequence_length=length),
        num_examples=settings.num_examples,
        batch_size=settings.batch_size,
        seed=settings.seed,
        origin="the paper's masking; the checkpoint does not record its own",
    )
    spec = recorded_spec(checkpoint, plain) or plain
    given = config.given(settings)
    changed: dict[str, Any] = {name: getattr(settings, name) for name in ("num_examples", "batch_size", "seed", "precision") if name in given}
    if "sequence_length" in given:
        changed["data"] = replace(spec.data, sequence_length=settings.sequence_length)
    return replace(spec, **changed)


def recorded_spec(checkpoint: Checkpoint, plain: EvaluationSpec) -> EvaluationSpec | None:
    """How the run of a checkpoint evaluated itself, by its config.json or by the config.toml of an older run; None if neither says it."""
    run, found, length = run_folder(checkpoint.path), checkpoint.hf_config.get(PRETRAINING), plain.data.sequence_length
    toml = config.read_toml(run / "config.toml") if run is not None else {}
    folders, origin = tuple(map(str, toml.get("data", {}).get("data", ()))), "as its run evaluated itself"
    if isinstance(found, dict):
        where = f"{checkpoint.path / 'config.json'}: {PRETRAINING}"
        objective = config.build(ObjectiveSettings, dict(found.get("objective", {})), f"{where}.objective")
        data = config.build(DataSettings, {"sequence_length": length, **found.get("data", {}), "data": folders}, f"{where}.data")
        counts = {name: value for name, value in found.get("evaluation", {}).items() if name in ("num_examples", "batch_size", "precision")}
        return replace(plain, objective=objective, generator=str(found.get("generator", "masked")), data=data, seed=RUN_SEED, origin=origin, **counts)
    try:
        whole: PretrainSettings = config.build(PretrainSettings, toml, str(run))
    except UserError:
        return None  # written by another version with other settings
    if not folders:
        return None
    at_end = replace(whole.objective, temperature=whole.objective.temperature_end or whole.objective.temperature, temperature_end=None)
    return spec_of_run(replace(whole, objective=at_end, data=replace(whole.data, sequence_length=length)), origin)


def run_folder(checkpoint: Path) -> Path | None:
    """The pre-training run that a checkpoint lies in (RUN/final, RUN/checkpoints/step-N); None if it lies in none."""
    for folder in (checkpoint.absolute().parent, checkpoint.absolute().parent.parent):
        file = folder / "config.toml"
        if checkpoint.absolute().parent.name in ("checkpoints", folder.name) and file.exists() and "objective" in config.read_toml(file):
            return folder
    return None


def held_out_metrics(settings: EvaluateSettings) -> dict[str, float]:
    """The pre-training metrics on held-out data: of a run's checkpoint the same numbers as in the run's metrics.jsonl."""
    device = choose_device()
    check_half(settings.precision, device.type)
    checkpoint = open_pretrained(settings)
    spec = spec_for(settings, checkpoint)
    if not (folders := settings.data or spec.data.data):
        raise UserError("nothing to measure on: give --data SHARDS, --corruption FILE, or --task NAME --data DIR")
    shards, tokenizer = open_data(settings, folders, checkpoint)
    objective = objective_of(checkpoint, spec, tokenizer)
    batches = some_held_out(spec, shards, tokenizer)
    say(f"{settings.model}: {spec.describe()}")
    return evaluate(objective.to(device), batches, device, spec.precision)


def objective_of(checkpoint: Checkpoint, spec: EvaluationSpec, tokenizer: Tokenizer) -> PretrainingObjective:
    """A checkpoint's networks in the objective they were trained with."""
    module, settings, known = checkpoint.module, spec.objective, vocabulary(tokenizer)
    if isinstance(module, Encoder):
        return distillation_of(checkpoint, module, settings)
    if isinstance(module, Discriminator):
        kind = Electric if is_electric(checkpoint) else ReplacedTokenObjective
        return kind(module, source_of(checkpoint, spec, tokenizer), settings, sequence_length=spec.data.sequence_length)
    assert isinstance(module, Generator)
    ablation = {"replace-mlm": ReplaceMaskedLM, "all-tokens-mlm": AllTokensMaskedLM}.get(settings.objective)
    if ablation is None and is_causal(checkpoint):
        return CausalLanguageModel(module, settings, **known)
    if ablation is None:
        return MaskedLanguageModel(module, replace(settings, objective="mlm"), **known)
    objective = ablation(module, source_of(checkpoint, spec, tokenizer), settings)
    return load_copy_head(objective, checkpoint) if isinstance(objective, AllTokensMaskedLM) else objective


def source_of(checkpoint: Checkpoint, spec: EvaluationSpec, tokenizer: Tokenizer) -> ReplacementSource:
    """What proposed the replacements of a checkpoint's run."""
    settings, known = spec.objective, vocabulary(tokenizer)
    folder = checkpoint.path / "generator"
    if spec.generator == "uniform" and not folder.exists():
        return ReplacementSource(settings, **known)
    generator = (load_checkpoint(folder) if (folder / "config.json").exists() else load_checkpoint(checkpoint.path, "generator")).module
    if isinstance(generator, TwoTowerGenerator):
        return ClozeModel(generator, settings, **known)
    assert isinstance(generator, Generator)
    return MaskedLanguageModel(generator, settings, **known)


def load_copy_head(objective: AllTokensMaskedLM, checkpoint: Checkpoint) -> AllTokensMaskedLM:
    """Read the copy head, which is no part of the model."""
    objective.copy_head.load_state_dict(training_weights(checkpoint, "copy_head.", "the copy head of 'all-tokens-mlm' is"))
    return objective


def distillation_of(checkpoint: Checkpoint, student: Encoder, settings: ObjectiveSettings) -> LayerDistillation:
    """A student with the teacher of its run and the projections between them, which are no part of the model.

    Raises:
        UserError: the checkpoint lies in no run, or its teacher is not there or another network.
    """
    run = run_folder(checkpoint.path)
    teacher = None if run is None else config.read_toml(run / "config.toml").get("teacher")
    if teacher is None:
        what = "a student's loss needs the teacher and the projections, which are in its run alone"
        raise UserError(f"{checkpoint.path}: {what}; give the run or one of its checkpoints, or score the student with --task")
    maps = training_weights(checkpoint, "maps.", "the projections of a student are")
    encoder = read_teacher(str(teacher))
    if tuple(settings.teacher_shape) != teacher_shape(encoder):
        raise UserError(f"{teacher} is not the teacher that {run} learned from: it has another shape; put that one there")
    objective = LayerDistillation(student, encoder)
    objective.maps.load_state_dict(maps)
    return objective


def training_weights(checkpoint: Checkpoint, prefix: str, what: str) -> dict[str, torch.Tensor]:
    """Weights that are no part of the model, by the beginning of their names: from the training state of the run's newest checkpoint.

    Raises:
        UserError: there is none; `what` names them, with a verb.
    """
    run = run_folder(checkpoint.path)
    newest = None if run is None else resolve.newest_checkpoint(run)
    places = [checkpoint.path, *([newest] if newest and checkpoint.path.name == "final" else [])]
    file = next((file for place in places if (file := place / "training" / "weights.safetensors").exists()), None)
    if file is None:
        raise UserError(f"{checkpoint.path}: {what} only in RUN/checkpoints; give the run or one of its checkpoints")
    return {name.removeprefix(prefix): value for name, value in load_file(file).items() if name.startswith(prefix)}


def vocabulary(tokenizer: Tokenizer) -> dict[str, Any]:
    """What an objective needs of a tokenizer."""
    return {"vocab_size": tokenizer.vocab_size, "mask_id": tokenizer.mask_id, "special_ids": tokenizer.special_ids}


def corruption_metrics(settings: EvaluateSettings) -> dict[str, float]:
    """Metrics of the discriminator and of a context-free detector on a fixed corruption set, which is made if the file is missing."""
    assert settings.corruption is not None
    check_half(settings.precision, "cpu")
    checkpoint = load_checkpoint(settings.model, "discriminator")
    tokenizer = load_tokenizer(checkpoint.path)
    if not settings.corruption.exists():
        make_set(settings).save(settings.corruption)
    else:
        say_unused(settings)
    fixed = corruption_set.load_corruption(settings.corruption, tokenizer.fingerprint)
    metrics: dict[str, float] = {}
    for source in fixed.corrupted:
        scores, labels, loss = [], [], 0.0
        with torch.inference_mode(), autocast(torch.device("cpu"), settings.precision):
            for batch, corrupted, replaced in fixed.batches(source, settings.batch_size):
                logits = checkpoint.module(batch, corrupted).float()
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


def say_unused(settings: EvaluateSettings) -> None:
    """Say which settings of the making of a corruption set are not used, because it exists."""
    given = [name for name in ("data", "num_examples", "seed", "sequence_length", "text") if name in config.typed(settings)]
    if given:
        flags = ", ".join(config.flag_name(name) for name in given)
        say(f"{settings.corruption} exists and is reused, so {flags} has no effect; give another file name to make a new set")


APPLY_TO_TEXTS = frozenset(("model", "data", "corruption", "against", "num_examples", "seed", "batch_size", "threads", "precision", "text", "json"))
"""Settings of `electra evaluate` that a corruption set of texts leaves with an effect."""


def text_corruption_metrics(settings: EvaluateSettings) -> dict[str, float]:
    """A discriminator with any tokenizer on replaced words in texts, by source: area under the ROC curve, average precision; a context-free area.

    With --against the same of another model, and the difference of the areas with its 95% interval over texts. The set is made if missing.

    Raises:
        UserError: no discriminator (of a masked LM the set alone is described), a damaged set, or a setting without effect.
    """
    assert settings.corruption is not None
    for name in sorted(config.typed(settings).keys() - APPLY_TO_TEXTS):
        raise UserError(f"{config.flag_name(name)} has no effect on a corruption set of texts ({settings.corruption}); leave it out")
    model = load_for(settings, settings.model)
    masked_lm = resolve.head_of(model.backend.architecture) == "masked-lm"
    if masked_lm and settings.against is not None:
        raise UserError(f"{settings.model} is a masked LM, which detects nothing; --against {settings.against} needs a discriminator")
    if not settings.corruption.exists():
        corruption_set.save_texts(make_texts(settings, model), settings.corruption)
    else:
        say_unused(settings)
    texts = corruption_set.load_texts(settings.corruption)
    models = [model, *([load_for(settings, settings.against, "discriminator")] if settings.against is not None else [])]
    if masked_lm:
        say(f"{settings.model} is a masked LM, which detects nothing: {settings.corruption} alone is described")
        models = []
    metrics: dict[str, float] = {}
    for source in dict.fromkeys(text.source for text in texts):
        chosen = [text for text in texts if text.source == source]
        say(f"{settings.corruption}, {source}: {len(chosen):,} texts, {sum(len(text.words) for text in chosen):,} words")
        metrics |= {f"{source}_{name}": value for name, value in words_scored(chosen, models).items()}
    return metrics


def words_scored(texts: Sequence[CorruptedText], models: Sequence[Predictor]) -> dict[str, float]:
    """Texts of one source, at most two discriminators -> the metrics on their words."""
    labels = np.array([replaced for text in texts for *_, replaced in text.words], bool)
    groups = np.repeat(np.arange(len(texts)), [len(text.words) for text in texts])
    metrics, parts = {}, []
    for suffix, model in zip(("", "_against"), models, strict=False):
        detections = model.iterate_detections(text.text for text in texts)
        scores = np.concatenate([word_scores(found, text.words) for found, text in zip(detections, texts, strict=True)])
        metrics[f"auc{suffix}"] = area_under_curve(scores, labels)
        metrics[f"average_precision{suffix}"] = average_precision(scores, labels)
        parts.append(area_by_group(scores, labels, groups) if 0 < labels.mean() < 1 else np.full(len(texts), np.nan))
    if len(parts) == 2:
        difference = metrics["auc"] - metrics["auc_against"]
        error = 1.96 * float(np.sqrt(len(texts) / max(1, len(texts) - 1) * ((parts[0] - parts[1]) ** 2).sum()))
        metrics |= {"auc_difference": difference, "auc_difference_low": difference - error, "auc_difference_high": difference + error}
    metrics["context_free_auc"] = area_under_curve(corruption_set.context_free_scores(texts), labels)
    return metrics | {"replaced_fraction": float(labels.mean())}


def make_texts(settings: EvaluateSettings, model: Predictor) -> list[CorruptedText]:
    """Make a corruption set from --data's texts with this model's generator, at most --num-examples of them at random."""
    if not settings.data:
        raise UserError(f"{settings.corruption} not found; give --data FILE, with a text a line or a row, to make it")
    columns = TextColumns(text=settings.text if "text" in config.typed(settings) else None)
    texts = [text.text for file in settings.data for text in read_texts(file, columns, pairs=False)]
    counts = Counter(text[first:end].lower() for text in texts for first, end in corruption_set.find_words(text))
    order = np.random.default_rng(settings.seed).permutation(len(texts))
    made = corrupt_words(model.generator, model.tokenizer, [texts[i] for i in order], counts, seed=settings.seed, batch_size=settings.batch_size)
    found = list(itertools.islice(made, settings.num_examples))
    if not found:
        raise UserError(f"{', '.join(settings.data)}: no text of {FEWEST_WORDS} to {MOST_WORDS} words; give a sentence a line")
    say(f"{settings.corruption}: {len(found):,} of {len(texts):,} texts of {FEWEST_WORDS} to {MOST_WORDS} words, words replaced by {settings.model}")
    return [text for _, both in found for text in both]


def make_set(settings: EvaluateSettings) -> CorruptionSet:
    """Make a corruption set from --data's held-out text with this model's generator."""
    checkpoint = open_pretrained(settings)
    spec = spec_for(settings, checkpoint)
    if not (folders := settings.data or spec.data.data):
        raise UserError(f"{settings.corruption} not found; give --data SHARDS to make it")
    shards, tokenizer = open_data(settings, folders, checkpoint)
    spec = replace(spec, num_examples=settings.num_examples, seed=settings.seed, objective=ObjectiveSettings())
    generator = load_checkpoint(settings.model, "generator")
    special = torch.tensor(sorted(tokenizer.special_ids))

    def choose(batch: Batch) -> torch.Tensor:
        return masking.choose_positions(batch, masking.num_masked(batch.lengths, 0.15, batch.maskable), special)

    @torch.inference_mode()
    def generate(batch: Batch, at: torch.Tensor) -> torch.Tensor:
        logits = generator.module(batch, masking.mask_positions(batch, at, tokenizer.mask_id, 1.0), at)
        chance = masking.uniforms(batch.keys[batch.rows[at]], batch.positions[at], masking.SAMPLE)
        return masking.sample_tokens(logits[:, : tokenizer.vocab_size], chance)

    counts = sum(np.bincount(s.train.ids[:20_000_000], minlength=tokenizer.vocab_size) for s in shards.values())
    return corruption_set.make_corruption(
        some_held_out(spec, shards, tokenizer), choose, generate, np.asarray(counts, float), tokenizer.fingerprint, settings.seed
    )


def is_student(checkpoint: Checkpoint) -> bool:
    """Whether an encoder without a head records that it was distilled from another."""
    found = checkpoint.hf_config.get(PRETRAINING)
    objective = found.get("objective") if isinstance(found, dict) else None
    return isinstance(checkpoint.module, Encoder) and isinstance(objective, dict) and objective.get("objective") == "distill"


def open_pretrained(settings: EvaluateSettings) -> Checkpoint:
    """The model.

    Raises:
        UserError: it is not pre-trained only, or has fewer positions than --sequence-length.
    """
    checkpoint = load_checkpoint(settings.model)
    if resolve.head_of(checkpoint.architecture) not in ("replaced-tokens", "masked-lm") and not is_student(checkpoint):
        raise UserError(
            f"{settings.model} is {resolve.with_article(checkpoint.architecture)}; pre-training metrics need a pre-trained one; "
            "score a fine-tuned one with --task"
        )
    if "sequence_length" in config.given(settings) and settings.sequence_length > (limit := checkpoint.config.max_position_embeddings):
        raise UserError(f"--sequence-length {settings.sequence_length} is above the {limit} positions of {settings.model}; lower it")
    return checkpoint


def open_data(settings: EvaluateSettings, folders: Sequence[str], checkpoint: Checkpoint) -> tuple[dict[str, Shards], Tokenizer]:
    """Tokenized data, which must have the model's vocabulary, and the model's tokenizer."""
    shards = {str(path): open_shards(path) for path in folders}
    same_vocabulary(shards)
    tokenizer = load_tokenizer(checkpoint.path)
    for path, folder in shards.items():
        if not tokenizer.matches(folder.fingerprint):
            raise UserError(f"{path} was prepared with another vocabulary than {settings.model} has; prepare it with --tokenizer {checkpoint.path}")
    for line in check_unknown(shards, most=1.0):
        say(line)
    return shards, tokenizer


def held_out(spec: EvaluationSpec, shards: Mapping[str, Shards], tokenizer: Tokenizer) -> list[Batch]:
    """The held-out examples of a run's evaluations and of `electra evaluate`, as batches."""
    weights = spec.data.weights if len(spec.data.weights) == len(shards) else ()
    builder = ExampleBuilder(spec.data, tokenizer, masking_info(spec.objective, shards, weights, tokenizer))
    return held_out_batches([s.held_out for s in shards.values()], builder, spec.batch_size, spec.num_examples, spec.seed)


def some_held_out(spec: EvaluationSpec, shards: Mapping[str, Shards], tokenizer: Tokenizer) -> list[Batch]:
    """The same.

    Raises:
        UserError: no text was held out.
    """
    if not (batches := held_out(spec, shards, tokenizer)):
        raise UserError(f"{', '.join(shards)}: no held-out documents; prepare with a larger --held-out")
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
    encoder: Encoder,
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
