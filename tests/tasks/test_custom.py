"""User data of further kinds: several labels at once, parquet, weighted classes; against scikit-learn, PyTorch and transformers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case, conforms
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.utils.class_weight import compute_class_weight
from tiny_models import checkpoints

from electra import cli
from electra.contracts import Example, Features, Head, Prediction
from electra.errors import UserError
from electra.finetuning.hyperparameters import class_weights
from electra.tasks.custom import Columns, own_task, read_examples
from electra.tasks.metrics import score_multilabel

TOPICS = ("actor", "music", "scene", "story")
SEVERAL = Columns(text="text", label="topics", kind="multilabel")


# ---- several labels at once ----


def read(path: Path, columns: Columns = SEVERAL) -> list[Any]:
    return [example.label for example in own_task(columns).read(path, "train")]


@conforms(form="several labels, separated or in a list", where="finetune", outcome="exact", section="tables")
def test_labels_are_separated_or_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,topics\na,story|music\nb,\nc, music \nd,"[""story"", ""actor""]"\n')
    assert read(tmp_path / "a.csv") == [("story", "music"), (), ("music",), ("story", "actor")]
    (tmp_path / "a.tsv").write_text("text\ttopics\na\tstory;music;story\n")
    assert read(tmp_path / "a.tsv", Columns(text="text", label="topics", kind="multilabel", label_separator=";")) == [("story", "music")]
    (tmp_path / "a.jsonl").write_text('{"text": "a", "topics": ["story", 3]}\n{"text": "b", "topics": []}\n{"text": "c", "topics": "music|story"}\n')
    assert read(tmp_path / "a.jsonl") == [("story", "3"), (), ("music", "story")]
    head = own_task(SEVERAL).head(own_task(SEVERAL).read(tmp_path / "a.jsonl", "train"))
    assert (head.kind, head.labels) == ("multilabel", ("3", "music", "story")) and own_task(SEVERAL).main_metric == "micro_f1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,topics\na,"[""story"", "\n', "is not a list; correct the row, or save the table"),
        ("text,topics\na,story||music\n", "expected labels"),
        ("text,topic\na,story\n", r"no column 'topics' \(did you mean 'topic'"),
        ("text,topics\na,story\nb,story\n", "the single label 'story'"),
        ("text,topics\na,\nb,\n", "no label in any row"),
    ],
)
def test_wrong_labels_are_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(content)
    task = own_task(SEVERAL)
    with pytest.raises(UserError, match=message):
        task.head(task.read(tmp_path / "a.csv", "train"))


def test_scores_equal_scikit_learns() -> None:
    rng = random.Random(4)
    gold, predicted = ([tuple(t for t in TOPICS if rng.random() < 0.4) for _ in range(80)] for _ in range(2))
    predicted[:30] = gold[:30]
    binary = MultiLabelBinarizer(classes=list(TOPICS))
    one, two = binary.fit_transform(gold), binary.fit_transform(predicted)
    scores = score_multilabel(
        [Example(id=str(i), text="", label=label) for i, label in enumerate(gold)],
        [Prediction(label=label) for label in predicted],
        Head(kind="multilabel", labels=TOPICS),
    )
    assert scores == {
        "micro_f1": pytest.approx(f1_score(one, two, average="micro")),
        "macro_f1": pytest.approx(f1_score(one, two, average="macro")),
        "subset_accuracy": pytest.approx(accuracy_score(one, two)),
    }
    right = sum(g == p for g, p in zip(gold, predicted, strict=True))
    assert scores["subset_accuracy"] == pytest.approx(right / 80) and 0.3 < scores["subset_accuracy"] < scores["micro_f1"] < 1


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts labelled by which topics they name, in parquet."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder, rng = tmp_path_factory.mktemp("topics"), random.Random(6)
    for name, count in (("train", 160), ("dev", 40)):
        rows = []
        for _ in range(count):
            chosen = [topic for topic in TOPICS if rng.random() < 0.4]
            words = [*chosen, *rng.choices("the was a of and film".split(), k=5)]
            rng.shuffle(words)
            rows.append({"text": " ".join(words), "topics": chosen})
        parquet.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


def test_from_parquet_to_answers_with_several_labels(topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from tiny_models import checkpoints

    words = ["finetune", "own", "--model", str(checkpoints()["discriminator"]), "--data", str(topics), "--output", str(tmp_path / "run")]
    words += ["--label", "topics", "--kind", "multilabel", "--epochs", "14", "--learning-rate", "2e-3", "--layerwise-lr-decay", "1"]
    assert cli.main([*words, "--dropout", "0", "--threads", "1", "--device", "cpu", "--batch-size", "16", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["main_metric"] == "micro_f1" and scores["scores"]["micro_f1"]["mean"] > 0.65
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    assert all(isinstance(row["label"], list) and isinstance(row["prediction"], list) for row in rows)
    assert "any of 4 labels (actor, music, scene, story)" in (tmp_path / "run" / "best" / "README.md").read_text()
    texts = [example.text for example in own_task(SEVERAL).read(topics / "dev.parquet", "dev")]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "best").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run" / "best")
    with torch.no_grad():
        chances = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.sigmoid().numpy()
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    assert cli.main(["predict", str(tmp_path / "run" / "best"), str(tmp_path / "texts.txt"), "--json"]) == 0
    for line, chance, row in zip(capsys.readouterr().out.splitlines(), chances, rows, strict=True):
        answer = json.loads(line)
        assert answer["label"] == [TOPICS[i] for i in range(4) if chance[i] > 0.5] == row["prediction"]
        np.testing.assert_allclose(list(answer["probabilities"].values()), chance, atol=1e-4)
    assert cli.main(["predict", str(tmp_path / "run" / "best"), str(tmp_path / "texts.txt")]) == 0
    assert capsys.readouterr().out.splitlines()[0].split("\t") == [" ".join(rows[0]["prediction"]), texts[0]]


def test_parquet_equals_csv_and_damaged_files_are_named(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = Columns(text="review", label="stars")
    (tmp_path / "a.csv").write_text("review,stars\ngood,5\nbad,1\n")
    parquet.write_table(pa.Table.from_pylist([{"review": "good", "stars": 5}, {"review": "bad", "stars": 1}]), tmp_path / "a.parquet")
    task = own_task(columns)
    assert task.read(tmp_path / "a.csv", "train") == task.read(tmp_path / "a.parquet", "train")
    parquet.write_table(pa.Table.from_pylist([{"review": None, "stars": 5}]), tmp_path / "none.parquet")
    with pytest.raises(UserError, match=r"none.parquet, line 1: column 'review' has no value \(null\)"):
        task.read(tmp_path / "none.parquet", "train")
    for content in (b"PAR1", (tmp_path / "a.parquet").read_bytes()[:-20], b"review,stars\n"):
        (tmp_path / "cut.parquet").write_bytes(content)
        with pytest.raises(UserError, match=r"cut\.parquet is not a readable parquet file"):
            task.read(tmp_path / "cut.parquet", "train")
    with pytest.raises(UserError, match="not found"):
        task.read(tmp_path / "nowhere.parquet", "train")


# ---- weights of classes ----

CLASSES = Head(kind="classification", labels=("a", "b", "c"))


def features(labels: list[int]) -> list[Features]:
    return [Features(ids=[2, 5 + label, 3], segments=[0, 0, 0], example=i, label=label) for i, label in enumerate(labels)]


def test_balanced_weights_equal_scikit_learns() -> None:
    labels = [0] * 7 + [1] * 2 + [2] * 11
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.array(labels))
    assert class_weights("balanced", CLASSES, features(labels)) == pytest.approx(expected.tolist())
    assert class_weights("1, 2.5,3", CLASSES, features(labels)) == [1.0, 2.5, 3.0] and class_weights(None, CLASSES, features(labels)) is None
    assert class_weights("balanced", CLASSES, features([0, 0, 2])) == pytest.approx([0.75, 1.0, 1.5])


@pytest.mark.parametrize(
    ("text", "head", "message"),
    [
        ("1,2", CLASSES, r"2 weights for 3 classes \(a, b, c\)"),
        ("1,2,x", CLASSES, "'x' is not a number; give 'balanced'"),
        ("1,0,2", CLASSES, "must be above zero"),
        ("balanced", Head(kind="regression"), "this task's label is of kind regression"),
        ("1,2,3", Head(kind="multilabel", labels=("a", "b", "c")), "multilabel"),
    ],
)
def test_wrong_weights_are_named(text: str, head: Head, message: str) -> None:
    with pytest.raises(UserError, match=message):
        class_weights(text, head, features([0, 1, 2]))


def test_the_weighted_loss_and_its_gradient_equal_torchs() -> None:
    torch = pytest.importorskip("torch")
    from electra.data.task_batches import collate_features
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.task_models import task_network, task_objective

    torch.manual_seed(3)
    shape = EncoderConfig(
        vocab_size=20, embedding_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, dropout=0.0
    )
    network = task_network(Encoder(shape), CLASSES).eval()
    weights = [0.3, 4.0, 1.7]
    objective = task_objective(network, CLASSES, weights)
    parts = [collate_features(features(labels), range(len(labels))) for labels in ([0, 2, 1, 1, 0], [2, 2, 0])]
    counts = [objective.counts(part)["loss"] for part in parts]
    losses = [objective(part).losses["loss"] for part in parts]
    assert [loss.count for loss in losses] == counts
    mean = sum(loss.total for loss in losses) / sum(counts)
    (found,) = torch.autograd.grad(mean, network.head.output.weight, retain_graph=True)
    logits, labels = torch.cat([network(part) for part in parts]), torch.tensor([0, 2, 1, 1, 0, 2, 2, 0])
    wanted = torch.nn.functional.cross_entropy(logits, labels, weight=torch.tensor(weights))
    torch.testing.assert_close(mean, wanted, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(wanted, network.head.output.weight)
    torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-5)


def test_weights_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Features say nothing: only the weights decide which class is answered."""
    pytest.importorskip("torch")
    from tiny_models import checkpoints

    rows = ["text,label", *(f"the film,{'rare' if i % 4 == 0 else 'usual'}" for i in range(40))]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    answers = {}
    for weights in ("1,1", "9,1"):
        words = ["finetune", "own", "--model", str(checkpoints()["discriminator"]), "--data", str(tmp_path), "--output", str(tmp_path / weights)]
        words += ["--epochs", "4", "--learning-rate", "1e-3", "--threads", "1", "--device", "cpu", "--batch-size", "8", "--dropout", "0"]
        assert cli.main([*words, "--class-weights", weights]) == 0
        answers[weights] = {json.loads(line)["prediction"] for line in (tmp_path / weights / "predictions.jsonl").read_text().splitlines()}
    assert answers == {"1,1": {"usual"}, "9,1": {"rare"}}
    capsys.readouterr()
    words[words.index("--output") + 1] = str(tmp_path / "other")
    assert cli.main([*words, "--class-weights", "1,2,3"]) == 2
    assert "3 weights for 2 classes (rare, usual)" in capsys.readouterr().err and not (tmp_path / "other").exists()


# ---- tables of other programs ----

TABLE = [{"text": 'she said "no"', "label": "a"}, {"text": "two\nlines; and, a tab\there", "label": "b"}, {"text": "plain | text", "label": "a"}]
WANTED = [(row["text"], row["label"]) for row in TABLE]


def table_examples(path: Path, **columns: Any) -> list[tuple[str, Any]]:
    return [(example.text, example.label) for example in own_task(Columns(**columns)).read(path, "train")]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("form", ["plain", "byte-order mark", "index column", "windows lines", "gz", "more quotes"])
def test_csv_of_pandas_in_any_form(separator: str, form: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / ("train.csv.gz" if form == "gz" else "train.csv")
    options: dict[str, Any] = {"index": form == "index column", "quoting": 1 if form == "more quotes" else 0}
    options |= {"encoding": "utf-8-sig"} if form == "byte-order mark" else {}
    options |= {"lineterminator": "\r\n"} if form == "windows lines" else {}
    pandas.DataFrame(TABLE).to_csv(path, sep=separator, **options)
    assert table_examples(path) == WANTED


@conforms(form="tsv of GLUE with stray quotes", where="finetune", outcome="exact", section="tables")
def test_tsv_of_pandas_and_of_glue(tmp_path: Path) -> None:
    """pandas quotes what needs it; in GLUE's files a quotation mark is text, which pandas reads only with QUOTE_NONE."""
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(TABLE).to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    assert table_examples(tmp_path / "a.tsv") == WANTED
    (tmp_path / "b.tsv").write_text('text\tlabel\n"A quotation that goes on\t1\nit ends" here\t0\n')
    plain = pandas.read_csv(tmp_path / "b.tsv", sep="\t", quoting=3)
    assert [text for text, _ in table_examples(tmp_path / "b.tsv")] == plain["text"].tolist()


@pytest.mark.parametrize("name", ["train.jsonl", "train.ndjson", "train.json", "list.json", "train.parquet", "saved", "train.arrow"])
def test_exports_of_datasets(name: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list(TABLE)
    path = tmp_path / name
    if name == "saved":
        data.save_to_disk(path)
    elif name == "train.arrow":
        data.save_to_disk(tmp_path / "folder")
        path = next((tmp_path / "folder").glob("*.arrow")).rename(path)
    elif name == "train.parquet":
        data.to_parquet(path)
    elif name == "list.json":
        path.write_text(json.dumps(TABLE, indent=2))
    else:
        data.to_json(path)
    assert table_examples(path) == WANTED


@conforms(form="names of a ClassLabel", where="finetune", outcome="exact", section="tables")
@pytest.mark.parametrize("name", ["train.parquet", "saved"])
def test_class_labels_of_datasets_are_their_names(name: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])})
    data = datasets.Dataset.from_list([{"text": "x", "label": 1}, {"text": "y", "label": 0}], features=features)
    path = tmp_path / name
    data.to_parquet(path) if name.endswith("parquet") else data.save_to_disk(path)
    assert table_examples(path) == [("x", data.features["label"].int2str(1)), ("y", data.features["label"].int2str(0))]
    datasets.DatasetDict({"train": data, "dev": data}).save_to_disk(tmp_path / "both")
    assert table_examples(tmp_path / "both") == table_examples(path)


@conforms(form="nested fields by dotted name", where="finetune", outcome="exact", section="tables")
def test_nested_fields_and_one_name_for_a_number(tmp_path: Path) -> None:
    rows = [{"review": {"body": "x", "stars": 1}}, {"review": {"body": "y", "stars": 1.0}}, {"review": {"body": "z", "stars": "1.0"}}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert table_examples(tmp_path / "train.jsonl", text="review.body", label="review.stars") == [("x", "1"), ("y", "1"), ("z", "1")]


@conforms(form="columns of 0 and 1 for several labels, one-hot", where="finetune", outcome="exact", section="tables")
def test_columns_of_zero_and_one(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,rude,funny\nx,1,0\ny,1.0,True\nz,0,false\n")
    columns = Columns(label_columns=("rude", "funny"))
    task = own_task(columns)
    examples = task.read(tmp_path / "train.csv", "train")
    assert [example.label for example in examples] == [("rude",), ("rude", "funny"), ()]
    assert task.head(examples) == Head(kind="multilabel", labels=("rude", "funny"))
    one_hot = own_task(Columns(label_columns=("rude", "funny"), kind="classification"))
    with pytest.raises(UserError, match=r"line 3: 2 of the --label-columns are 1; expected exactly one"):
        one_hot.read(tmp_path / "train.csv", "train")
    (tmp_path / "train.csv").write_text("text,rude,funny\nx,1,0\ny,0,1\n")
    examples = one_hot.read(tmp_path / "train.csv", "train")
    assert [example.label for example in examples] == ["rude", "funny"] and one_hot.head(examples).labels == ("rude", "funny")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nx,nan\n", r"line 2: column 'label' has no value \(nan\); fill it in, or remove the row"),
        ("a.csv", "text,label\nnan,a\n", r"column 'text' has no value \(nan\)"),
        ("a.jsonl", '{"text": "x", "label": NaN}\n', r"line 1: column 'label' has no value \(nan\)"),
        ("a.jsonl", '{"text": "x", "label": null}\n', r"column 'label' has no value \(null\)"),
        ("a.jsonl", '{"text": {"body": "x"}, "label": 1}\n', r"expected text; correct the row, or name a nested field: text\.FIELD"),
        ("a.json", "[1, 2]", r"item 1: expected a JSON object with named fields, got 1"),
        ("a.json", "[{}", r"is not valid JSON .*; give one list of objects, or one object a line"),
        ("a.csv", "body;stars\nx;1\n", r"no column 'text' .*columns: body, stars"),
        ("a.csv", "text,label\nx,a,b\n", r"line 2: 3 columns, the header has 2"),
        ("a.xlsx", "x", r"expected a file ending in \.csv, \.tsv"),
    ],
)
def test_wrong_tables_are_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        own_task(Columns()).read(tmp_path / name, "train")


@pytest.mark.parametrize(
    ("train", "dev", "kind", "message"),
    [
        ("x,a\nx,b\n", '"two\nlines",b\nx,c\nx,d\n', "auto", "line 4: unknown label 'c', which no training example has; known: a, b: correct or"),
        ("x,a|b\nx,b\n", "x,a\nx,a|e\n", "multilabel", "line 3: unknown label 'e', which no training example has"),
        ("".join(f"x,{i}.5\n" for i in range(12)), "x,1\nx,n.a.\n", "auto", "line 3: label 'n.a.' is not a number; correct it"),
    ],
)
def test_a_dev_label_without_training_examples_is_named_with_its_line(
    train: str, dev: str, kind: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rows in (("train.csv", train), ("dev.csv", dev)):
        (tmp_path / name).write_text(f"text,label\n{rows}")
    words = ["finetune", "own", "--model", str(checkpoints()["discriminator"]), "--data", str(tmp_path), "--kind", kind]
    assert cli.main([*words, "--output", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"electra: {tmp_path / 'dev.csv'}, {message}")
    assert not (tmp_path / "run").exists()


@conforms(form="csv.xz of a split in a folder", where="finetune", outcome="exact", section="tables")
def test_a_folder_of_compressed_splits(tmp_path: Path) -> None:
    import gzip
    import lzma

    (tmp_path / "train.csv.xz").write_bytes(lzma.compress(b"text,label\nx,a\n"))
    (tmp_path / "validation.jsonl.gz").write_bytes(gzip.compress(b'{"text": "y", "label": "b"}\n'))
    task = own_task(Columns())
    assert [[(e.text, e.label) for e in task.read(tmp_path, split)] for split in ("train", "dev")] == [[("x", "a")], [("y", "b")]]
    (tmp_path / "train.csv").write_text("text,label\nx,a\n")
    with pytest.raises(UserError, match=r"has 2 files train\.csv, train\.csv\.xz; give one by --train FILE"):
        task.read(tmp_path, "train")


LABELS: dict[str, tuple[list[Any], list[str]]] = {
    "whole numbers, as numbers, texts and with .0": ([1, "1", 1.0, "1.0", 0], ["1", "1", "1", "1", "0"]),
    "numbers and names together": ([1, "good", 0.5], ["1", "good", "0.5"]),
    "booleans, as values and as pandas writes them": ([True, "True", False], ["True", "True", "False"]),
    "names with white space around": ([" a", "a ", "a"], ["a", "a", "a"]),
    "names that other programs take for missing values": (["None", "NA", "N/A", "null"], ["None", "NA", "N/A", "null"]),
    "negative numbers": ([-1, "-1.0", 1], ["-1", "-1", "1"]),
    "numbers with leading zeros": (["01", "1"], ["01", "1"]),
}


@pytest.mark.parametrize("form", [case(form, form=f"labels: {form}", where="finetune", outcome="exact", section="tables") for form in LABELS])
def test_labels_are_the_same_in_every_format(form: str, tmp_path: Path) -> None:
    """jsonl as it is; csv as pandas writes the same values, as text."""
    pandas = pytest.importorskip("pandas")
    values, wanted = LABELS[form]
    rows = [{"text": "x", "label": value} for value in values]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pandas.DataFrame(rows, dtype=object).to_csv(tmp_path / "a.csv", index=False)
    pandas.DataFrame([{"text": "x", "label": str(value)} for value in values]).to_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        assert [label for _, label in table_examples(tmp_path / name)] == wanted


@pytest.mark.parametrize(
    ("value", "message"),
    [
        case(value, message, form=f"label: {form}", where="finetune", outcome="refused", section="tables")
        for form, value, message in (
            ("null", None, r"column 'label' has no value \(null\)"),
            ("NaN", float("nan"), r"column 'label' has no value \(nan\)"),
            ("pandas' <NA>", "<NA>", r"column 'label' has no value \(<NA>\)"),
            ("empty", "", "label column 'label' is empty"),
            ("white space", "  ", "label column 'label' is empty"),
            ("a list without --kind multilabel", ["a", "b"], r"column 'label' holds \['a', 'b'\], several labels; add --kind multilabel"),
            ("an object", {"a": 1}, "name a nested field: label.FIELD"),
        )
    ],
)
def test_labels_that_are_refused(value: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", "label": "a"}) + "\n" + json.dumps({"text": "x", "label": value}) + "\n")
    with pytest.raises(UserError, match=f"line 2: .*{message}"):
        table_examples(tmp_path / "a.jsonl")


def test_a_second_text_may_be_missing(tmp_path: Path) -> None:
    rows = [{"text": "x", "b": None, "label": "1"}, {"text": "y", "b": "z", "label": "0"}, {"text": "w", "label": "1"}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_examples(tmp_path / "train.jsonl", Columns(text_pair="b"), "train")
    assert [example.text_pair for example in found] == [None, "z", None]
    (tmp_path / "dev.jsonl").write_text('{"text": "x", "label": "1"}\n')
    with pytest.raises(UserError, match="no column 'b'"):
        list(read_examples(tmp_path / "dev.jsonl", Columns(text_pair="b"), "dev"))


def test_several_labels_have_the_names_of_one(tmp_path: Path) -> None:
    rows = [[1, 2], [1.0], ["1"], [True]]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({"text": "x", "label": labels}) + "\n" for labels in rows))
    found = read_examples(tmp_path / "train.jsonl", Columns(kind="multilabel"), "train")
    assert [example.label for example in found] == [("1", "2"), ("1",), ("1",), ("True",)]


def test_none_and_na_are_classes_and_empty_cells_are_missing(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\nx,None\ny,NA\n")
    assert table_examples(tmp_path / "train.csv") == [("x", "None"), ("y", "NA")]


# ---- as other tools write labels ----


def test_lists_in_cells_are_those_of_json_and_of_pandas(tmp_path: Path) -> None:
    import pandas

    rows = [["story", "it's"], ["music"], []]
    pandas.DataFrame({"text": list("abc"), "topics": rows}).to_csv(tmp_path / "a.csv", index=False)
    assert "['story'" in (tmp_path / "a.csv").read_text() and read(tmp_path / "a.csv") == [*map(tuple, rows)]


@pytest.mark.parametrize(
    "rows",
    [[[0.0, 0.0, 1.0]], [[1, 0], [0, 1]], [[True, False, True]]],
    ids=["floats", "never twice in a row", "booleans"],
)
def test_a_zero_or_one_for_each_label_is_refused(rows: list[Any], tmp_path: Path) -> None:
    """The form of `transformers`: read as names, every row would have the labels 0 and 1."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": "x", "topics": row}) + "\n" for row in rows))
    message = r"column 'topics' holds .* with a 0 or 1 for each label, whose names are not there; .*--label-columns"
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.jsonl")
    (tmp_path / "a.csv").write_text("text,topics\n" + "".join(f'x,"{row}"\n' for row in rows))
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.csv")


def test_a_list_of_one_label_is_a_class(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "meta": {"label": ["bad"]}}\n{"text": "x", "meta": {"label": "good"}}\n')
    assert read(tmp_path / "a.jsonl", Columns(label="meta.label")) == ["bad", "good"]
    (tmp_path / "a.csv").write_text("text,label\nx,['bad']\nx,good\n")
    assert read(tmp_path / "a.csv", Columns()) == ["bad", "good"]


@pytest.mark.parametrize("several", [False, True])
def test_classes_keep_the_order_of_a_class_label(several: bool, tmp_path: Path) -> None:
    """As `datasets` numbers them: 0 is the first name, also where the alphabet says otherwise. One without rows is no class."""
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["very bad", "so-so", "good"])
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.Sequence(names) if several else names})
    labels: list[Any] = [[0], [2, 0]] if several else [0, 2]
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": labels}, features).to_parquet(str(tmp_path / "train.parquet"))
    task = own_task(Columns(kind="multilabel" if several else "auto"))
    assert task.head(task.read(tmp_path, "train")).labels == ("very bad", "good")


def test_decimal_commas(tmp_path: Path) -> None:
    numbers = [f"{i},{i}5" for i in range(12)]
    for name, line in (("semicolons.csv", "{};{}"), ("commas.csv", '{},"{}"')):
        rows = [line.format("text", "label"), *(line.format("x", number) for number in numbers)]
        (tmp_path / name).write_text("\n".join(rows) + "\n")
    assert read(tmp_path / "semicolons.csv", Columns(kind="regression")) == [float(number.replace(",", ".")) for number in numbers]
    with pytest.raises(UserError, match=r"commas.csv, line 2: label '0,05' is not a number; write a point before the decimals"):
        read(tmp_path / "commas.csv", Columns(kind="regression"))
    (tmp_path / "both.csv").write_text("text;label\nx;2,5\nx;1.5\n")
    with pytest.raises(UserError, match=r"both\.csv: column 'label' has numbers with a point and with a comma"):
        read(tmp_path / "both.csv", Columns(kind="regression"))
    task = own_task(Columns())
    with pytest.raises(UserError, match=r"labels such as '0,05', numbers with a decimal comma; add --kind regression"):
        task.head(task.read(tmp_path / "semicolons.csv", "train"))


def test_a_data_set_of_the_hub_as_it_is_downloaded(tmp_path: Path) -> None:
    import pandas

    (tmp_path / "data").mkdir()
    for split in ("train", "validation"):
        pandas.DataFrame({"text": ["a"], "label": [split]}).to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    task = own_task(Columns())
    for folder in (tmp_path, tmp_path / "data"):
        assert [task.read(folder, split)[0].label for split in ("train", "dev")] == ["train", "validation"]
    pandas.DataFrame({"text": ["a"], "label": ["x"]}).to_parquet(tmp_path / "data" / "train-00001-of-00002.parquet")
    with pytest.raises(UserError, match=r"has the train split in 2 files \(train-00000-of-00001.parquet, ...\); write one"):
        task.read(tmp_path, "train")
