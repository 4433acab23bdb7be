"""pretrain --init: what a checkpoint brings, and the first evaluation's losses against `transformers` with the checkpoint's own networks."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hf_forms
import pytest
import torch
import torch.nn.functional as F
import transformers
from conformance import case, conforms
from hf_forms import padded
from pretraining_runs import shards as shards  # a fixture
from pretraining_starts import ODD, QUICK, STILL, first_evaluation, make, pretrain, vocabulary
from safetensors.torch import load_file
from tensorflow_checkpoints import original_variables, write_checkpoint

import electra
from electra.cli import main
from electra.data.tokenizer import load_tokenizer
from electra.model import masking
from electra.pretraining.evaluate import held_out, spec_of_run
from electra.pretraining.setup import open_corpus, read_run

NARROW: dict[str, Any] = {**ODD, "hidden_size": 10, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 36}


def pair(folder: Path, shards: Path, tied: bool = True, **config: Any) -> None:
    """A discriminator and in generator/ a generator of another shape, on the same embeddings."""
    discriminator = make("ElectraForPreTraining", folder, shards, **config)
    generator = make("ElectraForMaskedLM", folder / "generator", shards, **{**config, **NARROW})
    if tied:
        generator.electra.embeddings.load_state_dict(discriminator.electra.embeddings.state_dict())
        generator.save_pretrained(folder / "generator")


def oracle(run: Path, source: Path, generator: Path | None = None) -> dict[str, float]:
    """The losses of the run's evaluation, computed by `transformers` from the checkpoint that it started from."""
    settings = read_run(run)
    corpus = open_corpus(settings)
    tokens = corpus.tokenizer
    special = torch.tensor(sorted(tokens.special_ids))
    predictor = transformers.AutoModelForMaskedLM.from_pretrained(generator or source, dtype=torch.float32).eval()
    detector = None if generator is None else transformers.ElectraForPreTraining.from_pretrained(source, dtype=torch.float32).eval()
    sums: dict[str, list[float]] = {"masked_lm_loss": [0.0, 0], "disc_loss": [0.0, 0]}

    def logits(model: Any, batch: Any, ids: torch.Tensor) -> torch.Tensor:
        inputs = padded(batch)
        inputs["input_ids"][batch.rows, batch.positions] = ids
        return model(**inputs).logits[batch.rows, batch.positions]

    with torch.no_grad():
        for batch in held_out(spec_of_run(settings), corpus.shards, corpus.tokenizer):
            at = masking.choose_positions(batch, masking.num_masked(batch.lengths, settings.objective.mask_prob), special)
            masked = masking.mask_positions(batch, at, tokens.mask_id, settings.objective.mask_token_prob)
            found = logits(predictor, batch, masked)[at]
            sums["masked_lm_loss"][0] += F.cross_entropy(found, batch.ids[at], reduction="sum").item()
            sums["masked_lm_loss"][1] += len(at)
            if detector is not None:
                uniform = masking.uniforms(batch.keys[batch.rows[at]], batch.positions[at], masking.SAMPLE)
                sampled = masking.sample_tokens(found[:, : tokens.vocab_size], uniform)
                corrupted, replaced = masking.replace_tokens(batch, at, sampled)
                scores = logits(detector, batch, corrupted)
                sums["disc_loss"][0] += F.binary_cross_entropy_with_logits(scores, replaced.float(), reduction="sum").item()
                sums["disc_loss"][1] += batch.num_tokens
    return {name: total / count for name, (total, count) in sums.items() if count}


def check_first_evaluation(run: Path, source: Path, generator: Path | None = None) -> None:
    mine = first_evaluation(run)
    for name, value in oracle(run, source, generator).items():
        assert mine[name] == pytest.approx(value, abs=2e-5), name


def own_output(folder: Path) -> None:
    """The generator's own output matrix."""
    hf_forms.set_fields(folder, tie_word_embeddings=False)
    torch.manual_seed(3)

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["generator_lm_head.weight"] = torch.randn_like(tensors["electra.embeddings.word_embeddings.weight"]) * 0.3

    hf_forms.change_weights(folder, change)


def nothing(folder: Path) -> None:
    """Leave the folder as it is."""


def more_rows(folder: Path) -> None:
    """A generator of 96 rows next to a discriminator of fewer."""
    folder = folder / "generator"
    torch.manual_seed(4)
    names = ("electra.embeddings.word_embeddings.weight", "generator_lm_head.bias", "generator_lm_head.weight")

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in names:
            if name in tensors:
                table = tensors[name]
                tensors[name] = torch.cat([table, torch.randn(96 - len(table), *table.shape[1:])])

    hf_forms.change_weights(folder, change)
    hf_forms.set_fields(folder, vocab_size=96)


INIT = {"where": "pretrain --init", "outcome": "exact"}


@pytest.mark.parametrize(
    ("config", "tied", "change"),
    [
        case({}, True, nothing, form="discriminator with generator/ of other heads", **INIT),
        case({"vocab_size": 128}, True, nothing, form="padded embedding table", **INIT),
        case({"hidden_act": "gelu_new"}, True, nothing, form="activation gelu_new", **INIT),
        case({"hidden_act": "relu", "layer_norm_eps": 1e-5}, True, nothing, form="activation relu", **INIT),
        case({"layer_norm_eps": 1e-3}, True, nothing, form="another layer_norm_eps", **INIT),
        case({"type_vocab_size": 3}, True, nothing, form="three segment types", **INIT),
        case({"embedding_size": 24}, True, nothing, form="embeddings as wide as the states", **INIT),
        case({}, False, nothing, form="generator with its own embeddings", **INIT),
        case({}, True, more_rows, form="generator with more rows than its discriminator", **INIT),
        case({}, True, lambda f: own_output(f / "generator"), form="tie_word_embeddings false", **INIT),
        case({}, True, lambda f: hf_forms.shard(f), form="sharded safetensors", **INIT),
        case({}, True, lambda f: hf_forms.shard(f / "generator", "bin"), form="sharded pytorch_model.bin", **INIT),
        case({}, True, hf_forms.as_bin, form="pytorch_model.bin", **INIT),
    ],
)
def test_the_first_evaluation_is_the_checkpoints_own(
    config: dict[str, Any], tied: bool, change: Callable[[Path], None], shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    pair(source, shards, tied, **config)
    change(source)
    assert pretrain("small", shards, run, source, *STILL) == 0
    error = capsys.readouterr().err
    assert "instead of that of small" in error and "random" not in error
    assert ("own (embedding_sharing untied)" in error) == (not tied or change.__qualname__ == "more_rows")
    check_first_evaluation(run, source, source / "generator")
    for part, kind in (("", transformers.AutoModelForPreTraining), ("generator", transformers.AutoModelForMaskedLM)):
        one, two = (kind.from_pretrained(folder / part, dtype=torch.float32) for folder in (source, run / "final"))
        before, after = one.state_dict(), two.state_dict()
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
        for name in (*ODD, "embedding_size", "vocab_size", "hidden_act", "layer_norm_eps", "type_vocab_size"):
            assert getattr(one.config, name) == getattr(two.config, name), name


def half(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.half() for name, value in tensors.items()}


def old_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """LayerNorm.gamma and .beta, as in files of 2019."""
    pairs = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
    return {next((name.replace(*pair) for pair in pairs if name.endswith(pair[0])), name): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    "change",
    [
        case(half, form="float16 weights", **INIT),
        case(old_names, form="LayerNorm.gamma and beta", **INIT),
    ],
)
def test_other_forms_of_weights(change: Callable[[Any], Any], shards: Path, tmp_path: Path) -> None:
    pair(tmp_path / "source", shards)
    for folder in (tmp_path / "source", tmp_path / "source" / "generator"):
        hf_forms.change_weights(folder, change)
    assert pretrain("small", shards, tmp_path / "run", tmp_path / "source", *STILL) == 0
    check_first_evaluation(tmp_path / "run", tmp_path / "source", tmp_path / "source" / "generator")


@conforms(form="BertForMaskedLM as discriminator and generator", where="pretrain --init", outcome="exact")
def test_a_masked_lm_of_the_generators_shape_is_both(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    make("BertForMaskedLM", source, shards)
    assert pretrain("mini", shards, run, source, *STILL, "--generator-size", "1", "--generator-layers", "1") == 0
    error = capsys.readouterr().err
    assert f"the generator starts from {source}, a BertForMaskedLM" in error and "the discriminator's head is random" in error
    value = oracle(run, source)["masked_lm_loss"]
    assert first_evaluation(run)["masked_lm_loss"] == pytest.approx(value, abs=2e-5)


def test_the_same_command_resumes_with_relative_names(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair(tmp_path / "source", shards)
    monkeypatch.chdir(tmp_path)
    assert pretrain("small", shards, Path("run"), "source") == 0
    before = load_file(tmp_path / "run" / "final" / "model.safetensors")
    for name in ("final", "checkpoints/step-00000002"):
        shutil.rmtree(tmp_path / "run" / name)
    assert pretrain("small", shards, Path("run"), "source", "--resume") == 0
    after = load_file(tmp_path / "run" / "final" / "model.safetensors")
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_from_python(shards: Path, tmp_path: Path) -> None:
    pair(tmp_path / "source", shards)
    values: dict[str, Any] = {"data": [shards], "output": tmp_path / "run", "init": str(tmp_path / "source"), "sequence_length": 32}
    values |= {"num_train_steps": 2, "batch_size": 4, "device": "cpu", "threads": 1, "dropout": 0.0, "learning_rate": 0.0}
    with pytest.raises(electra.UserError, match="leave out --hidden-size 64, or set --hidden-size 24"):
        electra.pretrain("small", **values, hidden_size=64)
    assert not (tmp_path / "run").exists()
    electra.pretrain("small", **values)
    check_first_evaluation(tmp_path / "run", tmp_path / "source", tmp_path / "source" / "generator")


def test_discriminator_and_generator_of_two_folders(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As Google's models on the hub."""
    pair(tmp_path / "source", shards)
    (tmp_path / "source" / "generator").rename(tmp_path / "generator")
    flags = ("--init-generator", tmp_path / "generator", *STILL)
    assert pretrain("mini", shards, tmp_path / "run", tmp_path / "source", *flags) == 0
    error = capsys.readouterr().err
    assert "no masked-LM phase" in error and "mlm_first 0.5 of mini" in error
    assert not (tmp_path / "run" / "mlm-first").exists()
    check_first_evaluation(tmp_path / "run", tmp_path / "source", tmp_path / "generator")
    recorded = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    model = recorded["model"]
    assert {name: model[name] for name in ODD} == ODD and recorded["objective"]["mlm_first"] == 0
    assert (model["generator_hidden_size"], model["generator_num_attention_heads"], model["generator_num_hidden_layers"]) == (10, 1, 1)
    card = (tmp_path / "run" / "final" / "README.md").read_text()
    # A card is published: of a path of this machine it has the last two names.
    assert "## Start" in card and f"the generator starts from {tmp_path.name}/generator" in card and "no masked-LM phase" in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(
    ("name", "config"),
    [
        case("BertForMaskedLM", {}, form="BertForMaskedLM", **INIT),
        case("BertForPreTraining", {}, form="BertForPreTraining", **INIT),
        case("BertForMaskedLM", {"hidden_act": "gelu_new", "vocab_size": 96}, form="BERT with a padded table and gelu_new", **INIT),
        case("ElectraForMaskedLM", {}, form="ElectraForMaskedLM", **INIT),
    ],
)
def test_a_masked_lm_continues_as_itself(name: str, config: dict[str, Any], shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    make(name, source, shards, **config)
    assert pretrain("small-mlm", shards, run, source, *STILL) == 0
    check_first_evaluation(run, source)
    assert "the masked LM starts from it" in capsys.readouterr().err
    saved = transformers.AutoModelForMaskedLM.from_pretrained(run / "final", dtype=torch.float32)
    assert type(saved).__name__ == name.replace("PreTraining", "MaskedLM")
    before = transformers.AutoModelForMaskedLM.from_pretrained(source, dtype=torch.float32).state_dict()
    assert all(torch.equal(value, before[key]) for key, value in saved.state_dict().items())


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        case("BertForMaskedLM", {}, "its own head (masked-lm) is not used", form="BertForMaskedLM as an ELECTRA", **INIT),
        case("BertModel", {}, "its pooler is dropped", form="BertModel", **INIT),
        case("BertForSequenceClassification", {"hidden_act": "relu"}, "(classification) is not used", form="BertForSequenceClassification", **INIT),
        case("ElectraModel", {}, "an ElectraModel", form="ElectraModel", **INIT),
        case("ElectraForTokenClassification", {}, "(tagging) is not used", form="ElectraForTokenClassification", **INIT),
        case("ElectraForPreTraining", {}, "the discriminator starts from it", form="discriminator without a generator", **INIT),
    ],
)
@pytest.mark.parametrize("preset", ["small", "mini"])
def test_an_encoder_without_a_generator(
    preset: str, name: str, config: dict[str, Any], said: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The encoder is the checkpoint's when the discriminator starts, with a masked-LM phase (mini) and without (small)."""
    source, run = tmp_path / "source", tmp_path / "run"
    make(name, source, shards, **config)
    assert pretrain(preset, shards, run, source, *STILL, "--num-train-steps", "4") == 0
    error = capsys.readouterr().err
    assert said in error and "random" in error and (run / "mlm-first" / "final").exists() == (preset == "mini")
    encoder = transformers.AutoModel.from_pretrained(source, dtype=torch.float32).eval()
    after = transformers.ElectraForPreTraining.from_pretrained(run / "final", dtype=torch.float32).eval().electra
    ids = torch.tensor([[2, 9, 8, 30, 41, 3]])
    with torch.no_grad():
        assert torch.allclose(encoder(ids).last_hidden_state, after(ids).last_hidden_state, atol=1e-5)


def test_the_warm_up_of_a_generator_keeps_the_encoder(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the generator learns in it, on the checkpoint's embeddings; the run resumes to the bit and repeats itself."""
    source, run = tmp_path / "source", tmp_path / "run"
    make("ElectraForPreTraining", source, shards)
    flags = ("--num-train-steps", "8", "--learning-rate", "1e-2", "--checkpoint-every", "1", "--keep-checkpoints", "9")
    assert pretrain("mini", shards, run, source, *flags) == 0
    assert "learns as a masked LM first, on the checkpoint's embeddings, which stay as they are" in capsys.readouterr().err
    before, warm = load_file(source / "model.safetensors"), load_file(run / "mlm-first" / "final" / "model.safetensors")
    embeddings = [name for name in before if ".embeddings." in name]
    assert len(embeddings) == 5 and all(torch.equal(before[name], warm[name]) for name in embeddings)
    assert warm["generator_predictions.dense.weight"].shape == (16, 12)
    final = {part: load_file(run / "final" / part / "model.safetensors") for part in ("", "generator")}
    assert not torch.equal(final[""][embeddings[0]], before[embeddings[0]]), "both learn in the second phase"
    for folder in ("final", "checkpoints/step-00000004", "checkpoints/step-00000003"):
        (run / folder).rename(tmp_path / folder.replace("/", "-"))
    source.rename(tmp_path / "moved")
    assert main(["pretrain", "--resume", str(run)]) == 0
    for part, tensors in final.items():
        again = load_file(run / "final" / part / "model.safetensors")
        assert all(torch.equal(again[name], value) for name, value in tensors.items())
    assert "learns as a masked LM first" in (run / "final" / "README.md").read_text()
    (tmp_path / "moved").rename(source)
    assert main(["pretrain", str(run / "config.toml"), "--output", str(tmp_path / "again")]) == 0
    repeated = load_file(tmp_path / "again" / "final" / "model.safetensors")
    assert all(torch.equal(repeated[name], value) for name, value in final[""].items())


COPIED = "--generator-size 1 --generator-layers 0.67 --generator-init encoder --num-hidden-layers 3 --num-train-steps 4".split()


@pytest.mark.parametrize(
    ("name", "first", "sharing"),
    [("BertModel", "0.5", "tied"), ("BertModel", "0.5", "disentangled"), ("ElectraForPreTraining", "0", "untied")],
)
def test_a_generator_of_the_encoders_lowest_layers(
    name: str, first: str, sharing: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its states are the encoder's at that depth, in the masked-LM phase as without one; its output bias are the words' log frequencies."""
    source, run = tmp_path / "source", tmp_path / "run"
    make(name, source, shards, num_hidden_layers=3)
    assert pretrain("small", shards, run, source, *STILL, *COPIED, "--mlm-first", first, "--embedding-sharing", sharing) == 0
    said = "starts from the checkpoint's embeddings and the lowest 2 of its 3 layers"
    assert said in capsys.readouterr().err and said in (run / "final" / "README.md").read_text()
    ids = torch.tensor([[2, 9, 8, 30, 41, 3]])
    with torch.no_grad():
        encoder = transformers.AutoModel.from_pretrained(source, dtype=torch.float32).eval()
        states = encoder(ids, output_hidden_states=True).hidden_states
        for folder in [run / "final" / "generator", *([run / "mlm-first" / "final"] if first != "0" else [])]:
            generator = transformers.ElectraForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
            assert torch.allclose(generator.electra(ids).last_hidden_state, states[2], atol=1e-5)
            assert torch.equal(generator.electra.embeddings.word_embeddings.weight, encoder.embeddings.word_embeddings.weight)
            tokens = open_corpus(read_run(run)).train[0].ids
            frequencies = torch.log(torch.bincount(torch.tensor(tokens[:].astype("int64")), minlength=len(generator.generator_lm_head.bias)) + 1.0)
            assert torch.allclose(generator.generator_lm_head.bias, frequencies - frequencies.mean(), atol=1e-5)
        after = transformers.ElectraForPreTraining.from_pretrained(run / "final", dtype=torch.float32).eval().electra
        assert torch.allclose(after(ids).last_hidden_state, states[-1], atol=1e-5)


def test_a_generators_own_embeddings_learn_in_its_warm_up(shards: Path, tmp_path: Path) -> None:
    """Disentangled, the discriminator starts from the checkpoint's embeddings all the same."""
    source, run = tmp_path / "source", tmp_path / "run"
    make("BertModel", source, shards, num_hidden_layers=3)
    flags = ["--embedding-sharing", "disentangled", "--mlm-first", "0.5", "--mlm-first-learning-rate", "1e-2", "--learning-rate", "1e-9"]
    assert pretrain("small", shards, run, source, *COPIED, *flags) == 0
    words = "electra.embeddings.word_embeddings.weight"
    before = load_file(source / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert (load_file(run / "mlm-first" / "final" / "model.safetensors")[words] - before).abs().max() > 1e-3
    assert torch.allclose(load_file(run / "final" / "model.safetensors")[words], before, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "flags", "said"),
    [
        (None, "", "generator_init 'encoder' takes the layers of --init CHECKPOINT; give --init"),
        ("BertModel", "--generator-size 0.34", "generator_init 'encoder' needs a generator of the width of"),
        ("BertModel", "--generator-num-hidden-layers 4", "num_hidden_layers 4 instead of 3"),
        ("BertModel", "--objective mlm", "--generator-init encoder: the objective 'mlm' has no generator; leave it out"),
        ("BertModel", "--generator uniform", "a generator 'uniform' is no masked LM of its own; leave it out"),
        ("pair", "", "brings the generator; leave it out"),
    ],
)
def test_layers_that_cannot_be_copied(
    source: str | None, flags: str, said: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if source == "pair":
        pair(tmp_path / "source", shards)
    elif source is not None:
        make(source, tmp_path / "source", shards, num_hidden_layers=3)
    words = [*QUICK, "--generator-init", "encoder", *([] if source == "pair" else ["--generator-size", "1"]), *flags.split()]
    words += [] if source is None else ["--init", str(tmp_path / "source")]
    capsys.readouterr()
    for more in (["--output", str(tmp_path / "run")], ["--dry-run"]):
        assert main(["pretrain", "small", "--data", str(shards), *words, *more]) == 2
        err = capsys.readouterr().err
        assert said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


# ---- causal LM, then masked LM ----


def causal_loss(run: Path, source: Path) -> float:
    """The loss of the run's first evaluation, by `transformers` with a causal (B, 1, L, L) mask and shifted labels."""
    settings = read_run(run)
    corpus = open_corpus(settings)
    model = transformers.AutoModelForMaskedLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in held_out(spec_of_run(settings), corpus.shards, corpus.tokenizer):
            inputs = padded(batch)
            real = inputs.pop("attention_mask").bool()
            length = real.shape[1]
            seen = torch.ones(length, length, dtype=torch.bool).tril() & real[:, None, :] | torch.eye(length, dtype=torch.bool)
            mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]
            logits = model(**inputs, attention_mask=mask).logits
            labels = inputs["input_ids"].masked_fill(~real, -100)
            total += F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum").item()
            count += int((labels[:, 1:] != -100).sum())
    return total / count


@pytest.mark.parametrize("name", ["BertForMaskedLM", "ElectraForMaskedLM"])
def test_a_causal_lm_has_the_loss_of_transformers_with_a_causal_mask(name: str, shards: Path, tmp_path: Path) -> None:
    make(name, tmp_path / "source", shards)
    assert pretrain("continue-mlm", shards, tmp_path / "run", tmp_path / "source", *STILL, "--objective", "clm") == 0
    found = first_evaluation(tmp_path / "run")
    assert found["causal_lm_loss"] == pytest.approx(causal_loss(tmp_path / "run", tmp_path / "source"), abs=1e-5)
    assert found["loss"] == found["causal_lm_loss"] and 0 <= found["causal_lm_accuracy"] < 1


def test_a_causal_lm_goes_on_as_a_masked_one(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its head; recorded by phase, resumed to the bit; the causal LM says what it is, and fills and scores nothing."""
    source, run = tmp_path / "source", tmp_path / "run"
    make("BertModel", source, shards)
    flags = ("--clm-first", "0.5", "--num-train-steps", "8", "--learning-rate", "1e-2", "--checkpoint-every", "2", "--keep-checkpoints", "9")
    assert pretrain("continue-mlm", shards, run, source, *flags, "--log-every", "1", "--show-examples", "1") == 0
    error = capsys.readouterr().err
    assert "the causal LM's head is random" in error and "  next " in error
    causal = run / "clm-first" / "final"
    configs = [json.loads((folder / "config.json").read_text()) for folder in (causal, run / "final")]
    assert [found.get("electra_objective") for found in configs] == ["clm", None]
    assert configs[0]["electra_pretraining"]["objective"]["objective"] == "clm"
    assert "as a causal language model" in (causal / "README.md").read_text() and "## Start" in (run / "final" / "README.md").read_text()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [(line["phase"], line["step"], "causal_lm_loss" in line, "masked_lm_loss" in line) for line in lines if line["kind"] == "train"]
    assert trained == [("clm_first" if step < 5 else "training", step, step < 5, step > 4) for step in range(1, 9)]
    assert main(["inspect", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["clm_first"]["step"] == 4 and found["all_phases"]["step"] == 8
    assert found["clm_first"]["flops_per_token"] > found["training"]["flops_per_token"]
    final = load_file(run / "final" / "model.safetensors")
    assert final["cls.predictions.bias"].abs().max() > 0
    for folder in ("final", "checkpoints/step-00000004"):
        (run / folder).rename(tmp_path / folder.replace("/", "-"))
    assert main(["pretrain", "--resume", str(run)]) == 0
    again = load_file(run / "final" / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in final.items())
    for words in (
        ["score", str(causal), "the cat"],
        ["pretrain", "small", "--data", str(shards), "--output", str(tmp_path / "x"), "--init", str(source), "--init-generator", str(causal)],
        ["build", str(causal), "--target", "onnx", "--output", str(tmp_path / "built")],
    ):
        capsys.readouterr()
        assert main(words) == 2 and "is a causal LM (electra_objective 'clm'" in capsys.readouterr().err, words
    with pytest.raises(electra.UserError, match="is a causal LM"):
        electra.pipeline("fill-mask", str(causal))("the [MASK]")
    assert not (tmp_path / "x").exists() and not (tmp_path / "built").exists()


def test_the_masked_lm_starts_from_the_causal_one(shards: Path, tmp_path: Path) -> None:
    """Without --init too; head included."""
    run = tmp_path / "run"
    words = ["pretrain", "small-mlm", "--data", str(shards), "--output", str(run), *QUICK, "--clm-first", "0.5", "--num-train-steps", "8"]
    words += [*"--hidden-size 16 --embedding-size 16 --num-hidden-layers 2 --num-attention-heads 2 --intermediate-size 32".split()]
    assert main([*words, "--learning-rate", "1e-2", "--evaluate-every", "1", "--warmup-steps", "0"]) == 0
    causal = transformers.AutoModelForMaskedLM.from_pretrained(run / "clm-first" / "final", dtype=torch.float32)
    assert transformers.AutoModelForMaskedLM.from_pretrained(run / "final", dtype=torch.float32).config.num_hidden_layers == 2
    before = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if "training" in line]
    assert causal.generator_lm_head.bias.abs().max() > 0 and before[0]["step"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("small --clm-first 0.5", "clm_first 0.5 is for the objective mlm"),
        ("continue-mlm --objective clm --mask-prob 0.3", "--mask-prob: the objective 'clm' masks and samples nothing; leave it out"),
        ("small --objective clm --mlm-first 0.5", "mlm_first is for the objectives"),
        ("small --objective mlm --temperature 0.5", "--temperature: the objective 'mlm' trains one network and replaces no token; leave it out"),
        ("small --objective mlm --generator-weight 0", "--generator-weight: the objective 'mlm' trains one network"),
        ("small --objective mlm --generator shared", "--generator: the objective 'mlm' trains one network"),
        ("small --layerwise-lr-decay 0.9", "--layerwise-lr-decay 0.9 is for fine-tuning"),
    ],
)
def test_settings_without_effect_are_refused(words: str, said: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", *words.split(), "--data", str(shards), "--output", str(tmp_path / "run"), *QUICK]) == 2
    assert said in (error := capsys.readouterr().err) and len(error.splitlines()) == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", ["continue", "continue-mlm", "continue-clm"])
def test_the_presets_for_any_encoder(preset: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They take an encoder, and a pair of networks, for which the phase for the missing generator is left out with a line."""
    make("BertModel", tmp_path / "encoder", shards)
    pair(tmp_path / "pair", shards)
    for source in ("encoder", "pair"):
        run = tmp_path / f"run-{source}"
        assert pretrain(preset, shards, run, tmp_path / source, "--num-train-steps", "14") == 0
        warmed = preset == "continue" and source == "encoder"
        assert (run / "mlm-first").exists() == warmed and (run / "clm-first").exists() == (preset == "continue-clm")
        err = capsys.readouterr().err
        assert ("no layers to copy into one (generator_init 'encoder' of continue)" in err) == (preset == "continue" and not warmed)


def test_rows_without_a_token_are_never_sampled(shards: Path, tmp_path: Path) -> None:
    """A generator that would predict them alone samples tokens of the vocabulary."""
    from electra.model.pretraining_models import build_objective
    from electra.pretraining.setup import open_stream
    from electra.settings import ModelSettings, ObjectiveSettings
    from electra.train.distributed import Ranks

    settings = read_run(_a_padded_run(shards, tmp_path))
    corpus = open_corpus(settings)
    tokens = corpus.tokenizer
    batch = next(open_stream(settings, corpus, 4, Ranks(0, 1, torch.device("cpu"))))
    for kind in ("masked", "two-tower", "uniform", "shared"):
        for more in ({}, {"temperature": 2.0}, {"disallow_correct": True}):
            model = ModelSettings(**{**ODD, "embedding_size": 16, "embedding_rows": 4096, "generator": kind})
            objective = build_objective(
                model,
                ObjectiveSettings(**more),
                vocab_size=tokens.vocab_size,
                mask_id=tokens.mask_id,
                special_ids=tokens.special_ids,
                sequence_length=32,
                seed=1,
            )
            found = objective.noise.propose(batch, objective.temperature())
            assert found.sampled.max() < tokens.vocab_size, (kind, more)


def _a_padded_run(shards: Path, folder: Path) -> Path:
    pair(folder / "source", shards, vocab_size=128)
    assert pretrain("small", shards, folder / "run", folder / "source") == 0
    assert load_file(folder / "run" / "final" / "model.safetensors")["electra.embeddings.word_embeddings.weight"].shape[0] == 128
    assert main(["evaluate", str(folder / "run"), "--data", str(shards), "--sequence-length", "32"]) == 0
    return folder / "run"


def test_a_sentence_encoder(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("BertModel", tmp_path / "source", shards)
    modules = (("Transformer", ""), ("Pooling", "1_Pooling"))
    (tmp_path / "source" / "modules.json").write_text(
        json.dumps([{"name": kind, "path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in modules])
    )
    assert pretrain("small", shards, tmp_path / "run", tmp_path / "source") == 0
    assert "is a sentence encoder (modules.json): its pooling is not used" in capsys.readouterr().err


# ---- TensorFlow ----


def tensorflow(folder: Path, shards: Path, shared: bool = True) -> None:
    """The same pair as a TensorFlow 1 checkpoint with its configurations and its vocab.txt; the Hugging Face folder is in folder/hf."""
    pair(folder / "hf", shards, shared)
    variables: dict[str, Any] = {}
    for name, scope, part in (("ElectraForPreTraining", "electra", "hf"), ("ElectraForMaskedLM", "generator", "hf/generator")):
        model = getattr(transformers, name).from_pretrained(folder / part)
        found = original_variables(model, scope=scope)
        variables |= {key: value for key, value in found.items() if not (shared and key.startswith("generator/embeddings/"))}
        (folder / f"{'discriminator' if scope == 'electra' else 'generator'}_config.json").write_text(json.dumps(model.config.to_dict()))
    write_checkpoint(folder / "model.ckpt-7", variables)
    for line in ("vocab.txt", "tokenizer_config.json"):
        (folder / line).write_text((vocabulary(shards) / line).read_text())


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        case("", True, form="folder of a TensorFlow 1 checkpoint", **INIT),
        case("model.ckpt-7", True, form="name of a TensorFlow 1 checkpoint", **INIT),
        case("model.ckpt-7.index", False, form="TensorFlow 1 checkpoint, generator with its own embeddings", **INIT),
    ],
)
def test_a_tensorflow_checkpoint(name: str, shared: bool, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensorflow(tmp_path, shards, shared)
    run = tmp_path / "run"
    assert pretrain("mini", shards, run, tmp_path / name, *STILL) == 0
    error = capsys.readouterr().err
    assert (
        "3 attention heads (discriminator_config.json)" in error and "1 attention head (generator_config.json)" in error and "no masked-LM" in error
    )
    check_first_evaluation(run, tmp_path / "hf", tmp_path / "hf" / "generator")


# ---- refused ----


def lone(folder: Path, shards: Path) -> None:
    make("ElectraForPreTraining", folder, shards)


def another_case(folder: Path, shards: Path) -> None:
    pair(folder, shards)
    load_tokenizer(vocabulary(shards), lowercase=False).save(folder)


def another_vocabulary(folder: Path, shards: Path) -> None:
    pair(folder, shards)
    words = (vocabulary(shards) / "vocab.txt").read_text().split("\n")
    (folder / "vocab.txt").write_text("\n".join([*words[:-3], "other", *words[-3:]]))
    (folder / "tokenizer.json").unlink()


def without_configuration(folder: Path, shards: Path) -> None:
    tensorflow(folder, shards)
    for file in folder.glob("*_config.json"):
        file.unlink()


def fewer_positions(folder: Path, shards: Path) -> None:
    pair(folder, shards)
    make("ElectraForMaskedLM", folder / "generator", shards, **{**NARROW, "max_position_embeddings": 36})


def a_small_table(folder: Path, shards: Path) -> None:
    pair(folder, shards, vocab_size=50)
    for file in [*folder.glob("*token*"), *folder.glob("vocab.txt")]:
        file.unlink()


def one_segment_type(folder: Path, shards: Path) -> None:
    make("BertModel", folder, shards, type_vocab_size=1)


def strange_field(folder: Path, shards: Path) -> None:
    pair(folder, shards)
    hf_forms.set_fields(folder, position_embedding_type="relative_key")


def strange_generator(folder: Path, shards: Path) -> None:
    pair(folder, shards)
    hf_forms.set_fields(folder / "generator", hidden_act="gelu_13")


def a_damaged_generator(folder: Path, shards: Path) -> None:
    pair(folder, shards)
    path = folder / "generator" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


REFUSED = {"where": "pretrain --init", "outcome": "refused"}


@pytest.mark.parametrize(
    ("prepare", "flags", "messages"),
    [
        case(
            another_case,
            [],
            ["other rules: lowercase off (the data: on)", "--tokenizer"],
            form="another case rule",
            **REFUSED,
        ),
        case(another_vocabulary, [], ["(86 pieces) differs from the data's (85)", "vocab CORPUS --extend"], form="another vocabulary", **REFUSED),
        case(without_configuration, [], ["attention heads"], form="TensorFlow 1 checkpoint without a configuration", **REFUSED),
        case(fewer_positions, [], ["max_position_embeddings 36 (the main network: 40)"], form="generator with other positions", **REFUSED),
        case(
            a_small_table,
            [],
            ["its table has 50 rows, the data's vocabulary 85 tokens"],
            form="too few rows",
            **REFUSED,
        ),
        case(one_segment_type, [], ["its type_vocab_size is 1", "give another checkpoint"], form="one segment type", **REFUSED),
        case(strange_field, [], ["position_embedding_type"], form="position_embedding_type", **REFUSED),
        case(strange_generator, [], ["hidden_act 'gelu_13'"], form="generator with an unknown activation", **REFUSED),
        case(a_damaged_generator, [], ["damaged"], form="damaged weights of the generator", **REFUSED),
        (
            pair,
            "--hidden-size 64 --num-attention-heads 4 --generator-hidden-size 12".split(),
            ["leave out --hidden-size 64 --num-attention-heads 4 --generator-hidden-size 12, or set --hidden-size 24 --num-attention-heads 3 --gen"],
        ),
        (pair, ["--generator-size", "1"], ["leave out --generator-size 1, or set --generator-hidden-size 10 instead"]),
        (pair, ["--mlm-first", "20%"], ["--mlm-first 0.2: no masked-LM phase"]),
        (lone, ["--init-generator", "{folder}"], ["is an ElectraForPreTraining", "ElectraForMaskedLM"]),
        (pair, ["--init-generator", "{folder}/generator", "--generator", "uniform"], ["this run has no generator of its own"]),
        (pair, ["--init-generator", "typo"], ["model not found: 'typo'"]),
        (pair, ["--num-train-tokens", "100"], ["set; give one of them"]),
        (pair, ["--num-train-steps", "1"], ["--num-train-steps 1: the learning rate is 0 at every step"]),
        (pair, ["--init", "typo"], ["model not found: 'typo'"]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    prepare: Callable[[Path, Path], None],
    flags: list[str],
    messages: list[str],
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    source, run = tmp_path / "source", tmp_path / "run"
    prepare(source, shards)
    capsys.readouterr()
    assert pretrain("small", shards, run, source, *(flag.format(folder=source) for flag in flags)) == 2
    error = capsys.readouterr().err
    assert all(message in error for message in messages) and error.count("\n") == 1 and not run.exists()
    if flags:
        assert pretrain("small", shards, run, source) == 0, "the corrected command works"


def test_the_flag_of_finetune_is_answered_with_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "mini", "--model", "runs/mini"]) == 2
    assert "unknown flag '--model'; did you mean '--init'?" in capsys.readouterr().err


def test_a_dry_run_has_the_checkpoints_shape(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("electra.train.timing._TRIAL_SECONDS", 0.05)
    monkeypatch.setattr("electra.train.timing._PEAK_SECONDS", 0.05)
    pair(tmp_path / "source", shards)
    assert pretrain("mini", shards, tmp_path / "run", tmp_path / "source", "--dry-run") == 0
    output = capsys.readouterr().out
    assert "hidden_size 24" in output and "no masked-LM phase" in output and "phase 1" not in output
    assert not (tmp_path / "run").exists()
    make("ElectraForPreTraining", tmp_path / "lone", shards)
    assert pretrain("mini", shards, tmp_path / "run", tmp_path / "lone", "--dry-run", "--num-train-steps", "8") == 0
    assert "phase 1 of 2: generator" in capsys.readouterr().out


def test_data_that_cannot_be_trained_on(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder given twice; one whose only document is held out, which `prepare` says."""
    words = ["pretrain", "demo", "--output", str(tmp_path / "run"), "--num-train-steps", "2", "--data"]
    assert main([*words, str(shards), str(shards), "--weights", "1", "2"]) == 2
    assert f"{shards} is given twice; give each folder once, and how often it is read by --weights" in capsys.readouterr().err
    (tmp_path / "a.txt").write_text("the chef cooked the meal in the old house")
    prepare = ["prepare", str(tmp_path / "a.txt"), "--tokenizer", str(shards / "tokenizer"), "--output", str(tmp_path / "none"), "--held-out"]
    assert main([*prepare, "0.99"]) == 0
    assert "no document is left to train on; give a smaller --held-out, or --documents line" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "none")]) == 2
    assert "has no documents to train on; prepare it with a smaller --held-out" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
