"""Settings of a pre-training run -> checked settings, their record in the run directory, and its parts: objective, stream."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from electra import config
from electra.contracts import WordStatistics
from electra.data.adapted_vocabulary import VECTOR_DIMENSIONS, shared_tokens, similar_tokens
from electra.data.pretraining_batches import ExampleBuilder, PretrainingStream
from electra.data.shards import Shards, Split, open_shards, same_vocabulary
from electra.data.tokenizer import Tokenizer, check_start, load_tokenizer
from electra.data.word_statistics import masking_info, word_statistics
from electra.errors import UserError
from electra.model import flops, pretraining_models
from electra.model.adapted_embeddings import with_new_vocabulary
from electra.model.initialization import word_dimensions
from electra.model.objectives import LayerDistillation
from electra.protobuf import find_checkpoint, is_checkpoint
from electra.settings import ModelSettings, ObjectiveSettings, PretrainSettings, phases
from electra.settings.pretrain import DETECTORS, FIRST_PHASES, LANGUAGE_MODELS, SO_FAR, GeneratorWarmUp, all_phases, generator_sizes
from electra.settings.sections import LogSettings
from electra.storage import atomic, remote, resolve
from electra.train.run_log import TrainingCost, read_metrics
from electra.train.timing import stated_tflops

if TYPE_CHECKING:
    from electra.model.objectives import PretrainingObjective
    from electra.train.distributed import Ranks


def recorded(settings: PretrainSettings) -> PretrainSettings:
    """The settings an interrupted run recorded, with those given now that may change."""
    resumed: PretrainSettings = config.resumed(PretrainSettings, settings.output, config.given(settings), "pretrain")
    return resumed


def read_run(run: Path) -> PretrainSettings:
    """The settings in RUN/config.toml."""
    file = run / "config.toml"
    settings: PretrainSettings = config.build(PretrainSettings, config.read_toml(file) | {"output": str(run)}, str(file))
    return settings


def after_restart(settings: PretrainSettings) -> PretrainSettings:
    """Settings of a process that torchrun started again -> the same, to be resumed if this run had begun before the loss."""
    if not (settings.output / "config.toml").exists():
        return settings
    begun = read_run(settings.output)
    # torchrun also restarts a command that refused to overwrite another run; that one must not be continued.
    return replace(begun, resume=True) if begun == settings else settings


def with_absolute_paths(settings: PretrainSettings) -> PretrainSettings:
    """The same settings with absolute local paths of data, start, teacher and probe: the run can be resumed from another working directory."""

    def absolute(name: str) -> str:
        local = not remote.is_url(name) and (Path(name).exists() or is_checkpoint(Path(name)))
        return os.path.abspath(name) if local else name

    probe = settings.watch.probe_data
    places: dict[str, Any] = {
        name: value if (value := getattr(settings, name)) is None else absolute(value) for name in ("init", "init_generator", "teacher")
    }
    return replace(
        settings,
        data=replace(settings.data, data=tuple(map(absolute, settings.data.data))),
        **places,
        watch=replace(settings.watch, probe_data=None if probe is None else probe.absolute()),
    )


def write_run(settings: PretrainSettings) -> None:
    """Write RUN/config.toml and RUN/data.json (fingerprints of the data), or update those of a resumed run.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        settings.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {settings.output}: {error.strerror or error}; choose another place") from None
    atomic.write_text(settings.output / "config.toml", config.to_toml(replace(settings, output=settings.output.absolute(), resume=False)))
    atomic.write_text(settings.output / "data.json", json.dumps(data_fingerprints(settings), indent=1) + "\n")


def data_fingerprints(settings: PretrainSettings) -> list[str]:
    """A hash for each folder of --data, of the hashes of its arrays."""
    found = [open_shards(path).manifest["splits"] for path in settings.data.data]
    return [hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest() for splits in found]


def check(settings: PretrainSettings) -> None:
    """Refuse settings that contradict each other, before anything is made."""
    from electra.train import loop

    loop.requested_length(settings.loop)
    length, limit = settings.data.sequence_length, settings.model.max_position_embeddings
    if length > limit:
        raise UserError(f"--sequence-length {length} is above --max-position-embeddings {limit}; change one of them")
    check_objective(settings.model, settings.objective)
    if settings.data.weights and settings.data.data and len(settings.data.weights) != len(settings.data.data):
        raise UserError(f"{len(settings.data.weights)} --weights for {len(settings.data.data)} --data folders; give one each")


def loggers(settings: PretrainSettings) -> LogSettings:
    """The libraries that receive the metrics, that of the deprecated --wandb among them."""
    loop, project = settings.loop, settings.watch.wandb
    if project is None:
        return loop
    return replace(loop, log_to=(*loop.log_to, "wandb"), log_project=loop.log_project or project)


def check_objective(model: ModelSettings, objective: ObjectiveSettings) -> None:
    """Refuse a model and an objective that do not fit together."""
    name = objective.objective
    if objective.mlm_first and name not in DETECTORS:
        raise UserError(f"mlm_first is for the objectives {', '.join(DETECTORS)}; '{name}' trains a masked LM or a causal one anyway")
    if objective.clm_first and name != "mlm":
        raise UserError(f"clm_first {objective.clm_first:g} is for the objective mlm, which goes on from the causal LM; '{name}' does not")
    if name == "electric":
        if model.generator != "two-tower":
            raise UserError(f"objective 'electric' needs the probability of every token: use --generator two-tower, not '{model.generator}'")
        if objective.temperature != 1 or objective.temperature_end not in (None, 1) or objective.disallow_correct:
            raise UserError("objective 'electric' requires temperature=1 and disallow_correct=false")
    if model.embedding_sharing == "disentangled" and (name not in DETECTORS or model.generator in ("uniform", "shared")):
        raise UserError(
            f"embedding_sharing 'disentangled' needs a discriminator and a generator; '{name}' with generator '{model.generator}' has not both"
        )


# ---- start from a checkpoint ----


def adopt_start(settings: PretrainSettings) -> tuple[PretrainSettings, list[str]]:
    """The settings of a new run with the shape of its `--init`, and what was replaced, in sentences for the user.

    Sizes of the preset are replaced; those of flags are compared.

    Raises:
        UserError: not a checkpoint, or flags that contradict it, all of which are named.
    """
    if unused := without_effect(settings):
        does = "masks and samples nothing" if settings.objective.objective == "clm" else "trains one network and replaces no token"
        raise UserError(f"{config.flag_name(unused[0])}: the objective '{settings.objective.objective}' {does}; leave it out")
    objective, typed = settings.objective, config.typed(settings)
    if "mlm_first_learning_rate" in typed.get("objective", {}) and not (objective.mlm_first or objective.clm_first):
        raise UserError("mlm_first_learning_rate is for the phase of --mlm-first; give both, or leave it out")
    if "layerwise_lr_decay" in typed.get("optimizer", {}) and settings.optimizer.layerwise_lr_decay != 1:
        raise UserError(f"--layerwise-lr-decay {settings.optimizer.layerwise_lr_decay:g} is for fine-tuning, not for pre-training; leave it out")
    if settings.optimizer.learning_rate == 0 and settings.optimizer.generator_learning_rate:
        raise UserError("generator_learning_rate needs a --learning-rate above 0; to train a generator alone, use --objective mlm")
    settings = adopt_teacher(settings)
    check_new_vocabulary(settings)
    if settings.init is None:
        if settings.init_generator is not None:
            raise UserError("--init-generator is the generator of --init CHECKPOINT; give both")
        if settings.model.generator_init != "random":
            raise UserError(f"generator_init '{settings.model.generator_init}' takes the layers of --init CHECKPOINT; give --init")
        return settings, []
    start = pretraining_models.read_start(settings.init, settings.init_generator)
    typed, preset = config.typed(settings), settings.preset or "the settings"
    unused_generator = settings.new_vocabulary and start.generator is not None
    if unused_generator:
        start = replace(start, generator=None)
    shape = pretraining_models.shape_of(start, settings.model, settings.objective)
    if settings.new_vocabulary:
        shape["embedding_rows"] = None  # the data's vocabulary says how many
    refuse_contradictions(settings, typed.get("model", {}), shape)
    replaced = {name: value for name, value in shape.items() if value != getattr(settings.model, name)}
    model = replace(settings.model, **shape)
    lines = list(start.notes)
    if unused_generator:
        lines.append(f"the generator of {settings.init} is not used: it knows the old vocabulary's tokens")
    shown = [f"{name} {value}" for name, value in replaced.items() if name != "embedding_rows"]
    if shown:
        lines.append(f"shape of {settings.init}, instead of that of {preset}: {', '.join(shown)}")
    if shape.get("embedding_sharing") == "untied":
        lines.append("the checkpoint's generator and discriminator have different embeddings: each keeps its own (embedding_sharing untied)")
    data, limit = settings.data, model.max_position_embeddings
    if data.sequence_length > limit and "sequence_length" not in typed.get("data", {}):
        lines.append(f"sequence_length {limit}, the checkpoint's positions, instead of {data.sequence_length}")
        data = replace(data, sequence_length=limit)
    generator, unfit = pretraining_models.usable_generator(start, model, settings.objective)
    if settings.init_generator is not None and generator is None:
        raise UserError(f"--init-generator {settings.init_generator}: {unfit or 'this run has no generator of its own'}; leave it out")
    missing = generator is None and model.generator == "masked" and settings.objective.objective not in LANGUAGE_MODELS
    model, copied = layers_to_copy(replace(settings, model=model), missing, "generator_init" in typed.get("model", {}))
    objective, left_out = warm_up(settings, missing or settings.new_vocabulary, "mlm_first" in typed.get("objective", {}))
    lines += [line for line in (copied, left_out) if line]
    return replace(settings, model=model, data=data, objective=objective), lines


def without_effect(settings: PretrainSettings) -> list[str]:
    """The settings given explicitly that a run of a language model alone does not use."""
    if settings.objective.objective not in ("mlm", "clm"):
        return []
    objective, model = (config.typed(settings).get(name, {}) for name in ("objective", "model"))
    prefixes = ("temperature", "disallow", "disc_", "generator_weight", *(["mask_"] if settings.objective.objective == "clm" else []))
    # Of generator_init `layers_to_copy` says what it is for.
    generator = [] if "generator_init" in model else [name for name in model if name.startswith("generator")]
    return [*(name for name in objective if name.startswith(prefixes)), *generator]


def check_new_vocabulary(settings: PretrainSettings) -> None:
    """Refuse what is for a checkpoint's other vocabulary without one."""
    if settings.new_vocabulary and settings.init is None:
        raise UserError("--new-vocabulary keeps what --init CHECKPOINT knows of the data's tokens; give --init, or leave it out")
    if settings.new_vocabulary and settings.init_generator is not None:
        raise UserError("--init-generator: with --new-vocabulary the generator starts from --init's encoder; leave it out")
    if not settings.new_vocabulary and "new_token_init" in config.typed(settings).get("model", {}):
        raise UserError("--new-token-init is for --new-vocabulary; give both, or leave it out")
    language_model = settings.objective.mlm_first or settings.objective.objective in LANGUAGE_MODELS
    if settings.model.freeze_layers and not (settings.new_vocabulary and language_model):
        raise UserError("freeze_layers is for the masked LM of --new-vocabulary; give --new-vocabulary and --mlm-first, or leave it out")


def adopt_teacher(settings: PretrainSettings) -> PretrainSettings:
    """The settings of a new run with the shape of its `--teacher`, where the objective has one.

    Raises:
        UserError: a teacher without the objective 'distill' or the reverse, settings that have no effect with it, or a teacher that reads less.
    """
    model, objective, typed = settings.model, settings.objective, config.typed(settings)
    if objective.objective != "distill":
        if settings.teacher is not None:
            raise UserError(
                f"--teacher {settings.teacher}: the objective '{objective.objective}' has no teacher; use --objective distill, or leave it out"
            )
        if model.embedding_init == "teacher" or objective.teacher_shape:
            raise UserError("embedding_init 'teacher' and teacher_shape are for the objective 'distill' with a --teacher; leave them out")
        return settings
    if settings.teacher is None and settings.dry_run and objective.teacher_shape:
        return settings  # its sizes alone matter
    if settings.teacher is None:
        raise UserError("the objective 'distill' learns from another encoder; give --teacher ENCODER, with the data's vocabulary")
    unused = [name for name in ("init", "init_generator") if getattr(settings, name) is not None]
    unused += [name for name in typed.get("objective", {}) if name.startswith(("mask_", "temperature", "disallow", "generator_", "disc_"))]
    unused += [name for name in typed.get("model", {}) if name.startswith(("generator", "embedding_sharing"))]
    if unused:
        raise UserError(f"{config.flag_name(unused[0])}: a student ('distill') starts from its teacher and replaces no token; leave it out")
    teacher = pretraining_models.read_teacher(settings.teacher)
    for name, what in (("max_position_embeddings", "positions"), ("type_vocab_size", "segment types")):
        if getattr(model, name) > (limit := getattr(teacher.config, name)):
            raise UserError(f"{name} {getattr(model, name)}: the teacher {settings.teacher} has {limit} {what}; set at most that many")
    if model.embedding_init == "teacher" and model.embedding_size > (limit := teacher.config.embedding_size):
        raise UserError(
            f"embedding_size {model.embedding_size} is above the teacher's {limit}, whose embeddings it starts from; expected at most {limit}"
        )
    return replace(settings, objective=replace(objective, teacher_shape=pretraining_models.teacher_shape(teacher)))


def layers_to_copy(settings: PretrainSettings, missing: bool, explicit: bool) -> tuple[ModelSettings, str]:
    """The model of a run with --init, whose generator_init is only for a generator that is `missing`, and a sentence if it is left out.

    Raises:
        UserError: --generator-init was given and has no effect, or the generator has another shape than the encoder.
    """
    model = settings.model
    if model.generator_init == "random":
        return model, ""
    if not missing:
        what = f"{settings.init} brings the generator"
        if settings.objective.objective in LANGUAGE_MODELS:
            what = f"the objective '{settings.objective.objective}' has no generator"
        elif model.generator != "masked":
            what = f"a generator '{model.generator}' is no masked LM of its own"
        if explicit:
            raise UserError(f"--generator-init {model.generator_init}: {what}; leave it out")
        dropped = f"generator_init '{model.generator_init}' of {settings.preset or 'the settings'}"
        return replace(model, generator_init="random"), f"{what}: no layers to copy into one ({dropped})"
    sizes = generator_sizes(model)
    differ = [name for name in sizes if sizes[name] > getattr(model, name) or (sizes[name] < getattr(model, name) and name != "num_hidden_layers")]
    if differ:
        shown = ", ".join(f"{name} {sizes[name]} instead of {getattr(model, name)}" for name in differ)
        raise UserError(
            f"generator_init '{model.generator_init}' needs a generator of the width of {settings.init} and no more layers; "
            f"this one has {shown}; set --generator-size 1, or --generator-init random"
        )
    return model, ""


def warm_up(settings: PretrainSettings, missing: bool, explicit: bool) -> tuple[ObjectiveSettings, str]:
    """The objective of a run with --init, whose masked-LM phase is only for a generator that is `missing`, and a sentence if it is left out.

    Raises:
        UserError: --mlm-first was given, and no network needs it.
    """
    objective, fraction = settings.objective, settings.objective.mlm_first
    if not fraction or (missing and objective.objective in DETECTORS):
        return objective, ""
    why = f"no masked-LM phase: {settings.init} brings every network that it would train"
    if explicit:
        raise UserError(f"--mlm-first {fraction:g}: {why}; leave it out (--objective mlm continues a masked LM)")
    return replace(objective, mlm_first=0.0, mlm_first_learning_rate=None), f"{why} (mlm_first {fraction:g} of {settings.preset or 'the settings'})"


def refuse_contradictions(settings: PretrainSettings, typed: Mapping[str, Any], shape: Mapping[str, Any]) -> None:
    """Compare flags with a checkpoint's shape.

    Raises:
        UserError: names every flag that differs, and the checkpoint's value.
    """
    wrong = [name for name in typed if name in shape and getattr(settings.model, name) != shape[name]]
    remedies = [f"{config.flag_name(name)} {config.as_typed(shape[name], None)}" for name in wrong]
    if "generator_hidden_size" in shape:
        relative: dict[str, Any] = {name: None if name.startswith("generator_") else shape[name] for name in shape}
        scaled = generator_sizes(replace(settings.model, **relative))
        for name, size in (("generator_size", "hidden_size"), ("generator_layers", "num_hidden_layers")):
            if name in typed and scaled[size] != shape[f"generator_{size}"]:
                wrong.append(name)
                remedies.append(f"--generator-{size.replace('_', '-')} {shape[f'generator_{size}']} instead")
    if wrong:
        flags = " ".join(f"{config.flag_name(name)} {config.as_typed(getattr(settings.model, name), None)}" for name in wrong)
        raise UserError(f"--init {settings.init} brings its shape; leave out {flags}, or set {' '.join(remedies)}")


def check_data(settings: PretrainSettings) -> list[str]:
    """Refuse data, a probe, or weights to start from that do not fit together or to the objective, before anything is written.

    Returns:
        The unknown tokens of the data of a new run, in lines.
    """
    from electra.data.word_statistics import check_unknown, check_words
    from electra.pretraining.evaluate import read_probe

    if not settings.data.data:
        raise UserError("no data: give --data SHARDS, folders made by 'electra prepare'")
    if twice := next((path for path in settings.data.data if settings.data.data.count(path) > 1), None):
        raise UserError(f"--data: {twice} is given twice; give each folder once, and how often it is read by --weights")
    shards = {str(path): open_shards(path) for path in settings.data.data}
    for path, tokenized in shards.items():
        if not tokenized.manifest["splits"]["train"]["documents"]:
            raise UserError(f"{path} has no documents to train on; prepare it with a smaller --held-out")
    same_vocabulary(shards)
    first = next(iter(shards.values()))
    tokenizer = load_tokenizer(first.tokenizer_path)
    if not tokenizer.matches(first.fingerprint):
        raise UserError(f"{first.tokenizer_path} is not the tokenizer that the ids were made with: its fingerprint differs; prepare the text again")
    check_words(settings.objective, shards, tokenizer)
    read_probe(settings.watch)
    if settings.resume:
        check_new_length(settings)
        file = settings.output / "data.json"
        if file.exists() and atomic.read_json(file) != data_fingerprints(settings):
            raise UserError(
                f"--data {' '.join(settings.data.data)}: not the data that {settings.output} was started with; give a copy of the same folders"
            )
    else:
        check_weights(settings, tokenizer)
        check_learns(settings)
    return [] if settings.resume else check_unknown(shards)


def check_weights(settings: PretrainSettings, tokenizer: Tokenizer) -> None:
    """Refuse weights that a new run starts or learns from (--teacher, --init) which do not fit the data's vocabulary."""
    if settings.teacher is not None:
        check_start(settings.teacher, resolve.resolve(settings.teacher), tokenizer, flag="--teacher")
        rows = pretraining_models.read_teacher(settings.teacher).config.vocab_size
        if rows < tokenizer.vocab_size:
            raise UserError(
                f"--teacher {settings.teacher}: {rows:,} rows for the data's {tokenizer.vocab_size:,} tokens; prepare the data with its vocabulary"
            )
    elif settings.new_vocabulary:
        assert settings.init is not None, "check_new_vocabulary refuses the rest"
        folder = start_folder(settings.init)
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
            raise UserError(f"--new-vocabulary: {settings.init} has no tokenizer, whose tokens the data's are compared with; put its vocab.txt there")
        own = load_tokenizer(folder)
        if own.pieces == tokenizer.pieces:
            raise UserError(f"--new-vocabulary: {settings.init} has the data's vocabulary already; leave it out")
        if own.vocab_size > (rows := pretraining_models.read_start(settings.init).main.config.vocab_size):
            raise UserError(
                f"--new-vocabulary: {settings.init} has {own.vocab_size:,} tokens, but {rows:,} embeddings; give it the tokenizer of its weights"
            )
        shared_tokens(tokenizer, own)
    elif settings.init is not None:
        for source in filter(None, (settings.init, settings.init_generator)):
            check_start(source, start_folder(source), tokenizer)
        rows = min(n for n in (settings.model.embedding_rows, settings.model.generator_embedding_rows) if n is not None)
        if rows < tokenizer.vocab_size:
            raise UserError(
                f"--init {settings.init}: its table has {rows:,} rows, the data's vocabulary {tokenizer.vocab_size:,} tokens; "
                "prepare the data with the checkpoint's vocabulary"
            )


def start_folder(source: str) -> Path:
    """The local folder of a checkpoint to start from, TensorFlow's included."""
    return find_checkpoint(Path(source)).parent if is_checkpoint(Path(source)) else resolve.resolve(source)


def check_learns(settings: PretrainSettings) -> None:
    """Refuse a number of steps at which every learning rate is zero: the schedule ends at zero."""
    from electra.train.optimizer import never_learns

    for phase in phases(settings):
        steps = phase.loop.num_train_steps
        if steps and never_learns(phase.optimizer, steps):
            part = "" if phase.output == settings.output else f" in the phase {phase.output.name}"
            raise UserError(f"--num-train-steps {settings.loop.num_train_steps}: the learning rate is 0 at every step{part}; give more steps")


def spent_before(phase: PretrainSettings, run: Path) -> dict[str, float]:
    """What the first of two phases of the run has spent, before its last one; empty for the first phase itself and for runs without one."""
    file = next((file for name in FIRST_PHASES if (file := run / name / "metrics.jsonl").exists()), None)
    lines = read_metrics(file) if phase.output == run and file is not None else []
    return {name: lines[-1][name] for name in SO_FAR if name in lines[-1]} if lines else {}


def phases_left(settings: PretrainSettings) -> list[PretrainSettings]:
    """The phases of a run that are still to be trained. The length is that of the whole run: where it was changed after the first phase had
    ended, the last one gets what that phase has left of it."""
    from electra.train.loop import requested_length

    whole, left = all_phases(settings), phases(settings)
    if len(left) == len(whole) or not settings.resume:
        return left
    (last,), (name, value) = left, requested_length(settings.loop)
    share = requested_length(whole[0].loop)[1]
    if getattr(read_run(whole[0].output).loop, name) == share:
        return left
    spent = spent_before(last, settings.output).get({"num_train_steps": "step", "num_train_tokens": "tokens", "budget": "seconds"}[name], 0)
    if value <= spent:
        raise UserError(f"{config.flag_name(name)}: the first phase of {settings.output} has taken {spent:,.7g} already; give a larger value")
    rest: dict[str, Any] = {name: value - spent if name == "budget" else int(value - spent)}
    return [replace(last, loop=replace(last.loop, **rest))]


def check_new_length(settings: PretrainSettings) -> None:
    """Refuse a length that a resumed run has passed already."""
    from electra.train.checkpoint import latest_checkpoint, read_state
    from electra.train.loop import requested_length

    if requested_length(settings.loop) == requested_length(read_run(settings.output).loop):
        return
    for phase in phases_left(settings):
        folder = latest_checkpoint(phase.output)
        if folder is None:
            continue
        name, value = requested_length(phase.loop)
        done = read_state(folder)[{"num_train_steps": "step", "num_train_tokens": "tokens", "budget": "seconds"}[name]]
        if value < done:
            raise UserError(f"{config.flag_name(name)}: {phase.output} has done {done:,.7g} already, more than {value:,.7g}; give a larger value")


# ---- objective, stream ----


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The tokenized data of a run, and its tokenizer."""

    shards: dict[str, Shards]
    tokenizer: Tokenizer
    tokenizer_path: Path
    examples: ExampleBuilder

    @property
    def train(self) -> list[Split]:
        """Training split of each folder."""
        return [shards.train for shards in self.shards.values()]

    def describe(self) -> list[str]:
        """One line per folder, for the model card."""
        return [f"{Path(path).name}: {shards.num_tokens:,} tokens" for path, shards in self.shards.items()]


def open_corpus(settings: PretrainSettings) -> Corpus:
    """Open the folders of --data.

    Raises:
        UserError: one is missing or damaged, or their vocabularies differ.
    """
    shards = {str(path): open_shards(path) for path in settings.data.data}
    same_vocabulary(shards)
    tokenizer_path = next(iter(shards.values())).tokenizer_path
    tokenizer = load_tokenizer(tokenizer_path)
    examples = ExampleBuilder(settings.data, tokenizer, masking_info(settings.objective, shards, settings.data.weights, tokenizer))
    return Corpus(shards=shards, tokenizer=tokenizer, tokenizer_path=tokenizer_path, examples=examples)


def open_stream(settings: PretrainSettings, corpus: Corpus, batch_size: int, ranks: Ranks) -> PretrainingStream:
    """This rank's batches, from the first example on."""
    return PretrainingStream(corpus.train, corpus.examples, batch_size, settings.loop.seed, rank=ranks.rank, world_size=ranks.world_size)


def cost(settings: PretrainSettings, vocab_size: int, ranks: Ranks) -> TrainingCost:
    """FLOPs per token, and the peak FLOP/s of all ranks' devices if known."""
    peak = stated_tflops(settings.watch.peak_tflops, ranks.device, settings.loop.precision != "fp32")
    return TrainingCost(
        flops_per_token=flops.training_flops(settings, vocab_size)["flops_per_token"],
        peak_flops=None if peak is None else peak * 1e12 * ranks.world_size,
    )


class VocabularyInfo(Protocol):
    """What an objective needs of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def mask_id(self) -> int: ...
    @property
    def special_ids(self) -> Collection[int]: ...


def initial_objective(settings: PretrainSettings, vocabulary: VocabularyInfo, words: WordStatistics | None = None) -> PretrainingObjective:
    """The objective of a run with its initial weights, from its seed and, if counted, the statistics of its words."""
    objective = pretraining_models.build_objective(
        settings.model,
        settings.objective,
        vocab_size=vocabulary.vocab_size,
        mask_id=vocabulary.mask_id,
        special_ids=vocabulary.special_ids,
        sequence_length=settings.data.sequence_length,
        seed=settings.loop.seed,
        words=words,
    )
    # Embeddings of its own may learn: the discriminator's are the checkpoint's, whatever becomes of them.
    if isinstance(settings, GeneratorWarmUp) and settings.model.embedding_sharing == "tied":
        pretraining_models.freeze_embeddings(objective)
    if settings.model.freeze_layers:
        pretraining_models.freeze_layers(objective)
    return objective


def build(settings: PretrainSettings, corpus: Corpus, ranks: Ranks, *, fresh: bool) -> tuple[PretrainingObjective, list[str]]:
    """The objective with initial weights (in a new run, those of --init), and messages about them."""
    words, compared, messages, tokenizer = None, None, [], corpus.tokenizer
    copies = settings.init is not None and settings.model.generator_init == "encoder"
    if fresh and (copies or settings.new_vocabulary or settings.model.embedding_init == "cooccurrence"):
        # Weights of --init have their own vectors; only a new generator's output needs the frequencies, and new tokens are compared.
        dimensions = word_dimensions(settings.model.embedding_size, settings.model.attention_init) if settings.init is None else 0
        counted_dimensions = VECTOR_DIMENSIONS if settings.new_vocabulary and settings.model.new_token_init == "similar" else dimensions
        counted = word_statistics(corpus.train, settings.data.weights, tokenizer.vocab_size, counted_dimensions) if ranks.first else None
        compared = ranks.agree(counted)
        assert compared is not None
        words = replace(compared, vectors=compared.vectors[:, :dimensions])
        messages.append(f"word embeddings initialized from co-occurrence counts of {words.num_tokens:,} tokens" if dimensions else "")
    objective = initial_objective(settings, tokenizer, words)
    if settings.teacher is not None:
        assert isinstance(objective, LayerDistillation)
        objective.set_teacher(pretraining_models.read_teacher(settings.teacher))
        messages += (
            [f"the student learns from {settings.teacher}", *pretraining_models.start_student(objective, settings.model, settings.loop.seed)]
            if fresh
            else []
        )
    if settings.init is not None and fresh:
        start = pretraining_models.read_start(settings.init, settings.init_generator)
        if settings.new_vocabulary:
            assert compared is not None
            start, line = with_data_vocabulary(start, settings, tokenizer, compared)
            messages.append(line)
        if isinstance(settings, GeneratorWarmUp):
            messages += pretraining_models.load_warm_up(objective, start, settings.model)
        else:
            messages += pretraining_models.load_start(objective, start, settings.model, settings.objective)
        rows = settings.model.embedding_rows or tokenizer.vocab_size
        if rows > tokenizer.vocab_size:
            messages.append(f"{rows:,} embeddings for {tokenizer.vocab_size:,} tokens: the others are kept and never sampled")
        if (
            not isinstance(settings, GeneratorWarmUp)
            and not settings.new_vocabulary
            and not check_start(settings.init, start_folder(settings.init), tokenizer)
        ):
            messages.append(f"{settings.init} has no tokenizer: its rows are taken for the data's tokens in their order")
    return objective, [message for message in messages if message]


def with_data_vocabulary(
    start: pretraining_models.Start, settings: PretrainSettings, tokenizer: Tokenizer, words: WordStatistics
) -> tuple[pretraining_models.Start, str]:
    """The networks that a run starts from with the data's vocabulary instead of their own, and what its tokens start from, in words.

    Raises:
        UserError: tokens that cannot be compared.
    """
    old, how = load_tokenizer(start_folder(start.source)), settings.model.new_token_init
    shared = shared_tokens(tokenizer, old)
    similar = similar_tokens(shared, words, old.vocab_size, tokenizer.special_ids) if how == "similar" else None
    main = with_new_vocabulary(
        start.main,
        shared,
        similar,
        words.log_frequencies,
        num_tokens=old.vocab_size,
        pad_id=tokenizer.pad_id,
        others="mean" if how == "mean" else "random",
        seed=settings.loop.seed,
    )
    kept = int((shared >= 0).sum())
    mixed = 0 if similar is None else int((similar.getnnz(1) > 0).sum())
    parts = [f"{kept:,} tokens have the embeddings that they have in {start.source}"]
    if similar is not None and mixed:
        parts.append(f"{mixed:,} are means of those, on average of {similar.nnz / mixed:.1f}, that occur in similar contexts")
    if rest := tokenizer.vocab_size - kept - mixed:
        parts.append(f"{rest:,} start {'as the mean of all' if how == 'mean' else 'at random'}")
    return replace(start, main=main, generator=None), f"new vocabulary of {tokenizer.vocab_size:,}: {', '.join(parts)}"
