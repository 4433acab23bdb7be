"""Vectors of sentence-transformers folders: equal to `SentenceTransformer(folder).encode`, or refused by name; scores equal to its `CrossEncoder`."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conformance import case, conforms
from safetensors.torch import save_file
from tiny_models import checkpoints

from electra.cli import main
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.inference.embeddings import ACTIVATIONS, SentenceModules, save_modules
from electra.inference.pipelines import pipeline
from electra.inference.predictor import describe, load
from electra.inference.replaced_tokens import EncodedText

WIDTH = 32
TEXTS = ["the chef cooked the meal", "", "She walked home again, in the RAIN!", "an Épic naïve film " * 30, "[UNK] or [MASK] ."]
PATHS = {
    "old": "sentence_transformers.models.",
    "new": "sentence_transformers.sentence_transformer.modules.",
}
exact = partial(case, section="clients", where="sentence-transformers", outcome="exact")
refused = partial(case, section="clients", where="sentence-transformers", outcome="refused")


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    import transformers

    transformers.utils.logging.set_verbosity_error()


def sentence_folder(folder: Path, *modules: tuple[str, dict[str, Any]], model: str = "lone", paths: str = "old", **own: Any) -> Path:
    """A folder as sentence-transformers writes it; `modules` after the Transformer, `own`: its file."""
    shutil.copytree(checkpoints()[model], folder)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False, **own})
    rows = [("Transformer", "")]
    for place, (kind, values) in enumerate(modules, start=1):
        rows.append((kind, f"{place}_{kind}"))
        (folder / rows[-1][1]).mkdir()
        if kind != "Normalize" or values:
            write(folder / rows[-1][1] / "config.json", values)
    listed = [{"idx": i, "name": str(i), "path": path, "type": PATHS[paths] + kind} for i, (kind, path) in enumerate(rows)]
    write(folder / "modules.json", listed)
    return folder


def write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def edit(path: Path, **changes: Any) -> None:
    write(path, {**(json.loads(path.read_text()) if path.exists() else {}), **changes})


def older(*modes: str, **more: Any) -> tuple[str, dict[str, Any]]:
    names = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    return "Pooling", {"word_embedding_dimension": WIDTH, **{f"pooling_mode_{name}": name in modes for name in names}, **more}


def newer(mode: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    return "Pooling", {"embedding_dimension": WIDTH, "pooling_mode": mode, "include_prompt": True, **more}


MEAN = older("mean_tokens")


def dense(taken: int = WIDTH, made: int = WIDTH, name: str = "torch.nn.modules.activation.Tanh", **more: Any) -> tuple[str, dict[str, Any]]:
    return "Dense", {"in_features": taken, "out_features": made, "bias": True, "activation_function": name, **more}


def dense_weights(folder: Path, *, dtype: torch.dtype = torch.float32, binary: bool = False, extra: dict[str, Any] | None = None) -> None:
    values = json.loads((folder / "config.json").read_text())
    random = torch.Generator().manual_seed(3)
    shape = (values["out_features"], values["in_features"])
    tensors = {"linear.weight": torch.randn(shape, generator=random), "linear.bias": torch.randn(shape[:1], generator=random)}
    if not values["bias"]:
        tensors.pop("linear.bias")
    if values.get("use_residual") and shape[0] != shape[1]:
        tensors["residual.weight"] = torch.randn(shape, generator=random)
    tensors = {name: value.to(dtype) for name, value in tensors.items()} | (extra or {})
    torch.save(tensors, folder / "pytorch_model.bin") if binary else save_file(tensors, folder / "model.safetensors")


Make = Callable[[Path], Any]


def of(*modules: tuple[str, dict[str, Any]], dtype: torch.dtype = torch.float32, binary: bool = False, **own: Any) -> Make:
    """What makes a folder of these modules, Dense ones with random weights."""

    def make(folder: Path) -> None:
        sentence_folder(folder, *modules, **own)
        for place, (kind, _) in enumerate(modules, start=1):
            if kind == "Dense":
                dense_weights(folder / f"{place}_Dense", dtype=dtype, binary=binary)

    return make


def every_activation() -> list[tuple[str, dict[str, Any]]]:
    names = [f"torch.nn.modules.{'linear' if name == 'Identity' else 'activation'}.{name}" for name in ACTIVATIONS]
    return [dense(made=16), *(dense(16, 16, name) for name in names), dense(16, 16, "torch.nn.Sigmoid")]


def layer_norm(folder: Path) -> None:
    sentence_folder(folder, MEAN, ("LayerNorm", {"dimension": WIDTH}), ("Dropout", {"dropout": 0.2}), ("Normalize", {}))
    save_file({"norm.weight": torch.linspace(0.5, 2, WIDTH), "norm.bias": torch.linspace(-1, 1, WIDTH)}, folder / "2_LayerNorm" / "model.safetensors")


def general(*modules: tuple[str, dict[str, Any]], **values: Any) -> Make:
    """What makes a folder with a config_sentence_transformers.json."""

    def make(folder: Path) -> None:
        of(*(modules or (MEAN,)))(folder)
        write(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "3.0.0"}, **values})

    return make


def prompted(*modules: tuple[str, dict[str, Any]], **values: Any) -> Make:
    return general(*modules, prompts={"query": "the old meal: ", "passage": None, "long": "again " * 40}, **values)


def other_name(folder: Path) -> None:
    sentence_folder(folder, MEAN)
    (folder / "sentence_bert_config.json").rename(folder / "sentence_roberta_config.json")


def no_file(folder: Path) -> None:
    sentence_folder(folder, MEAN)
    (folder / "sentence_bert_config.json").unlink()
    edit(folder / "tokenizer_config.json", model_max_length=16)


def left(folder: Path) -> None:
    sentence_folder(folder, MEAN)
    edit(folder / "tokenizer_config.json", truncation_side="left")


def cased(folder: Path) -> None:
    sentence_folder(folder, MEAN, do_lower_case=True)
    edit(folder / "tokenizer_config.json", do_lower_case=False, strip_accents=False)


def nested(folder: Path, *, version: bool = False) -> None:
    sentence_folder(folder, ("Pooling", MEAN[1]), ("Normalize", {}))
    (folder / "0_Transformer").mkdir()
    for path in [path for path in folder.iterdir() if path.is_file() and path.name != "modules.json"]:
        path.rename(folder / "0_Transformer" / path.name)
    rows = json.loads((folder / "modules.json").read_text())
    write(folder / "modules.json", [{**rows[0], "path": "0_Transformer"}, *rows[1:]])
    if version:
        write(folder / "config.json", {"__version__": "0.3.9"})


def saved(folder: Path) -> None:
    """Written by the library itself, in its current form."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    torch.manual_seed(5)
    parts = [modules.Transformer(str(checkpoints()["lone"])), modules.Pooling(WIDTH, ["cls", "mean"]), modules.Dense(2 * WIDTH, 24)]
    parts += [modules.LayerNorm(24), modules.Dropout(0.1), modules.Normalize()]
    SentenceTransformer(modules=parts, prompts={"query": "the meal: "}, default_prompt_name="query", truncate_dim=8).save(str(folder))


SIX = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
EXACT = [
    exact(of(MEAN), {}, form="Pooling, older keys: mean"),
    exact(of(older("cls_token")), {}, form="Pooling, older keys: cls"),
    exact(of(older("max_tokens"), ("Normalize", {})), {}, form="Pooling, older keys: max; Normalize"),
    exact(of(older("mean_sqrt_len_tokens")), {}, form="Pooling, older keys: mean_sqrt_len"),
    exact(of(older("weightedmean_tokens")), {}, form="Pooling, older keys: weightedmean"),
    exact(of(older("lasttoken")), {}, form="Pooling, older keys: lasttoken"),
    exact(of(older("cls_token", "lasttoken", "max_tokens", "mean_tokens")), {}, form="Pooling, older keys: several, joined"),
    exact(of(older()), {}, form="Pooling, older keys: none is true"),
    exact(of(newer("cls")), {}, form="Pooling, pooling_mode: a name"),
    exact(of(newer(["lasttoken", "mean", "cls"]), paths="new"), {}, form="Pooling, pooling_mode: a list in an order of its own"),
    exact(of(newer("max", pooling_mode_cls_token=True)), {}, form="Pooling, pooling_mode beside older keys"),
    exact(of(MEAN, ("Normalize", {"module_input_name": "sentence_embedding"})), {"normalize_embeddings": True}, form="Normalize with a config.json"),
    exact(of(MEAN, dense(made=12)), {}, form="Dense: Tanh, safetensors"),
    exact(of(MEAN, dense(), binary=True), {}, form="Dense: pytorch_model.bin"),
    exact(of(MEAN, dense(name="torch.nn.modules.linear.Identity", bias=False), ("Normalize", {})), {}, form="Dense: Identity, no bias; Normalize"),
    exact(of(MEAN, dense(made=48, use_residual=True), dense(48, 48, use_residual=True)), {}, form="Dense: use_residual, two in a row"),
    exact(of(MEAN, *every_activation()), {}, form="Dense: every activation of torch.nn that is known"),
    exact(of(MEAN, dense(), dtype=torch.float16), {}, form="Dense: half precision"),
    exact(of(MEAN, dense(), dtype=torch.bfloat16), {}, form="Dense: bfloat16"),
    exact(layer_norm, {}, form="LayerNorm, Dropout, Normalize"),
    exact(of(MEAN, max_seq_length=9), {}, form="max_seq_length below the tokenizer's"),
    exact(of(MEAN, max_seq_length=None), {}, form="max_seq_length null"),
    exact(no_file, {}, form="no file of the Transformer: the tokenizer's model_max_length"),
    exact(other_name, {}, form="sentence_roberta_config.json"),
    exact(of(MEAN, tokenizer_args={"model_max_length": 12}), {}, form="tokenizer_args: model_max_length"),
    exact(of(MEAN, processing_kwargs={"text": {"max_length": 14, "padding": "max_length"}}), {}, form="processing_kwargs: max_length of texts"),
    exact(left, {}, form="truncation_side left"),
    exact(cased, {}, form="do_lower_case before a cased tokenizer, special tokens written out"),
    exact(of(MEAN, do_lower_case=False), {}, form="do_lower_case false next to an uncased tokenizer"),
    exact(of(MEAN, do_lower_case=True), {}, form="do_lower_case before an uncased tokenizer"),
    exact(prompted(), {"prompt_name": "query"}, form="prompt_name"),
    exact(prompted(), {"prompt_name": "document"}, form="prompt_name document, which every model has"),
    exact(prompted(default_prompt_name="query"), {}, form="default_prompt_name"),
    exact(prompted(default_prompt_name="query"), {"prompt": ""}, form="an empty prompt in place of the default"),
    exact(prompted(), {"prompt": "She walked: "}, form="prompt"),
    exact(prompted(newer(list(SIX), include_prompt=False)), {"prompt_name": "query"}, form="include_prompt false, every mode"),
    exact(
        prompted(newer(["cls", "mean", "weightedmean", "lasttoken"], include_prompt=False)),
        {"prompt_name": "long"},
        form="prompt longer than the input",
    ),
    exact(general(truncate_dim=10), {}, form="truncate_dim in the files"),
    exact(general(MEAN, ("Normalize", {}), truncate_dim=10), {"truncate_dim": 20, "normalize_embeddings": True}, form="truncate_dim, then normalize"),
    exact(nested, {}, form="Transformer in 0_Transformer"),
    exact(partial(nested, version=True), {}, form="Transformer in 0_Transformer, config.json of the first release"),
    exact(saved, {}, form="saved by sentence-transformers 6"),
]


@pytest.mark.parametrize(("make", "options"), EXACT)
def test_vectors_equal_the_librarys(make: Make, options: dict[str, Any], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    make(folder := tmp_path / "m")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, **options, show_progress_bar=False)
    ours = {"normalize" if name == "normalize_embeddings" else name: value for name, value in options.items()}
    model = load(folder, batch_size=3)
    found = model.embed(TEXTS, **ours)
    # Of vectors that are longer than 1, fp32 rounds the same share.
    atol = 1e-5 * max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(found, wanted, atol=atol)
    assert found.shape == (len(TEXTS), model.modules.width(WIDTH, options.get("truncate_dim")))
    # What is written again, for an artifact, says the same.
    if model.modules.declared and not isinstance(make, partial) and make is not nested:
        again = tmp_path / "again"
        shutil.copytree(folder, again)
        for path in again.glob("[0-9]_*"):
            shutil.rmtree(path)
        save_modules(model.modules, again, WIDTH, model.max_length)
        np.testing.assert_allclose(load(again).embed(TEXTS, **ours), wanted, atol=atol)


# ---- refusals ----


def listing(*types: str) -> Make:
    """What makes a folder whose modules.json names these classes after or in place of the Transformer."""

    def make(folder: Path) -> None:
        sentence_folder(folder, MEAN)
        names = [f"{PATHS['old']}{name}" if "." not in name else name for name in types]
        write(folder / "modules.json", [{"idx": i, "name": str(i), "path": "" if i == 0 else MEAN[0], "type": name} for i, name in enumerate(names)])

    return make


def router(folder: Path) -> None:
    nested(folder)
    rows = json.loads((folder / "modules.json").read_text())
    write(folder / "modules.json", [{**rows[0], "path": "", "type": "sentence_transformers.base.modules.router.Router"}])


def broken(change: Callable[[Path], None], *modules: tuple[str, dict[str, Any]]) -> Make:
    """What makes a folder and then changes it."""

    def make(folder: Path) -> None:
        of(*(modules or (MEAN, dense())))(folder)
        change(folder)

    return make


def pickled(folder: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").unlink()
    torch.save({"linear.weight": partial(print, "no")}, folder / "2_Dense" / "pytorch_model.bin")


BACKBONE = ("BoW", "WordEmbeddings", "CLIPModel", "StaticEmbedding", "SparseStaticEmbedding", "MLMTransformer", "Asym")
LATER = ("CNN", "LSTM", "WeightedLayerPooling", "WordWeights", "SpladePooling", "SparseAutoEncoder", "MultiVectorMask", "Router")
REFUSED = [
    *(refused(listing(kind, "Pooling"), f"module {kind} ", form=f"module {kind}") for kind in BACKBONE),
    *(refused(listing("Transformer", kind, "Pooling"), f"module {kind} ", form=f"module {kind}, after the Transformer") for kind in LATER),
    refused(router, "modules.router.Router", form="Router in place of the Transformer"),
    refused(listing("Transformer", "Pooling", "Pooling"), "module Pooling", form="two Poolings"),
    refused(listing("Transformer"), "no Pooling", form="no Pooling"),
    refused(listing("Transformer", "my_modules.Pooling"), "'my_modules.Pooling' is code of its own", form="module of other code"),
    refused(of(older(pooling_mode_attention=True)), "'pooling_mode_attention'", form="Pooling: a key that is not known"),
    refused(of(newer("attention")), 'pooling_mode is ["attention"]', form="Pooling: a mode that is not known"),
    refused(of(MEAN, ("Normalize", {"module_input_name": "token_embeddings"})), "'token_embeddings'", form="Normalize of tokens"),
    refused(of(MEAN, dense(module_output_name="scores")), "module_output_name is 'scores'", form="Dense with an output of its own"),
    refused(of(MEAN, dense(name="torch.nn.functional.gelu")), "torch.nn.functional.gelu", form="Dense: a function as activation"),
    refused(of(MEAN, dense(name="transformers.activations.GELUActivation")), "GELUActivation", form="Dense: activation of another package"),
    refused(of(MEAN, dense(scale=2)), "'scale'", form="Dense: a key that is not known"),
    refused(of(MEAN, dense(16)), "takes 16 numbers", form="Dense that does not fit the Pooling"),
    refused(broken(lambda f: edit(f / "2_Dense" / "config.json", out_features=8)), "linear.bias", form="Dense: weights of another size"),
    refused(broken(lambda f: (f / "2_Dense" / "model.safetensors").unlink()), "2_Dense has no model.safetensors", form="Dense without weights"),
    refused(broken(pickled), "never loaded", form="Dense: pytorch_model.bin with code"),
    refused(general(model_type="SparseEncoder"), "model_type SparseEncoder", form="model_type SparseEncoder"),
    refused(general(model_type="MultiVectorEncoder"), "model_type MultiVectorEncoder", form="model_type MultiVectorEncoder"),
    refused(general(default_prompt_name="question"), "default_prompt_name is 'question'", form="default_prompt_name without its prompt"),
    refused(general(similarity_fn_name="maxsim"), "similarity_fn_name is 'maxsim'", form="similarity_fn_name maxsim"),
    refused(general(truncate_dim=-2), "truncate_dim is -2", form="truncate_dim below one"),
    refused(of(MEAN, transformer_task="fill-mask"), 'transformer_task is "fill-mask"', form="transformer_task fill-mask"),
    refused(of(MEAN, module_output_name="sentence_embedding"), "module_output_name", form="the pooler's output in place of the states"),
    refused(of(MEAN, query_length=16), "query_length is 16", form="query_length"),
    refused(of(MEAN, config_args={"hidden_act": "relu"}), "'hidden_act'", form="config_args"),
    refused(of(MEAN, model_args={"revision": "x"}), "'revision'", form="model_args"),
    refused(of(MEAN, processing_kwargs={"text": {"truncation": False}}), "'truncation'", form="processing_kwargs: no truncation"),
    refused(of(MEAN, max_seq_length=0), "max_seq_length is 0", form="max_seq_length 0"),
    refused(broken(lambda f: write(f / "modules.json", {"0": "Transformer"})), "modules.json cannot be read", form="modules.json that is no list"),
    refused(
        broken(lambda f: write(f / "modules.json", [{"type": "sentence_transformers.models.Transformer", "path": "../x", "name": "0"}])),
        "leads out of the folder",
        form="modules.json: a path out of the folder",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_changes_vectors_and_is_not_computed_is_named(make: Make, message: str, tmp_path: Path) -> None:
    make(folder := tmp_path / "m")
    with pytest.raises(UserError) as error:
        load(folder)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_prompts_and_sizes_that_are_not_there(tmp_path: Path) -> None:
    prompted()(tmp_path / "m")
    model = load(tmp_path / "m")
    for options, message in (
        ({"prompt_name": "quary"}, "no prompt 'quary'; did you mean 'query'"),
        ({"prompt": "a", "prompt_name": "query"}, "both given"),
        ({"truncate_dim": 0}, "truncate_dim 0"),
    ):
        with pytest.raises(UserError, match=message):
            model.embed(["a"], **options)
    with pytest.raises(UserError, match="no sentence-transformers folder"):
        load(checkpoints()["lone"]).embed(["a"], prompt_name="query")


# ---- lengths, similarity, commands ----


def test_windows_only_when_they_are_requested(tmp_path: Path) -> None:
    of(newer(["mean", "max", "weightedmean", "lasttoken", "cls"]))(tmp_path / "m")
    text, plain = TEXTS[3], load(tmp_path / "m")
    assert "the first 24 tokens" in plain.spec.describe()
    rows = np.concatenate(list(load(checkpoints()["lone"], max_length=24).token_vectors([text])))
    weights = np.arange(1, len(rows) + 1)[:, None]
    wanted = [rows.mean(0), rows.max(0), (weights * rows).sum(0) / weights.sum(), rows[-1], rows[0]]
    whole = load(tmp_path / "m", truncate="windows")
    np.testing.assert_allclose(whole.embed([text])[0], np.concatenate(wanted), atol=1e-5)
    assert "windows of 24 tokens" in whole.spec.describe() and np.abs(whole.embed([text]) - plain.embed([text])).max() > 1e-3
    end = EncodedText("", plain.tokenizer.encode([text])[0][-14:], [])
    np.testing.assert_allclose(load(tmp_path / "m", truncate="tail", max_length=16).embed([text]), plain.embed([end]), atol=1e-5)
    # Tokens are those of the encoder, however short vectors read texts.
    assert len(next(plain.token_vectors([text]))) > 24


def test_a_real_sentence_encoder(public_encoder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder, texts = str(public_encoder), [*TEXTS, "word " * 600, "Zürich, 한국, U.S.A."]
    np.testing.assert_allclose(load(folder).embed(texts), SentenceTransformer(folder, device="cpu").encode(texts), atol=1e-5)


@conforms(form="similarity_fn_name: cosine, dot, euclidean, manhattan", where="sentence-transformers", outcome="exact", section="clients")
def test_similarities_equal_the_librarys() -> None:
    from sentence_transformers.util import SimilarityFunction

    a, b = np.random.default_rng(1).normal(size=(2, 4, 8)).astype(np.float32)
    for name in ("cosine", "dot", "euclidean", "manhattan"):
        wanted = SimilarityFunction.to_similarity_fn(name)(a, b[:3]).numpy()
        np.testing.assert_allclose(SentenceModules(similarity=name).scores(a, b[:3]), wanted, atol=1e-5)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of module, a prompt, a size."""
    folder = tmp_path_factory.mktemp("rich") / "m"
    saved(folder)
    return folder


@conforms(form="prompt_name, truncate_dim", where="embed", outcome="exact", section="clients")
def test_the_command_takes_prompts_and_sizes(rich: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sentence_transformers import SentenceTransformer

    (tmp_path / "texts.txt").write_text("the chef cooked\nit was good\n")
    flags = ["--prompt-name", "document", "--truncate-dim", "6", "--normalize"]
    assert main(["embed", str(rich), str(tmp_path / "texts.txt"), "--output", str(tmp_path / "v.npy"), *flags]) == 0
    oracle = SentenceTransformer(str(rich), device="cpu")
    wanted = oracle.encode(["the chef cooked", "it was good"], prompt_name="document", truncate_dim=6, normalize_embeddings=True)
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), wanted, atol=1e-5)
    said = capsys.readouterr().err
    assert "vectors: cls + mean, Dense to 24 (Tanh), LayerNorm, Normalize, the first 8 numbers" in said
    assert main(["embed", str(rich), str(tmp_path / "texts.txt"), "--prompt-name", "passage"]) == 2
    assert "the model has no prompt 'passage'" in capsys.readouterr().err


@conforms(form="an artifact of a sentence-transformers folder", where="build", outcome="exact", section="clients")
def test_an_artifact_gives_the_checkpoints_vectors(rich: Path, tmp_path: Path) -> None:
    from electra.exporting.targets import build_artifact

    build_artifact(str(rich), "onnx", tmp_path / "a.zip")
    model, artifact = load(rich), load(tmp_path / "a.zip")
    np.testing.assert_allclose(artifact.embed(TEXTS), model.embed(TEXTS), atol=1e-5)
    np.testing.assert_allclose(artifact.embed(TEXTS, prompt="", truncate_dim=24), model.embed(TEXTS, prompt="", truncate_dim=24), atol=1e-5)
    assert artifact.modules.describe() == model.modules.describe()
    shutil.copytree(rich, tmp_path / "nested")
    edit(tmp_path / "nested" / "sentence_bert_config.json", max_seq_length=10, do_lower_case=True)
    edit(tmp_path / "nested" / "tokenizer_config.json", do_lower_case=False, strip_accents=False)
    build_artifact(str(tmp_path / "nested"), "onnx", tmp_path / "short")
    short, wanted = load(tmp_path / "short"), load(tmp_path / "nested")
    np.testing.assert_allclose(short.embed(TEXTS), wanted.embed(TEXTS), atol=1e-5)
    assert short.spec.describe() == wanted.spec.describe()
    assert len(next(short.token_vectors([TEXTS[3]]))) == len(next(wanted.token_vectors([TEXTS[3]]))) > 10


# ---- cross-encoders ----


def cross_encoder(folder: Path, *, labels: int = 1, **values: Any) -> None:
    shutil.copytree(checkpoints()["regression" if labels == 1 else "classifier"], folder)
    edit(folder / "config.json", problem_type=None, **values)


def saved_cross_encoder(folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(checkpoints()["regression"]), activation_fn=torch.nn.Identity(), max_length=20).save(str(folder))


def left_cross_encoder(folder: Path) -> None:
    cross_encoder(folder, sentence_transformers={"activation_fn": IDENTITY})
    edit(folder / "tokenizer_config.json", truncation_side="left")


IDENTITY = "torch.nn.modules.linear.Identity"
PAIRS = [("the chef", "she cooked the meal"), ("good " * 40, "a film"), ("a film", "bad " * 50), ("it", "it"), ("the old " * 20, "a film " * 21)]
crossed = partial(exact, where="predict")


@pytest.mark.parametrize(
    "make",
    [
        crossed(
            partial(cross_encoder, sentence_transformers={"activation_fn": IDENTITY, "version": "4.1.0"}), form="CrossEncoder: activation_fn Identity"
        ),
        crossed(
            partial(cross_encoder, sentence_transformers={"activation_fn": "torch.nn.modules.activation.Sigmoid"}),
            form="CrossEncoder: activation_fn Sigmoid",
        ),
        crossed(partial(cross_encoder, sentence_transformers={"version": "4.0.0"}), form="CrossEncoder: no activation_fn"),
        crossed(partial(cross_encoder, sbert_ce_default_activation_function=IDENTITY), form="CrossEncoder: sbert_ce_default_activation_function"),
        crossed(left_cross_encoder, form="CrossEncoder: truncation_side left"),
        crossed(saved_cross_encoder, form="CrossEncoder saved by sentence-transformers 6: activation_fn, max_length"),
    ],
)
def test_scores_equal_the_cross_encoders(make: Make, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    make(folder := tmp_path / "m")
    wanted = CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    model = load(folder, batch_size=2)
    np.testing.assert_allclose([answer.label for answer in model.predict(PAIRS)], wanted, atol=1e-5)
    assert model.spec.truncate == "longest-first" and "head: a number" in describe(model)


@conforms(form="text-classification of a CrossEncoder", where="pipeline", outcome="exact", section="clients")
def test_pipelines_do_not_know_the_activation_as_in_transformers(tmp_path: Path) -> None:
    import transformers

    cross_encoder(tmp_path / "m", sentence_transformers={"activation_fn": IDENTITY})
    pairs = [{"text": first, "text_pair": second} for first, second in PAIRS[:1]]
    wanted = transformers.pipeline("text-classification", str(tmp_path / "m"))(pairs)
    found = pipeline("text-classification", tmp_path / "m")(pairs)
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in wanted], abs=1e-5)


@conforms(form="CrossEncoder with several labels: the label", where="predict", outcome="exact", section="clients")
def test_a_cross_encoder_with_several_labels(tmp_path: Path) -> None:
    """The library gives logits, and with apply_softmax the probabilities that `predict` gives."""
    from sentence_transformers import CrossEncoder

    cross_encoder(tmp_path / "m", labels=3, sentence_transformers={"activation_fn": IDENTITY})
    wanted = CrossEncoder(str(tmp_path / "m"), device="cpu").predict(PAIRS, apply_softmax=True)
    found = load(tmp_path / "m").predict(PAIRS)
    np.testing.assert_allclose([list(answer.probabilities.values()) for answer in found], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        refused({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.ReLU"}}, "activation.ReLU", form="CrossEncoder: ReLU"),
        refused({"sentence_transformers": {"activation_fn": "my.Sigmoid"}}, "my.Sigmoid", form="CrossEncoder: activation of another package"),
        refused({"sentence_transformers": "4.0"}, "sentence_transformers is", form="CrossEncoder: sentence_transformers that is no table"),
    ],
)
def test_activations_of_cross_encoders_that_are_not_computed(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    cross_encoder(tmp_path / "m", **values)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "m", role="classifier")


def test_an_artifact_of_a_cross_encoder(tmp_path: Path) -> None:
    from electra.exporting.targets import build_artifact

    saved_cross_encoder(tmp_path / "m")
    build_artifact(str(tmp_path / "m"), "onnx", tmp_path / "a")
    wanted = [answer.label for answer in load(tmp_path / "m").predict(PAIRS)]
    assert [answer.label for answer in load(tmp_path / "a").predict(PAIRS)] == pytest.approx(wanted, abs=1e-5)


# ---- other commands ----


@conforms(form="Transformer in 0_Transformer", where=("convert", "inspect"), outcome="exact", section="clients")
def test_convert_and_inspect_know_the_modules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nested(tmp_path / "m")
    assert main(["convert", str(tmp_path / "m"), str(tmp_path / "out")]) == 0
    np.testing.assert_allclose(load(tmp_path / "out").embed(TEXTS), load(tmp_path / "m").embed(TEXTS), atol=1e-6)
    saved_cross_encoder(tmp_path / "cross")
    cross_encoder(tmp_path / "older", sbert_ce_default_activation_function=IDENTITY)
    for name in ("cross", "older"):
        assert main(["convert", str(tmp_path / name), str(tmp_path / f"{name}-out")]) == 0
        wanted, found = ([answer.label for answer in load(tmp_path / place).predict(PAIRS)] for place in (name, f"{name}-out"))
        assert found == pytest.approx(wanted, abs=1e-6)
    assert load_tokenizer(tmp_path / "m").pieces == load_tokenizer(tmp_path / "out").pieces
    capsys.readouterr()
    for folder in (tmp_path / "m", tmp_path / "out"):
        assert main(["inspect", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["sentence_transformers"] == "vectors: mean of all tokens, Normalize"


def test_fine_tuning_takes_the_encoder_alone_and_says_so(tmp_path: Path) -> None:
    from electra.finetuning.setup import read_inputs
    from electra.settings import FinetuneSettings

    nested(tmp_path / "m")
    (tmp_path / "t.csv").write_text("text,label\ngood,a\nbad,b\ngood,a\nbad,b\n")
    files = {"train": str(tmp_path / "t.csv"), "dev": str(tmp_path / "t.csv")}
    inputs = read_inputs(FinetuneSettings(task="own", model=str(tmp_path / "m"), output=tmp_path / "run", **files))
    assert any("is a sentence encoder (modules.json): its pooling is not used" in line for line in inputs.warnings)


@conforms(form="Transformer in 0_Transformer", where=("hub", "URL"), outcome="exact", section="clients")
def test_the_modules_of_the_hub_and_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec
    import huggingface_hub

    nested(tmp_path / "m")
    wanted = load(tmp_path / "m").embed(TEXTS[:2])
    url = f"memory://sentences-{tmp_path.name}"
    fsspec.filesystem("memory").put(str(tmp_path / "m"), url, recursive=True)
    monkeypatch.setenv("ELECTRA_CACHE", str(tmp_path / "cache"))
    np.testing.assert_array_equal(load(url).embed(TEXTS[:2]), wanted)

    def snapshot(name: str, *, allow_patterns: list[str]) -> str:
        copy = tmp_path / "snapshot"
        files = [str(path.relative_to(tmp_path / "m")) for path in (tmp_path / "m").rglob("*") if path.is_file()]
        for file in huggingface_hub.utils.filter_repo_objects(files, allow_patterns=allow_patterns):
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tmp_path / "m" / file, copy / file)
        return str(copy)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    np.testing.assert_array_equal(load("someone/sentences").embed(TEXTS[:2]), wanted)
