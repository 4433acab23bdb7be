"""Settings of a pre-training -> checked, and divided into the runs it consists of."""

from __future__ import annotations

from electra import config, hub
from electra.data.shards import open_shards, same_vocabulary
from electra.data.tokenizer import check_start, load_tokenizer
from electra.errors import UserError
from electra.settings import LoopSettings, ModelSettings, ObjectiveSettings, PretrainSettings

DETECTORS = ("electra", "electric", "electra-masked")
"""Objectives whose network is a discriminator."""


def recorded(settings: PretrainSettings) -> PretrainSettings:
    """The settings an interrupted run recorded, to go on with it."""
    file = settings.output / "config.toml"
    if not file.exists():
        raise UserError(f"--resume: {settings.output} is not a run directory (no config.toml); start it without --resume")
    found: PretrainSettings = config.build(PretrainSettings, config.read_toml(file) | {"output": str(settings.output)}, str(file))
    return config.replace(found, resume=True)


def after_restart(settings: PretrainSettings) -> PretrainSettings:
    """Settings of a process that torchrun started again -> the same, going on with the run if this very one had begun before the loss."""
    if not (settings.output / "config.toml").exists():
        return settings
    found = recorded(settings)
    # torchrun also starts again what refused to overwrite another run; that one is not to be gone on with.
    return found if config.replace(found, resume=False) == settings else settings


def check(settings: PretrainSettings) -> None:
    """Refuse settings that cannot work, before anything is made."""
    from electra.train import budget

    budget.given(settings.loop)
    for name in ("batch_size", "accumulation", "total_batch_size"):
        if (value := getattr(settings.loop, name)) is not None and value < 1:
            raise UserError(f"{name} {value} must be at least 1")
    length, limit = settings.data.sequence_length, settings.model.max_position_embeddings
    if not 8 <= length <= limit:
        raise UserError(f"sequence_length {length} is outside 8..{limit} (max_position_embeddings); change one of them")
    if not 0 < settings.objective.mask_prob < 1:
        raise UserError(f"mask_prob {settings.objective.mask_prob} is outside 0..1; the paper uses 0.15")
    check_objective(settings.model, settings.objective)
    if not 0 <= settings.objective.mask_frequency_power <= 2:
        raise UserError(f"mask_frequency_power {settings.objective.mask_frequency_power} is outside 0..2; 0 turns it off, 0.5 is word2vec's")
    if (rate := settings.objective.mlm_first_learning_rate) is not None and not rate > 0:
        raise UserError(f"mlm_first_learning_rate {rate} must be above zero")
    if (rate := settings.optimizer.generator_learning_rate) is not None and not rate > 0:
        raise UserError(f"generator_learning_rate {rate} must be above zero; leave it out for one optimizer")
    if settings.data.weights and settings.data.data and len(settings.data.weights) != len(settings.data.data):
        raise UserError(f"{len(settings.data.weights)} --weights for {len(settings.data.data)} --data folders; give one each")
    if any(weight <= 0 for weight in settings.data.weights):
        raise UserError(f"--weights {settings.data.weights}: every weight must be above zero")


def check_objective(model: ModelSettings, objective: ObjectiveSettings) -> None:
    """Refuse what does not go together."""
    name = objective.objective
    if objective.mlm_first and name not in DETECTORS:
        raise UserError(
            f"mlm_first is for the objectives {', '.join(DETECTORS)}; in '{name}' the network is a masked LM from the first step to the last"
        )
    for knob, value in (("temperature", objective.temperature), ("temperature_end", objective.temperature_end)):
        if value is not None and not value > 0:
            raise UserError(f"{knob} {value} must be above zero; 1 samples what the generator believes")
    if name == "electric":
        if model.generator != "two-tower":
            raise UserError(f"objective 'electric' needs the probability of every token: set --generator two-tower, not '{model.generator}'")
        if objective.temperature != 1 or objective.temperature_end not in (None, 1) or objective.disallow_correct:
            raise UserError("objective 'electric' needs noise exactly as its generator says: temperature 1, and no disallow_correct")
    if model.embedding_sharing == "disentangled" and (name not in DETECTORS or model.generator in ("uniform", "shared")):
        raise UserError(
            f"embedding_sharing 'disentangled' is for a discriminator beside a generator, not for '{name}' with generator '{model.generator}'"
        )


def check_data(settings: PretrainSettings) -> None:
    """Refuse shards, and weights to start from, that do not fit together or to the objective, before anything is written."""
    from electra.data.mask_hints import check_words

    shards = {str(path): open_shards(path) for path in settings.data.data}
    same_vocabulary(shards)
    tokenizer = load_tokenizer(next(iter(shards.values())).tokenizer_path)
    check_words(settings.objective, shards, tokenizer)
    if settings.init is not None and not settings.resume:
        check_start(settings.init, hub.resolve(settings.init), tokenizer)


def stages(settings: PretrainSettings) -> list[PretrainSettings]:
    """The run; or with `mlm_first` two: the encoder as a masked LM in RUN/mlm-first, then the discriminator from its weights."""
    share, loop = settings.objective.mlm_first, settings.loop
    if not share:
        return [settings]

    def part(share: float, seed: int) -> LoopSettings:
        counts = {name: None if (n := getattr(loop, name)) is None else max(1, round(n * share)) for name in ("num_train_steps", "num_train_tokens")}
        changed: LoopSettings = config.replace(loop, **counts, budget=None if loop.budget is None else loop.budget * share, seed=seed)
        return changed

    folder = settings.output / "mlm-first"
    alone = config.replace(settings.objective, objective="mlm", mlm_first=0.0, mlm_first_learning_rate=None)
    rate = settings.objective.mlm_first_learning_rate or settings.optimizer.learning_rate
    optimizer = config.replace(settings.optimizer, learning_rate=rate)
    first = config.replace(settings, output=folder, objective=alone, optimizer=optimizer, loop=part(share, loop.seed))
    # Another seed, or the second stage would read the first one's examples again.
    second = config.replace(settings, init=str(folder / "final"), loop=part(1 - share, loop.seed + 1))
    return [second] if (folder / "final").exists() else [first, second]
