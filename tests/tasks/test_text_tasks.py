"""Files -> examples -> features: equal to the original's, whatever the packaging; wrong files are one clear line."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conformance import case, conforms

from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.task_batches import FeatureStream, evaluation_batches
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.finetuning.baselines import tfidf_baseline
from electra.tasks.custom import Columns, own_task, resolve_metric
from electra.tasks.registry import TASKS, find_task
from electra.tasks.text_tasks import choose_examples, decode_texts, featurize_texts, fit_temperature, hold_out

# A row of every GLUE file as the benchmark lays it out: (header, row, text, text_pair, label).
LAYOUTS = {
    "sst2": ("sentence\tlabel", 'a "fine film \t1', 'a "fine film ', None, "1"),
    "cola": (None, "gj04\t0\t*\tFilm the is.", "Film the is.", None, "0"),
    "mrpc": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", '1\t5\t6\t"One\tTwo"', '"One', 'Two"', "1"),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\t" + "none\t" * 6 + "A\tB\t3.800",
        "A",
        "B",
        3.8,
    ),
    "rte": ("index\tsentence1\tsentence2\tlabel", "0\tA\u2028a\tB\tnot_entailment", "A\u2028a", "B", "not_entailment"),
    "wnli": ("index\tsentence1\tsentence2\tlabel", "0\tA\tB\t0", "A", "B", "0"),
}
FOLDERS = {"sst2": "SST-2", "cola": "CoLA", "mrpc": "MRPC", "stsb": "STS-B", "rte": "RTE", "wnli": "WNLI"}


def _write_glue(root: Path, name: str, rows: list[str] | None = None, end: str = "\n") -> Path:
    header, row, *_ = LAYOUTS[name]
    folder = root / FOLDERS[name]
    folder.mkdir(parents=True, exist_ok=True)
    lines = ([] if header is None else [header]) + (rows if rows is not None else [row])
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_bytes("".join(line + end for line in lines).encode())
    return folder


def ends(end: str, form: str) -> object:
    return case(
        end, form=f"a benchmark's files with lines ended by {form}", where=("finetune", "evaluate", "dataset"), outcome="exact", section="tables"
    )


@pytest.mark.parametrize("end", [ends("\n", "LF"), ends("\r\n", "CR LF"), ends("\r", "CR"), ends("\r\r\n", "CR CR LF")])
@pytest.mark.parametrize("name", LAYOUTS)
def test_glue_layout(name: str, end: str, tmp_path: Path) -> None:
    folder = _write_glue(tmp_path, name, end=end)
    _, _, text, pair, label = LAYOUTS[name]
    task = find_task(name)
    for place in (folder, tmp_path):
        assert task.read(place, "train") == [Example(id="train-0", text=text, text_pair=pair, label=label)]
    head = task.head([])
    example, feature = Example(id="0", text="a"), Features(ids=[2, 3], segments=[0, 0], example=0)
    assert task.decode([np.zeros(head.num_outputs, np.float32)], [feature], [example], head)[0].label in (head.labels or (0.0,))
    assert task.unordered_pairs == (name in ("mrpc", "stsb"))


def test_test_files_have_no_labels(tmp_path: Path) -> None:
    for name, content in {
        "sst2": "index\tsentence\n0\tfine\n",
        "cola": "index\tsentence\n0\tFine.\n",
        "mrpc": "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tA\tB\n",
    }.items():
        folder = tmp_path / FOLDERS[name]
        folder.mkdir()
        (folder / "test.tsv").write_text(content)
        (example,) = find_task(name).read(folder, "test")
        assert example.label is None and example.text in ("fine", "Fine.", "A")


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("sst2", ["no label here"], r"train.tsv, line 2: 1 columns, expected 2"),
        ("sst2", ["fine\t3"], r"line 2: label '3' is not one of SST-2's"),
        ("cola", ["gj04\tx\t\tFine."], r"line 1: label 'x'"),
        ("stsb", ["0\t" + "none\t" * 6 + "A\tB\t7"], r"score 7 is not within 0..5"),
        ("stsb", ["0\t" + "none\t" * 6 + "A\tB\thigh"], r"'high' is not a number"),
        ("rte", [], r"header but no examples"),
        ("rte", ["0\tA\tB\tnot-entailment"], r"did you mean 'not_entailment'"),
    ],
)
def test_wrong_rows_are_named(name: str, rows: list[str], message: str, tmp_path: Path) -> None:
    folder = _write_glue(tmp_path, name, rows)
    with pytest.raises(UserError, match=message):
        find_task(name).read(folder, "train")


def test_wrong_folders_and_files(tmp_path: Path) -> None:
    sst2 = find_task("sst2")
    _write_glue(tmp_path, "rte")
    with pytest.raises(UserError, match="no column 'sentence'"):
        sst2.read(tmp_path / "RTE", "train")
    with pytest.raises(UserError, match=r"neither train\.tsv nor a folder SST-2"):
        sst2.read(tmp_path, "train")
    with pytest.raises(UserError, match="not found"):
        sst2.read(tmp_path / "nowhere", "train")
    file = tmp_path / "RTE" / "train.tsv"
    with pytest.raises(UserError, match="is a file"):
        sst2.read(file, "train")
    for content, message in ((b"", "is empty"), (b"\xff\xfe\x00", "UTF-16 text"), (b"a\xff", "not UTF-8"), (b"a\0b\tc\n", "binary")):
        file.write_bytes(content)
        with pytest.raises(UserError, match=message):
            find_task("rte").read(tmp_path, "train")


def test_names_of_tasks() -> None:
    assert find_task("SST-2") is TASKS["sst2"] and find_task("sts-b") is TASKS["stsb"]
    with pytest.raises(UserError, match=r"unknown task 'sst'; did you mean 'sst2'"):
        find_task("sst")


# ---- features ----


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "reference", "folder"), [("sst2", "sst", "SST-2"), ("mrpc", "mrpc", "MRPC")])
def test_features_equal_the_originals(name: str, reference: str, folder: str, data_root: Path, reference_root: Path) -> None:
    expected = json.loads((reference_root / "tf1-features" / f"{reference}.json").read_text())
    task = find_task(name)
    examples = task.read(data_root / "glue" / folder, "train")
    assert len(examples) == expected["examples_in_total"]
    examples = examples[: len(expected["features"])]
    head = task.head(examples)
    features = task.featurize(examples, load_tokenizer(data_root / "vocab" / "uncased-en.txt"), expected["settings"]["max_seq_length"], head)
    for example, feature, wanted in zip(examples, features, expected["features"], strict=True):
        assert (example.text, example.text_pair, example.label) == (wanted["text_a"], wanted["text_b"], wanted["label"])
        assert (list(feature.ids), list(feature.segments), feature.example) == (wanted["input_ids"], wanted["segment_ids"], wanted["example"])
        assert head.labels[int(feature.label or 0)] == wanted["label"]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "sizes"),
    [("sst2", (67349, 872)), ("cola", (8551, 1043)), ("mrpc", (3668, 408)), ("stsb", (5749, 1500)), ("rte", (2490, 277)), ("wnli", (635, 71))],
)
def test_real_files_are_read_whole(name: str, sizes: tuple[int, int], data_root: Path) -> None:
    task = find_task(name)
    splits = [task.read(data_root / "glue", split) for split in ("train", "dev")]
    assert tuple(map(len, splits)) == sizes
    head = task.head(splits[0])
    if head.labels:
        assert {example.label for example in splits[0]} == set(head.labels)


def test_swapped_copies_and_choice() -> None:
    examples = [Example(id=str(i), text=f"a{i}", text_pair=f"b{i}", label="1") for i in range(100)]
    chosen = choose_examples(examples, 10, swapped=True)
    assert len(chosen) == 20 and chosen[:10] == choose_examples(examples, 10, swapped=False)
    assert [(e.text, e.text_pair) for e in chosen[10:]] == [(e.text_pair, e.text) for e in chosen[:10]]
    assert choose_examples(examples, 0, swapped=False) == examples


def decode(logits: np.ndarray, head: Head) -> list[Prediction]:
    """One window each."""
    examples = [Example(id=str(i), text="a") for i in range(len(logits))]
    return decode_texts(list(logits), [Features(ids=[2, 3], segments=[0, 0], example=i) for i in range(len(logits))], examples, head)


def test_windows_are_averaged_by_the_tokens_they_answer_for() -> None:
    head = Head(kind="classification", labels=("a", "b"))
    outputs = [np.log(np.array([p, 1 - p], np.float32)) for p in (0.9, 0.1, 0.3)]
    features = [Features(ids=[0] * 9, segments=[0] * 9, example=i, weight=weight) for weight, i in ((6, 0), (2, 0), (5, 1))]
    (first, second) = decode_texts(outputs, features, [Example(id="0", text=""), Example(id="1", text="")], head)
    assert first.probabilities["a"] == pytest.approx(0.75 * 0.9 + 0.25 * 0.1) and first.num_windows == 2
    assert second.label == "b" and second.num_windows == 1


def test_several_labels_at_once_are_decoded_each_by_itself() -> None:
    head = Head(kind="multilabel", labels=("a", "b", "c"))
    (found,) = decode(np.array([[2.0, -1.0, 0.5]], np.float32), head)
    assert found.label == ("a", "c") and found.probabilities["b"] == pytest.approx(1 / (1 + np.e))


def test_decoding() -> None:
    head = Head(kind="classification", labels=("a", "b"))
    (first, second) = decode(np.array([[0.0, np.log(3.0)], [1000.0, 0.0]], np.float32), head)
    assert first.label == "b" and first.probability == pytest.approx(0.75) and first.probabilities["a"] == pytest.approx(0.25)
    assert second.label == "a" and second.probability == pytest.approx(1.0)
    assert decode(np.array([[2.5], [3.0]], np.float32), Head(kind="regression"))[1].label == 3.0


def test_regression_targets_are_scaled(tiny_vocab: Path) -> None:
    task = find_task("stsb")
    examples = [Example(id="0", text="the chef", text_pair="a meal", label=value) for value in (0.0, 2.5, 5.0)]
    assert [f.label for f in task.featurize(examples, load_tokenizer(tiny_vocab), 16, task.head(examples))] == [0.0, 0.5, 1.0]


# ---- IMDb ----

REVIEWS = {
    "aclImdb/train/pos/0_9.txt": "Good<br /><br />film",
    "aclImdb/train/pos/10_8.txt": "Very good",
    "aclImdb/train/neg/2_1.txt": "Bad",
    "aclImdb/train/unsup/3_0.txt": "unlabelled",
    "aclImdb/test/pos/0_10.txt": "Fine",
    "aclImdb/test/neg/0_3.txt": "Poor",
    "aclImdb/README": "not a review",
}


def _archive(path: Path, reviews: dict[str, str], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, text in reviews.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize("kind", ["xz", "gz"])
def test_imdb_archive_equals_its_folder(kind: str, tmp_path: Path) -> None:
    for name, text in REVIEWS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    archive = _archive(tmp_path / f"imdb.tar.{kind}", REVIEWS, f"w:{kind}")
    task = find_task("imdb")
    train = task.read(archive, "train")
    assert train == task.read(tmp_path, "train") == task.read(tmp_path / "aclImdb", "train")
    assert [(e.id, e.text, e.label) for e in train] == [
        ("train/neg/2", "Bad", "neg"),
        ("train/pos/0", "Good  film", "pos"),
        ("train/pos/10", "Very good", "pos"),
    ]
    assert [e.text for e in task.read(archive, "dev")] == ["Poor", "Fine"]


def test_imdb_archive_is_never_unpacked_and_bad_ones_are_refused(tmp_path: Path) -> None:
    climbing = {**REVIEWS, "../train/pos/99_9.txt": "climbed", "/tmp/train/neg/98_1.txt": "absolute", "aclImdb/train/pos/../../../97_1.txt": "up"}
    archive = _archive(tmp_path / "climbing.tar.gz", climbing, "w:gz")
    before = sorted(tmp_path.rglob("*"))
    assert len(find_task("imdb").read(archive, "train")) == 3
    assert sorted(tmp_path.rglob("*")) == before
    whole = _archive(tmp_path / "whole.tar.xz", {f"aclImdb/train/pos/{i}_9.txt": f"{i * i} film " * 50 for i in range(300)}, "w:xz").read_bytes()
    for i, damaged in enumerate((whole[: len(whole) // 2], whole[:200] + b"\xff" * 40 + whole[240:], b"plain text")):
        path = tmp_path / f"damaged-{i}.tar.xz"
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"download it again"):
            find_task("imdb").read(path, "train")
    with pytest.raises(UserError, match="no reviews under train"):
        find_task("imdb").read(tmp_path, "train")


@conforms(form="a benchmark's files in UTF-16", where=("finetune", "evaluate", "dataset"), outcome="refused", section="tables")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_is_refused_by_name(encoding: str, tmp_path: Path) -> None:
    folder = _write_glue(tmp_path, "sst2")
    (folder / "train.tsv").write_bytes((folder / "train.tsv").read_text(encoding="utf-8").encode(encoding))
    with pytest.raises(UserError, match=r"train\.tsv is (UTF-16 text, expected UTF-8; convert it|a binary file, not text \(or UTF-16: convert it)"):
        find_task("sst2").read(folder, "train")


@conforms(form="reviews with a byte-order mark", where=("finetune", "evaluate", "dataset"), outcome="exact", section="tables")
def test_a_byte_order_mark_is_no_part_of_a_review(tmp_path: Path) -> None:
    for name in ("train/pos/0_9.txt", "train/neg/0_1.txt", "test/pos/0_9.txt", "test/neg/0_1.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes("\ufeffA film".encode())
    assert [example.text for example in find_task("imdb").read(tmp_path, "train")] == ["A film", "A film"]


@pytest.mark.slow
@pytest.mark.realdata
def test_imdb_archive_of_the_real_data(data_root: Path) -> None:
    task = find_task("imdb")
    assert [len(task.read(data_root / "imdb" / "aclImdb_v1.tar.xz", split)) for split in ("train", "dev")] == [24996, 24996]


# ---- one's own files ----

OWN_FILES = {
    "a.csv": 'review,stars,id\n"good, ""very"" good",5,1\n"two\nlines",1,2\n',
    "a.tsv": 'review\tstars\tid\ngood, "very" good\t5\t1\ntwo\\nlines\t1\t2\n',
    "a.jsonl": '{"review": "good, \\"very\\" good", "stars": 5}\n\n{"review": "two\\nlines", "stars": 1}\n',
}


def _own(**columns: str) -> Task:
    return own_task(Columns(**{"text": "review", "label": "stars", **columns}))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OWN_FILES)
def test_user_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(OWN_FILES[name])
    examples = _own().read(tmp_path / name, "train")
    assert [(e.text.replace("\\n", "\n"), e.label) for e in examples] == [('good, "very" good', "5"), ("two\nlines", "1")]
    assert _own().head(examples).labels == ("1", "5")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "reviews,stars\ngood,1\n",
            r"line 2: no column 'review' \(did you mean 'reviews'\? columns: reviews, stars\); choose one by --text",
        ),
        ("a.csv", "review,star\ngood,1\n", r"no column 'stars'.*--label"),
        ("a.csv", "review,stars\ngood\n", r"line 2: 1 columns, the header has 2"),
        ("a.csv", 'review,stars\n"good,1\n', r"not valid csv"),
        ("a.csv", "review,stars\ngood,\n", r"line 2: the label column 'stars' is empty"),
        ("a.csv", "review,stars\n", r"no examples"),
        ("a.csv", "review,review\na,b\n", r"two columns have the same name"),
        ("a.csv", "", r"is empty"),
        ("a.jsonl", '{"review": "good", "stars": 1}\n{"review": \n', r"line 2: not valid JSON"),
        ("a.jsonl", "[1, 2]\n", r"line 1: expected a JSON object"),
        ("a.jsonl", '{"review": ["good"], "stars": 1}\n', r"column 'review' holds"),
        ("a.txt", "good\n", r"expected a file ending in .csv, .tsv, .jsonl"),
    ],
)
def test_wrong_user_files_are_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        _own().read(tmp_path / name, "train")


def _labelled(labels: list[str]) -> list[Example]:
    return [Example(id=str(i), text="x", label=label) for i, label in enumerate(labels)]


def test_user_labels_decide_the_head() -> None:
    task = _own()
    assert task.head(_labelled(["10", "9", "10"])).labels == ("9", "10")
    assert task.head(_labelled(["yes", "no"])).labels == ("no", "yes")
    numbers = task.head(_labelled([str(i / 4) for i in range(12)]))
    assert (numbers.kind, numbers.offset, numbers.scale) == ("regression", 0.0, 2.75) and resolve_metric(task, numbers).main_metric == "pearson"
    assert _own(kind="classification").head(_labelled([str(i / 4) for i in range(12)])).num_outputs == 12
    assert _own(kind="regression").head(_labelled(["1", "3"])).scale == 2.0
    for labels, message in ((["1", "1"], "single label"), ([str(i) for i in range(50)], "50 different labels in 50 rows")):
        with pytest.raises(UserError, match=message):
            task.head(_labelled(labels))
    with pytest.raises(UserError, match="nothing to learn"):
        _own(kind="regression").head(_labelled(["2", "2"]))


def test_an_unknown_label_in_dev_is_named(tiny_vocab: Path) -> None:
    with pytest.raises(UserError, match=r"example 0: unknown label 'maybe', which no training example has; known: no, yes: correct"):
        featurize_texts(_labelled(["maybe"]), load_tokenizer(tiny_vocab), 16, Head(kind="classification", labels=("no", "yes")))


# ---- batches ----


def _features(count: int) -> list[Features]:
    rng = np.random.default_rng(1)
    return [Features(ids=[i] * int(n), segments=[0] * int(n), example=i, label=i % 3) for i, n in enumerate(rng.integers(1, 60, count))]


def _epoch(stream: FeatureStream) -> list[int]:
    return [int(i) for _ in range(stream.batches_per_epoch) for i in _firsts(next(stream))]


def _firsts(batch: object) -> list[int]:
    return [int(batch.ids[batch.rows == row][0]) for row in range(len(batch.lengths))]  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [1, 7, 8, 100])
def test_every_epoch_has_each_example_once(count: int) -> None:
    stream = FeatureStream(_features(count), 8, seed=3)
    epochs = [_epoch(stream) for _ in range(3)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count > 8:
        assert epochs[0] != epochs[1] != epochs[2]
        assert _epoch(FeatureStream(_features(count), 8, seed=3)) == epochs[0] != _epoch(FeatureStream(_features(count), 8, seed=4))


def test_labels_and_keys_follow_their_examples() -> None:
    batch = next(FeatureStream(_features(50), 16, seed=0))
    assert batch.labels is not None and batch.labels.tolist() == [i % 3 for i in _firsts(batch)] and str(batch.labels.dtype) == "torch.int64"
    stream = FeatureStream(_features(50), 16, seed=0)
    keys = [int(key) for _ in range(8) for key in next(stream).keys]
    assert len(set(keys)) == len(keys) == 100


def test_position_is_restored_exactly() -> None:
    features = _features(100)
    stream = FeatureStream(features, 8, seed=3)
    for steps in (0, 5, 13, 20):
        stream = FeatureStream(features, 8, seed=3)
        for _ in range(steps):
            next(stream)
        state = json.loads(json.dumps(stream.state()))
        expected = [next(stream) for _ in range(15)]
        other = FeatureStream(features, 8, seed=3)
        other.load_state(state)
        for a, b in zip(expected, (next(other) for _ in range(15)), strict=True):
            assert a.ids.tolist() == b.ids.tolist() and a.keys.tolist() == b.keys.tolist()


def test_two_ranks_see_what_one_would() -> None:
    features = _features(97)
    one = FeatureStream(features, 8, seed=2)
    two = [FeatureStream(features, 4, seed=2, rank=rank, world_size=2) for rank in range(2)]
    for _ in range(2 * one.batches_per_epoch):
        whole = _firsts(next(one))
        parts = [_firsts(next(stream)) for stream in two]
        assert all(parts) and whole[0::2] == parts[0] and whole[1::2] == parts[1]


def test_lengths_are_grouped() -> None:
    stream = FeatureStream(_features(2000), 16, seed=0)
    padded = real = 0
    for _ in range(stream.batches_per_epoch):
        batch = next(stream)
        padded += batch.max_length * len(batch.lengths)
        real += batch.num_tokens
    assert padded < 1.1 * real


def test_evaluation_sees_each_once() -> None:
    features = _features(37)
    seen = []
    for indices, batch in evaluation_batches(features, 8):
        assert [len(features[i].ids) for i in indices] == list(batch.lengths)
        seen += indices
    assert sorted(seen) == list(range(37))


# ---- baseline ----


def test_baseline_learns_words() -> None:
    train = [Example(id=str(i), text=f"{'good' if i % 2 else 'bad'} film {i}", label=str(i % 2)) for i in range(120)]
    assert tfidf_baseline(train, train[:40]) == 1.0
    with pytest.raises(UserError, match="two classes"):
        tfidf_baseline(train[:1], train)


@pytest.mark.realdata
def test_baseline_on_sst2(data_root: Path) -> None:
    task = find_task("sst2")
    assert tfidf_baseline(task.read(data_root / "glue", "train"), task.read(data_root / "glue", "dev")) == pytest.approx(0.819, abs=0.003)


# ---- calibration ----


def _inputs(windows: list[int]) -> list[Features]:
    """Features of examples with so many windows each, a later window weighing more."""
    return [Features(ids=(), segments=(), example=i, weight=1 + k) for i, count in enumerate(windows) for k in range(count)]


@pytest.mark.parametrize(
    ("kind", "classes", "windows"), [("classification", 2, 1), ("classification", 5, 1), ("classification", 3, 3), ("multilabel", 4, 1)]
)
def test_the_temperature_has_the_least_negative_log_likelihood(kind: str, classes: int, windows: int) -> None:
    """Against torch's cross-entropies, tried at 1,000 temperatures; labels are drawn at temperature 2.5."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(400 * windows, classes)) * 4
    soft = torch.tensor(logits / 2.5)
    head = Head(kind=kind, labels=tuple("abcde"[:classes]))
    features = _inputs([windows] * 400)
    weight = torch.tensor([feature.weight for feature in features], dtype=torch.double).view(400, windows, 1)
    weight = weight / weight.sum(1, keepdim=True)

    def probabilities(values: object) -> object:
        each = torch.sigmoid(values) if kind == "multilabel" else torch.softmax(values, -1)
        return (each.view(400, windows, classes) * weight).sum(1)

    drawn = torch.bernoulli(probabilities(soft), generator=torch.Generator().manual_seed(1))
    if kind == "classification":
        index = torch.multinomial(probabilities(soft), 1, generator=torch.Generator().manual_seed(1))[:, 0]
        drawn = torch.nn.functional.one_hot(index, classes).double()

    def loss(temperature: float) -> float:
        p = probabilities(torch.tensor(logits / temperature))
        if kind == "multilabel":
            return float(torch.nn.functional.binary_cross_entropy(p, drawn, reduction="sum"))
        return float(torch.nn.functional.nll_loss(p.log(), drawn.argmax(-1), reduction="sum"))

    tried = np.linspace(1.8, 3.8, 1001)
    expected = tried[int(np.argmin([loss(value) for value in tried]))]
    found = fit_temperature(logits, features, drawn.numpy(), head)
    assert found == pytest.approx(expected, abs=1.1e-3) and 1.9 < found < 3.7
    assert fit_temperature(logits, features, drawn.numpy(), head) == found


def test_answers_that_are_all_right_have_no_temperature() -> None:
    gold = np.eye(3)[np.arange(120) % 3]
    assert fit_temperature(gold * 2 + 0.5, _inputs([1] * 120), gold, Head(kind="classification", labels=("a", "b", "c"))) == 1.0


def test_what_is_held_out_is_no_part_of_what_is_trained_on() -> None:
    """Phrases of SST-2, premises with three hypotheses, copies; Chinese by characters. Alone, 5% of 600 are too few: 100 are held out."""
    rng = np.random.default_rng(3)
    words = [f"w{i}" for i in range(400)]
    rows: list[tuple[str, str | None]] = []
    for i in range(120):
        sentence = " ".join(rng.choice(words, 12))
        rows += [(sentence, None), (sentence.upper(), None), (" ".join(sentence.split()[2:8]), None), ("good film", None)]
        premise = f"premise {' '.join(rng.choice(words, 5))}"
        rows += [(premise, f"hypothesis {k} {i}") for k in range(3)]
    rows += [(chr(0x4E00 + i) * 3 + "電影很好看" + chr(0x5E00 + i), None) for i in range(9)] + [("電影很好看", None)]
    examples = [Example(id=str(i), text=text, text_pair=pair, label="0") for i, (text, pair) in enumerate(rows)]
    training, held_out = hold_out(examples)
    assert len(training) + len(held_out) == len(rows) and 100 <= len(held_out) < 107 and hold_out(examples) == (training, held_out)
    trained = [f" {text.casefold()} " for example in training for text in (example.text, example.text_pair) if text]
    for example in held_out:
        for text in (example.text.casefold(), example.text_pair or ""):
            assert not any(f" {text} " in other or other in f" {text} " for other in trained if text), text
    assert len({example.text[3:8] == "電影很好看" or example.text == "電影很好看" for example in held_out if "電影" in example.text}) <= 1


def test_examples_that_are_all_related_cannot_be_held_out() -> None:
    examples = [Example(id=str(i), text="one and the same text", text_pair=f"question {i}", label="0") for i in range(600)]
    with pytest.raises(UserError, match="600 training examples, most of them parts of each other, so that only 0 can be held out; expected 500"):
        hold_out(examples)
