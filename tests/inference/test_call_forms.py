"""The forms in which a pipeline is called: each is answered as by the pipelines of `transformers`, or refused by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conformance import case, conforms
from tiny_models import SHAPE, TEXTS, checkpoints, vocabulary

from electra import load
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.exporting.targets import build_artifact
from electra.inference.pipelines import pipeline

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")

Form = Callable[[Any], Any]
Pipes = Callable[..., list[Any]]
TEXT, OTHER, LONG = TEXTS[0], "an Épics film , was it ?", "the chef " * 60
MASKED = "the chef [MASK] the meal ."
LABELS = ("O", "B-PER", "I-PER", "B-LOC")
LENGTH = SHAPE["max_position_embeddings"]


def exact(call: Form, form: str) -> Any:
    return case(call, form=form, where="pipeline", outcome="exact", section="clients")


def refused(call: Form, message: str, form: str) -> Any:
    return case(call, message, form=form, where="pipeline", outcome="refused", section="clients")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(class, settings) -> a small random checkpoint, made once."""
    made: dict[str, Path] = {}

    def make(kind: str, **settings: Any) -> Path:
        name = f"{kind} {settings}"
        if name not in made:
            folder = made[name] = tmp_path_factory.mktemp("model")
            bert = kind.startswith("Bert")
            shape = {key: value for key, value in SHAPE.items() if key != "embedding_size" or not bert}
            config = (transformers.BertConfig if bert else transformers.ElectraConfig)(vocab_size=len(vocabulary()), **shape, **settings)
            torch.manual_seed(3)
            getattr(transformers, kind)(config).eval().save_pretrained(folder)
            load_tokenizer(checkpoints()["vocab"]).save(folder, LENGTH)
        return made[name]

    return make


@pytest.fixture(scope="module")
def pipes(folders: Callable[..., Path]) -> Pipes:
    """(task, class, settings, init=...) -> the pipeline of `transformers` and ours, opened once."""
    opened: dict[str, list[Any]] = {}

    def pair(task: str, kind: str, init: dict[str, Any] | None = None, **settings: Any) -> list[Any]:
        name = f"{task} {kind} {init} {settings}"
        if name not in opened:
            folder, options = folders(kind, **settings), init or {}
            theirs = transformers.pipeline(task, model=str(folder), **({"device": "cpu"} | options))
            opened[name] = [theirs, pipeline(task, folder, **options)]
        return opened[name]

    return pair


def plain(value: Any) -> Any:
    """Answers as lists, dicts, texts and numbers; an iterator begins with the word 'stream'."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, torch.Tensor | np.ndarray):
        return [tuple(value.shape), value.tolist()]
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        return ["stream", *(plain(one) for one in value)]
    return float(value) if isinstance(value, float | np.floating) else value


def assert_equal(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    """Equal types, lengths, keys in their order, and values; numbers to `tolerance`."""
    assert type(found) is type(wanted), (found, wanted)
    if isinstance(found, list):
        assert len(found) == len(wanted), (found, wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_equal(one, other, tolerance)
    elif isinstance(found, dict):
        assert list(found) == list(wanted)
        assert_equal(list(found.values()), list(wanted.values()), tolerance)
    else:
        assert found == (pytest.approx(wanted, abs=tolerance) if isinstance(wanted, float) else wanted)


def assert_same(call: Form, theirs: Any, ours: Any, tolerance: float = 1e-5) -> None:
    assert_equal(plain(call(ours)), plain(call(theirs)), tolerance)


def columns() -> Any:
    return datasets.Dataset.from_dict({"text": [TEXT, OTHER], "second": ["a film", "the meal"]})


def keyed() -> Any:
    from transformers.pipelines.pt_utils import KeyDataset

    return KeyDataset(columns(), "text")


def paired() -> Any:
    from transformers.pipelines.pt_utils import KeyPairDataset

    return KeyPairDataset(columns(), "text", "second")


# ---- text-classification ----


PAIR = {"text": TEXT, "text_pair": "a film"}
PAIRS = [{"text": "the chef " * a, "text_pair": "a film " * b} for a, b in ((1, 2), (9, 1), (1, 9), (5, 5), (4, 5))]
CLASSIFICATION = [
    exact(lambda p: p(TEXT), "a text"),
    exact(lambda p: p([TEXT, OTHER, ""]), "a list of texts, one empty"),
    exact(lambda p: p(inputs=TEXT), "inputs= by name"),
    exact(
        lambda p: [p(PAIR), p({"text": TEXT}), p({"text": TEXT, "text_pair": None}), p({"text": TEXT, "text_pair": ""})],
        "a dict of text and text_pair",
    ),
    exact(lambda p: p([PAIR, {"text": OTHER}]), "a list of dicts"),
    exact(lambda p: p([[[TEXT, "a film"]]]), "[[text, pair]] in a list"),
    exact(lambda p: p([TEXT, OTHER], text_pair="a film"), "text_pair= by name"),
    exact(lambda p: p({**PAIR, "truncation": True, "max_length": 5}), "a dict with truncation"),
    exact(lambda p: [p(x for x in [TEXT, OTHER]), p((PAIR for _ in "ab"), top_k=2)], "a generator"),
    exact(lambda p: [p(keyed()), len(p(keyed()))], "KeyDataset"),
    exact(lambda p: p(paired()), "KeyPairDataset"),
    exact(lambda p: p(np.str_(TEXT)), "numpy.str_"),
    exact(lambda p: [p(TEXT, top_k=1), p([TEXT, OTHER], top_k=1), p(PAIR, top_k=1)], "top_k=1"),
    exact(lambda p: [p(TEXT, top_k=2), p([TEXT], top_k=2), p(TEXT, top_k=99), p(TEXT, top_k=0)], "top_k=2"),
    exact(lambda p: [p(TEXT, top_k=None), p([TEXT, OTHER], top_k=None), p(PAIR, top_k=None)], "top_k=None"),
    exact(lambda p: [p([TEXT], function_to_apply="sigmoid"), p(TEXT, function_to_apply="SIGMOID", top_k=None)], "function_to_apply='sigmoid'"),
    exact(lambda p: p([TEXT, OTHER], function_to_apply="softmax", top_k=None), "function_to_apply='softmax'"),
    exact(lambda p: p([TEXT, OTHER], function_to_apply="none", top_k=None), "function_to_apply='none'"),
    exact(lambda p: p([TEXT, LONG], truncation=True), "truncation=True"),
    exact(lambda p: [p([LONG, TEXT], truncation=True, max_length=9), p(LONG, truncation=True, max_length=2)], "truncation=True with max_length"),
    exact(lambda p: p(LONG, max_length=12), "max_length alone"),
    exact(lambda p: [p(PAIRS, truncation="longest_first", max_length=n) for n in range(3, 16)], "truncation='longest_first' of pairs"),
    exact(lambda p: p({"text": LONG, "text_pair": "a film"}, truncation="only_first", max_length=20), "truncation='only_first'"),
    exact(lambda p: p({"text": "a film", "text_pair": LONG}, truncation="only_second", max_length=20), "truncation='only_second'"),
    exact(lambda p: [p(TEXT, truncation=False), p(TEXT, truncation="do_not_truncate")], "truncation=False"),
    exact(lambda p: p([TEXT, OTHER], padding="max_length", max_length=30), "padding='max_length'"),
    exact(lambda p: p([TEXT, OTHER, ""], padding=True, batch_size=2, num_workers=0), "batch_size"),
    exact(lambda p: [p.predict([TEXT]), p.transform([TEXT])], "predict and transform, as in scikit-learn"),
]


@pytest.mark.parametrize("call", CLASSIFICATION)
def test_texts_are_classified_as_by_transformers(call: Form, pipes: Pipes) -> None:
    assert_same(call, *pipes("text-classification", "ElectraForSequenceClassification", num_labels=3))


SCORES: list[Form] = [
    lambda p: [p(TEXT), p(PAIR, top_k=None), p(x for x in [TEXT])],
    lambda p: [p([TEXT], function_to_apply=name, top_k=None) for name in ("sigmoid", "softmax", "none")],
    lambda p: p([LONG, *PAIRS], truncation=True, max_length=9),
]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        case(
            "ElectraForSequenceClassification",
            {"num_labels": 1},
            form="one output, all options",
            where="pipeline",
            outcome="exact",
            section="clients",
        ),
        case(
            "BertForSequenceClassification",
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            form="several labels of a BERT, all options",
            where="pipeline",
            outcome="exact",
            section="clients",
        ),
        case(
            "BertForSequenceClassification",
            {"num_labels": 2, "problem_type": "regression"},
            form="a regression of two outputs of a BERT, all options",
            where="pipeline",
            outcome="exact",
            section="clients",
        ),
    ],
)
def test_options_hold_for_every_kind_of_output(kind: str, settings: dict[str, Any], pipes: Pipes) -> None:
    for call in SCORES:
        assert_same(call, *pipes("text-classification", kind, **settings))


@conforms(form="an ONNX artifact, all options", where="pipeline", outcome="exact", section="clients")
def test_an_artifact_answers_alike(folders: Callable[..., Path], pipes: Pipes, tmp_path: Path) -> None:
    theirs, _ = pipes("text-classification", "ElectraForSequenceClassification", num_labels=3)
    build_artifact(str(folders("ElectraForSequenceClassification", num_labels=3)), "onnx", tmp_path / "onnx")
    ours = pipeline("text-classification", tmp_path / "onnx")
    for call in SCORES:
        assert_same(call, theirs, ours, 1e-4)


INITIAL = [
    case(init, form=form, where="pipeline", outcome="exact", section="clients")
    for init, form in (
        ({"top_k": None}, "pipeline(top_k=None)"),
        ({"top_k": 1}, "pipeline(top_k=1)"),
        ({"function_to_apply": "none", "top_k": 2}, "pipeline(function_to_apply=)"),
        ({"truncation": True, "max_length": 7}, "pipeline(truncation=, max_length=)"),
        ({"batch_size": 2, "num_workers": 0}, "pipeline(batch_size=)"),
        ({"device": -1}, "pipeline(device=-1)"),
        ({"device": 0, "dtype": torch.float32}, "pipeline(device=0, dtype=float32)"),
        ({"device": torch.device("cpu"), "torch_dtype": "auto"}, "pipeline(device=torch.device, torch_dtype='auto')"),
        ({"use_fast": True, "trust_remote_code": True, "revision": "main", "framework": "pt"}, "pipeline(framework='pt', revision='main', ...)"),
        ({"device_map": "cpu", "model_kwargs": {"attn_implementation": "eager"}}, "pipeline(device_map=, model_kwargs=)"),
    )
]


@pytest.mark.parametrize("init", INITIAL)
def test_arguments_of_pipeline(init: dict[str, Any], folders: Callable[..., Path]) -> None:
    folder = folders("ElectraForSequenceClassification", num_labels=3)
    given = {name: value for name, value in init.items() if name not in ("device", "device_map", "framework")}
    theirs = transformers.pipeline("text-classification", model=str(folder), device="cpu", **given)
    ours = pipeline("text-classification", folder, **init)
    for call in (lambda p: p(TEXT), lambda p: p(PAIR), lambda p: p([LONG[:90], TEXT]), lambda p: p(TEXT, top_k=1), lambda p: p(x for x in [TEXT])):
        assert_same(call, theirs, ours)


@conforms(form="pipeline(tokenizer=)", where="pipeline", outcome="exact", section="clients")
def test_a_tokenizer_elsewhere(folders: Callable[..., Path], tmp_path: Path) -> None:
    """The model's folder has none, and truncation is on the other side."""
    import json
    import shutil

    source = folders("ElectraForSequenceClassification", num_labels=3)
    words, weights = tmp_path / "words", tmp_path / "weights"
    shutil.copytree(source, words, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    shutil.copytree(source, weights, ignore=shutil.ignore_patterns("*token*", "vocab.txt"))
    values = json.loads((words / "tokenizer_config.json").read_text()) | {"truncation_side": "left"}
    (words / "tokenizer_config.json").write_text(json.dumps(values))
    theirs = transformers.pipeline("text-classification", model=str(weights), tokenizer=str(words), device="cpu")
    text = "a film was it " + LONG[:40] + "the end"
    for ours in (pipeline("text-classification", weights, tokenizer=words), pipeline(model=load(weights, tokenizer=load_tokenizer(words)))):
        assert_same(lambda p: [p(text, truncation=True, max_length=9), p(PAIRS, truncation=True, max_length=9)], theirs, ours)
    assert load_tokenizer(words).settings.truncate_left


@conforms(form="truncation=True where model_max_length is above the positions", where="pipeline", outcome="exact", section="clients")
def test_truncation_knows_the_models_positions(pipes: Pipes) -> None:
    """`transformers` fails there; the answer is that to the length the model has."""
    theirs, _ = pipes("text-classification", "ElectraForSequenceClassification", num_labels=3)
    model = load(theirs.model.name_or_path)
    model.tokenizer.settings = replace(model.tokenizer.settings, max_length=512)
    assert_same(lambda p: [p(LONG, truncation=True), p({"text": LONG, "text_pair": LONG}, truncation=True)], theirs, pipeline(model=model))


# ---- forms that `transformers` does not answer, and ours does ----


@conforms(form="a column of datasets, an array, a Series, map()", where="pipeline", outcome="exact", section="clients")
def test_columns_are_answered_as_lists(pipes: Pipes) -> None:
    theirs, ours = pipes("text-classification", "ElectraForSequenceClassification", num_labels=3)
    texts = [TEXT, OTHER]
    for given in (
        columns()["text"],
        np.array(texts),
        np.array(texts, object),
        pd.Series(texts),
        pd.Series(texts, dtype="category"),
        dict.fromkeys(texts).keys(),
    ):
        assert_equal(plain(ours(given)), plain(theirs(texts)))
    assert_equal(plain(ours(map(str, texts))), ["stream", *plain(theirs(texts))])
    rows = columns().rename_column("second", "text_pair")
    assert_equal(plain(ours(rows)), plain(theirs(list(rows))))
    assert ours([]) == [] and list(ours(iter(()))) == []


@conforms(form="return_all_scores of transformers 4", where="pipeline", outcome="exact", section="clients")
def test_return_all_scores(pipes: Pipes) -> None:
    """As version 4 answered: every class in the model's order; version 5 ignores it."""
    theirs, ours = pipes("text-classification", "ElectraForSequenceClassification", num_labels=3)
    every = [sorted(rows, key=lambda row: row["label"]) for rows in plain(theirs([TEXT, OTHER], top_k=None))]
    assert_equal(plain(ours([TEXT, OTHER], return_all_scores=True)), every)
    assert_equal(plain(ours(TEXT, return_all_scores=True)), every[:1])
    assert_equal(plain(ours(TEXT, return_all_scores=False)), plain(theirs(TEXT)))


@conforms(form="a generator without end", where="pipeline", outcome="exact", section="clients")
def test_a_stream_is_read_no_further_than_it_is_answered(pipes: Pipes) -> None:
    theirs, ours = pipes("text-classification", "ElectraForSequenceClassification", num_labels=3)
    for pipe, options, most in ((theirs, {}, 1), (ours, {}, 1), (ours, {"batch_size": 4}, 4)):
        read: list[int] = []

        def texts(read: list[int] = read) -> Iterator[str]:
            for number in itertools.count():
                read.append(number)
                yield TEXT

        answers = iter(pipe(texts(), **options))
        next(answers)
        assert len(read) == most
        next(answers)
        assert len(read) == max(2, most)


REFUSALS = [
    refused(lambda p: p(None), "got NoneType None; expected a text", "None as the input"),
    refused(lambda p: p([TEXT, None]), "item 2: got NoneType None; .* leave out missing values", "None among the texts"),
    refused(lambda p: p(pd.Series([TEXT, float("nan")], dtype=object)), "item 2: got float nan; .* leave out missing values", "NaN among the texts"),
    refused(lambda p: p(pd.Series([TEXT, pd.NA], dtype=object)), "item 2: got NAType <NA>; .* leave out missing values", "pandas.NA among the texts"),
    refused(lambda p: p(5), "got int 5; .* str", "a number as the input"),
    refused(lambda p: p([b"text"]), r"item 1: got bytes b'text'; .* value.decode\(\)", "bytes"),
    refused(lambda p: p(columns().data["text"]), r"item 1: got StringScalar .* column.to_pylist\(\)", "a column of pyarrow"),
    refused(lambda p: p(pd.DataFrame({"text": [TEXT]})), "got DataFrame .* one of its columns", "a DataFrame"),
    refused(lambda p: p({TEXT, OTHER}), "a set has no order", "a set of texts"),
    refused(lambda p: p(np.array([[TEXT, OTHER]])), "got ndarray", "an array of two dimensions"),
    refused(
        lambda p: p([[TEXT]]), r"item 1: got list \['the chef cooked the meal'\]; expected a text, a \(text, text\) pair", "a list of lists of texts"
    ),
    refused(lambda p: p((TEXT, OTHER, TEXT)), r"expected a text, a \(text, text\) pair", "a tuple of three texts"),
    refused(lambda p: p({"premise": TEXT, "hypothesis": OTHER}), "a dict of premise, hypothesis; expected 'text'", "a dict without text"),
    refused(lambda p: p({"text": TEXT, "label": 1}), "unknown key 'label'; expected text, text_pair", "a dict with a key that is not read"),
    refused(lambda p: p([{"text": TEXT, "text_pair": 3}]), "item 1: text_pair: got int 3", "a dict whose text_pair is no text"),
    refused(lambda p: p([{"role": "user", "content": TEXT}]), "a dict of role, content", "a chat"),
    refused(lambda p: p(PAIR, text_pair="a"), "text_pair is given twice", "text_pair twice"),
    refused(lambda p: p(TEXT, OTHER), r"2 inputs; expected one text or a list", "two positional texts"),
    refused(lambda p: p(), "no input", "no input"),
    refused(lambda p: p(TEXT, top_k="2"), "top_k '2'; expected a whole number", "top_k as a text"),
    refused(lambda p: p(TEXT, top_k=-1), "top_k -1 must be at least 0", "a negative top_k"),
    refused(
        lambda p: p(TEXT, function_to_apply="sigmod"), "unknown function_to_apply 'sigmod'; did you mean 'sigmoid'", "an unknown function_to_apply"
    ),
    refused(
        lambda p: p(TEXT, candidate_labels=["a"]), "unknown option 'candidate_labels'; expected batch_size, function_to_apply", "an unknown option"
    ),
    refused(lambda p: p(TEXT, foo=1, bar=2), "unknown options 'foo', 'bar'; expected", "several unknown options"),
    refused(lambda p: p(TEXT, add_special_tokens=False), "unknown option 'add_special_tokens'", "add_special_tokens=False"),
    refused(lambda p: p(TEXT, truncation="first"), "unknown truncation 'first'", "an unknown truncation"),
    refused(
        lambda p: p(LONG, truncation=False), f"an input of 122 tokens is above the model's {LENGTH}", "truncation=False of a text that is too long"
    ),
    refused(
        lambda p: p({"text": LONG, "text_pair": "a"}, truncation="only_second", max_length=20),
        "'only_second' cannot reach",
        "truncation='only_second' of a short pair",
    ),
    refused(lambda p: p(LONG, truncation="only_second", max_length=20), "'only_second' of a single text", "truncation='only_second' of a text"),
    refused(lambda p: p(LONG, truncation=True, max_length=0), "max_length 0 must be at least 2", "max_length=0"),
    refused(lambda p: p(PAIR, truncation=True, max_length=2), "max_length 2; expected at least 3", "max_length=2 of a pair"),
    refused(lambda p: p([TEXT], batch_size=0), "batch_size 0 must be at least 1", "batch_size=0"),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_what_cannot_be_classified_is_named(call: Form, message: str, pipes: Pipes) -> None:
    with pytest.raises(UserError, match=f"text-classification: .*{message}"):
        call(pipes("text-classification", "ElectraForSequenceClassification", num_labels=3)[1])


ARGUMENTS = [
    case(init, message, form=f"pipeline({form})", where="pipeline", outcome="refused", section="clients")
    for init, message, form in (
        (
            {"task": "zero-shot-classification"},
            "unknown task 'zero-shot-classification'.* supported: sentiment-analysis, text-classification",
            "zero-shot",
        ),
        ({"task": "summarization"}, "unknown task 'summarization'", "another task"),
        ({"task": 5}, "unknown task 5", "a task that is no text"),
        ({"dtype": torch.float16}, "dtype torch.float16; weights stay in float32", "dtype=float16"),
        ({"model_kwargs": {"torch_dtype": "bfloat16"}}, "torch_dtype bfloat16", "model_kwargs with a dtype"),
        ({"model_kwargs": {"load_in_8bit": True}}, "unknown option 'load_in_8bit'", "model_kwargs that are not known"),
        ({"framework": "tf"}, "framework 'tf' is not supported", "framework='tf'"),
        ({"config": "config.json"}, "config 'config.json' is not supported", "config="),
        ({"feature_extractor": "x"}, "feature_extractor 'x' is not supported", "feature_extractor="),
        ({"pipeline_class": dict}, "pipeline_class .* is not supported", "pipeline_class="),
        ({"device": "cpu", "device_map": "auto"}, "device cpu and device_map 'auto'; give one", "device and device_map"),
        ({"device": 0.5}, "device 0.5; expected", "device=0.5"),
        ({"model": "me/other", "revision": "v1"}, "revision of a model on the hub is not an option", "revision of the hub"),
        ({"tokenizer": object}, "tokenizer .* expected a folder", "a tokenizer that is no folder"),
        ({"topk": 3}, "unknown option 'topk' of a pipeline; did you mean 'top_k'", "an unknown option"),
        ({"model": object()}, "model is object; expected a folder", "a model that is no folder"),
    )
]


@pytest.mark.parametrize(("init", "message"), ARGUMENTS)
def test_arguments_that_would_change_the_answer_are_refused(init: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pipeline(**({"task": "text-classification", "model": checkpoints()["classifier"]} | init))


@conforms(form="pipeline(model=) without a task", where="pipeline", outcome="exact", section="clients")
def test_the_task_is_that_of_the_head() -> None:
    """`transformers` asks the hub; a folder's head says it."""
    kinds = {"classifier": "text-classification", "masked": "fill-mask", "discriminator": "replaced-token-detection"}
    for name, task in kinds.items():
        assert pipeline(model=checkpoints()[name]).task == task
    with pytest.raises(UserError, match="no task and no model; give one of"):
        pipeline()
    with pytest.raises(UserError, match="got 3 positional arguments; expected a task and a model"):
        pipeline("text-classification", checkpoints()["classifier"], "config.json")  # type: ignore[call-overload]


# ---- token-classification ----


WORDS = ["the", "chefs", "", "cooked", "中中", "a b"]


def strategies(call: Callable[[Any, str], Any]) -> Form:
    return lambda p: [call(p, name) for name in ("simple", "first", "average", "max")]


TAGGING = [
    exact(lambda p: [p(TEXT), p([TEXT]), p([TEXT, OTHER, ""])], "texts to tag"),
    exact(lambda p: [p(x for x in [TEXT, OTHER]), p(keyed())], "a stream of texts to tag"),
    exact(lambda p: [p(TEXT, ignore_labels=[]), p(TEXT, ignore_labels=("I-PER",)), p(TEXT, ignore_labels=None)], "ignore_labels"),
    exact(strategies(lambda p, name: p([TEXT, OTHER], aggregation_strategy=name, ignore_labels=[])), "aggregation_strategy"),
    exact(
        lambda p: [p(OTHER, aggregation_strategy="SIMPLE"), p(OTHER, aggregation_strategy=_member("MAX"))],
        "aggregation_strategy in capitals and as a member",
    ),
    exact(strategies(lambda p, name: [p(LONG, aggregation_strategy=name, stride=n, ignore_labels=[]) for n in (0, 30)]), "stride"),
    exact(
        strategies(lambda p, name: p("a , the chef " * 30 + "a", aggregation_strategy=name, stride=3, ignore_labels=[])),
        "stride of a text that ends with a window",
    ),
    exact(
        lambda p: [p([LONG, TEXT], stride=7, aggregation_strategy="max", batch_size=2), p(LONG, stride=7)], "stride in batches, and of single tokens"
    ),
    exact(lambda p: [p(WORDS, is_split_into_words=True), p([WORDS, ["a"]], is_split_into_words=True, ignore_labels=[])], "is_split_into_words"),
    exact(
        strategies(lambda p, name: [p([WORDS], is_split_into_words=True, delimiter=d, aggregation_strategy=name) for d in ("--", "")]),
        "is_split_into_words with a delimiter",
    ),
    exact(lambda p: p(LONG.split(), is_split_into_words=True, stride=9, aggregation_strategy="first"), "is_split_into_words with stride"),
    exact(lambda p: p("the chef", offset_mapping=[(0, 0), (0, 2), (4, 7), (0, 0)], ignore_labels=[]), "offset_mapping"),
    exact(lambda p: p([TEXT, OTHER, ""], batch_size=2), "texts to tag in batches"),
]


def _member(name: str) -> Any:
    from transformers.pipelines.token_classification import AggregationStrategy

    return AggregationStrategy[name]


@pytest.mark.parametrize("call", TAGGING)
def test_tokens_are_tagged_as_by_transformers(call: Form, pipes: Pipes) -> None:
    assert_same(call, *pipes("token-classification", "ElectraForTokenClassification", id2label=dict(enumerate(LABELS))))


@conforms(form="pipeline(aggregation_strategy=, stride=)", where="pipeline", outcome="exact", section="clients")
def test_arguments_of_the_tagging_pipeline(pipes: Pipes) -> None:
    init = {"aggregation_strategy": "first", "stride": 5, "ignore_labels": []}
    pair = pipes("ner", "BertForTokenClassification", init, id2label=dict(enumerate(LABELS)))
    assert_same(lambda p: [p(LONG), p(TEXT), p([TEXT], aggregation_strategy="simple", ignore_labels=["O"])], *pair)


@conforms(form="grouped_entities and ignore_subwords of transformers 4", where="pipeline", outcome="exact", section="clients")
def test_options_of_version_4(pipes: Pipes) -> None:
    theirs, ours = pipes("token-classification", "ElectraForTokenClassification", id2label=dict(enumerate(LABELS)))
    for options, strategy in (
        ({"grouped_entities": True}, "simple"),
        ({"grouped_entities": True, "ignore_subwords": True}, "first"),
        ({"grouped_entities": False}, "none"),
        ({"ignore_subwords": True}, "none"),
    ):
        assert_equal(plain(ours(OTHER, **options)), plain(theirs(OTHER, aggregation_strategy=strategy)))


TAGGING_REFUSALS = [
    refused(lambda p: p(TEXT, truncation=True), "unknown option 'truncation'; expected aggregation_strategy", "truncation of texts to tag"),
    refused(lambda p: p({"text": TEXT}), "got dict .* give the text alone", "a dict to tag"),
    refused(lambda p: p(TEXT, ignore_labels="O"), r"ignore_labels 'O'; expected a list of texts, such as \['O'\]", "ignore_labels as a text"),
    refused(lambda p: p(TEXT, stride=LENGTH), f"stride {LENGTH}; expected less than", "stride above the length"),
    refused(
        lambda p: p(LONG, stride=9, aggregation_strategy="none"), "stride with aggregation_strategy 'none'", "stride with aggregation_strategy='none'"
    ),
    refused(lambda p: p(TEXT, offset_mapping=[(0, 3)]), "offset_mapping of 1 entries; expected 7 pairs", "offset_mapping of another length"),
    refused(lambda p: p(TEXT, is_split_into_words=True), "got str .* give a list", "is_split_into_words of a text"),
    refused(lambda p: p([["a", 5]], is_split_into_words=True), "expected a list of words", "is_split_into_words of numbers"),
    refused(lambda p: p(WORDS, is_split_into_words=True, offset_mapping=[]), "offset_mapping with is_split_into_words", "offset_mapping of words"),
    refused(lambda p: type(p)(p.predictor, delimiter="-"), "delimiter is an option of the call", "pipeline(delimiter=)"),
]


@pytest.mark.parametrize(("call", "message"), TAGGING_REFUSALS)
def test_what_cannot_be_tagged_is_named(call: Form, message: str, pipes: Pipes) -> None:
    with pytest.raises(UserError, match=f"token-classification: .*{message}"):
        call(pipes("token-classification", "ElectraForTokenClassification", id2label=dict(enumerate(LABELS)))[1])


# ---- fill-mask ----


SEVERAL = "the [MASK] was [MASK] !"
FILLING = [
    exact(lambda p: [p(MASKED), p(MASKED, top_k=1), p(MASKED, top_k=None)], "a text with one mask"),
    exact(lambda p: [p([MASKED], top_k=2), p([MASKED, "a [MASK]"], top_k=2)], "lists of texts with masks, one and several"),
    exact(lambda p: [p(SEVERAL, top_k=2), p([SEVERAL, MASKED], top_k=2)], "several masks"),
    exact(lambda p: p((x for x in [MASKED, SEVERAL]), top_k=1), "a generator of texts with masks"),
    exact(
        lambda p: [
            p(MASKED, targets="was"),
            p(MASKED, targets=(one for one in ("was", "meal", "was"))),
            p(SEVERAL, targets=["was", "meal"], top_k=1),
        ],
        "targets",
    ),
    exact(lambda p: [p(MASKED, targets=["chefs", "Was"]), p(MASKED, targets=["中"]), p(MASKED, targets="##s")], "targets that are no token"),
    exact(lambda p: p(MASKED + LONG, tokenizer_kwargs={"truncation": True, "max_length": 12}), "tokenizer_kwargs"),
    exact(lambda p: [p("a [SEP] b [MASK]", top_k=2), p("a [PAD] [MASK] [MASK]", top_k=1)], "special tokens next to a mask"),
]


@pytest.mark.parametrize("call", FILLING)
@pytest.mark.parametrize("kind", ["ElectraForMaskedLM", "BertForMaskedLM"])
def test_masks_are_filled_as_by_transformers(call: Form, kind: str, pipes: Pipes) -> None:
    assert_same(call, *pipes("fill-mask", kind))


@conforms(form="pipeline(targets=, top_k=, tokenizer_kwargs=)", where="pipeline", outcome="exact", section="clients")
def test_arguments_of_the_filling_pipeline(pipes: Pipes) -> None:
    init = {"top_k": 2, "targets": ["was", "meal", "the"], "tokenizer_kwargs": {"truncation": True, "max_length": 10}}
    assert_same(lambda p: [p(MASKED + LONG), p([MASKED, MASKED], top_k=1, targets=["a"])], *pipes("fill-mask", "ElectraForMaskedLM", init))


FILLING_REFUSALS = [
    refused(lambda p: p(TEXT), r"no \[MASK\] in 'the chef", "a text without a mask"),
    refused(lambda p: p({"text": MASKED}), "got dict", "a dict with a mask"),
    refused(lambda p: p((MASKED, MASKED)), "got tuple", "a tuple of texts with masks"),
    refused(lambda p: p(MASKED, top_k=1000), "top_k 1000 is above the vocabulary's", "top_k above the vocabulary"),
    refused(lambda p: p(MASKED, top_k=True), "top_k True; expected a whole number", "top_k=True"),
    refused(lambda p: p(MASKED, targets=[]), "none of the targets is a word", "no targets"),
    refused(lambda p: p(MASKED, targets=[3]), r"targets \[3\]; expected a list of texts", "targets that are no texts"),
    refused(
        lambda p: p(LONG[:99] + MASKED, tokenizer_kwargs={"truncation": True, "max_length": 9}),
        r"no \[MASK\] is left in the first 9",
        "a mask that is cut off",
    ),
    refused(lambda p: p(MASKED, tokenizer_kwargs={"stride": 1}), "tokenizer_kwargs: unknown option 'stride'", "tokenizer_kwargs that are not known"),
]


@pytest.mark.parametrize(("call", "message"), FILLING_REFUSALS)
def test_what_cannot_be_filled_is_named(call: Form, message: str, pipes: Pipes) -> None:
    with pytest.raises(UserError, match=message):
        call(pipes("fill-mask", "ElectraForMaskedLM")[1])


# ---- feature-extraction ----


FEATURES = [
    exact(lambda p: [p(TEXT), p([TEXT]), p([TEXT, "a"]), p("")], "nested lists of states"),
    exact(lambda p: [p(TEXT, return_tensors=True), p([TEXT, "a"], return_tensors="pt"), p(TEXT, return_tensors=False)], "return_tensors"),
    exact(lambda p: p(x for x in [TEXT, "a"]), "a generator of texts for states"),
    exact(lambda p: p(LONG, truncation=True), "truncation of texts for states"),
    exact(
        lambda p: [
            p([LONG, TEXT], tokenize_kwargs={"truncation": True, "max_length": 7}),
            p(LONG, truncation=True, tokenize_kwargs={"max_length": 9}),
        ],
        "tokenize_kwargs",
    ),
]


@pytest.mark.parametrize("call", FEATURES)
@pytest.mark.parametrize("kind", ["ElectraForPreTraining", "BertModel"])
def test_states_are_those_of_transformers(call: Form, kind: str, pipes: Pipes) -> None:
    assert_same(call, *pipes("feature-extraction", kind))


def test_states_as_numpy_arrays(pipes: Pipes) -> None:
    theirs, ours = pipes("feature-extraction", "BertModel")
    found = ours([TEXT, "a"], return_tensors="np")
    assert all(isinstance(rows, np.ndarray) and rows.dtype == np.float32 for rows in found)
    for rows, other in zip(found, theirs([TEXT, "a"]), strict=True):
        np.testing.assert_allclose(rows, other, atol=1e-5)


FEATURE_REFUSALS = [
    refused(lambda p: p(TEXT, return_tensors="tf"), "return_tensors 'tf'; expected", "return_tensors='tf'"),
    refused(
        lambda p: p(TEXT, max_length=7),
        "unknown option 'max_length'; expected batch_size, num_workers, padding",
        "max_length outside of tokenize_kwargs",
    ),
    refused(lambda p: p(TEXT, truncation=True, tokenize_kwargs={"truncation": True}), "truncation is given twice", "truncation twice"),
    refused(lambda p: p([[TEXT, TEXT]]), "item 1: got list", "nested lists of texts"),
]


@pytest.mark.parametrize(("call", "message"), FEATURE_REFUSALS)
def test_what_has_no_states_is_named(call: Form, message: str, pipes: Pipes) -> None:
    with pytest.raises(UserError, match=f"feature-extraction: .*{message}"):
        call(pipes("feature-extraction", "BertModel")[1])


# ---- question-answering, as in `transformers` 4 ----


QUESTION, CONTEXT = "who cooked ?", "the chef cooked the meal in the city , and she walked home ."
EXAMPLE = {"question": QUESTION, "context": CONTEXT}


class SquadExample:
    """As `transformers.data.SquadExample` names its texts."""

    question_text, context_text = QUESTION, CONTEXT


def version_4(call: Form, wanted: Form, form: str) -> Any:
    return case(call, wanted, form=form, where="pipeline", outcome="exact", section="clients")


QUESTIONS = [
    version_4(lambda p: p(QUESTION, CONTEXT), lambda one: one, "question and context as positional texts"),
    version_4(lambda p: p(question=QUESTION, context=CONTEXT), lambda one: one, "question= and context="),
    version_4(lambda p: p(SquadExample()), lambda one: one, "a SquadExample"),
    version_4(lambda p: [p(data=EXAMPLE), p(X=[EXAMPLE])], lambda one: [one, one], "data= and X="),
    version_4(lambda p: [p([EXAMPLE]), p(question=[QUESTION], context=CONTEXT)], lambda one: [one, one], "a list of one question"),
    version_4(lambda p: p(EXAMPLE, SquadExample()), lambda one: [one, one], "several positional questions"),
    version_4(lambda p: p(question=[QUESTION] * 2, context=CONTEXT), lambda one: [one, one], "several questions about one context"),
    version_4(lambda p: p(EXAMPLE for _ in "ab"), lambda one: ["stream", one, one], "a generator of questions"),
    version_4(lambda p: [p(EXAMPLE, topk=3)[0], len(p(EXAMPLE, topk=3))], lambda one: [one, 3], "topk"),
    version_4(lambda p: p(EXAMPLE, padding="max_length", batch_size=2), lambda one: one, "padding and batch_size of questions"),
    version_4(
        lambda p: p(EXAMPLE, max_question_len=64, max_seq_len=LENGTH, max_answer_len=30),
        lambda one: one,
        "max_seq_len, max_question_len, max_answer_len",
    ),
]


@pytest.fixture(scope="module")
def answerer(folders: Callable[..., Path]) -> Any:
    return pipeline("question-answering", folders("ElectraForQuestionAnswering"))


@pytest.mark.parametrize(("call", "wanted"), QUESTIONS)
def test_questions_in_the_forms_of_version_4(call: Form, wanted: Form, answerer: Any) -> None:
    """Each form gives the answer to the first, which `test_question_answering` compares with the model of `transformers`."""
    assert_equal(plain(call(answerer)), plain(wanted(answerer(EXAMPLE))))


@conforms(form="doc_stride", where="pipeline", outcome="exact", section="clients")
def test_doc_stride_is_what_windows_share(answerer: Any, folders: Callable[..., Path]) -> None:
    """The windows of version 4, which are those of its tokenizer; an answer in none of them is not found."""
    from electra.inference.answerer import as_question, question_features

    tokenizer = transformers.AutoTokenizer.from_pretrained(folders("ElectraForQuestionAnswering"))
    model = answerer.predictor.question_answerer().with_max_length(40)
    for overlap in (0, 5, 20):
        options = {"truncation": "only_second", "max_length": 40, "stride": overlap, "return_overflowing_tokens": True}
        wanted = [tokenizer(question, CONTEXT * 5, **options)["input_ids"] for question in (QUESTION, "where ?")]
        found = question_features(model, [as_question(question, CONTEXT * 5) for question in (QUESTION, "where ?")], overlap)
        assert [[list(f.ids) for f in found if f.example == number] for number in (0, 1)] == wanted
    assert answerer(QUESTION, CONTEXT * 5, doc_stride=20, max_seq_len=40)["answer"] in CONTEXT * 5


@conforms(form="align_to_words", where="pipeline", outcome="exact", section="clients")
def test_answers_of_whole_words(answerer: Any) -> None:
    """A token inside of a word stands for its word, as version 4 answers."""
    context = "the chefs walked"
    for found in answerer(QUESTION, context, top_k=20, align_to_words=True):
        assert found["answer"] == context[found["start"] : found["end"]]
        assert all(part in context.split() for part in found["answer"].split())
    assert {found["answer"] for found in answerer(QUESTION, context, top_k=20)} >= {"chef", "s"}


QUESTION_REFUSALS = [
    refused(lambda p: p(), "nothing to answer; give question=... and context=", "no question"),
    refused(
        lambda p: p(question=QUESTION, context=[CONTEXT]), "expected a list of questions, or one text of each", "a question and a list of contexts"
    ),
    refused(lambda p: p([EXAMPLE, {"question": QUESTION}]), "item 2: no context; expected", "a question without a context"),
    refused(lambda p: p([{"question": 5, "context": CONTEXT}]), "item 1: question 5; expected", "a question that is no text"),
    refused(lambda p: p({**EXAMPLE, "id": "1"}), "unknown key 'id'; expected context, question", "a question with further keys"),
    refused(lambda p: p(EXAMPLE, question=QUESTION, context=CONTEXT), "questions are given twice", "questions twice"),
    refused(lambda p: p(EXAMPLE, max_seq_len=1000), f"max_seq_len 1000 is above the model's {LENGTH}", "max_seq_len above the positions"),
    refused(lambda p: p(EXAMPLE, max_seq_len=20, doc_stride=20), "doc_stride 20: a window holds", "doc_stride above the window"),
    refused(
        lambda p: p(EXAMPLE, handle_impossible_answer="no"), "handle_impossible 'no'; expected True or False", "handle_impossible_answer as a text"
    ),
    refused(
        lambda p: p(EXAMPLE, max_answer_length=3),
        "unknown option 'max_answer_length'; .* did you mean 'max_answer_len'",
        "an unknown option of questions",
    ),
]


@pytest.mark.parametrize(("call", "message"), QUESTION_REFUSALS)
def test_what_cannot_be_asked_is_named(call: Form, message: str, answerer: Any) -> None:
    with pytest.raises(UserError, match=message):
        call(answerer)


# ---- public reports ----


def test_reported_calls(pipes: Pipes) -> None:
    """transformers#4501, #17305, #25251 and #14183: long texts, pairs in a list, `top_k` for every call, padding of texts for states."""
    theirs, ours = pipes("text-classification", "ElectraForSequenceClassification", num_labels=3)
    with pytest.raises(RuntimeError, match="must match the size"):
        theirs(LONG)
    assert ours(LONG)[0]["label"].startswith("LABEL_") and ours(LONG)[0]["score"] < 1
    assert_equal(plain(ours([[TEXT, OTHER]])), plain(theirs([{"text": TEXT, "text_pair": OTHER}])))
    kept = pipes("text-classification", "ElectraForSequenceClassification", {"top_k": 1}, num_labels=3)
    assert_same(lambda p: [p(TEXT), p([TEXT]), p(TEXT, top_k=1), p(PAIR)], *kept)
    assert_same(lambda p: p([LONG, TEXT], padding=True, truncation="only_first"), *pipes("feature-extraction", "BertModel"))


# ---- the methods of a Predictor ----


METHODS = {"predict": "classifier", "detect": "discriminator", "embed": "masked", "score": "masked"}


@pytest.mark.parametrize("name", METHODS)
def test_a_predictors_methods_name_what_they_cannot_read(name: str) -> None:
    method = getattr(load(checkpoints()[METHODS[name]]), name)
    for given, message in (
        (TEXT, "got the text 'the chef cooked the meal'; expected several; give a list"),
        (None, "got NoneType None; expected a list of texts"),
        (5, "got int 5"),
        ([TEXT, None], "item 2: got NoneType None; .* leave out missing values"),
        ([TEXT, b"text"], r"item 2: got bytes b'text'; .* value.decode\(\)"),
        ({"a": TEXT}, "got dict"),
    ):
        with pytest.raises(UserError, match=f"{name}: {message}"):
            method(given)


def test_fill_and_answer_name_what_they_cannot_read(answerer: Any) -> None:
    fill, answer = load(checkpoints()["masked"]).fill, answerer.predictor.answer
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: fill(5), "fill: got int 5; expected a text"),
        (lambda: fill([MASKED]), "fill: got list"),
        (lambda: fill(MASKED, top_k=0), "top_k 0 must be at least 1"),
        (lambda: fill(MASKED, targets=[1]), r"targets \[1\]"),
        (lambda: answer(QUESTION, None), "answer: item 1: context: got NoneType None; .* leave out missing values"),
        (lambda: answer(5, CONTEXT), "question: got int 5"),
        (lambda: answer(QUESTION, CONTEXT, top_k="3"), "top_k '3'; expected a whole number"),
        (lambda: answer(QUESTION, CONTEXT, max_answer_length=0), "max_answer_length 0 must be at least 1"),
        (lambda: load(checkpoints()["classifier"]).predict([{"text": TEXT, "truncation": True}]), "a dict: unknown key 'truncation'"),
        (lambda: load(checkpoints()["masked"], batch_size=0), "load: batch_size 0 must be at least 1"),
        (lambda: load(checkpoints()["masked"], max_length="9"), "load: max_length '9'; expected a whole number"),
        (lambda: load(checkpoints()["discriminator"]).detect([TEXT], threshold=2), "threshold 2; expected a number from 0 to 1"),
    ]
    for call, message in calls:
        with pytest.raises(UserError, match=message):
            call()
