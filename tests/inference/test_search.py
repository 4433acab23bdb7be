"""Search: BM25's formula, exact and approximate vectors, whole evaluations, mining and re-ranking equal to sentence-transformers; wrong input."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import checkpoints

from electra import evaluate, pipeline
from electra.cli import main
from electra.errors import UserError
from electra.inference import search
from electra.inference.predictor import load
from electra.tasks.retrieval import MEASURES, System, against, measure, read_collection

WORDS = "chef meal rain home film walk cook sing read fish bird tree snow wind king road".split()
rng = np.random.default_rng(5)
PASSAGES = [" ".join(rng.choice(WORDS, 6)) for _ in range(30)]
QUERIES = [" ".join(rng.choice(passage.split(), 3)) for passage in PASSAGES[:12]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of sentence-transformers and one of a CrossEncoder, made by fine-tuning on the pairs."""
    folder = tmp_path_factory.mktemp("models")
    rows = [
        {"question": query, "answer": passage, "negative": PASSAGES[-1 - i]}
        for i, (query, passage) in enumerate(zip(QUERIES, PASSAGES, strict=False))
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for task in ("embed", "rerank"):
        words = ["finetune", task, "--train", folder / "pairs.jsonl", "--dev", folder / "pairs.jsonl", "--model", checkpoints()["lone"]]
        assert main([*map(str, words), "--output", str(folder / task), "--device", "cpu", "--epochs", "1", "--max-length", "24"]) == 0
    return {task: folder / task / "best" for task in ("embed", "rerank")} | {"pairs": folder / "pairs.jsonl"}


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection in BEIR's layout; some passages have titles, one the id of its query."""
    folder = tmp_path_factory.mktemp("beir")
    passages = [{"_id": f"p{i}", "title": text.split()[0] if i % 3 == 0 else "", "text": text} for i, text in enumerate(PASSAGES)]
    passages[20]["_id"] = "q3"
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in passages))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{i}", "text": text}) + "\n" for i, text in enumerate(QUERIES)))
    (folder / "qrels").mkdir()
    lines = [f"q{i}\tp{i}\t1\nq{i}\tp{(i + 5) % 20}\t2" for i in range(len(QUERIES) - 1)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + f"\nq{len(QUERIES) - 1}\tp0\t0\n")
    return folder


def quiet() -> Any:
    warnings.simplefilter("ignore")
    import sentence_transformers

    return sentence_transformers


# ---- parts ----


def test_words() -> None:
    assert search.words("The Chef's 3rd meal, naïve") == ["the", "chef", "s", "3rd", "meal", "naïve"]
    assert search.words("北京大学 is 大") == ["北", "京", "大", "学", "北京", "京大", "大学", "is", "大"]
    assert search.words("!?") == []
    assert search.words("I ❤️ 1️⃣ ✔️") == ["i", "1"]
    # Vowel signs and accents of their own are in the word, as in Lucene.
    assert search.words("हिन्दी भाषा, cafe\u0301s காபி") == ["हिन्दी", "भाषा", "cafés", "காபி"]


def test_bm25_is_lucenes_formula() -> None:
    tokens, k1, b = [search.words(passage) for passage in PASSAGES], 1.5, 0.75
    mean = sum(map(len, tokens)) / len(tokens)
    containing = Counter(word for words in tokens for word in set(words))

    def score(query: list[str], words: list[str]) -> float:
        counts, total = Counter(words), 0.0
        for word in query:
            idf = math.log(1 + (len(tokens) - containing[word] + 0.5) / (containing[word] + 0.5))
            total += idf * counts[word] / (counts[word] + k1 * (1 - b + b * len(words) / mean))
        return total

    queries = [*QUERIES, "chef unknownword", "unknownword", ""]
    for query, found in zip(queries, search.Bm25(PASSAGES).search(queries, 100), strict=True):
        expected = {place: value for place, words in enumerate(tokens) if (value := score(query.split(), words)) > 0}
        assert {place: value for place, value in found} == pytest.approx(expected, rel=1e-5)
        assert [value for _, value in found] == sorted((value for _, value in found), reverse=True)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_exact_search(similarity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PASSAGES_AT_A_TIME", 70)
    monkeypatch.setattr(search, "QUERIES_AT_A_TIME", 4)
    vectors, queries = (np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32) for seed, n in ((1, 500), (2, 9)))
    vectors[130] = vectors[20]
    import torch

    util = quiet().util
    scores = {"cosine": util.cos_sim, "dot": util.dot_score, "euclidean": util.euclidean_sim, "manhattan": util.manhattan_sim}[similarity]
    expected = scores(torch.tensor(queries), torch.tensor(vectors)).numpy()
    for top in (1, 13, 900):
        found = list(search.VectorIndex(vectors, similarity).search(queries, top))
        for row, ranking in zip(expected, found, strict=True):
            places = [place for place, _ in ranking]
            order = np.argsort(-row, kind="stable")[:top]
            np.testing.assert_allclose([value for _, value in ranking], row[order], rtol=1e-4, atol=1e-5)
            assert len(set(places)) == len(places) == min(top, 500)
            np.testing.assert_allclose(row[places], row[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_approximate_search_finds_nearly_all(similarity: str) -> None:
    vectors, queries = (np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32) for seed, n in ((1, 2000), (2, 50)))
    exact, near = (list(search.VectorIndex(vectors, similarity, approximate=flag).search(queries, 10)) for flag in (False, True))
    shared = [len({place for place, _ in a} & {place for place, _ in b}) for a, b in zip(exact, near, strict=True)]
    assert np.mean(shared) > 9
    for place, value in near[0]:
        assert value == pytest.approx(dict(exact[0]).get(place, value), rel=1e-4)


def test_fused_scores_are_sums_of_z_scores() -> None:
    from scipy.stats import zscore

    one, other = [(3, 9.0), (1, 4.0), (7, 3.5)], [(1, 0.9), (5, 0.8), (3, -0.4)]
    first, second = zscore([9.0, 4.0, 3.5]), zscore([0.9, 0.8, -0.4])
    expected = {3: first[0] + second[2], 1: first[1] + second[0], 7: first[2] + second.min(), 5: first.min() + second[1]}
    found = search.fused([one, other])
    assert dict(found) == pytest.approx(expected) and [score for _, score in found] == sorted(expected.values(), reverse=True)
    assert search.fused([one, []]) == search.fused([one]) and [place for place, _ in search.fused([one])] == [3, 1, 7]
    assert search.fused([[(2, 5.0)], [(2, 1.0)]]) == [(2, 0.0)] and search.fused([[], []]) == []
    assert dict(search.fused([[(0, 1.0), (1, 1.0)]])) == {0: 0.0, 1: 0.0}, "equal scores say nothing"
    # All others have the score 0: that of a single hit is above theirs.
    vectors = [(1, 0.9), (5, 0.8), (3, -0.4)]
    scaled = zscore([7.0, 0.0, 0.0])
    assert dict(search.fused([[(3, 7.0)], vectors], (0.0,))) == pytest.approx(
        {3: scaled[0] + second[2], 1: scaled[1] + second[0], 5: scaled[1] + second[1]}
    )


def test_a_rare_word_is_found_by_both_together(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """BM25 finds one passage for each query, whose score is not lost among the others'."""
    codes = [f"{word}{word}" for word in ("chef", "meal", "game", "cat", "dog")]
    rows = [{"_id": f"d{i}", "title": "", "text": f"{PASSAGES[i % len(PASSAGES)]} {codes[i] if i < 5 else ''}"} for i in range(40)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{i}", "text": code}) + "\n" for i, code in enumerate(codes)))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(5)))
    assert main(["evaluate", str(models["embed"]), "--task", "retrieval", "--data", str(tmp_path), "--split", "test", "--json"]) == 0
    found = {name: row["ndcg@10"] for name, row in json.loads(capsys.readouterr().out)["systems"].items()}
    assert found["BM25"] == 1.0 == found["BM25 and vectors"] and min(found.values()) < 1.0


# ---- evaluation ----


def test_evaluation_equals_sentence_transformers(models: dict[str, Path], beir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(models["embed"]), "--task", "retrieval", "--data", str(beir), "--split", "test", "--json"]
    assert main([*words, "--reranker", str(models["rerank"]), "--candidates", "9", "--fuse"]) == 0
    found = json.loads(capsys.readouterr().out)
    vectors, ranker = str(models["embed"]), str(models["rerank"])
    searches = ["BM25", vectors, search.HYBRID]
    reranked = [f"{name} + {ranker}" for name in searches]
    assert [*found["systems"]] == [*searches, *reranked, *(f"{name}, fused" for name in reranked)] and found["num_queries"] == 11
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    collection = read_collection(beir, "test")
    # Theirs knows relevant or not: one grade, and no passage with the id of its query.
    relevant = {query: {p for p, grade in grades.items() if grade > 0} for query, grades in collection.relevant.items()}
    binary = measure_binary(collection, models["embed"])
    evaluator = InformationRetrievalEvaluator(
        dict(collection.queries),
        {p: text for p, text in collection.passages.items() if p != "q3"},
        relevant,
        ndcg_at_k=[10],
        mrr_at_k=[10],
        map_at_k=[100],
    )
    theirs = evaluator(quiet().SentenceTransformer(vectors))
    for ours, name in {"ndcg@10": "ndcg@10", "mrr@10": "mrr@10", "map@100": "map@100", "recall@10": "recall@10"}.items():
        assert binary[ours] == pytest.approx(theirs[f"cosine_{name}"], abs=1e-5), ours
    pairs = {(d["system"], d["other"]): d for d in found["differences"]}
    for (one, other), difference in pairs.items():
        gap = found["systems"][one]["ndcg@10"] - found["systems"][other]["ndcg@10"]
        assert difference["difference"] == pytest.approx(gap, abs=1e-9)
        assert difference["interval"][0] <= gap <= difference["interval"][1]


def test_a_pair_that_two_searches_found_is_read_once(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    rankings = [[[(0, 9.0), (4, 8.0), (7, 7.0)], []], [[(4, 0.9), (2, 0.8)], [(0, 0.3)]]]
    read: list[tuple[str, str]] = []
    score = search.relevances
    monkeypatch.setattr(search, "relevances", lambda model, pairs: score(model, read.extend(pairs) or read))
    ranker = load(models["rerank"])
    found = list(search.reranked(ranker, QUERIES[:2], PASSAGES, rankings, 2))
    assert read == [(QUERIES[0], PASSAGES[0]), (QUERIES[0], PASSAGES[4]), (QUERIES[0], PASSAGES[2]), (QUERIES[1], PASSAGES[0])]
    own = {(0, place): next(score(ranker, [(QUERIES[0], PASSAGES[place])])) for place in (0, 2, 4)}
    for ours, given in zip(found, rankings, strict=True):
        first = ours[0][:2]
        assert [place for place, _ in first] == sorted((place for place, _ in given[0][:2]), key=lambda place: -own[0, place])
        assert [value for _, value in first] == pytest.approx([own[0, place] for place, _ in first], abs=1e-6)
    assert found[0][1] == [] and found[0][0][2] == (7, pytest.approx(found[0][0][1][1] - 1)) and [place for place, _ in found[1][1]] == [0]


def measure_binary(collection: Any, model: Path) -> dict[str, float]:
    """The scores of vectors where every relevant passage counts the same and passage q3 is nobody's."""
    from electra.tasks.retrieval import Collection

    names = [name for name in collection.passages if name != "q3"]
    predictor = load(str(model))
    index = search.VectorIndex(predictor.embed([collection.passages[name] for name in names]), predictor.modules.similarity)
    ranking = {
        query: {names[place]: score for place, score in row}
        for query, row in zip(collection.queries, index.search(predictor.embed(list(collection.queries.values())), 100), strict=True)
    }
    relevant = {query: {p: int(grade > 0) for p, grade in grades.items()} for query, grades in collection.relevant.items()}
    values = measure(Collection(passages=collection.passages, queries=collection.queries, relevant=relevant), ranking)
    return {name: float(value.mean()) for name, value in values.items()}


def test_measures_of_a_known_ranking() -> None:
    from electra.tasks.retrieval import Collection

    collection = Collection(
        passages={"a": "", "b": "", "c": ""}, queries={"1": "", "2": "", "c": ""}, relevant={"1": {"a": 1}, "2": {"b": 2, "c": 1}, "c": {"a": 1}}
    )
    found = measure(collection, {"1": {"b": 1.0, "a": 1.0}, "c": {"c": 9.0, "a": 1.0}})
    # Equal scores keep their order; query 2 found nothing; the passage with the query's own id does not count.
    assert found["mrr@10"].tolist() == [0.5, 0.0, 1.0] and found["ndcg@10"].tolist() == pytest.approx([1 / math.log2(3), 0, 1])
    assert found["recall@10"].tolist() == [1, 0, 1] and list(found) == [*MEASURES]
    one, other = (
        System(name=name, ranking={}, values={"ndcg@10": np.array(values)}) for name, values in (("x", [1.0, 0.5] * 40), ("y", [0.5, 0.4] * 40))
    )
    result = against(one, other)
    assert result["difference"] == pytest.approx(0.3) and result["interval"][0] > 0.2 and result["p_value"] < 0.001
    assert against(one, one)["p_value"] == 1


def test_candidates_are_ordered_by_both_scores(models: dict[str, Path], beir: Path, tmp_path: Path) -> None:
    import ir_measures

    words = ["evaluate", str(models["rerank"]), "--task", "retrieval", "--data", str(beir), "--split", "test", "--candidates", "4", "--fuse"]
    assert main([*words, "--report", str(tmp_path / "report")]) == 0
    runs: list[dict[str, list[tuple[str, float]]]] = []
    for number in (1, 2, 3):  # BM25, the re-ranker, both
        runs.append({})
        for row in ir_measures.read_trec_run(str(tmp_path / "report" / f"ranking-{number}.trec")):
            runs[-1].setdefault(row.query_id, []).append((row.doc_id, row.score))
    for query, search_rows in runs[0].items():
        both = search.fused([[(name, score) for name, score in rows[query][:4]] for rows in runs[:2]])  # type: ignore[misc]
        assert [name for name, _ in runs[2][query]] == [*(name for name, _ in both), *(name for name, _ in search_rows[4:])]


def test_report_and_a_sample_of_queries(models: dict[str, Path], beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(models["rerank"]), "--task", "retrieval", "--data", str(beir), "--split", "test", "--num-examples", "5"]
    assert main([*words, "--report", str(tmp_path / "report"), "--candidates", "3"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in out] == ["system", "BM25", f"BM25 + {models['rerank']}"]
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["num_queries"] == 5 and "BM25" in (tmp_path / "report" / "report.md").read_text()
    import ir_measures

    runs = [list(ir_measures.read_trec_run(str(tmp_path / "report" / f"ranking-{i}.trec"))) for i in (1, 2)]
    for query in {row.query_id for row in runs[0]}:
        before, after = ([row.doc_id for row in sorted(run, key=lambda row: -row.score) if row.query_id == query] for run in runs)
        assert set(before[:3]) == set(after[:3]) and before[3:] == after[3:]
    assert main([*words, "--report", str(tmp_path / "report")]) == 2


def test_mteb_measures_our_vectors(models: dict[str, Path], beir: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The adapter of examples/ on a local task: the same scores as sentence-transformers through MTEB, and as `electra evaluate`."""
    import mteb
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    collection = read_collection(beir, "test")
    described: dict[str, Any] = {"type": "Retrieval", "category": "t2t", "modalities": ["text"], "eval_splits": ["test"], "eval_langs": ["eng-Latn"]}
    described |= {"main_score": "ndcg_at_10", "dataset": {"path": "local", "revision": "1"}, "reference": None, "date": None, "domains": None}
    described |= {"task_subtypes": None, "license": None, "annotations_creators": None, "dialect": None, "sample_creation": None}

    class Local(AbsTaskRetrieval):
        """The collection."""

        metadata = TaskMetadata(name="Local", description="local", bibtex_citation="", **described)

        def load_data(self, **_: Any) -> None:
            def rows(texts: Any) -> Dataset:
                return Dataset.from_list([{"id": name, "text": text} for name, text in texts.items()])

            part = {"corpus": rows({name: text for name, text in collection.passages.items() if name != "q3"}), "queries": rows(collection.queries)}
            grades = {query: dict(found) for query, found in collection.relevant.items()}
            self.dataset = {"default": {"test": {**part, "relevant_docs": grades, "top_ranked": None}}}
            self.data_loaded = True

    spec = importlib.util.spec_from_file_location("mteb_model", Path(__file__).parents[2] / "examples" / "mteb_model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scores = []
    for model in (module.MtebEncoder(str(models["embed"])), quiet().SentenceTransformer(str(models["embed"]))):
        (found,) = mteb.evaluate(model, Local(), cache=None, show_progress_bar=False).task_results
        scores.append(found.scores["test"][0]["ndcg_at_10"])
    assert main(["evaluate", str(models["embed"]), "--task", "retrieval", "--data", str(beir), "--split", "test", "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)["systems"][str(models["embed"])]["ndcg@10"]
    assert scores == pytest.approx([ours, ours], abs=1e-5)


def test_a_model_without_prompts_is_searched(models: dict[str, Path], beir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(checkpoints()["lone"]), "--task", "retrieval", "--data", str(beir), "--split", "test", "--approximate", "--json"]
    assert main(words) == 0
    assert len(json.loads(capsys.readouterr().out)["systems"]) == 3
    words = ["evaluate", str(checkpoints()["lone"]), "--task", "embed", "--data", str(models["pairs"])]
    assert main([*words, "--json"]) == 0 and "mrr@10" in capsys.readouterr().out


# ---- mining ----


def test_mining_equals_sentence_transformers(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import datasets

    (tmp_path / "passages.txt").write_text("\n".join(PASSAGES))
    words = ["mine", str(models["pairs"]), "--text-columns", "question", "answer", "--passages", str(tmp_path / "passages.txt")]
    words += ["--model", str(models["embed"]), "--num-negatives", "3", "--skip", "2", "--candidates", "9", "--relative-margin", "0.02"]
    assert main([*words, "--output", str(tmp_path / "mined.jsonl")]) == 0
    found = [json.loads(line) for line in (tmp_path / "mined.jsonl").read_text().splitlines()]
    assert f"{len(found)} queries and passages with 3 negatives each" in capsys.readouterr().out
    st = quiet()
    pairs = datasets.Dataset.from_list([{"question": q, "answer": p} for q, p in zip(QUERIES, PASSAGES, strict=False)])
    theirs = st.util.mine_hard_negatives(
        pairs,
        st.SentenceTransformer(str(models["embed"])),
        corpus=PASSAGES,
        range_min=2,
        range_max=11,
        relative_margin=0.02,
        num_negatives=3,
        output_format="n-tuple",
        verbose=False,
    )
    expected = {row["question"]: [row[f"negative_{i}"] for i in (1, 2, 3)] for row in theirs}
    assert {row["query"]: row["negatives"] for row in found} == expected and 0 < len(found) <= len(QUERIES)


def test_a_margin_is_from_the_worst_own_passage(models: dict[str, Path], tmp_path: Path) -> None:
    """As in sentence-transformers: no negative scores above a passage that is labelled as relevant."""
    import datasets

    st, rows = quiet(), [(QUERIES[0], PASSAGES[0]), (QUERIES[0], PASSAGES[3]), (QUERIES[1], PASSAGES[1])]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps({"question": q, "answer": p}) + "\n" for q, p in rows))
    (tmp_path / "passages.txt").write_text("\n".join(PASSAGES))
    words = ["mine", str(tmp_path / "pairs.jsonl"), "--text-columns", "question", "answer", "--passages", str(tmp_path / "passages.txt")]
    words += ["--model", str(models["embed"]), "--num-negatives", "1", "--candidates", "30", "--relative-margin", "0.01"]
    assert main([*words, "--output", str(tmp_path / "mined.jsonl")]) == 0
    found = [json.loads(line) for line in (tmp_path / "mined.jsonl").read_text().splitlines()]
    theirs = st.util.mine_hard_negatives(
        datasets.Dataset.from_list([{"question": q, "answer": p} for q, p in rows]),
        st.SentenceTransformer(str(models["embed"])),
        corpus=PASSAGES,
        range_max=30,
        relative_margin=0.01,
        num_negatives=1,
        output_format="n-tuple",
        verbose=False,
    )
    expected = sorted((row["question"], row["answer"], row["negative_1"] if "negative_1" in row else row["negative"]) for row in theirs)
    assert sorted((row["query"], row["passage"], row["negatives"][0]) for row in found) == expected


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_scored_pairs_have_the_models_similarity_and_its_default_prompt(similarity: str, models: dict[str, Path], tmp_path: Path) -> None:
    st, folder = quiet(), tmp_path / "model"
    shutil.copytree(models["embed"], folder)
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    prompts = {"query": "the chef ", "document": "a meal "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config | {"similarity_fn_name": similarity, "prompts": prompts}))
    rows = [(PASSAGES[i], PASSAGES[(i * 3 + 1) % len(PASSAGES)], (i * 7 % 11) / 2) for i in range(len(PASSAGES))]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps({"a": a, "b": b, "score": s}) + "\n" for a, b, s in rows))
    found = evaluate(str(folder), task="embed", data=str(tmp_path / "dev.jsonl")).metrics
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    evaluator = EmbeddingSimilarityEvaluator(*map(list, zip(*rows, strict=True)), main_similarity=similarity)
    theirs = evaluator(st.SentenceTransformer(str(folder)))
    assert found["spearman"] == pytest.approx(theirs[f"spearman_{similarity}"], abs=1e-4)


def test_mined_rows_train_a_reranker_on_a_teachers_scores(models: dict[str, Path], beir: Path, tmp_path: Path) -> None:
    output = tmp_path / "scored.jsonl"
    words = ["mine", str(beir), "--split", "test", "--reranker", str(models["rerank"]), "--num-negatives", "2", "--sampling", "random"]
    assert main([*words, "--output", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    ranker = load(str(models["rerank"]))
    for row in rows[:4]:
        texts = [row["passage"], *row["negatives"]]
        np.testing.assert_allclose(row["scores"], [answer.label for answer in ranker.predict([(row["query"], text) for text in texts])], atol=1e-6)
        assert row["query"] not in texts and len(set(texts)) == 3
    words = [
        "finetune",
        "rerank",
        "--train",
        output,
        "--dev",
        output,
        "--model",
        checkpoints()["lone"],
        "--output",
        tmp_path / "run",
        "--epochs",
        "1",
    ]
    assert main([*map(str, words), "--device", "cpu", "--max-length", "24"]) == 0


# ---- re-ranking ----


def test_rerank_equals_a_cross_encoders_rank(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = quiet().CrossEncoder(str(models["rerank"])).rank(QUERIES[0], PASSAGES, top_k=7, return_documents=True)
    found = pipeline("rerank", str(models["rerank"]))(QUERIES[0], PASSAGES, top_k=7)
    assert [(row["index"], row["text"]) for row in found] == [(row["corpus_id"], row["text"]) for row in theirs]
    np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in theirs], atol=1e-5)
    for query in (QUERIES[0], ""):  # an empty passage or query is one
        theirs = quiet().CrossEncoder(str(models["rerank"])).rank(query, ["", "a", PASSAGES[0]])
        found = pipeline("rerank", str(models["rerank"]))(query, ["", "a", PASSAGES[0]])
        assert [row["index"] for row in found] == [row["corpus_id"] for row in theirs]
        np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in theirs], atol=1e-5)
        pairs = [(query, text) for text in ("", "a", PASSAGES[0])]
        np.testing.assert_allclose(
            [*search.relevances(load(str(models["rerank"])), pairs)], quiet().CrossEncoder(str(models["rerank"])).predict(pairs), atol=1e-5
        )
    theirs = quiet().CrossEncoder(str(models["rerank"])).rank(QUERIES[0], PASSAGES, top_k=7, return_documents=True)
    (tmp_path / "passages.jsonl").write_text("".join(json.dumps({"body": text, "n": i}) + "\n" for i, text in enumerate(PASSAGES)))
    words = ["rerank", str(models["rerank"]), str(tmp_path / "passages.jsonl"), "--text", "body", "--query", QUERIES[0], "--top-k", "7"]
    assert main([*words, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["n"] for row in rows] == [row["index"] for row in rows] == [row["corpus_id"] for row in theirs]
    assert [row["rank"] for row in rows] == [*range(1, 8)]
    assert main([*words, "--output", str(tmp_path / "ranked.csv")]) == 0
    assert (tmp_path / "ranked.csv").read_text().splitlines()[0] == "body,n,rank,score,index"


# ---- wrong input ----


def test_wrong_collections(beir: Path, models: dict[str, Path], tmp_path: Path) -> None:
    def broken(name: str, file: str, content: str | None) -> Path:
        folder = tmp_path / name
        shutil.copytree(beir, folder)
        if content is None:
            (folder / file).unlink()
        else:
            (folder / file).write_text(content)
        return folder

    header = "query-id\tcorpus-id\tscore\n"
    cases = {
        "has no file queries.jsonl": broken("a", "queries.jsonl", None),
        "no column '_id' .*BEIR's layout needs it: rename the column": broken("b", "corpus.jsonl", '{"id": "p0", "text": "x"}\n'),
        "_id 'p0' occurs twice": broken("c", "corpus.jsonl", '{"_id": "p0", "text": "x"}\n' * 2),
        "score 'high' is not a whole number": broken("d", "qrels/test.tsv", f"{header}q0\tp0\thigh\n"),
        "query 'q99' is not in": broken("e", "qrels/test.tsv", f"{header}q99\tp0\t1\n"),
        "passage 'p99' is not in": broken("f", "qrels/test.tsv", f"{header}q0\tp99\t1\n"),
        "no query has a relevant passage": broken("g", "qrels/test.tsv", f"{header}q0\tp0\t0\n"),
        "is a file; expected a folder with corpus.jsonl": models["pairs"],
    }
    for message, folder in cases.items():
        with pytest.raises(UserError, match=message):
            read_collection(folder, "test")
    with pytest.raises(UserError, match=r"no file train\.jsonl.*it has test\.tsv"):
        read_collection(beir, "train")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "{embed}", "--task", "retrieval"), "--task retrieval needs --data PLACE"),
        (("evaluate", "{embed}", "--task", "retrieval", "--data", "{beir}", "--predictions", "x"), "--predictions has no effect on retrieval"),
        (("evaluate", "{embed}", "--task", "retrieval", "--data", "{beir}", "--split", "test", "--reranker", "{embed}"), "is not a re-ranker"),
        (("evaluate", "{rerank}", "--task", "retrieval", "--data", "{beir}", "--split", "test", "--reranker", "{rerank}"), "is a re-ranker itself"),
        (("evaluate", "{rerank}", "--task", "retrieval", "--data", "{beir}", "--split", "test", "--approximate"), "--approximate is for vectors"),
        (("evaluate", "{embed}", "--task", "sst2", "--data", "{beir}", "--reranker", "{rerank}"), "--reranker is for --task retrieval"),
        (("evaluate", "{embed}", "--task", "rerank", "--data", "{pairs}"), "is not a re-ranker"),
        (("rerank", "{embed}", "{pairs}", "--query", "x", "--text", "answer"), "is not a re-ranker"),
        (("rerank", "{rerank}", "{pairs}", "--query", " ", "--text", "answer"), "--query is empty"),
        (("rerank", "{rerank}", "{pairs}"), "--query"),
        (("mine", "{pairs}", "--output", "{out}/x.jsonl", "--relative-margin", "0.1"), "--relative-margin compares scores of a model"),
        (("mine", "{pairs}", "--output", "{out}/x.jsonl", "--num-negatives", "50"), "no query has 50 negatives"),
        (("evaluate", "{embed}", "--task", "retrieval", "--data", "{beir}", "--split", "test", "--candidates", "9"), "--candidates 9 has no effect"),
        (("evaluate", "{embed}", "--task", "retrieval", "--data", "{beir}", "--split", "test", "--fuse"), "--fuse adds the scores of the search"),
        (("evaluate", "{embed}", "--task", "embed", "--data", "{beir}", "--fuse"), "--fuse is for --task retrieval"),
        (("mine", "{pairs}", "--output", "{out}/x.jsonl", "--approximate"), "--approximate is for vectors; add --model"),
        (("mine", "{pairs}", "--output", "{out}/x.jsonl", "--num-negatives", "60"), "--num-negatives 60 is above --candidates 50"),
        (("mine", "{pairs}", "--output", "{out}/x.jsonl", "--split", "dev"), "--split dev is for a folder in BEIR's layout"),
        (("mine", "{pairs}", "--output", "{out}/x.csv"), "give a name that ends in .jsonl"),
        (("mine", "{beir}", "--split", "test", "--passages", "{pairs}", "--output", "{out}/x.jsonl"), "is a collection with passages of its own"),
        (("mine", "{pairs}", "--text-columns", "question", "--output", "{out}/x.jsonl"), "holds texts alone; expected pairs"),
    ],
)
def test_wrong_input(
    words: tuple[str, ...], message: str, models: dict[str, Path], beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {name: str(path) for name, path in models.items()} | {"beir": str(beir), "out": str(tmp_path)}
    assert main([word.format(**places) for word in words]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rank: rank("a", "b"), "passages is one text"),
        (lambda rank: rank("a", ["b"], top_k=0), "top_k"),
        (lambda rank: rank("a", [1]), "rerank"),
        (lambda rank: rank("a", ["b"], topk=1), "topk"),
    ],
)
def test_wrong_calls(call: Any, message: str, models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=message):
        call(pipeline("rerank", str(models["rerank"])))
    with pytest.raises(UserError, match=r"no classification head|not a re-ranker"):
        pipeline("rerank", str(models["embed"]))


# ---- artifacts ----


def test_artifacts_give_the_same_vectors_and_scores(models: dict[str, Path], tmp_path: Path) -> None:
    for task in ("embed", "rerank"):
        assert main(["build", str(models[task]), "--target", "onnx", "--output", str(tmp_path / task)]) == 0
    model, built = load(str(models["embed"])), load(str(tmp_path / "embed"))
    np.testing.assert_allclose(built.embed(PASSAGES[:5], truncate_dim=8), model.embed(PASSAGES[:5], truncate_dim=8), atol=1e-5)
    assert built.modules.prompts == model.modules.prompts and built.max_length == model.max_length
    ranks = [pipeline("rerank", str(place))(QUERIES[0], [*PASSAGES[:5], "walk " * 60]) for place in (models["rerank"], tmp_path / "rerank")]
    assert [row["index"] for row in ranks[0]] == [row["index"] for row in ranks[1]]
    np.testing.assert_allclose([row["score"] for row in ranks[0]], [row["score"] for row in ranks[1]], atol=1e-5)
