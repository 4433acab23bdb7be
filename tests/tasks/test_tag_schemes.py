"""Schemes of tags and scores of spans: equal to conlleval's rules, written again here, on any sequence of tags."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter

import numpy as np
import pytest
from conformance import case

from electra.contracts import Example, Head, Prediction
from electra.errors import UserError
from electra.tasks.tag_schemes import Span, best_path, class_scores, find_scheme, find_spans, marks_spans, scheme_rules, span_scores, to_bioes
from electra.tasks.tagging import find_tags, score_words

Row = list[str]

# conlleval, with S as seqeval adds it: (tag before, tag) of one type between which a chunk ends, or begins.
ENDS = {(a, b) for a in "ES" for b in "BIESO"} | {(a, b) for a in "BI" for b in "BSO"}
BEGINS = {(a, b) for a in "BIESO" for b in "BS"} | {(a, b) for a in "ESO" for b in "EI"}


def conlleval(gold: list[Row], predicted: list[Row]) -> dict[str, tuple[int, int, int]]:
    """Type -> (right, found, wanted), counted word by word in one pass as the script does, sentences parted by a word outside."""
    right, found, wanted = Counter[str](), Counter[str](), Counter[str]()
    inside, before = False, (("O", ""), ("O", ""))
    pairs = [pair for true, mine in zip(gold, predicted, strict=True) for pair in [*zip(true, mine, strict=True), ("O", "O")]]
    for pair in pairs:
        now = tuple((tag[0], tag[2:]) for tag in pair)
        ends, begins = [], []
        for (old, old_type), (new, new_type) in zip(before, now, strict=True):
            ends.append((old, new) in ENDS or (old != "O" and old_type != new_type))
            begins.append((old, new) in BEGINS or (new != "O" and old_type != new_type))
        if inside:
            if all(ends) and before[0][1] == before[1][1]:
                inside = False
                right[before[0][1]] += 1
            elif ends[0] != ends[1] or now[0][1] != now[1][1]:
                inside = False
        if all(begins) and now[0][1] == now[1][1]:
            inside = True
        wanted.update([now[0][1]] if begins[0] else [])
        found.update([now[1][1]] if begins[1] else [])
        before = now  # type: ignore[assignment]
    return {kind: (right[kind], found[kind], wanted[kind]) for kind in sorted({*found, *wanted})}


def f1(right: int, found: int, wanted: int) -> tuple[float, float, float]:
    precision, recall = (right / found if found else 0.0), (right / wanted if wanted else 0.0)
    return (2 * precision * recall / (precision + recall) if right else 0.0), precision, recall


@pytest.mark.parametrize("letters", ["BI", "BIES", "I", "ES"])
def test_scores_equal_conlleval_on_random_tags(letters: str) -> None:
    """Most of these sequences no scheme allows."""
    rng = random.Random(3)
    tags = ["O", "O", *(f"{letter}-{kind}" for letter in letters for kind in ("NP", "VP"))]
    for _ in range(200):
        gold = [[rng.choice(tags) for _ in range(rng.randint(1, 9))] for _ in range(5)]
        predicted = [[tag if rng.random() < 0.7 else rng.choice(tags) for tag in row] for row in gold]
        wanted = conlleval(gold, predicted)
        total = f1(*(sum(column) for column in zip(*wanted.values(), strict=True))) if wanted else (0.0, 0.0, 0.0)
        found = span_scores(gold, predicted)
        assert (found["f1"], found["precision"], found["recall"]) == pytest.approx(total)
        for kind, scores in class_scores(gold, predicted).items():
            assert (scores["f1"], scores["precision"], scores["recall"]) == pytest.approx(f1(*wanted[kind]))
            assert scores["support"] == wanted[kind][2]


SCHEMES = {
    "BIO1": "I-P I-P B-P O I-L I-P O",
    "BIO2": "B-P I-P B-P O B-L B-P O",
    "BIOES": "B-P E-P S-P O S-L S-P O",
    "BILOU": "B-P L-P U-P O U-L U-P O",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_schemes_mean_the_same(scheme: str) -> None:
    tags = SCHEMES[scheme].split()
    assert find_spans(tags) == [Span(0, 2, "P"), Span(2, 3, "P"), Span(4, 5, "L"), Span(5, 6, "P")]
    assert to_bioes(tags) == SCHEMES["BIOES"].split()
    assert marks_spans(tags)


def test_a_type_may_contain_hyphens_and_letters_may_come_alone() -> None:
    assert find_spans(["B-a-b", "I-a-b", "I-a"]) == [Span(0, 2, "a-b"), Span(2, 3, "a")]
    assert find_spans(["B", "I", "O", "I"]) == [Span(0, 2, ""), Span(3, 4, "")] and find_spans([]) == []


@pytest.mark.parametrize(
    ("tags", "spans"), [("NN DT VB", False), ("O PER LOC", False), ("B I O", True), ("O", False), ("B-X O", True), ("S-BAR X", False), ("S O", False)]
)
def test_plain_tags_are_distinguished_from_spans(tags: str, spans: bool) -> None:
    assert marks_spans(tags.split()) == spans


def score(gold: list[Row], predicted: list[Row], labels: set[str]) -> dict[str, float]:
    examples = [Example(id=str(i), text="", words=tuple(row), label=tuple(row)) for i, row in enumerate(gold)]
    return score_words(examples, [Prediction(label=tuple(row)) for row in predicted], Head(kind="tagging", labels=tuple(sorted(labels))))


def test_accuracy_and_macro_f1_equal_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = random.Random(1)
    for tags in (["NN", "DT", "VB"], ["O", "B-X", "I-X"]):
        gold = [[rng.choice(tags) for _ in range(7)] for _ in range(20)]
        predicted = [[tag if rng.random() < 0.6 else rng.choice(tags) for tag in row] for row in gold]
        found = score(gold, predicted, set(tags))
        flat = [tag for row in gold for tag in row], [tag for row in predicted for tag in row]
        assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(*flat))
        if tags[0] == "NN":
            assert found == {"accuracy": found["accuracy"], "macro_f1": pytest.approx(sklearn.f1_score(*flat, average="macro"))}
        else:
            assert found["f1"] == pytest.approx(span_scores(gold, predicted)["f1"])


def test_what_cannot_be_scored_or_learned_is_refused() -> None:
    unlabelled = Example(id="0", text="a", words=("a",))
    with pytest.raises(UserError, match="no tags"):
        score_words([unlabelled], [Prediction(label=("O",))], Head(kind="tagging", labels=("O",)))
    same = Example(id="0", text="a", words=("a",), label=("O",))
    with pytest.raises(UserError, match="every word has the tag 'O'; name the column"):
        find_tags([same])
    numbers = [Example(id=str(i), text="a", words=("a",), label=(str(i),)) for i in range(200)]
    with pytest.raises(UserError, match="200 different tags for 200 words"):
        find_tags(numbers)


@pytest.mark.parametrize(
    "labels", [("O", "B-X", "I-X", "B-Y", "I-Y"), ("O", "B-X", "E-X", "S-X", "I-X", "S-Y"), ("O", "B-X", "L-X", "U-Y"), ("B", "I", "O")]
)
def test_constrained_tags_are_the_likeliest_sequence_allowed(labels: tuple[str, ...]) -> None:
    """Against all sequences, allowed where the scheme's encoding of their spans gives them back."""
    closing = any(label[0] in "ESLU" for label in labels)
    names = {"L": "E", "U": "S"}

    def is_allowed(tags: Row) -> bool:
        plain = [names.get(tag[0], tag[0]) + tag[1:] for tag in tags]
        again = to_bioes(plain)
        return plain == (again if closing else [{"S": "B", "E": "I"}.get(tag[0], tag[0]) + tag[1:] for tag in again])

    rng = np.random.default_rng(1)
    rules = scheme_rules(labels)
    differed = 0
    for length in (1, 2, 4):
        every = list(itertools.product(range(len(labels)), repeat=length))
        sound = [path for path in every if is_allowed([labels[i] for i in path])]
        assert 0 < len(sound) < len(every)
        for _ in range(20):
            logits = rng.normal(size=(length, len(labels)), scale=2)
            best = max(sound, key=lambda path: sum(logits[at, i] for at, i in enumerate(path)))
            assert tuple(best_path(logits, rules)) == best
            differed += best != tuple(logits.argmax(1))
            assert best_path(logits, None) == logits.argmax(1).tolist()
    assert differed > 5


def test_without_a_scheme_or_a_path_each_word_gets_its_best_tag() -> None:
    assert scheme_rules(("NN", "VB")) is None and best_path(np.zeros((0, 3)), scheme_rules(("O", "B-X", "I-X"))) == []
    assert best_path(np.array([[0.0, 1.0]]), scheme_rules(("B-X", "I-X"))) == [0]
    assert best_path(np.array([[0.0, 1.0]]), scheme_rules(("I-X", "E-X"))) == [1], "no sequence of these alone is allowed"


@pytest.mark.parametrize(
    "letters",
    [
        case(letters, form=f"sequences of {letters} that no scheme allows", where="evaluate", outcome="exact", section="tables")
        for letters in ("BIO", "IO", "BIOES", "BIOLU")
    ],
)
def test_scores_equal_seqeval_itself(letters: str) -> None:
    """The package, in its default mode, on random tags that obey no scheme."""
    seqeval = pytest.importorskip("seqeval.metrics")
    rng = random.Random(letters)
    tags = ["O", *(f"{letter}-{kind}" for letter in letters.replace("O", "") for kind in ("NP", "VP", "A-B"))]
    for _ in range(60):
        lengths = [rng.randrange(1, 12) for _ in range(5)]
        gold, predicted = ([rng.choices(tags, k=length) for length in lengths] for _ in range(2))
        # seqeval knows the letters of BIOES; BILOU's mean the same.
        theirs = [[[tag.translate({76: "E", 85: "S"}) if tag[:1] in "LU" else tag for tag in row] for row in side] for side in (gold, predicted)]
        found = span_scores([tuple(row) for row in gold], [tuple(row) for row in predicted])
        for name in ("precision", "recall", "f1"):
            wanted = getattr(seqeval, f"{name}_score")(*theirs, zero_division=0)
            assert found[name] == pytest.approx(wanted), (name, gold, predicted)


ROWS = {
    "BIO2": ["B-PER I-PER O B-PER B-PER O", "O B-LOC"],
    "IOB1": ["I-PER I-PER O I-PER B-PER O", "O I-LOC"],
    "IO": ["I-PER I-PER O", "O I-LOC"],
    "BIOES": ["B-PER E-PER O S-PER S-PER O", "O B-LOC I-LOC E-LOC"],
    "BIOS": ["B-PER I-PER O S-PER S-PER O", "O B-LOC I-LOC"],
    "BILOU": ["B-PER L-PER O U-PER U-PER O", "O B-LOC I-LOC L-LOC"],
    "BMES": ["B-PER E-PER O S-PER S-PER O", "O B-LOC M-LOC E-LOC"],
    "mixed": ["I-PER O B-PER", "B-LOC I-PER"],
    "plain": ["NN VB DT", "NN NN"],
}
FORMS = {"letter first": lambda tag: tag, "letter last": lambda tag: "-".join(reversed(tag.split("-", 1)))}


def tag_form(scheme: str, form: str) -> object:
    return case(scheme, form, form=f"{scheme} tags, {form}", where=("finetune", "evaluate"), outcome="exact", section="tables")


@pytest.mark.parametrize(("scheme", "form"), [tag_form(scheme, form) for scheme in ROWS for form in FORMS])
def test_the_scheme_is_found_and_spans_are_those_of_seqeval(scheme: str, form: str) -> None:
    """seqeval's default mode knows the letters of BIOES only."""
    get_entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    rows = [[FORMS[form](tag) for tag in row.split()] for row in ROWS[scheme]]
    # With the letter last, I alone could be part of a name.
    expected_scheme = "plain" if (scheme, form) == ("IO", "letter last") else scheme
    assert find_scheme(rows) == expected_scheme
    for row in rows if expected_scheme != "plain" else []:
        theirs = [re.sub("^[LUM](?=-)|(?<=-)[LUM]$", lambda letter: {"L": "E", "U": "S", "M": "I"}[letter[0]], tag) for tag in row]
        expected = [Span(first, last + 1, kind) for kind, first, last in get_entities(theirs, suffix=form == "letter last")]
        assert find_spans(row) == expected and len(expected) > 0


@pytest.mark.parametrize("scheme", [name for name in ROWS if name != "plain"])
def test_constrained_decoding_leaves_valid_tags_as_they_are(scheme: str) -> None:
    """With rules of another scheme the tags of IOB1 would become others: F1 100.0 falls to 73.5 on CoNLL-2000's chunks."""
    rows = [row.split() for row in ROWS[scheme]]
    labels = sorted({tag for row in rows for tag in row})
    rules = scheme_rules(labels, find_scheme(rows))
    for row in rows:
        logits = np.where(np.array([[label == tag for label in labels] for tag in row]), 5.0, 0.0)
        assert [labels[index] for index in best_path(logits, rules)] == row


STRICT = {"BIO2": "IOB2", "IOB1": "IOB1", "IO": "IOB1", "BIOES": "IOBES", "BILOU": "BILOU"}


@pytest.mark.parametrize(
    "scheme", [case(name, form=f"{name} tags, seqeval's strict mode", where="evaluate", outcome="exact", section="tables") for name in STRICT]
)
def test_constrained_scores_equal_seqevals_strict_mode(scheme: str) -> None:
    """What --constrained answers is valid in the scheme of the training tags; there strict and default mode agree, and with ours."""
    metrics, schemes = pytest.importorskip("seqeval.metrics"), pytest.importorskip("seqeval.scheme")
    rows = [row.split() for row in ROWS[scheme]]
    labels = sorted({tag for row in rows for tag in row})
    rules = scheme_rules(labels, find_scheme(rows))
    rng = np.random.default_rng(7)
    gold, predicted = ([[labels[i] for i in best_path(rng.normal(size=(9, len(labels))), rules)] for _ in range(30)] for _ in range(2))
    found = span_scores(gold, predicted)
    for options in ({"mode": "strict", "scheme": getattr(schemes, STRICT[scheme])}, {}):
        if scheme == "BILOU" and not options:
            continue  # seqeval's default mode does not know L and U
        for name in ("precision", "recall", "f1"):
            assert found[name] == pytest.approx(getattr(metrics, f"{name}_score")(gold, predicted, zero_division=0, **options))
    assert 0 < found["f1"] < 1


def test_constrained_decoding_of_iob1_changes_what_iob1_does_not_allow() -> None:
    labels = ["B-PER", "I-LOC", "I-PER", "O"]
    logits = np.array([[3.0, 0.0, 2.0, 0.0], [0.0, 0.0, 3.0, 0.0]])
    assert [labels[i] for i in best_path(logits, scheme_rules(labels, "IOB1"))] == ["I-PER", "I-PER"]
    assert [labels[i] for i in best_path(logits, scheme_rules(labels, "BIO2"))] == ["B-PER", "I-PER"]


@pytest.mark.parametrize("tags", ["HEPATITIS-B O", "A-B C-D O", "PER-B LOC O", "NN-I VB-X"])
def test_a_letter_at_the_end_needs_a_type_with_two_letters(tags: str) -> None:
    assert not marks_spans(tags.split())


def test_lower_case_underscores_and_bare_letters_are_schemes() -> None:
    assert find_spans("b-per i-per o b_loc".split()) == [Span(0, 2, "per"), Span(3, 4, "loc")]
    assert find_scheme(["B_PER I_PER O".split()]) == "BIO2" and find_scheme(["B M E S".split()]) == "BMES"
    assert find_spans("B M E S".split()) == [Span(0, 3, ""), Span(3, 4, "")]


def test_reported_sequences_are_counted_as_reported() -> None:
    """conlleval.py#1: E is followed by B, two spans and not one; seqeval#23: I I for B I counts by default, and is not valid in BIO2."""
    seqeval = pytest.importorskip("seqeval.metrics")
    gold, found = [["B-MISC", "E-MISC", "B-MISC", "E-MISC"]], [["B-MISC", "I-MISC", "I-MISC", "E-MISC"]]
    assert find_spans(gold[0]) == [Span(0, 2, "MISC"), Span(2, 4, "MISC")]
    assert span_scores(gold, found)["f1"] == seqeval.f1_score(gold, found) == 0.0
    gold, found = [["B-Phone", "I-Phone"]], [["I-Phone", "I-Phone"]]
    assert span_scores(gold, found)["f1"] == seqeval.f1_score(gold, found) == 1.0
    labels = ["B-Phone", "I-Phone", "O"]
    likeliest_by_word = np.array([[0.0, 5.0, 0.0], [0.0, 5.0, 0.0]])
    assert [labels[i] for i in best_path(likeliest_by_word, scheme_rules(labels, "BIO2"))] == ["B-Phone", "I-Phone"]
