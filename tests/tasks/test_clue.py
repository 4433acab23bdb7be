"""CLUE's tasks in their official layouts: real splits of FewCLUE, and small files made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from electra.contracts import Example
from electra.errors import UserError
from electra.tasks.clue import CLUE, LAYOUTS, choose_fold
from electra.tasks.registry import find_task

WSC = {"span1_text": "猫", "span1_index": 2, "span2_text": "它们", "span2_index": 5}

# A row of every task -> (text, text_pair, label).
ROWS: dict[str, tuple[dict[str, Any], str, str | None, str]] = {
    "afqmc": ({"sentence1": "借呗还款", "sentence2": "怎么还款", "label": "0"}, "借呗还款", "怎么还款", "0"),
    "tnews": ({"label": "102", "label_desc": "news_entertainment", "sentence": "江疏影甜甜圈", "keywords": "江疏影"}, "江疏影甜甜圈", None, "102"),
    "iflytek": ({"label": "110", "label_des": "社区超市", "sentence": "朴朴快送超市"}, "朴朴快送超市", None, "110"),
    "cmnli": ({"sentence1": "新的权利", "sentence2": "每个人", "label": "neutral"}, "新的权利", "每个人", "neutral"),
    "cluewsc": ({"target": WSC, "idx": 0, "label": "true", "text": "那只猫说，它们饿了。"}, "那只_猫_说，[它们]饿了。", None, "true"),
    "csl": ({"id": 1, "abst": "为解决问题", "keyword": ["水声", "信号"], "label": "1"}, "水声 信号", "为解决问题", "1"),
    "ocnli": (
        {"level": "easy", "sentence1": "甲", "sentence2": "乙", "label": "contradiction", "label0": None, "genre": "news", "prem_id": "n", "id": 0},
        "甲",
        "乙",
        "contradiction",
    ),
    "bustm": ({"id": 0, "sentence1": "叫爸爸", "sentence2": "叫我", "label": "1"}, "叫爸爸", "叫我", "1"),
}


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ROWS)
def test_clue_layout(name: str, tmp_path: Path) -> None:
    row, text, pair, label = ROWS[name]
    folder = tmp_path / f"{'CLUEWSC2020' if name == 'cluewsc' else name.upper()}_public"
    lines(folder / "train.json", row)
    unlabelled = {key: value for key, value in row.items() if not key.startswith("label")}
    lines(folder / "test.json", unlabelled | {"id": 5})
    task = find_task(name)
    for place in (folder, tmp_path):
        assert task.read(place, "train") == [Example(id="train-0", text=text, text_pair=pair, label=label)]
        assert task.read(place, "test") == [Example(id="test-5", text=text, text_pair=pair, label=None)]
    assert label in task.head([]).labels


def test_spans_are_marked_in_either_order(tmp_path: Path) -> None:
    """What the baseline's list insertions give, written out."""
    turned = {"span1_text": "李四", "span1_index": 4, "span2_text": "他", "span2_index": 0}
    lines(tmp_path / "train.json", {"target": turned, "label": "false", "text": "他告诉了李四！"})
    assert find_task("cluewsc").read(tmp_path, "train")[0].text == "[他]告诉了_李四_！"


def test_pairs_without_agreement_are_left_out(tmp_path: Path) -> None:
    rows = [{"sentence1": "甲", "sentence2": str(i), "label": label} for i, label in enumerate(("neutral", "-", "entailment"))]
    lines(tmp_path / "train.50k.json", *rows)
    assert [(e.id, e.text_pair) for e in find_task("ocnli").read(tmp_path, "train")] == [("train-0", "0"), ("train-2", "2")]
    with pytest.raises(UserError, match="label '-' is not one of afqmc's"):
        lines(tmp_path / "afqmc" / "train.json", {"sentence1": "a", "sentence2": "b", "label": "-"})
        find_task("afqmc").read(tmp_path / "afqmc", "train")


def test_a_labels_file_must_agree(tmp_path: Path) -> None:
    row = ROWS["tnews"][0]
    lines(tmp_path / "train.json", row)
    known = [{"label": label, "label_desc": "x"} for label in LAYOUTS["tnews"].labels]
    assert len(known) == 15 and len(LAYOUTS["iflytek"].labels) == 119
    lines(tmp_path / "labels.json", *known)
    assert len(find_task("tnews").read(tmp_path, "train")) == 1
    lines(tmp_path / "labels.json", *known, {"label": "200", "label_desc": "new"})
    with pytest.raises(UserError, match=r"differ in the label '200'.*'own'"):
        find_task("tnews").read(tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("tnews", '{"sentence": ', "line 1: not valid JSON"),
        ("tnews", "[1]", "expected a JSON object"),
        ("tnews", {"sentence": "x", "label": "105"}, "label '105' is not one of tnews's"),
        ("tnews", {"text": "x", "label": "102"}, r"no text 'sentence' \(fields: text, label\)"),
        ("tnews", {"sentence": "x"}, "label 'None' is not one of tnews's"),
        ("csl", {"abst": "x", "keyword": "a,b", "label": "1"}, "'keyword' is not a list"),
        ("cluewsc", {"text": "他", "label": "true"}, "no object 'target'"),
        ("cluewsc", {"text": "猫和它们", "label": "true", "target": WSC}, "span1 '猫' is not at character 2"),
        ("cmnli", {"sentence1": "x", "sentence2": "y", "label": "entails"}, "did you mean 'entailment'"),
    ],
)
def test_wrong_rows_are_named(name: str, row: Any, message: str, tmp_path: Path) -> None:
    lines(tmp_path / "train.json", row)
    with pytest.raises(UserError, match=message):
        find_task(name).read(tmp_path, "train")


def test_wrong_folders_and_folds(tmp_path: Path) -> None:
    task = find_task("tnews")
    with pytest.raises(UserError, match=r"neither train\.json nor a folder tnews"):
        task.read(tmp_path, "train")
    lines(tmp_path / "train_0.json", ROWS["tnews"][0])
    with pytest.raises(UserError, match=r"FewCLUE's splits of train.*--fold 0"):
        task.read(tmp_path, "train")
    with pytest.raises(UserError, match=r"has no train_1\.json"):
        choose_fold(task, "1").read(tmp_path, "train")
    with pytest.raises(UserError, match=r"has no dev\.json"):
        task.read(tmp_path, "dev")
    with pytest.raises(UserError, match="--fold 9: expected one of 0, 1"):
        choose_fold(task, "9")
    for other in ("sst2", "chnsenticorp"):
        with pytest.raises(UserError, match=rf"{other} has none"):
            choose_fold(find_task(other), "0")
    assert choose_fold(task, None) is task


# ---- real data ----

SIZES = {"tnews": (1185, 1098, 2010), "iflytek": (3024, 1373, 1749), "csl": (160, 160, 2838), "ocnli": (160, 160, 2520)}
SIZES |= {"cluewsc": (160, 159, 976), "bustm": (160, 160, 1772)}


@pytest.mark.realdata
@pytest.mark.parametrize("name", SIZES)
def test_fewclue_is_read_whole(name: str, data_root: Path) -> None:
    place = data_root / "clue" / "FewCLUE"
    task = choose_fold(find_task(name), "few_all")
    splits = [task.read(place, split) for split in ("train", "dev", "test")]
    assert tuple(map(len, splits)) == SIZES[name]
    for examples in splits:
        assert all(e.text and e.label in task.head([]).labels and (e.text_pair is None) == (splits[0][0].text_pair is None) for e in examples)
        assert len({e.id for e in examples}) == len(examples)
    for fold in "01234":
        part = choose_fold(find_task(name), fold)
        raw = (place / name / f"train_{fold}.json").read_text(encoding="utf-8").strip().split("\n")
        assert len(part.read(place, "train")) == len(raw)


@pytest.mark.realdata
def test_real_spans_are_marked(data_root: Path) -> None:
    task = choose_fold(find_task("cluewsc"), "few_all")
    rows = [json.loads(line) for line in (data_root / "clue/FewCLUE/cluewsc/test_public.json").read_text(encoding="utf-8").splitlines()]
    for example, row in zip(task.read(data_root / "clue" / "FewCLUE", "test"), rows, strict=True):
        target = row["target"]
        assert f"_{target['span1_text']}_" in example.text and f"[{target['span2_text']}]" in example.text
        assert len(example.text) == len(row["text"]) + 4


@pytest.mark.realdata
def test_chnsenticorp_is_read_whole(data_root: Path) -> None:
    task = find_task("chnsenticorp")
    assert [len(task.read(data_root / "clue", split)) for split in ("train", "dev", "test")] == [9600, 1200, 1200]
    assert task.read(data_root / "clue" / "ChnSentiCorp", "train")[0].text.startswith("选择珠江花园的原因就是方便")


def test_every_task_has_a_layout_and_accuracy() -> None:
    assert set(CLUE) == set(ROWS) | {"chnsenticorp"} and all(task.main_metric == "accuracy" for task in CLUE.values())
