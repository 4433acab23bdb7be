"""Other generators, Electric, the paper's ablations: against `transformers`, closed formulas and dense computations."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretraining_runs import pretrain
from pretraining_runs import shards as shards  # a fixture
from safetensors.torch import load_file
from small_objectives import MASK, MODEL, SPECIAL, VOCAB, make, some_batches, untie

from electra.cli import main
from electra.contracts import Batch
from electra.data.pretraining_batches import collate, example_key
from electra.model import masking
from electra.model.generators import inner_tokens, log_likelihoods
from electra.model.huggingface import is_electric, load_checkpoint, save_checkpoint, to_hf
from electra.model.pretraining_models import build_objective, generator_alone, plain
from electra.settings import ModelSettings, ObjectiveSettings


def shaped(**changes: object) -> ModelSettings:
    return ModelSettings(**{**MODEL.__dict__, **changes})


def rows_of(batch: Batch) -> list[tuple[int, int]]:
    """(first, length) of each sequence."""
    firsts = np.cumsum([0, *batch.lengths[:-1]]).tolist()
    return list(zip(firsts, batch.lengths, strict=True))


def test_the_towers_are_the_causal_encoder_of_transformers() -> None:
    """The left tower against `transformers`' decoder mask; the right one against the same on reversed text; padding changes nothing."""
    transformers = pytest.importorskip("transformers")
    objective = make("electric", shaped(generator="two-tower"))
    untie(objective)
    towers = objective.generator
    batch = some_batches(1)[0]
    with torch.no_grad():
        for tower, reads in ((towers.left, "left"), (towers.right, "right")):
            found = tower(batch, reads=reads)
            c = tower.config
            sizes = {name: getattr(c, name) for name in ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
            config = transformers.ElectraConfig(**sizes, intermediate_size=c.intermediate_size, max_position_embeddings=64, is_decoder=True)
            oracle = transformers.ElectraModel(config).eval()
            assert not oracle.load_state_dict(to_hf(tower), strict=False).unexpected_keys
            for first, length in rows_of(batch):
                ids = batch.ids[first : first + length]
                order = torch.arange(length) if reads == "left" else torch.arange(length).flip(0)
                theirs = oracle(input_ids=ids[order][None], position_ids=order[None]).last_hidden_state[0][order]
                assert torch.allclose(found[first : first + length], theirs, atol=1e-5)


def test_a_cloze_prediction_sees_everything_but_its_token() -> None:
    objective = make("electric", shaped(generator="two-tower"))
    untie(objective)
    towers, batch = objective.generator, some_batches(1)[0]
    inner = inner_tokens(batch.lengths)
    at = 5
    with torch.no_grad():
        before = towers(batch)
        for token, same in ((inner[at], True), (inner[at] - 1, False), (inner[at] + 1, False)):
            ids = batch.ids.clone()
            ids[token] = (ids[token] + 7 - 5) % (VOCAB - 5) + 5
            after = towers(Batch(**{**batch.__dict__, "ids": ids}))
            assert torch.equal(before[at], after[at]) == same


def test_likelihoods_by_chunks_are_those_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("electra.model.generators.CHUNK", 7)
    head = torch.nn.Linear(12, 40)
    states, wanted = torch.randn(30, 12, requires_grad=True), torch.arange(30)
    log_p, hits = log_likelihoods(head, states, wanted)
    direct = F.log_softmax(head(states), -1)
    assert torch.allclose(log_p, direct.gather(1, wanted[:, None]).squeeze(1), atol=1e-6)
    assert torch.equal(hits, direct.argmax(-1) == wanted)
    ours = torch.autograd.grad(log_p.sum(), [states, head.weight])
    theirs = torch.autograd.grad(direct.gather(1, wanted[:, None]).sum(), [states, head.weight])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))


def pairs() -> Batch:
    """A batch of two segments each: the [SEP] between them is a special token that the towers predict."""
    rng = np.random.default_rng(4)
    features = []
    for first, second in ((3, 9), (12, 1), (7, 7)):
        ids = [2, *rng.integers(5, VOCAB, first), 3, *rng.integers(5, VOCAB, second), 3]
        features.append((ids, [0] * (first + 2) + [1] * (second + 1)))
    return collate(features, [example_key(9, i) for i in range(3)])


def test_electrics_loss_is_its_formula() -> None:
    """Every term written out token by token, as the paper's equation has it."""
    objective = make("electric", shaped(generator="two-tower"), mask_prob=0.2)
    untie(objective)
    objective.eval()
    noise = objective.noise
    for batch in [*some_batches(), pairs()]:
        output = objective(batch)
        with torch.no_grad():
            logits = noise.generator.head(noise.generator(batch))
            log_q = dict(zip(inner_tokens(batch.lengths).tolist(), F.log_softmax(logits, -1), strict=True))
            chosen = noise.choose(batch)
            chance = masking.uniforms(batch.keys[batch.rows[chosen]], batch.positions[chosen], masking.SAMPLE)
            sampled = masking.sample_tokens(torch.stack([log_q[i] for i in chosen.tolist()]), chance)
            corrupted = batch.ids.index_copy(0, chosen, sampled)
            energies = objective.discriminator(batch, corrupted)
        cloze = disc = 0.0
        for token in range(batch.num_tokens):
            if token in log_q:
                cloze -= log_q[token][batch.ids[token]].item()
            special = int(batch.ids[token]) in SPECIAL
            q = 1.0 if special else math.exp(log_q[token][corrupted[token]].item())
            density = math.exp(-energies[token].item())
            is_noise = 0.2 * q / (0.2 * q + 0.8 * density)
            disc -= math.log(is_noise if token in chosen.tolist() else 1 - is_noise)
        assert output.losses["cloze_loss"].total.item() == pytest.approx(cloze, rel=1e-4)
        assert output.losses["disc_loss"].total.item() == pytest.approx(disc, rel=1e-4)
        assert {name: loss.count for name, loss in output.losses.items()} == objective.counts(batch)


def test_electric_learns_likelihoods() -> None:
    """Tokens drawn one by one from known frequencies: energies become minus their logarithms, up to one constant."""
    frequencies = np.array([8.0, 4.0, 2.0, 1.0])
    frequencies /= frequencies.sum()
    torch.manual_seed(0)
    model = shaped(generator="two-tower", hidden_size=16, num_hidden_layers=1, num_attention_heads=1)
    settings = ObjectiveSettings(objective="electric", mask_prob=0.3)
    objective = build_objective(model, settings, vocab_size=9, mask_id=4, special_ids=SPECIAL, sequence_length=20, seed=1)
    adam = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    for step in range(150):
        rows = [([2, *(5 + rng.choice(4, 18, p=frequencies)), 3], [0] * 20) for _ in range(16)]
        batch = collate(rows, [example_key(step, i) for i in range(16)])
        sum(loss.total / loss.count for loss in objective(batch).losses.values()).backward()
        adam.step()
        adam.zero_grad()
    with torch.no_grad():
        energies = objective.discriminator(batch)
    found = np.array([-energies[batch.ids == 5 + i].mean().item() for i in range(4)])
    assert np.allclose(found - found.mean(), np.log(frequencies) - np.log(frequencies).mean(), atol=0.35), found


def test_the_uniform_generator_draws_every_token_alike() -> None:
    objective = make(model=shaped(generator="uniform"), mask_prob=0.5)
    assert objective.generator is None and objective.counts(some_batches(1)[0]).keys() == {"disc_loss"}
    drawn = []
    objective.learn = lambda batch, proposal, sampled: drawn.append(sampled) or objective.noise(batch)
    for batch in some_batches(60):
        batch = Batch(**{**batch.__dict__, "keys": batch.keys + len(drawn)})
        objective(batch)
    counts = torch.bincount(torch.cat(drawn), minlength=VOCAB).double()
    expected = counts.sum() / VOCAB
    assert ((counts - expected) ** 2 / expected).sum() < VOCAB + 5 * math.sqrt(2 * VOCAB)


def test_a_shared_generator_is_the_discriminators_encoder() -> None:
    objective = make(model=shaped(generator="shared"))
    assert objective.generator.encoder is objective.discriminator.encoder
    heads = sum(p.numel() for name, p in objective.named_parameters() if ".head." in name)
    assert sum(p.numel() for p in objective.parameters()) == heads + sum(p.numel() for p in objective.discriminator.encoder.parameters())


def test_disentangled_embeddings_begin_as_the_generators_and_do_not_train_them(tmp_path: Path) -> None:
    objective = make(model=shaped(embedding_sharing="disentangled"), generator_weight=0.0)
    tied = make(model=shaped(embedding_sharing="tied"))
    batch = some_batches(1)[0]
    mine, its = objective.discriminator.encoder.embeddings, objective.generator.encoder.embeddings
    places = (batch.ids, batch.segments, batch.positions)
    assert torch.equal(mine(*places), its(*places))
    assert objective(batch).losses.keys() == tied(batch).losses.keys()
    objective(batch).losses["disc_loss"].total.backward()
    assert its.word.weight.grad is None or not its.word.weight.grad.any()
    assert mine.word_change.weight.grad.any()
    untie(objective)
    folder = tmp_path / "merged"
    save_checkpoint(plain(objective.discriminator), folder)
    with torch.no_grad():
        assert torch.allclose(load_checkpoint(folder).module(batch), objective.discriminator(batch), atol=1e-6)


@pytest.mark.parametrize("kind", ["tied", "disentangled", "untied"])
def test_what_the_generator_has_alone(kind: str) -> None:
    objective = make(model=shaped(embedding_sharing=kind))
    alone = generator_alone(objective)
    assert all(name.startswith("noise.generator.") for name in alone)
    assert any("layers" in name for name in alone) and any("word" in name for name in alone) == (kind != "tied")


def test_the_temperature_falls_during_the_run() -> None:
    objective = make(temperature=2.0, temperature_end=0.5)
    found = []
    for done in (0.0, 0.5, 1.0):
        objective.advance(done)
        found.append(float(objective.temperature()))
    assert found == pytest.approx([2.0, 1.25, 0.5])
    batch = some_batches(1)[0]
    cold = make(temperature=0.5)
    assert torch.equal(objective(batch).losses["disc_loss"].total, cold(batch).losses["disc_loss"].total)


def corrupted_by(objective: object, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(chosen, corrupted ids), computed apart from the objective."""
    noise = objective.noise  # type: ignore[attr-defined]
    chosen = masking.choose_positions(batch, masking.num_masked(batch.lengths, 0.15), noise.special_ids)
    with torch.no_grad():
        logits = noise.generator(batch, masking.mask_positions(batch, chosen, MASK, 0.85))[chosen]
    chance = masking.uniforms(batch.keys[batch.rows[chosen]], batch.positions[chosen], masking.SAMPLE)
    return chosen, batch.ids.index_copy(0, chosen, masking.sample_tokens(logits, chance))


def test_electra_15_counts_chosen_positions_alone() -> None:
    objective, whole = make("electra-masked"), make("electra")
    for each in (objective, whole):
        untie(each)
    for batch in some_batches():
        chosen, corrupted = corrupted_by(objective, batch)
        with torch.no_grad():
            logits = whole.discriminator(batch, corrupted)[chosen]
        expected = F.binary_cross_entropy_with_logits(logits, (corrupted != batch.ids)[chosen].float(), reduction="sum")
        output = objective(batch)
        assert output.losses["disc_loss"].total.item() == pytest.approx(expected.item(), rel=1e-5)
        assert {name: loss.count for name, loss in output.losses.items()} == objective.counts(batch)


def test_replace_mlm_is_a_masked_lm_on_the_generators_text() -> None:
    objective = make("replace-mlm")
    untie(objective)
    for batch in some_batches():
        chosen, corrupted = corrupted_by(objective, batch)
        with torch.no_grad():
            expected = F.cross_entropy(objective.model(batch, corrupted)[chosen], batch.ids[chosen], reduction="sum")
        output = objective(batch)
        assert output.losses["replaced_lm_loss"].total.item() == pytest.approx(expected.item(), rel=1e-5)
        assert {name: loss.count for name, loss in output.losses.items()} == objective.counts(batch)


def test_all_tokens_mlm_mixes_copying_and_predicting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("electra.model.objectives.CHUNK", 11)
    objective = make("all-tokens-mlm")
    untie(objective)
    for batch in some_batches():
        chosen, corrupted = corrupted_by(objective, batch)
        with torch.no_grad():
            hidden = objective.model.encoder(batch, corrupted)
            copy = torch.sigmoid(-objective.copy_head(hidden))[:, None].double()
            mixed = copy * F.one_hot(corrupted, VOCAB) + (1 - copy) * torch.softmax(objective.model.head(hidden).double(), -1)
        expected = -mixed.gather(1, batch.ids[:, None]).log().sum()
        output = objective(batch)
        assert output.losses["replaced_lm_loss"].total.item() == pytest.approx(expected.item(), rel=1e-4)
        right = (mixed.argmax(-1) == batch.ids)[chosen].sum()
        assert output.metrics["replaced_lm_accuracy"][0] == right
        assert {name: loss.count for name, loss in output.losses.items()} == objective.counts(batch)


KINDS = {
    "electric": "--objective electric --generator two-tower",
    "two-tower": "--generator two-tower",
    "uniform": "--generator uniform",
    "shared": "--generator shared",
    "disentangled": "--embedding-sharing disentangled --temperature 1.5 --temperature-end 1",
    "untied": "--embedding-sharing untied --generator-learning-rate 1e-3",
    "electra-15": "--objective electra-masked",
    "replace-mlm": "--objective replace-mlm --mlm-first 0",
    "all-tokens-mlm": "--objective all-tokens-mlm --mlm-first 0",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_from_the_command_line(kind: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, stopped and resumed to the same bits, opened by `transformers`, taken up by --init, measured where it detects."""
    transformers = pytest.importorskip("transformers")
    flags = KINDS[kind].split()
    run = tmp_path / "run"
    assert pretrain("mini", shards, run, *flags, "--checkpoint-every", "2", "--keep-steps", "2") == 0
    final = run / "final"
    kinds = {"replace-mlm": "ElectraForMaskedLM", "all-tokens-mlm": "ElectraForMaskedLM"}
    _, info = getattr(transformers, kinds.get(kind, "ElectraForPreTraining")).from_pretrained(final, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    has_generator = kind != "uniform"
    assert (final / "generator" / "model.safetensors").exists() == has_generator
    before = load_file(final / "model.safetensors")
    for folder in (run / "checkpoints").iterdir():
        if folder.name != "step-00000002":
            shutil.rmtree(folder)
    shutil.rmtree(final)
    assert main(["pretrain", "mini", "--output", str(run), "--resume"]) == 0
    after = load_file(final / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert pretrain("mini", shards, tmp_path / "next", *flags, "--mlm-first", "0", "--init", str(final), "--num-train-steps", "2") == 0
    assert main(["convert", str(final), str(tmp_path / "converted")]) == 0
    for place in (".", "generator") if kind != "uniform" else (".",):
        one, other = load_file(final / place / "model.safetensors"), load_file(tmp_path / "converted" / place / "model.safetensors")
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert is_electric(load_checkpoint(tmp_path / "converted")) == (kind == "electric")
    capsys.readouterr()
    code = main(["evaluate", str(final), "--data", str(shards), "--sequence-length", "32", "--num-examples", "8", "--json"])
    assert code == 0
    assert ("disc_auc" in json.loads(capsys.readouterr().out)) == (kind not in ("replace-mlm", "all-tokens-mlm"))


WRONG = {
    "--objective electric": "two-tower",
    "--objective electric --generator two-tower --temperature 2": "requires temperature=1",
    "--objective replace-mlm --mlm-first 30%": "mlm_first",
    "--temperature 0": "--temperature 0: expected above 0",
    "--embedding-sharing disentangled --generator uniform": "disentangled",
}


@pytest.mark.parametrize("flags", WRONG)
def test_what_does_not_go_together_is_one_line(flags: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("small", shards, tmp_path / "run", *flags.split()) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "is deprecated" not in line]
    assert len(errors) == 1 and WRONG[flags] in errors[0] and not (tmp_path / "run").exists()
