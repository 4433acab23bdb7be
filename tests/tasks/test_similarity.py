"""The task 'embed': which tables are which kind of data, rankings and scores equal to sentence-transformers' evaluators, wrong files by name."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import conforms

from electra.contracts import Example, Head
from electra.errors import UserError
from electra.tasks.similarity import (
    EMBED,
    SimilarityColumns,
    decode,
    decode_scores,
    embedding_task,
    find_head,
    kind_of,
    ranking_head,
    read_examples,
    score,
    score_rankings,
    with_metric,
)

RANKING = Head(kind="ranking")


def table(folder: Path, rows: list[dict[str, Any]], name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("value", "scores"),
    [([3.5, 1, 0], (3.5, 1.0, 0.0)), ("[3.5, 1, 0]", (3.5, 1.0, 0.0)), ([2.5, 3.5], (0.0, -2.5, -3.5))],
)
def test_a_teachers_scores_or_their_differences(value: Any, scores: tuple[float, ...], tmp_path: Path) -> None:
    path = table(tmp_path, [{"q": "a", "p": "b", "negatives": ["c", "d"], "scores": value}])
    (found,) = read_examples(path, SimilarityColumns(), "train")
    assert found.scores == scores and found.label is None and kind_of([found]) == "scored triplets"


@pytest.mark.parametrize(
    ("row", "kind", "texts"),
    [
        ({"question": "q", "answer": "a"}, "pairs", ("q", "a", ())),
        ({"anchor": "q", "positive": "a", "negative": "n"}, "triplets", ("q", "a", ("n",))),
        ({"anchor": "q", "positive": "a", "negatives": ["n", "m"]}, "triplets", ("q", "a", ("n", "m"))),
        ({"sentence1": "q", "sentence2": "a", "score": 0.5}, "scored pairs", ("q", "a", ())),
        ({"score": 5, "sentence1": "q", "sentence2": "a"}, "scored pairs", ("q", "a", ())),
        ({"text": "q", "label": "sport"}, "classes", ("q", None, ())),
        ({"text": "q"}, "plain texts", ("q", None, ())),
    ],
)
def test_kinds(row: dict[str, Any], kind: str, texts: tuple[Any, ...], tmp_path: Path) -> None:
    (example,) = read_examples(table(tmp_path, [row]), SimilarityColumns(), "train")
    assert kind_of([example]) == kind
    assert (example.text, example.text_pair, example.negatives) == texts


def test_lines_and_chosen_columns(tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("one text\n\n another \n")
    assert [example.text for example in read_examples(tmp_path / "raw.txt", SimilarityColumns(), "train")] == ["one text", "another"]
    (tmp_path / "pandas.csv").write_text(",question,answer\n0,how?,so\n")
    (example,) = read_examples(tmp_path / "pandas.csv", SimilarityColumns(), "train")
    assert (example.text, example.text_pair, example.negatives) == ("how?", "so", ())
    path = table(tmp_path, [{"id": 3, "a": "x", "b": "y", "grade": 2}])
    (example,) = read_examples(path, SimilarityColumns(texts=("b", "a"), label="grade"), "train")
    assert (example.text, example.text_pair, example.label) == ("y", "x", 2.0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 3, "a": "x", "b": "y"}], "column 'id' holds numbers (3), not texts"),
        ([{"a": "x", "b": "y"}, {"a": "x", "b": " "}], "line 2: text 2 of the row is empty"),
        ([{"a": "x", "b": "y", "score": "high"}], "line 1: label 'high' is not a number"),
        ([{"a": "x", "b": "y", "c": "z", "score": [1, 2, 3]}], "line 1: 3 scores and 1 negatives; give 2 scores"),
        ([{"a": "x", "b": "y", "c": "z", "score": "high"}], "line 1: label 'high' is not a number; give 2 scores"),
        ([{"a": "x", "b": "y", "score": [1, 2]}], "line 1: column 'label' holds [1, 2], expected text"),
        ([{"a": "x", "b": "y", "n": ["y", "z"]}, {"a": "x", "b": "y", "n": ["y"]}], "line 2: 3 texts, the first row has 4"),
        ([{"a": "x", "n": ["y", "z"]}], "line 1: column 'n' holds 2 texts, and nothing says which are similar to the first"),
        ([{"id": "q1", "a": "x", "b": "y"}, {"id": "q2", "a": "x", "b": "y"}], "column 'id' holds ids ('q1'), not texts"),
        ([{"query": "x", "pos": [], "neg": ["y"]}], "line 1: column 'pos' is an empty list"),
        ([{"query": "x", "pos": ["y"], "neg": ["y"], "pos_scores": [1.0]}], "line 1: 'pos_scores' and 'neg_scores' are not read"),
        ([{"a": "x", "docs": ["y", "z"], "labels": [0, 0]}], "line 1: no text has the label 1; remove the row"),
        ([{"a": "x", "docs": ["y", "z"], "labels": [1]}], "line 1: 1 labels and 2 texts after the first; give a 1 or 0 for each"),
        ([{"a": "x", "b": "y", "similarity": "0.5"}], "column 'similarity' holds numbers (0.5), not texts"),
        ([{"a": "x", "n": ["y", 4]}], "column 'n' holds 4 in its list"),
        ([{"label": "x"}], "no column of texts"),
    ],
)
def test_wrong_rows(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        list(read_examples(table(tmp_path, rows), SimilarityColumns(), "train"))
    assert message in str(error.value)


NLI_CLASSES = "which may be classes (0 entailment, 1 neutral, 2 contradiction), not similarities; of NLI give the similarities 1, 0.5 and 0 as a "


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (("premise", "hypothesis"), (0, 1, 2), f"column 'label' holds 0, 1, 2 alone, {NLI_CLASSES}column 'score' in its place"),
        (("premise", "hypothesis"), (0, 1), "column 'label' holds 0, 1 alone, which may be classes"),
        (("sentence1", "sentence2"), ("2", "0.0", "-1"), "column 'label' holds -1, 0, 2 alone, which may be classes"),
        (("Premise", "Hypothesis"), ("entailment",), "line 1: label 'entailment' is not a number; of NLI give the similarities 1, 0.5 and 0"),
        (("sentence1", "sentence2"), (0, 1), None),
        (("sentence1", "sentence2"), (0, 1, 2, 5), None),
        (("premise", "hypothesis"), (1, 0.5, 0), None),
        (("query", "passage"), (0, 1, 2), None),
    ],
)
def test_classes_of_nli_are_no_similarities(names: tuple[str, str], labels: tuple[Any, ...], message: str | None, tmp_path: Path) -> None:
    """sentence-transformers trains on the numbers of all-nli's `pair-class` as classes (SoftmaxLoss); as similarities, opposites would be near."""
    rows = [{names[0]: "a", names[1]: "b", "label": label} for label in labels]
    for split in ("train", "dev"):
        if message is None:
            found = [example.label for example in read_examples(table(tmp_path, rows), SimilarityColumns(), split)]
            assert found == [float(value) for value in labels]
            continue
        with pytest.raises(UserError) as error:
            list(read_examples(table(tmp_path, rows), SimilarityColumns(), split))
        assert message in str(error.value)
    scored = [{names[0]: "a", names[1]: "b", "score": place} for place, _ in enumerate(labels)]
    assert len(list(read_examples(table(tmp_path, scored), SimilarityColumns(), "train"))) == len(labels)


def test_the_line_on_columns_is_of_the_first_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path, [{"question": "q", "answer": "a"}])
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, line in (("0", "train.jsonl: columns: first text 'question', similar 'answer'\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        list(read_examples(path, SimilarityColumns(), "train"))
        assert capsys.readouterr().err == line


def test_wrong_data() -> None:
    with pytest.raises(UserError, match="every training text has the label 'x'"):
        find_head([Example(id="0", text="a", label="x"), Example(id="1", text="b", label="x")])
    with pytest.raises(UserError, match="no column 'grade'"):
        SimilarityColumns(label="grade").of({"a": "x", "b": "y"}, "f, line 1")


def vectors(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


class Given:
    """What sentence-transformers' evaluators need of a model: vectors of texts."""

    similarity_fn_name = "cosine"
    model_card_data = type("Card", (), {"set_evaluation_metrics": lambda *_: None})()

    def __init__(self, known: dict[str, np.ndarray]) -> None:
        self.known = known

    def encode(self, texts: list[str], **_: Any) -> Any:
        import torch

        return torch.from_numpy(np.stack([self.known[text] for text in texts]))

    encode_query = encode_document = encode

    def similarity(self, a: Any, b: Any) -> Any:
        from sentence_transformers.util import cos_sim

        return cos_sim(a, b)


def test_rankings_are_those_of_the_evaluator() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    found = vectors(40, 3, 6)
    found[:, 1] += 0.8 * found[:, 0]
    examples = [Example(id=str(i), text=f"q{i}", text_pair=f"d{i}", negatives=(f"n{i}",)) for i in range(40)]
    head = find_head(examples)
    scores = score(examples, decode(list(found), [], examples, head), head)
    known = {f"{kind}{i}": found[i, place] for i in range(40) for place, kind in enumerate("qdn")}
    queries, corpus = {f"q{i}": f"q{i}" for i in range(40)}, {name: name for name in known if name[0] != "q"}
    evaluator = InformationRetrievalEvaluator(queries, corpus, {f"q{i}": {f"d{i}"} for i in range(40)}, accuracy_at_k=[1])
    expected = evaluator(Given(known))
    assert scores["mrr@10"] == pytest.approx(expected["cosine_mrr@10"])
    assert scores["ndcg@10"] == pytest.approx(expected["cosine_ndcg@10"])
    assert scores["accuracy@1"] == pytest.approx(expected["cosine_accuracy@1"])
    assert scores["recall@10"] == pytest.approx(expected["cosine_recall@10"])
    assert 0.1 < scores["mrr@10"] < 0.9


def test_other_similar_texts_and_ties() -> None:
    """Of two texts that are similar to one, neither counts against the other; equal vectors of others do."""
    examples = [Example(id="0", text="q", text_pair="a"), Example(id="1", text="q", text_pair="b"), Example(id="2", text="r", text_pair="c")]
    head = find_head(examples)
    one, two = np.array([1.0, 0.0]), np.array([0.6, 0.8])
    places = [answer.label for answer in decode([np.stack(pair) for pair in ((one, one), (one, two), (two, one))], [], examples, head)]
    assert places == [2.0, 2.0, 3.0]


def test_scored_pairs_and_classes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
    found = vectors(30, 2, 6)
    gold = [float(i % 5) for i in range(30)]
    examples = [Example(id=str(i), text=f"a{i}", text_pair=f"b{i}", label=gold[i]) for i in range(30)]
    head = find_head(examples)
    scores = score(examples, decode(list(found), [], examples, head), head)
    known = {f"{kind}{i}": found[i, place] for i in range(30) for place, kind in enumerate("ab")}
    expected = EmbeddingSimilarityEvaluator([f"a{i}" for i in range(30)], [f"b{i}" for i in range(30)], gold)(Given(known))
    assert scores["spearman"] == pytest.approx(expected["spearman_cosine"]) and scores["pearson"] == pytest.approx(expected["pearson_cosine"])

    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    labels = [str(i % 3) for i in range(30)]
    points = vectors(30, 1, 6) + np.eye(6)[[i % 3 for i in range(30)]][:, None]
    classes = [Example(id=str(i), text=f"t{i}", label=labels[i]) for i in range(30)]
    scores = score(classes, decode(list(points), [], classes, find_head(classes)), find_head(classes))
    expected = cross_val_score(KNeighborsClassifier(1, metric="cosine"), points[:, 0], labels, cv=LeaveOneOut()).mean()
    assert scores["nearest_neighbor_accuracy"] == pytest.approx(expected) and 0.3 < expected < 1


def test_rankings_of_a_query_are_scored_as_by_others() -> None:
    """Against scikit-learn's nDCG and average precision, graded relevances included; a query without relevant passages does not count."""
    from sklearn.metrics import average_precision_score, ndcg_score

    rng = np.random.default_rng(3)
    relevances = rng.choice([0.0, 0.0, 0.5, 1.0], (6, 15))
    relevances[5] = 0
    values = rng.normal(size=(6, 15))
    examples = [Example(id=f"{q}-{d}", text=f"q{q}", text_pair=f"d{d}", label=relevances[q, d]) for q in range(6) for d in range(15)]
    scores = score_rankings(examples, decode_scores(list(values.reshape(-1, 1)), [], examples, RANKING), RANKING)
    assert scores["ndcg@10"] == pytest.approx(ndcg_score(relevances[:5], values[:5], k=10))
    assert scores["map"] == pytest.approx(np.mean([average_precision_score(relevances[q] > 0, values[q]) for q in range(5)]))
    places = [1 + min(i for i, d in enumerate(np.argsort(-values[q])) if relevances[q, d] > 0) for q in range(5)]
    assert scores["mrr@10"] == pytest.approx(np.mean([1 / place if place <= 10 else 0 for place in places]))
    group = [Example(id="0", text="q", text_pair="a", negatives=("b", "c"))]
    found = score_rankings(group, decode_scores([np.array([[0.1], [0.2], [0.1]])], [], group, RANKING), RANKING)
    assert found["mrr@10"] == pytest.approx(1 / 3)  # of equal scores the negative comes first


def test_a_passage_of_several_rows_counts_once() -> None:
    """`mine` writes the negatives of a query in each of its rows; the numbers are those of trec_eval."""
    ir_measures = pytest.importorskip("ir_measures")
    rows = [Example(id=str(i), text="q", text_pair=own, negatives=("n1", "n2")) for i, own in enumerate(("p1", "p2"))]
    found = score_rankings(rows, decode_scores([np.array([[own], [0.9], [0.1]]) for own in (0.5, 0.4)], [], rows, RANKING), RANKING)
    measures = {"ndcg@10": ir_measures.nDCG @ 10, "mrr@10": ir_measures.RR @ 10, "map": ir_measures.AP}
    run = {"q": {"n1": 0.9, "p1": 0.5, "p2": 0.4, "n2": 0.1}}
    theirs = ir_measures.calc_aggregate(measures.values(), {"q": {"p1": 1, "p2": 1}}, run)
    assert found == pytest.approx({name: theirs[measure] for name, measure in measures.items()})


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([Example(id="0", text="q", text_pair="a")], "a re-ranker cannot learn from pairs of texts"),
        ([Example(id="0", text="q", text_pair="a", label=1.0)], "the relevances are from 1 to 1"),
        ([Example(id=str(i), text="q", text_pair="a", label=float(i)) for i in range(4)], "the relevances are from 0 to 3"),
    ],
)
def test_data_that_no_reranker_learns_from(examples: list[Example], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ranking_head(examples)


def test_the_main_metric_is_that_of_the_dev_data() -> None:
    assert with_metric(EMBED, [Example(id="0", text="a", text_pair="b", label=1.0)]).main_metric == "spearman"
    assert with_metric(EMBED, [Example(id="0", text="a", label="b")]).main_metric == "nearest_neighbor_accuracy"
    assert embedding_task(SimilarityColumns()).main_metric == "mrr@10"


# ---- as other libraries write pairs and triplets ----


def forms(examples: Any) -> list[tuple[Any, ...]]:
    return [(example.text, example.text_pair, example.negatives) for example in examples]


@conforms(form="several positives of a query (FlagEmbedding)", where="finetune", outcome="exact", section="tables")
def test_several_positives_are_no_negatives(tmp_path: Path) -> None:
    path = table(
        tmp_path, [{"query": "q", "type": "t", "neg": ["c", "d"], "pos": ["a", "b"]}, {"query": "r", "type": "t", "pos": ["e"], "neg": ["f", "g"]}]
    )
    wanted = [("q", "a", ("c", "d")), ("q", "b", ("c", "d")), ("r", "e", ("f", "g"))]
    assert forms(read_examples(path, SimilarityColumns(), "train")) == wanted
    assert forms(read_examples(table(tmp_path, [{"query": "q", "pos": ["a", "b"]}]), SimilarityColumns(), "train")) == [
        ("q", "a", ()),
        ("q", "b", ()),
    ]


@conforms(form="a relevance of each passage in a list (sentence-transformers)", where="finetune", outcome="exact", section="tables")
def test_labels_of_passages_are_read_in_any_order(tmp_path: Path) -> None:
    for docs, labels in ((["a", "b", "c"], [1, 0, 0]), (["b", "c", "a"], [0, 0, 1])):
        path = table(tmp_path, [{"query": "q", "docs": docs, "labels": labels}])
        assert forms(read_examples(path, SimilarityColumns(), "train")) == [("q", "a", ("b", "c"))]
    # A teacher's scores that are 1 and 0 in one row stay scores.
    teacher = table(tmp_path, [{"query": "q", "docs": ["a", "b"], "label": [1.0, 0.0]}, {"query": "q", "docs": ["a", "b"], "label": [0.9, 0.2]}])
    assert [example.scores for example in read_examples(teacher, SimilarityColumns(), "train")] == [(1.0, 0.0), (0.9, 0.2)]
    path = table(tmp_path, [{"query": "q", "docs": ["a", "b", "c"], "scores": [0.9, 0.1, 0]}])
    assert next(iter(read_examples(path, SimilarityColumns(), "train"))).scores == (0.9, 0.1, 0.0)


def test_a_list_in_a_cell_is_several_texts(tmp_path: Path) -> None:
    import pandas

    rows = [{"query": "q", "positive": "[1] a note", "negatives": ["it's", "b"]}]
    pandas.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    assert forms(read_examples(tmp_path / "a.csv", SimilarityColumns(), "train")) == [("q", "[1] a note", ("it's", "b"))]


def test_a_file_without_names_of_columns_is_refused(tmp_path: Path) -> None:
    for first in ("what is a river of the north ?\tit is a stream or so\tthis is something else here", "a\tb\t0.76"):
        (tmp_path / "a.tsv").write_text(f"{first}\nq\tp\tn\n")
        with pytest.raises(UserError, match=r"a.tsv: the first line names the columns, and '.*' is no name; add a line of names"):
            list(read_examples(tmp_path / "a.tsv", SimilarityColumns(), "train"))


def test_names_that_only_look_like_ids_or_texts(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("en\tid\na river\tsebuah sungai\na house\tsebuah rumah\n")
    assert forms(read_examples(tmp_path / "a.tsv", SimilarityColumns(), "train"))[0] == ("a river", "sebuah sungai", ())
    (tmp_path / "a.csv").write_text("question,what would be a good answer to it?\nwho?,him\n")
    assert forms(read_examples(tmp_path / "a.csv", SimilarityColumns(), "train")) == [("who?", "him", ())]
