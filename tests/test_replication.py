"""Details of the original that no other test covers, each compared with a restatement of its rule or with its recorded output.

`docs/reproduce.md` lists them all, with the test of each.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SPECIALS
from scipy import stats
from torch import nn

from electra import config
from electra.data import pretraining_batches
from electra.data.pretraining_batches import collate
from electra.data.tokenizer import load_tokenizer
from electra.finetuning.hyperparameters import resolve
from electra.model import masking
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.initialization import initialize
from electra.model.pretraining_models import build_objective, discriminator_config, generator_config
from electra.model.task_models import Classifier
from electra.settings import FinetuneSettings, ModelSettings, ObjectiveSettings, OptimizerSettings, PretrainSettings
from electra.train.optimizer import Adam

# ---- masking ----


@pytest.mark.parametrize(("mask_prob", "length"), [(0.15, 128), (0.15, 512), (0.25, 512)])
def test_as_many_tokens_are_masked_as_in_the_original(mask_prob: float, length: int) -> None:
    """`pretrain_helpers.mask`: single precision, rounding half to even, at least one, at most max_predictions_per_seq."""
    lengths = np.arange(5, length + 1)
    most = int((mask_prob + 0.005) * length)
    wanted = np.maximum(1, np.minimum(most, np.rint(lengths.astype(np.float32) * np.float32(mask_prob)).astype(int)))
    found = np.array(masking.num_masked(tuple(lengths.tolist()), mask_prob))
    # At exactly half a token single precision may round to the other side of double precision.
    halves = np.isclose(lengths * mask_prob % 1, 0.5)
    assert (found[~halves] == wanted[~halves]).all() and np.abs(found - wanted).max() <= 1 and (found != wanted).mean() < 0.03
    assert length > 128 or (found == wanted).all()


def test_the_mask_is_found_by_name_in_the_vocabulary(tmp_path: Path) -> None:
    """A masked token becomes [MASK] by name, not the fifth token of the vocabulary, and never [UNK]."""
    order = ["[MASK]", "the", "chef", "[UNK]", "ate", "[SEP]", "a", "[PAD]", "meal", "[CLS]"]
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in order))
    tokenizer = load_tokenizer(tmp_path)
    assert {piece: order.index(piece) for piece in SPECIALS} == dict(
        zip(SPECIALS, (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id), strict=True)
    )
    shape = ModelSettings(hidden_size=8, embedding_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, dropout=0.0)
    objective = build_objective(
        shape,
        ObjectiveSettings(mask_token_prob=1.0, mask_prob=0.5),
        vocab_size=len(order),
        mask_id=tokenizer.mask_id,
        special_ids=tokenizer.special_ids,
        sequence_length=16,
        seed=1,
    )
    seen: list[torch.Tensor] = []
    objective.generator.encoder.embeddings.word.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # type: ignore[union-attr]
    words = tokenizer.encode(["the chef ate a meal the chef ate"])[0]
    batch = collate([([tokenizer.cls_id, *words, tokenizer.sep_id], [0] * (len(words) + 2))])
    objective(batch)
    changed = seen[0] != batch.ids
    assert changed.sum() == 5 and set(seen[0][changed].tolist()) == {order.index("[MASK]")}


# ---- networks ----


def test_initial_weights_are_the_originals() -> None:
    """`create_initializer`: a normal distribution with standard deviation 0.02, truncated at two; LayerNorm 1 and 0, biases 0."""
    shape = EncoderConfig(vocab_size=500, embedding_size=32, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96)
    network = Classifier(Encoder(shape), 2)
    initialize(network, torch.Generator().manual_seed(1))
    weights = [p.detach().flatten() for name, p in network.named_parameters() if name.endswith("weight") and "norm" not in name]
    values = torch.cat(weights).numpy()
    assert len(values) > 50_000 and stats.kstest(values / 0.02, stats.truncnorm(-2, 2).cdf).pvalue > 1e-3
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name


@pytest.mark.realdata
def test_the_generators_shape_is_the_recorded_one(reference_root: Path) -> None:
    """The configuration that the original wrote for its generator."""
    wanted = json.loads((reference_root / "tf1-original" / "reference.json").read_text())
    large, small = wanted["bert_config"], wanted["generator_config"]
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
    model = ModelSettings(**{name: large[name] for name in names}, embedding_size=wanted["embedding_size"])
    made = generator_config(model, discriminator_config(model, large["vocab_size"]))
    assert {name: getattr(made, name) for name in names} == {name: small[name] for name in names}
    # Generator and discriminator share one set of embeddings, LayerNorm included; each has its own projection.
    variables = {name for name, _ in wanted["variables"]}
    assert not any(name.startswith("generator/embeddings/") for name in variables) and "generator/embeddings_project/kernel" in variables


@pytest.mark.parametrize(
    ("preset", "width", "heads", "layers"), [("small", 64, 1, 12), ("base", 256, 4, 12), ("large", 256, 4, 24), ("small-plus-plus", 256, 4, 12)]
)  # fmt: skip
def test_generator_shapes_of_the_presets(preset: str, width: int, heads: int, layers: int) -> None:
    """`get_generator_config`: hidden size scaled and rounded, one head per 64, feed-forward four times as wide, all layers.

    Ours keeps the discriminator's head size, which is 64 in all of these.
    """
    model = config.build(PretrainSettings, config.preset_values(preset, "pretrain")).model
    made = generator_config(model, discriminator_config(model, 30522))
    assert (made.hidden_size, made.num_attention_heads, made.intermediate_size, made.num_hidden_layers) == (width, heads, 4 * width, layers)
    assert made.embedding_size == model.embedding_size


def test_the_original_head_is_dropout_and_one_projection_of_cls() -> None:
    """`ClassificationTask.get_prediction_module`: no pooler, no activation; dropout 0.1 on the state while training."""
    shape = EncoderConfig(vocab_size=30, embedding_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    network = Classifier(Encoder(shape), 3, "original").eval()
    initialize(network, torch.Generator().manual_seed(2))
    head = network.head
    assert {name for name, _ in head.named_parameters()} == {"output.weight", "output.bias"}
    nn.init.normal_(head.output.bias)  # type: ignore[union-attr, arg-type]
    batch = collate([([2, 7, 8, 3], [0] * 4), ([2, 9, 3], [0] * 3)])
    with torch.no_grad():
        states = network.encoder(batch)
        torch.testing.assert_close(network(batch), states[[0, 4]] @ head.output.weight.T + head.output.bias)  # type: ignore[union-attr, operator]
        # With the identity as weights the output is the input of the projection.
        head.output.weight, head.output.bias = nn.Parameter(torch.eye(16)), nn.Parameter(torch.zeros(16))  # type: ignore[union-attr]
        torch.manual_seed(3)
        seen = head.train()(torch.ones(2000, 16))
    kept = seen != 0
    assert abs(kept.float().mean() - 0.9) < 0.01 and torch.allclose(seen[kept], torch.tensor(1 / 0.9))


# ---- examples ----


def _original_documents(documents: list[list[list[int]]], length: int, targets: list[int]) -> list[tuple[list[list[int]], int]]:
    """`ExampleBuilder.add_line`: lines are collected until they reach the target, which is sampled anew after each example."""
    out: list[tuple[list[list[int]], int]] = []
    held: list[list[int]] = []
    target = length
    for lines in documents:
        for line in [*lines, []]:
            held.append(line)
            filled = sum(map(len, held))
            if (not line and filled) or filled >= target:
                out.append((held, target))
                held, target = [], targets[len(out)]
    return out


def _original_example(held: list[list[int]], target: int, length: int, rng: np.random.Generator) -> list[int]:
    """`ExampleBuilder._create_example` and `_make_tf_example`, random number by random number."""
    goal = 100_000 if rng.random() < 0.1 else (target - 3) // 2
    one: list[int] = []
    two: list[int] = []
    for line in held:
        if len(one) == 0 or len(one) + len(line) < goal or (len(two) == 0 and len(one) < goal and rng.random() < 0.5):
            one += line
        else:
            two += line
    one = one[: length - 2]
    two = two[: max(0, length - len(one) - 3)]
    return [2, *one, 3] + ([*two, 3] if two else [])


def test_examples_are_the_originals_number_by_number() -> None:
    """With the same random numbers: one segment or two, short targets, the random choice at the middle, truncation."""
    length, rng = 40, np.random.default_rng(7)
    documents, token = [], 10
    for _ in range(80):
        lines = []
        for size in rng.integers(1, length - 3, rng.integers(1, 9)):
            lines.append(list(range(token, token + int(size))))
            token += int(size)
        documents.append(lines)
    lines = [line for document in documents for line in document]
    starts = np.cumsum([0, *map(len, lines)])
    bounds = np.cumsum([0, *map(len, documents)])
    drawn = np.random.default_rng(5)
    short = drawn.random(len(lines) + 1) < 0.3
    targets = np.where(short, drawn.integers(5, length, len(lines) + 1, endpoint=True), length).tolist()
    plan = pretraining_batches.plan_examples(starts, bounds, length, np.random.default_rng(5), 0.3)
    expected = _original_documents(documents, length, targets)
    assert len(plan) == len(expected) and any(target < length for _, target in expected)
    ids = np.concatenate([np.array(line) for line in lines])
    singles = 0
    for i, (held, target) in enumerate(expected):
        found, segments = pretraining_batches.example_layout(plan, i, length, np.random.default_rng(i), 0.1).fill(ids, 2, 3)
        assert found.tolist() == _original_example(held, target, length, np.random.default_rng(i))
        singles += int(not segments.any())
    assert 0 < singles < len(plan) / 2


# ---- recipes ----


@pytest.mark.parametrize(
    ("name", "rate", "length", "batch", "steps"),
    [("small", 5e-4, 128, 128, 10**6), ("base", 2e-4, 512, 256, 766_000), ("large", 2e-4, 512, 2048, 400_000)],
)
def test_pretraining_recipes_are_table_6(name: str, rate: float, length: int, batch: int, steps: int) -> None:
    """The paper's Table 6, apart from the shapes (`test_config`)."""
    made = config.build(PretrainSettings, config.preset_values(name, "pretrain"))
    optimizer, objective = made.optimizer, made.objective
    assert (optimizer.learning_rate, made.data.sequence_length, made.loop.total_batch_size, made.loop.num_train_steps) == (rate, length, batch, steps)
    assert (optimizer.warmup_steps, optimizer.weight_decay, made.model.dropout, optimizer.adam_epsilon) == (10_000, 0.01, 0.1, 1e-6)
    assert (optimizer.adam_beta1, optimizer.adam_beta2, optimizer.clip_norm, optimizer.bias_correction) == (0.9, 0.999, 1.0, False)
    assert (objective.generator_weight, objective.disc_weight, objective.mask_token_prob, objective.temperature) == (1.0, 50.0, 0.85, 1.0)
    assert (made.data.single_segment_prob, made.data.short_example_prob) == (0.1, 0.05)


def test_original_code_learns_from_sums() -> None:
    """`FinetuningModel.loss` is a sum over the batch, so that clipping at 1 is clipping of the mean at 1/32: step by step the same.

    The original's Adam and clipping are restated here (`model/optimization.py`); ours gets gradients of the mean.
    """
    made = resolve(FinetuneSettings(task="sst2", model="m", output=Path("o"), preset="original-code"), "sst2", 256)
    size = made.loop.batch_size
    settings = replace(made.optimizer, warmup_fraction=0.0)
    assert size == 32
    rng = np.random.default_rng(3)
    start = rng.normal(size=6).astype(np.float32)
    ours = nn.Parameter(torch.tensor(start))
    adam = Adam([("weight", ours)], settings)
    theirs, m, v = start.astype(np.float64), np.zeros(6), np.zeros(6)
    moved = []
    for step in range(1, 9):
        # Norms on both sides of the limit, and elements so small that epsilon matters.
        mean = rng.normal(size=6) * np.array([1, 1, 1, 1e-5, 1e-6, 1e-7]) * 10.0 ** rng.integers(-3, 1)
        ours.grad = torch.tensor(mean, dtype=torch.float32)
        adam.step(1e-2, torch.tensor(1.0), step)
        total = mean * size
        total = total * min(1.0, 1.0 / np.linalg.norm(total))
        m, v = 0.9 * m + 0.1 * total, 0.999 * v + 0.001 * total**2
        update = m / (np.sqrt(v) + 1e-6) + settings.weight_decay * theirs
        theirs = theirs - 1e-2 * update
        moved.append(np.abs(ours.detach().numpy() - theirs).max())
    assert max(moved) < 1e-5, moved
    assert OptimizerSettings().clip_norm == 1.0
