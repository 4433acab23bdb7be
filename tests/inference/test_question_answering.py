"""Questions from the command line to answers: finetune, evaluate, predict, Predictor.answer, pipeline; other people's checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from question_sets import paragraphs, write_squad
from tiny_models import SHAPE, vocabulary

from electra import cli
from electra.contracts import Head
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.finetuning.hyperparameters import resolve
from electra.inference.pipelines import pipeline
from electra.inference.predictor import load

torch = pytest.importorskip("torch")
LEARN = (
    "--epochs 6 --evaluate-every 1000 --checkpoint-every 1000 --learning-rate 2e-3 --dropout 0 --layerwise-lr-decay 1 --batch-size 16 --threads 1 "
    "--device cpu"
).split()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A discriminator with random weights."""
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.huggingface import reinitialize, save_checkpoint
    from electra.model.objectives import Discriminator

    folder = tmp_path_factory.mktemp("start") / "start"
    shape = {**SHAPE, "initializer_range": 0.2}
    module = Discriminator(Encoder(EncoderConfig(vocab_size=len(vocabulary()), **shape)))
    reinitialize(module, 7)
    save_checkpoint(module, folder)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary()))
    load_tokenizer(folder / "vocab.txt").save(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SQuAD's two forms under their official names: 200 and 60 questions."""
    folder = tmp_path_factory.mktemp("squad")
    for version, unanswerable in (("v1.1", False), ("v2.0", True)):
        write_squad(folder / f"train-{version}.json", paragraphs(200, 1, unanswerable))
        write_squad(folder / f"dev-{version}.json", paragraphs(60, 2, unanswerable))
    return folder


@pytest.fixture(scope="module")
def plain(start: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on SQuAD 1.1's form with the head of `transformers`."""
    output = tmp_path_factory.mktemp("runs") / "plain"
    assert cli.main(["finetune", "squad", "--model", str(start), "--data", str(data), "--output", str(output), *LEARN]) == 0
    return output


@pytest.fixture(scope="module")
def joint(start: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on SQuAD 2.0's form with the original's head, by files."""
    output = tmp_path_factory.mktemp("runs") / "joint"
    files = ["--train", str(data / "train-v2.0.json"), "--dev", str(data / "dev-v2.0.json")]
    assert cli.main(["finetune", "squad2", "--model", str(start), *files, "--output", str(output), "--head", "original", *LEARN]) == 0
    return output


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "version"), [("plain", "v1.1"), ("joint", "v2.0")])
def test_it_learns_and_writes_what_the_official_scripts_read(name: str, version: str, data: Path, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    scores = _read(run / "scores.json")
    assert scores["main_metric"] == "f1" and scores["scores"]["f1"]["mean"] > 0.9
    rows = [(p["context"], p["qas"][0]) for p in _read(data / f"dev-{version}.json")["data"][0]["paragraphs"]]
    predictions, best, odds = (_read(run / f"{file}.json") for file in ("predictions", "nbest_predictions", "null_odds"))
    assert set(predictions) == set(best) == set(odds) == {question["id"] for _, question in rows}
    right = 0
    for context, question in rows:
        right += predictions[question["id"]] == (question["answers"] or [{"text": ""}])[0]["text"]
        found = best[question["id"]]
        assert all(context[one["start"] : one["end"]] == one["text"] for one in found) and len({one["text"] for one in found}) == len(found)
        assert sum(one["probability"] for one in found) == pytest.approx(1.0)
        if name == "joint":
            assert (predictions[question["id"]] == "") == (odds[question["id"]] > 0)
    assert right / len(rows) == pytest.approx(scores["scores"]["exact_match"]["mean"])
    card = (run / "best" / "README.md").read_text()
    assert "question-answering" in card and "questions and their contexts" in card


@pytest.mark.parametrize(("name", "task"), [("plain", "squad"), ("joint", "squad2")])
def test_evaluate_gives_the_same(name: str, task: str, data: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    run = request.getfixturevalue(name)
    assert cli.main(["evaluate", str(run), "--task", task, "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = {metric: score["mean"] for metric, score in _read(run / "scores.json")["scores"].items()}
    if task == "squad2":  # the threshold found on dev is the model's own now
        assert found["f1"] == pytest.approx(wanted["best_f1"])
        wanted = {metric: value for metric, value in wanted.items() if metric.startswith("best_f1")}
    assert {metric: found[metric] for metric in wanted} == pytest.approx(wanted, abs=1e-4)


def test_the_threshold_found_is_kept(joint: Path, start: Path, data: Path, tmp_path: Path) -> None:
    record = _read(joint / "best" / "config.json")["electra_input_spec"]
    assert record["unanswerable"] and record["max_length"] == 64
    # Refusing every answer, so that the search on dev must find better.
    words = ["finetune", "squad2", "--model", str(start), "--data", str(data), "--output", str(tmp_path / "run"), *LEARN]
    assert cli.main([*words, "--null-threshold", "-1000", "--epochs", "4"]) == 0
    scores = {metric: score["mean"] for metric, score in _read(tmp_path / "run" / "scores.json")["scores"].items()}
    assert scores["f1"] == pytest.approx(1 / 3) and scores["accuracy_no_answer"] == 1 and scores["best_f1"] > 0.4
    kept = _read(tmp_path / "run" / "best" / "config.json")["electra_input_spec"]["null_threshold"]
    assert kept == pytest.approx(scores["best_f1_threshold"])


def test_predict_prints_answers(plain: Path, joint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = "the  old chef ate at the\tRiver one"
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "where ?", "context": context}) + "\n")
    assert cli.main(["predict", str(plain), str(tmp_path / "q.jsonl"), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["context"] == context and row["answer"] == context[row["start"] : row["end"]] == "River" and 0.5 < row["probability"] <= 1
    pairs = "where ?\twe ate at the house one two\nwhere ?\twe ate soup one two old\n"
    (tmp_path / "q.tsv").write_text(pairs)
    assert cli.main(["predict", str(joint), str(tmp_path / "q.tsv")]) == 2
    error = capsys.readouterr().err
    assert (
        "no column 'question'" in error and "add a header line if the file has none; a file with a text per line and no header ends in .txt" in error
    )
    assert cli.main(["predict", str(joint), str(tmp_path / "q.tsv"), "--input-format", "lines"]) == 0
    headless = capsys.readouterr().out
    (tmp_path / "q.tsv").write_text("question\tcontext\n" + pairs)
    assert cli.main(["predict", str(joint), str(tmp_path / "q.tsv")]) == 0
    out = capsys.readouterr().out
    lines = [line.split("\t") for line in out.splitlines()]
    assert [(line[0], line[2]) for line in lines] == [("house", "where ?"), ("", "where ?")] and out == headless
    (tmp_path / "q.txt").write_text("where ?\n")
    assert cli.main(["predict", str(plain), str(tmp_path / "q.txt")]) == 2
    assert "question 1 has no context" in capsys.readouterr().err


# ---- other people's checkpoints ----


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, start: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("theirs") / "qa"
    torch.manual_seed(3)
    transformers.ElectraForQuestionAnswering(transformers.ElectraConfig(vocab_size=len(vocabulary()), **SHAPE)).save_pretrained(folder)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(start / name, folder / name)
    return folder


def _their_answer(folder: Path, question: str, context: str, handle_impossible: bool) -> tuple[float, int, int]:
    """What the pipeline of `transformers` did (until 4.x) with a context of one window, by loops: softmax over context and [CLS], best product."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
    offsets, kinds = encoded.pop("offset_mapping")[0].tolist(), encoded.sequence_ids(0)
    with torch.no_grad():
        output = transformers.ElectraForQuestionAnswering.from_pretrained(folder).eval()(**encoded)
    keep = np.array([i == 0 or kind == 1 for i, kind in enumerate(kinds)])
    start, end = (np.where(keep, np.exp(logits[0].double().numpy()), 0.0) for logits in (output.start_logits, output.end_logits))
    start, end = start / start.sum(), end / end.sum()
    rated = [(float(start[0] * end[0]), 0, 0)] if handle_impossible else []
    for a in range(1, len(kinds)):
        rated += [(float(start[a] * end[b]), offsets[a][0], offsets[b][1]) for b in range(a, min(len(kinds), a + 30)) if keep[a] and keep[b]]
    return max(rated)


@pytest.mark.parametrize("context", ["the old chef ate soup at the river .", "Épic naïve (film), cafe\u0301 42 !", "rain"])
def test_answers_equal_transformers(context: str, theirs: Path) -> None:
    answerer = pipeline("question-answering", model=theirs)
    for question in ("where ?", "was it a good story ?"):
        score, start, end = _their_answer(theirs, question, context, False)
        found = answerer(question=question, context=context)
        assert found["score"] == pytest.approx(score, rel=1e-4) and found["answer"] == context[found["start"] : found["end"]]
        # 'cafe' of transformers ends before its accent.
        assert (found["start"], found["end"]) in ((start, end), (start, end + 1))


def test_a_plain_head_may_give_no_answer(theirs: Path) -> None:
    model = load(theirs)
    found = model.answer("where ?", "rain at the river", top_k=100, handle_impossible=True, null_threshold=-1e9)
    assert found[0].text == "" and (found[0].start, found[0].end) == (0, 0)
    without = model.answer("where ?", "rain at the river", top_k=100)
    assert [f for f in found if f.text] == without and len(without) == 15  # spans of 'rain a ##t the river'
    sure = model.answer("where ?", "rain at the river", top_k=100, handle_impossible=True, null_threshold=1e9)
    assert sure[0].text == without[0].text and "" in [f.text for f in sure]


def test_long_contexts_are_read_to_their_end(plain: Path) -> None:
    context = "she walked old cold film ate chef . " * 40 + "he was cold at the station old ."
    found = load(plain).answer("where ?", context, stride=20, top_k=5)
    assert ("station", context.index("station")) in [(f.text, f.start) for f in found]


def test_call_forms(plain: Path) -> None:
    answerer = pipeline("question-answering", model=plain)
    example = {"question": "where ?", "context": "he was at the city one"}
    one = answerer(example)
    assert one == answerer(question=example["question"], context=example["context"]) and set(one) == {"score", "start", "end", "answer"}
    assert answerer([example, example]) == [one, one] == answerer(question=["where ?"] * 2, context=example["context"])
    assert answerer(question=["where ?"], context=[example["context"]]) == one == answerer([example])
    assert answerer(example, top_k=3)[0] == one and len(answerer(example, top_k=3)) == 3
    assert answerer([example], top_k=2) == answerer(example, top_k=2)
    for wrong, message in (
        ({"question": ["a", "b"], "context": ["c"]}, "2 questions and 1 contexts"),
        ({"question": "a"}, "nothing to answer"),
        ({"inputs": [{"question": "a"}]}, "expected {'question'"),
        ({"inputs": example, "top_k": 0}, "top_k 0 must be at least 1"),
    ):
        with pytest.raises(UserError) as caught:
            answerer(**wrong)
        assert message in str(caught.value)
    with pytest.raises(UserError, match="unknown choice 'topk'"):
        answerer.predictor.answer("a", "b", topk=1)


def test_a_model_without_the_head_is_refused_with_a_remedy(start: Path) -> None:
    for task in (lambda: pipeline("question-answering", model=start), lambda: load(start).answer("a", "b")):
        with pytest.raises(UserError, match="electra finetune squad --model"):
            task()
    with pytest.raises(UserError, match="electra finetune squad --model"):
        pipeline("question-answering", model="google/electra-small-discriminator")


def test_transformers_opens_what_we_trained(plain: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, info = transformers.AutoModelForQuestionAnswering.from_pretrained(plain / "best", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    context = "we ate at the house one two"
    score, start, end = _their_answer(plain / "best", "where ?", context, False)
    (found,) = load(plain).answer("where ?", context)
    assert (found.start, found.end) == (start, end) and found.score == pytest.approx(score, rel=1e-3)
    assert Head(kind="span").num_outputs == model.qa_outputs.out_features


# ---- recipes and mistakes ----


@pytest.mark.parametrize("preset", ["paper", "original-code"])
@pytest.mark.parametrize("task", ["squad", "squad2", "cmrc2018", "newsqa", "naturalquestions", "triviaqa", "searchqa", "mrqa"])
def test_presets(preset: str, task: str) -> None:
    from electra.command_line import from_command_line
    from electra.settings import FinetuneSettings

    given = from_command_line(FinetuneSettings, [task, "--model", "m", "--output", "o", "--preset", preset], "electra finetune")
    made = resolve(given, task, 256)
    assert (made.epochs, made.max_length, made.stride, made.max_query_length, made.max_answer_length) == (2.0, 512, 128, 64, 30)
    assert made.optimizer.learning_rate == (3e-4 if preset == "paper" else 1e-4) and made.loop.batch_size == 32


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["squad"], "squad needs --data DIR"),
        (["squad", "--train", "x.json"], "squad needs --data DIR"),
        (["squad", "--data", "{data}/dev-v1.1.json"], "is one file; give two"),
        (["squad", "--train", "{data}/train-v2.0.json", "--dev", "{data}/dev-v2.0.json"], "use the task squad2"),
        (["squad", "--data", "{data}", "--stride", "0"], "--stride 0: expected at least 1"),
        (["squad", "--data", "{data}", "--max-length", "12"], "max_length 12 is too short for a question and its context; expected at least 16"),
        (["cmrc2018", "--data", "{data}"], "holds none of cmrc2018_train.json"),
        (["sqad", "--data", "{data}"], "did you mean 'squad'"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, start: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [word.replace("{data}", str(data)) for word in words]
    assert cli.main(["finetune", given[0], "--model", str(start), "--output", str(tmp_path / "run"), *given[1:]]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
