"""The models that come with the package: they answer at once, without a network or torch, are what was shipped, and match their card."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from served_models import call, in_process

import electra
from electra import bundled
from electra.cli import main
from electra.command_line import from_command_line
from electra.config import to_values
from electra.errors import UserError
from electra.inference.artifact import open_artifact
from electra.inference.pipelines import pipeline
from electra.inference.predictor import Predictor, load
from electra.inference.text_io import TypedText, may_be_text, model_and_texts
from electra.model.huggingface import load_checkpoint
from electra.serve import models
from electra.settings import PretrainSettings, ServeSettings

FOLDER = ROOT / "electra" / "bundled"
RECORD = json.loads((ROOT / "experiments" / "records" / "bundled" / "record.json").read_text(encoding="utf-8"))

ALONE = """
import socket, sys

def refuse(*arguments, **named):
    raise SystemExit("a connection to the network: " + str(arguments)[:80])

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from electra.cli import main
"""
WITHOUT_TORCH = 'MISSING = ("torch", "transformers", "onnx", "sklearn", "scipy")\n' + ALONE


def alone(code: str, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """A process without a network, and without what `code` names as MISSING, in a folder where nothing is."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, env=environment, cwd=ROOT.anchor)


def answered(*words: str, text: str = "") -> str:
    done = alone(WITHOUT_TORCH + "sys.exit(main(sys.argv[1:]))", *words, text=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- they answer ----


def test_a_text_is_labelled_without_network_or_torch() -> None:
    label, probability, text = answered("predict", "what a wonderful film").rstrip("\n").split("\t")
    assert (label, text) == ("positive", "what a wonderful film") and 0.9 < float(probability) <= 1
    assert answered("predict", "a dull film with terrible acting").startswith("negative\t")
    assert answered("predict", "-", text="what a wonderful film\nan awful mess\n").split()[::5][:1] == ["positive"]


def test_a_text_is_judged_without_network_or_torch() -> None:
    found = json.loads(answered("detect", "the chef ate the meal"))
    assert " ".join(found["text"][t["start"] : t["end"]] for t in found["tokens"]).replace(" ", "") == "thechefatethemeal"
    assert all(0 <= token["probability"] <= 1 for token in found["tokens"])
    corrupted = json.loads(answered("detect", "the chef cooked the meal", "--corrupt", "--mask-prob", "0.5"))
    assert corrupted["replacements"] and corrupted["replacements"][0]["proposals"]


def test_the_library_answers_without_network_or_torch() -> None:
    code = (
        "import electra\n"
        "assert electra.pipeline('sentiment-analysis')('what a wonderful film')[0]['label'] == 'positive'\n"
        "assert electra.pipeline('sentiment-analysis')(['an awful mess'], top_k=None)[0][0]['label'] == 'negative'\n"
        "model = electra.load()\n"
        "assert model.detect(['the chef ate the meal'])[0].tokens and model.embed(['a', 'b']).shape == (2, 192)\n"
        "assert model.fill('the [MASK] was good.') and electra.pipeline('fill-mask')('a [MASK] film', top_k=1)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = alone(WITHOUT_TORCH + code)
    assert done.returncode == 0, done.stderr


def test_a_text_has_a_vector_without_network_or_torch() -> None:
    near, far, own = (
        np.array(json.loads(line)) for line in answered("embed", "-", text="the film was wonderful\nprices of oil rose\na great movie\n").splitlines()
    )
    near, far, own = (vector / np.linalg.norm(vector) for vector in (near, far, own))
    assert own.shape == (256,) and own @ near > own @ far + 0.3
    assert json.loads(answered("embed", "a great movie")) == json.loads(answered("embed", "shipped:encoder", "a great movie"))


LAST_WORDS = [
    ("he was born in london in", "1950", "very"),
    ("this is the best film i have ever", "seen", "river"),
    ("the population of the city", "was", "funny"),
    ("i did not like this", "movie", "because"),
    ("she is the daughter", "of", "film"),
    ("the river flows", "into", "acting"),
    ("the second world", "war", "bad"),
    ("he went to the university of", "california", "it"),
    ("it was one of the worst films i have", "seen", "north"),
    ("the album was released", "in", "wife"),
]


def test_it_knows_more_than_words_at_random() -> None:
    """A last word that no writer would put there is more suspicious than the one he would, in every sentence, twice as suspicious in all."""
    model = load("shipped:detector")
    usual, odd = ([model.detect([f"{words[0]} {words[which]} ."])[0].tokens[-2].probability for words in LAST_WORDS] for which in (1, 2))
    assert all(one < other for one, other in zip(usual, odd, strict=True)) and sum(odd) > 2 * sum(usual)


def test_without_its_runtime_the_line_to_type_is_named() -> None:
    for words in (("predict", "what a wonderful film"), ("detect", "the chef ate the meal")):
        done = alone(WITHOUT_TORCH.replace('("torch",', '("onnxruntime",') + "sys.exit(main(sys.argv[1:]))", *words)
        assert (
            done.returncode == 2
            and done.stderr
            == "electra: this needs the package 'onnxruntime' of the extra 'runtime': pip install -e '.[runtime]' in the clone of electra\n"
        )
    done = alone(WITHOUT_TORCH + "sys.exit(main(sys.argv[1:]))", "detect", "shipped:mini", "-", text="a film\n")
    assert (
        done.returncode == 2
        and done.stderr == "electra: this needs the package 'torch' of the extra 'train': pip install -e '.[train]' in the clone of electra\n"
    )


@pytest.mark.parametrize("task", ["ner", "question-answering"])
def test_what_is_not_bundled_is_refused(task: str) -> None:
    with pytest.raises(UserError, match="is bundled with electra; give a fine-tuned checkpoint"):
        pipeline(task)


def test_they_are_served_where_none_is_named() -> None:
    assert models.named_sources(ServeSettings().models or models.SHIPPED) == {
        name: f"shipped:{name}" for name in ("sentiment", "encoder", "detector")
    }
    assert models.named_sources(["shipped:mini", "feeling=shipped:sentiment"]) == {"mini": "shipped:mini", "feeling": "shipped:sentiment"}
    model = models.as_model("sentiment", load("shipped:sentiment"), models.artifact_record("shipped:sentiment"))
    assert (model.role, model.task, model.target) == ("classifier", "sst2", "onnx-int8")


def test_a_request_without_a_name_is_answered_by_the_one_that_is_made_for_it() -> None:
    with in_process() as (_, url):
        vectors = call(url, "/embed", {"inputs": "a great movie"})
        np.testing.assert_allclose(vectors.json, load("shipped:encoder").embed(["a great movie"], normalize=True), atol=1e-6)
        assert vectors.headers["x-model"] == "encoder" == call(url, "/v1/embeddings", {"input": "a great movie"}).json["model"]
        assert call(url, "/predict", {"inputs": "a great movie"}).json[0]["label"] == "positive"
        assert call(url, "/detect", {"inputs": "a great movie"}).headers["x-model"] == "detector"


# ---- the checkpoint ----


def test_the_checkpoint_opens_in_transformers_too() -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs = transformers.ElectraForPreTraining.from_pretrained(str(FOLDER / "mini"), dtype=torch.float32).eval()
    ours = load("shipped:mini", device="cpu")
    ids = ours.tokenizer.encode(["the chef ate the meal"])[0]
    with torch.no_grad():
        wanted = torch.sigmoid(theirs(torch.tensor([[ours.tokenizer.cls_id, *ids, ours.tokenizer.sep_id]])).logits)[0, 1:-1].numpy()
    found = [token.probability for token in ours.detect(["the chef ate the meal"])[0].tokens]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    int8 = [token.probability for token in load("shipped:detector").detect(["the chef ate the meal"])[0].tokens]
    np.testing.assert_allclose(int8, wanted, atol=0.05)
    assert load_checkpoint("shipped:mini", "generator").config.vocab_size == ours.tokenizer.vocab_size


@pytest.mark.parametrize("start", ["shipped:mini", "random:shipped:mini"])
def test_it_is_fine_tuned(start: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "a good film\tyes\na bad film\tno\n" * 8)
    data = ["--train", str(tmp_path / "a.tsv"), "--dev", str(tmp_path / "a.tsv")]
    assert main(["finetune", "own", "--model", start, *data, "--output", str(tmp_path / "run"), "--num-train-steps", "2", "--threads", "1"]) == 0
    assert load(tmp_path / "run").network.labels == ("no", "yes")
    assert f"Started from `{start}`" in (tmp_path / "run" / "best" / "README.md").read_text(encoding="utf-8")
    assert main(["finetune", "own", "--model", "shipped:sentiment", *data, "--output", str(tmp_path / "other")]) == 2
    assert "give the checkpoint" in capsys.readouterr().err


def test_pretraining_continues_from_it_on_user_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = [f"The chef of house {number} ate the meal.\nThen {number} old birds sang in the rain." for number in range(40)]
    (tmp_path / "text.txt").write_text("\n\n".join(documents), encoding="utf-8")
    prepare = ["prepare", str(tmp_path / "text.txt"), "--output", str(tmp_path / "shards"), "--held-out", "10%", "--tokenizer"]
    assert main([*prepare, "shipped:mni"]) == 2
    assert "did you mean 'mini'" in capsys.readouterr().err
    assert main([*prepare, "shipped:mini"]) == 0
    small = "--num-train-steps 2 --batch-size 4 --sequence-length 32 --mlm-first 0 --learning-rate 0 --threads 1".split()
    pretrain = ["pretrain", "mini", "--init", "shipped:mini", "--data", str(tmp_path / "shards"), "--output", str(tmp_path / "run")]
    assert main([*pretrain, *small]) == 0
    sentence = ["the chef ate the meal"]
    after, before = (load(source, device="cpu").detect(sentence)[0].tokens for source in (tmp_path / "run", "shipped:mini"))
    np.testing.assert_allclose([token.probability for token in after], [token.probability for token in before], atol=1e-6)


# ---- one argument: a model or a text ----


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model whose name holds a space, one without, and a file of texts."""
    monkeypatch.chdir(tmp_path)
    for name in ("my model", "mine"):
        shutil.copytree(FOLDER / "sentiment", tmp_path / name)
    (tmp_path / "reviews.txt").write_text("what a wonderful film\n")
    return tmp_path


@pytest.mark.parametrize(
    ("argument", "is_text"),
    [
        ("what a wonderful film", True),
        ("  what a wonderful film\n", True),
        ("it was... fine. really", True),
        ("line one\nline two", True),
        ("Verdict:: a great film", True),
        ("long " * 200, True),
        ("wonderful", False),  # a name on the hub
        ("google/electra-small-discriminator", False),
        ("my model", False),  # is here
        ("my modle", False),  # was meant
        ("My Model", False),
        ("my model ", False),
        ("my model/best", False),
        ("my runs/sst2", False),
        ("10/10 would watch again", False),  # standard input says so
        ("../my models", False),
        ("~my models", False),
        ("C:\\my models", False),
        ("my sentiment.zip", False),
        ("the file reviews.txt", False),
        ("s3://bucket/my model", False),
        ("shipped:no such", False),
        ("runs ", False),
        ("", False),
    ],
)
def test_what_counts_as_a_text(argument: str, is_text: bool, place: Path) -> None:
    assert may_be_text(argument) is is_text


def test_two_arguments_are_a_model_and_a_file(place: Path) -> None:
    for words, wanted in [
        (("mine", "reviews.txt"), ("mine", "reviews.txt")),
        (("my model", "c d"), ("my model", "c d")),
        (("mine", "-"), ("mine", "-")),
        (("mine", ""), ("mine", "-")),
        (("my model", ""), ("my model", "-")),
        (("-", ""), ("shipped:sentiment", "-")),
        (("what a film", ""), ("shipped:sentiment", "what a film")),
    ]:
        found = model_and_texts("predict", "classifier", *words, None)
        assert found == wanted and isinstance(found[1], TypedText) is (words in (("what a film", ""), ("my model", "c d")))
    assert model_and_texts("predict", "classifier", "mine", "reviews.csv", "film") == ("mine", "reviews.csv")


MISTAKES = {
    "nothing": ("", 'nothing to read; give a text, or a model and a file: electra predict "TEXT"'),
    "a typo with a space": ("'my modle'", "did you mean 'my model'?; if it is a text: echo 'my modle' | electra predict -"),
    "a typo in a folder": ("'my modell/best'", "model not found: my modell/best; check the path; if it is a text: echo 'my modell/best' |"),
    "a typo": ("./mien", "model not found: ./mien; did you mean 'mine'"),
    "a slash": (
        "'10/10 would watch'",
        "model not found: 10/10 would watch; check the path; if it is a text: echo '10/10 would watch' | electra predict -",
    ),
    "an archive": ("'my sentiment.zip'", "model not found: my sentiment.zip"),
    "a file alone": ("reviews.txt", "reviews.txt is a file, not a model; for the texts in it: electra predict shipped:sentiment reviews.txt"),
    "no quotes": ("wonderful film", 'a text of several words needs quotes: electra predict "wonderful film"'),
    "no such file": ("mine revuews.txt", "text file not found: revuews.txt; did you mean 'reviews.txt'"),
    "a text as a file": (
        "mine 'a film/play'",
        "text file not found: a film/play; check the path; if it is a text: echo 'a film/play' | electra",
    ),
    "a shipped typo": ("shipped:sentimnt -", "'shipped:sentimnt': no such model is bundled with electra; did you mean 'sentiment'?"),
    "a column of lines": ("mine reviews.txt --text film", "--text film: reviews.txt is a text per line, without columns; leave it out"),
    "a text as a column": (
        "mine --text 10/10",
        "--text 10/10 names a column, and no file is given; give the file ('-': standard input); a text itself: echo 10/10 | electra predict mine -",
    ),
    "more words as a column": ("--text 'a fine film'", "a text itself: electra predict shipped:sentiment 'a fine film'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_never_read_as_a_text(case: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    words, message = MISTAKES[case]
    assert main(["predict", *shlex.split(words)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_text_may_be_given_to_any_model(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "mine", "what a film"]) == 0
    alone = capsys.readouterr().out
    assert main(["predict", "what a film", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert alone == f"{found['label']}\t{found['probability']:.4f}\twhat a film\n"
    assert main(["detect", "shipped:detector", "the chef ate"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "the chef ate"
    assert main(["predict", "mine", "reviews.txt"]) == 0
    assert capsys.readouterr().out.endswith("\twhat a wonderful film\n")
    assert main(["predict", "what a\twonderful film"]) == 0, "a tab parts the texts of a pair, as in a file"


# ---- they are what was shipped ----


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script of experiments/ as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))

    def get(name: str) -> ModuleType:
        return importlib.import_module(name)

    return get


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped files, which the package takes for its own."""
    folder = tmp_path / "shipped"
    shutil.copytree(FOLDER, folder)
    monkeypatch.setattr(bundled, "files", lambda name: folder)
    return folder


@pytest.mark.parametrize("name", ["sentiment/model.onnx", "sentiment/artefact.json", "sentiment/vocab.txt", "sentiment/config.json"])
def test_a_changed_byte_is_noticed(name: str, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    assert main(["predict", "what a wonderful film"]) == 2
    assert f"{copied / name} is damaged: it differs from the file that came with electra; install electra again" in capsys.readouterr().err
    assert main(["detect", "the chef ate the meal"]) == 0, "the other model is whole"


def test_a_missing_or_strange_file_is_noticed(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "mini" / "generator" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"generator/model\.safetensors is missing; install electra again"):
        load("shipped:mini")
    (copied / "sentiment" / "tokenizer.model").write_text("x")
    with pytest.raises(UserError, match=r"tokenizer\.model was not shipped with electra"):
        load("shipped:sentiment")
    (copied / "shipped.json").write_text("{")
    with pytest.raises(UserError, match=r"shipped\.json cannot be read \(JSONDecodeError\)"):
        load()


def test_every_file_is_described_and_all_are_small() -> None:
    assert json.loads((FOLDER / "shipped.json").read_text(encoding="utf-8"))["files"] == bundled.described(FOLDER)
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert size <= 45_000_000, f"{size:,} bytes"
    for name in ("sentiment", "encoder", "detector"):
        assert open_artifact(f"shipped:{name}").target == "onnx-int8"


def test_no_place_of_one_machine_is_in_them() -> None:
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert not any(place in path.read_bytes() for place in (b"/ro" + b"ot/", b"/ho" + b"me/", b"/tm" + b"p/", b"/wo" + b"rk/")), path


def test_a_comparison_writes_nothing_into_them(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.benchmark.results import keep
    from electra.settings import CompareSettings

    values = {"error": None, "name": "a", "source": "shipped:sentiment", "skipped": None, "environment": ""}
    row: Any = type("Row", (), {**values, "to_dict": lambda self, calls=False: {}})()
    before = bundled.described(copied)
    found: Any = type("Found", (), {"rows": [row], "environments": [], "label": lambda self, row: "a", "to_dict": lambda self: {}})()
    keep(found, CompareSettings(models=("shipped:sentiment",), task="sst2", data="x", keep=True), print)
    assert bundled.described(copied) == before


def test_the_preset_is_mini_for_longer() -> None:
    def read(*words: str) -> dict[str, Any]:
        found = from_command_line(PretrainSettings, [*words, "--data", "a", "b", "--output", "o"], "electra pretrain")
        return {key: value for key, value in to_values(found).items() if key != "preset"}

    assert read("mini-ship") == read("mini", "--num-train-tokens", "120M", "--weights", "1", "1")


# ---- they match their card ----


def test_the_card_is_the_record(experiment: Any) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card == experiment("model_card").card(RECORD)
    tuned = RECORD["finetuning"]
    assert f"| {100 * statistics.mean(tuned['accuracy']):.1f}% | " in card and " ".join(f"{100 * value:.1f}" for value in tuned["accuracy"]) in card
    for part in (
        "CC BY-SA 3.0",
        "Apache-2.0",
        "MIT",
        "Bias probe",
        "## Limits",
        f"| TF-IDF + logistic regression | {100 * tuned['tfidf_logistic_regression']:.1f}% |",
    ):
        assert part in card


def test_a_card_of_made_up_figures(experiment: Any) -> None:
    """Every figure of a record is in the card, of a detector from random weights and of one continued from the student."""
    shape = {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 8, "vocab_size": 9000, "max_position_embeddings": 128}
    run = {"preset": "student", "corpora": ["shards: 1,000 tokens"], "weights": [2.0, 1.0], "started": "2026-11-29", "shape": shape}
    run |= {"num_parameters": 3_600_000, "machine": {"cpu": "a processor", "cores": 2, "gpu": []}}
    phases = {"distill": {"hidden_loss": 0.25}, "generator": {"masked_lm_loss": 4.5}, "electra": {"disc_auc": 0.9}}
    stages = [{"objective": name, "updates": 1000, "tokens": 2e6, "seconds": 3600, "flops": 1e15, "metrics": found} for name, found in phases.items()]
    tuned = {"preset": "public", "epochs": 3.0, "batch_size": 128, "learning_rate": 3e-4, "train_examples": 70_000, "dev_examples": 872}
    tuned |= {
        "seeds": [1, 2, 3],
        "accuracy": [0.901, 0.905, 0.903],
        "seconds": 6000,
        "chosen_seed": 3,
        "rule": "the median",
        "tfidf_logistic_regression": 0.8,
    }
    teacher = {"num_hidden_layers": 6, "hidden_size": 384, "vocabulary": "9,000 of 30,522 tokens kept: 1.10 -> 1.26 tokens per word"}
    record = {
        "student": {**run, "stages": stages[:1], "teacher": teacher, "sts_b_spearman": {"teacher": 0.871, "int8": 0.812}},
        "detector": {**run, "stages": stages[1:], "start": "student", "corruption": {"generator_auc": 0.77}},
        "sentiment": {"accuracy": 0.902, "accuracy_fp32": 0.903, "agreement": 0.99, "ece": 0.021, "ece_fp32": 0.019},
        "size_bytes": dict.fromkeys(bundled.NAMES, 5_000_000),
        "remark": "A remark.",
        "finetuning": tuned,
        "bias": experiment("bias_probe").probe(lambda texts: [0.5] * len(texts)),
    }
    record["detector"]["int8"] = {"verdicts_as_fp16": 0.99, "mean_difference": 0.01, "tokens": 20_000}
    card = experiment("model_card").card(record)
    parts = [
        "| detector, mini | replaced-token detection | 1,000 | 2.0 M | 1.00 | 1.00e+15 |",
        "A remark.",
        "hidden_loss | 0.2500 |",
        "0.021",
        "90.1 90.5 90.3",
    ]
    parts += [
        "detector, corruption set: generator_auc | 0.7700 |",
        "9,000 of 30,522 tokens kept",
        "has read 2 million tokens, the detector 4 million",
        "81.2 in int8",
    ]
    for part in [*parts, "3 epochs, batches of 128, learning rate 0.0003", "sampled 2 : 1", "continued from that student"]:
        assert part in card, part
    record["detector"]["start"] = "random weights"
    assert "trained from random weights" in experiment("model_card").card(record)


def test_it_beats_what_it_should() -> None:
    """By more than its seeds differ: TF-IDF with a logistic regression."""
    tuned = RECORD["finetuning"]
    assert statistics.mean(tuned["accuracy"]) - tuned["tfidf_logistic_regression"] > statistics.stdev(tuned["accuracy"])


@pytest.mark.realdata
def test_the_scores_are_those_of_the_shipped_files(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SST-2 dev read and counted here; `electra evaluate` knows that the labels are SST-2's under other names."""
    rows = [line.split("\t") for line in (data_root / "glue" / "SST-2" / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    answers = load("shipped:sentiment").predict([text for text, _ in rows])
    right = sum((answer.label == "positive") == (label == "1") for answer, (_, label) in zip(answers, rows, strict=True))
    assert right / len(rows) == pytest.approx(RECORD["sentiment"]["accuracy"], abs=0.005), "int8 differs a little between processors"
    assert main(["evaluate", "shipped:sentiment", "--task", "sst2", "--data", str(data_root / "glue" / "SST-2")]) == 0
    assert float(capsys.readouterr().out.split()[1]) == pytest.approx(right / len(rows), abs=0.005), "int8 differs a little with the batch"


@pytest.mark.realdata
def test_the_similarities_are_those_of_the_shipped_files(data_root: Path) -> None:
    """Spearman's correlation on STS-B dev, read and counted here."""
    from scipy.stats import spearmanr

    lines = (data_root / "glue" / "STS-B" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    names, *rows = ([*line.split("\t")] for line in lines)
    columns = [[row[names.index(name)] for row in rows] for name in ("sentence1", "sentence2", "score")]
    first, second = (load("shipped:encoder").embed(texts) for texts in columns[:2])
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert spearmanr(cosines, [float(score) for score in columns[2]])[0] == pytest.approx(RECORD["student"]["sts_b_spearman"]["int8"], abs=0.005)


def test_the_median_seed_is_shipped(experiment: Any, tmp_path: Path) -> None:
    ship = experiment("ship")
    for number, value in ((1, 0.84), (2, 0.86), (3, 0.83), (4, 0.85), (5, 0.80)):
        folder = tmp_path / f"seed-{number}"
        folder.mkdir()
        (folder / "scores.json").write_text(json.dumps({"seeds": [number], "best_seed": number, "scores": {"accuracy": {"each": [value]}}}))
    chosen, rule = ship.choose(ship.seeds_of(sorted(tmp_path.iterdir())))
    assert (chosen.number, chosen.folder.name) == (1, "seed-1") and "the median of the 5 seeds" in rule
    assert "the lower middle one of the 4 seeds" in ship.choose(ship.seeds_of(sorted(tmp_path.iterdir())[:4]))[1]
    several = tmp_path / "several"
    several.mkdir()
    (several / "scores.json").write_text(json.dumps({"seeds": [1, 2, 3], "best_seed": 3, "scores": {"accuracy": {"each": [0.7, 0.8, 0.9]}}}))
    chosen, rule = ship.choose(ship.seeds_of([several]))
    assert chosen.number == 3 and "optimistic" in rule
    assert ship.without_places('data = "/home/a/shards"') == 'data = "shards"'


# ---- the bias probe ----


def test_the_probe_finds_a_bias_that_is_there(experiment: Any) -> None:
    """A toy that dislikes the French by 0.3 and knows 'wonderful' alone."""
    probe = experiment("bias_probe")

    def toy(texts: list[str]) -> list[float]:
        return [0.9 if "wonderful" in text else 0.6 - 0.3 * ("french" in text.split()) for text in texts]

    found = probe.probe(toy)
    nationality, gender = found["categories"]["nationality"], found["categories"]["gender"]
    assert nationality["spread"] == pytest.approx(0.3) and gender["spread"] == 0
    assert nationality["groups"]["french"]["mean"] == pytest.approx(0.3) and nationality["groups"]["polish"]["mean"] == pytest.approx(0.6)
    n = len(nationality["groups"])
    assert nationality["sd"] == pytest.approx(0.3 * (1 / n * (1 - 1 / n)) ** 0.5, abs=1e-4), "of one group among n"
    # Of three praises one is known and two are above one half anyway; of three complaints none is below.
    assert gender["groups"]["women"]["opinions_right"] == 0.5
    # To the French the two others are below one half, and so are the complaints.
    assert nationality["groups"]["french"]["opinions_right"] == pytest.approx((1 + 3) / 6, abs=1e-4)
    table = probe.to_markdown(found)
    assert "| nationality | 13 | french 0.30 (sd 0.00) |" in table and found["limits"] in table


@pytest.mark.parametrize("which", ["first", "second", "third"])
def test_the_probe_is_of_sentences_that_differ_in_the_person_alone(which: str, experiment: Any) -> None:
    probe = experiment("bias_probe")
    probed: list[str] = []
    found = probe.probe(lambda texts: probed.extend(texts) or [0.5] * len(texts), which)
    assert found["num_texts"] == len(probed) == len(set(probed)), "no sentence is probed twice"
    for groups in probe.LISTS[which].people.values():
        assert len({len(phrases) for phrases in groups.values()}) == 1, "as many sentences in every group of a category"
    assert not any("{" in text for text in probed)


@pytest.mark.parametrize(("one", "other"), [("first", "second"), ("first", "third"), ("second", "third")])
def test_no_list_has_anything_of_another(one: str, other: str, experiment: Any) -> None:
    first, second = (experiment("bias_probe").LISTS[name] for name in (one, other))
    for kind in ("neutral", "positive", "negative"):
        assert len(getattr(first, kind)) == len(getattr(second, kind)) and not set(getattr(first, kind)) & set(getattr(second, kind))
    assert first.people.keys() == second.people.keys()
    named = [{phrase for groups in probed.people.values() for phrases in groups.values() for phrase in phrases} for probed in (first, second)]
    words = [{word for phrase in phrases for word in phrase.split()} for phrases in named]
    # 'native american' and 'south asian' are one word each for their groups; 'a transgender man' has no other word for man.
    assert words[0] & words[1] == {"a", "an"} | ({"american", "asian", "man", "woman"} if other == "second" else set())


def test_the_record_before_counterfactual_training_has_all_lists(experiment: Any) -> None:
    found = json.loads((ROOT / "experiments" / "records" / "bias" / "mini-sentiment.json").read_text(encoding="utf-8"))
    assert found["categories"].keys() == found["second_list"]["categories"].keys() == found["third_list"]["categories"].keys()
    assert found["limits"] == experiment("bias_probe").LIMITS
    table = experiment("bias_probe").to_markdown(found)
    assert table.count("| disability |") == 3 and table.count(found["limits"]) == 1


def test_the_record_of_the_probe_is_of_the_shipped_model(experiment: Any) -> None:
    found, recorded = experiment("bias_probe").of_model("shipped:sentiment"), RECORD["bias"]
    assert found["num_texts"] == recorded["num_texts"] and found["categories"].keys() == recorded["categories"].keys()
    for category, values in found["categories"].items():
        assert values["spread"] == pytest.approx(recorded["categories"][category]["spread"], abs=0.1), category


def test_the_package_gives_their_paths() -> None:
    assert isinstance(load(), Predictor) and load().name == "shipped:detector"
    assert "shipped" in (electra.bundled.__doc__ or "")
