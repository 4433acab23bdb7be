"""A pre-trained checkpoint -> its metrics on held-out text and on a fixed corruption set."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from electra.contracts import Batch
from electra.data.batches import held_out_batches
from electra.data.corruption import CorruptionSet, load_corruption, make_corruption
from electra.data.shards import Shards, open_shards, same_vocabulary
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError
from electra.model import masking
from electra.model.generators import Generator, TwoTowerGenerator
from electra.model.hf import Checkpoint, is_electric, load_checkpoint
from electra.model.noise import ClozeModel, MaskedLanguageModel, Noise
from electra.model.objectives import Discriminator, Electric, ReplacedTokenDetection
from electra.settings import DataSettings, EvaluateSettings, ObjectiveSettings
from electra.train.evaluation import area_under_curve, evaluate
from electra.train.ranks import choose_device


def held_out_metrics(settings: EvaluateSettings) -> dict[str, float]:
    """The nine pre-training metrics on the held-out part of shard folders."""
    shards, tokenizer, checkpoint = open_all(settings)
    objective: MaskedLanguageModel | ReplacedTokenDetection
    if isinstance(checkpoint.module, Discriminator):
        objective = detection(checkpoint, checkpoint.module, settings.sequence_length, tokenizer)
    else:
        assert isinstance(checkpoint.module, Generator)
        objective = MaskedLanguageModel(
            checkpoint.module, ObjectiveSettings(objective="mlm"), mask_id=tokenizer.mask_id, special_ids=tokenizer.special_ids
        )
    device = choose_device()
    return evaluate(objective.to(device), held_out(settings, shards, tokenizer), device)


def detection(checkpoint: Checkpoint, discriminator: Discriminator, sequence_length: int, tokenizer: Tokenizer) -> ReplacedTokenDetection:
    """A discriminator and the generator beside it in the objective they were trained with."""
    folder = checkpoint.path / "generator"
    found = load_checkpoint(folder) if (folder / "config.json").exists() else load_checkpoint(checkpoint.path, "generator")
    generator = found.module
    kind = Electric if is_electric(checkpoint) else ReplacedTokenDetection
    settings = ObjectiveSettings(objective="electric" if kind is Electric else "electra")
    noise: Noise
    if isinstance(generator, TwoTowerGenerator):
        noise = ClozeModel(generator, settings, mask_id=tokenizer.mask_id, special_ids=tokenizer.special_ids)
    else:
        assert isinstance(generator, Generator)
        noise = MaskedLanguageModel(generator, settings, mask_id=tokenizer.mask_id, special_ids=tokenizer.special_ids)
    return kind(discriminator, noise, settings, sequence_length=sequence_length)


def corruption_metrics(settings: EvaluateSettings) -> dict[str, float]:
    """The detector, and the one without context, on a fixed corruption set; it is made when the file is missing."""
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
        if not is_electric(checkpoint):  # whose energies rank tokens, but are no probabilities of 'replaced'
            metrics[f"{source}_disc_loss"] = loss / len(label)
            metrics[f"{source}_disc_accuracy"] = float(((score > 0) == label).mean())
        metrics[f"{source}_replaced_fraction"] = float(label.mean())
    return metrics


def make_set(settings: EvaluateSettings) -> CorruptionSet:
    """A new corruption set from --data's held-out text with this model's generator."""
    if not settings.data:
        raise UserError(f"{settings.corruption} not found; give --data SHARDS to make it")
    shards, tokenizer, _ = open_all(settings)
    generator = load_checkpoint(settings.model, "generator")
    special = torch.tensor(sorted(tokenizer.special_ids))

    def choose(batch: Batch) -> torch.Tensor:
        return masking.choose_positions(batch, masking.num_masked(batch.lengths, 0.15), special)

    @torch.inference_mode()
    def generate(batch: Batch, at: torch.Tensor) -> torch.Tensor:
        logits = generator.module(batch, masking.mask_positions(batch, at, tokenizer.mask_id, 1.0), at)
        chance = masking.uniforms(batch.keys[batch.rows[at]], batch.positions[at], masking.SAMPLE)
        return masking.sample_tokens(logits, chance)

    counts = sum(np.bincount(s.train.ids[:20_000_000], minlength=tokenizer.vocab_size) for s in shards)
    return make_corruption(held_out(settings, shards, tokenizer), choose, generate, np.asarray(counts, float), tokenizer.fingerprint, settings.seed)


def open_all(settings: EvaluateSettings) -> tuple[list[Shards], Tokenizer, Checkpoint]:
    """The shard folders, the model's tokenizer, the model: all with one vocabulary."""
    shards = {str(path): open_shards(path) for path in settings.data}
    same_vocabulary(shards)
    checkpoint = load_checkpoint(settings.model)
    if checkpoint.architecture not in ("ElectraForPreTraining", "ElectraForMaskedLM"):
        raise UserError(
            f"{settings.model} is an {checkpoint.architecture}; pre-training metrics need a pre-trained checkpoint, a fine-tuned one wants --task"
        )
    tokenizer = load_tokenizer(checkpoint.path)
    for path, folder in shards.items():
        if folder.fingerprint != tokenizer.fingerprint:
            raise UserError(f"{path} was prepared with another vocabulary than {settings.model} has; prepare it with --tokenizer {checkpoint.path}")
    return list(shards.values()), tokenizer, checkpoint


def held_out(settings: EvaluateSettings, shards: list[Shards], tokenizer: Tokenizer) -> list[Batch]:
    """The measured examples, as batches."""
    data = DataSettings(data=tuple(str(s.path) for s in shards), sequence_length=settings.sequence_length)
    batches = held_out_batches([s.held_out for s in shards], data, tokenizer, settings.batch_size, settings.num_examples, settings.seed)
    if not batches:
        raise UserError(f"{', '.join(str(s.path) for s in shards)}: no held-out documents; prepare with a larger --held-out")
    return batches
