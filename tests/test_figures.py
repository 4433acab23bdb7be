"""Key figures of README and docs against the records they come from, so that text and record cannot drift apart.

A figure is written as its sentence with `#` for each number, the record, and where in it the numbers stand. A sentence that was rewritten is
looked for in vain and said so: write it anew here, and look at the record while doing so.
"""

from __future__ import annotations

import json
import re
import statistics
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT

from electra.recipes.ablation.results import to_markdown

NUMBER = r"([0-9][0-9,]*(?:\.[0-9]+)?(?:e-?[0-9]+)?)"
BENCH, EXPERIMENTS = "bench/records/", "experiments/records/"
ENGINES, SERVING = BENCH + "prepare-engines.json", BENCH + "2026-11-21-serving.json"
BESIDE, TODAY = BENCH + "2026-11-21-serving-beside-transformers.json", BENCH + "2026-11-22-amd-epyc-2-cores.json"
DEPLOYMENT, TUNED = BENCH + "2026-11-21-deployment.json", "sections|finetuning|result"
FIXED, HOURS, RANKS = EXPERIMENTS + "mini-2026-11-21.jsonl", EXPERIMENTS + "equal-hours.json", EXPERIMENTS + "two-ranks.json"
SST2, PAPER = EXPERIMENTS + "sst2-after-pretraining.json", EXPERIMENTS + "sst2-mini-paper.json"
TASKS, NOTES = EXPERIMENTS + "tasks.json", "docs/replication.md"
ACCURACY = "scores|accuracy|mean*100"


class Figure(NamedTuple):
    """A sentence of a document, `#` for each number; a record; where in it they stand: 'key|key*factor; key|key'."""

    document: str
    sentence: str
    record: str
    places: str


FIGURES = [
    Figure(
        "docs/ablation.md",
        "ELECTRA had #, a masked LM #, random weights #",
        SST2,
        "; ".join(f"finetuned|{start}|{ACCURACY}" for start in ("electra", "mlm", "random")),
    ),
    *(
        Figure(
            NOTES,
            sentence,
            f"{EXPERIMENTS}ablation/{name}.json",
            "; ".join(f"results|comparisons|{place}|difference|mean*{factor}" for place in places),
        )
        for sentence, name, places, factor in (
            ("three seeds, five minutes each: +# and +#, within the seeds' spread", "scratch", (0, 1), 100),
            ("710 labelled ones: ELECTRA -#, BERT -# beside the checkpoint as it is", "imdb", (2, 4), -100),
        )
    ),
    Figure(
        "README.md",
        "pre-trains ELECTRA-Small # times as fast as a plain loop over `transformers` modules, in bf16 # times as fast again,"
        " and tokenizes English # times as fast",
        TODAY,
        "sections|pretraining|result|runs|2|summary|plain, eager|electra_is_faster_by|median"
        "; sections|pretraining|result|runs|2|summary|electra, bf16|faster_than_fp32|median"
        "; sections|prepare|result|languages|en|encode|1|summary|carried|electra_is_faster_by|median",
    ),
    Figure("README.md", "it reaches an AUC of # where word frequencies alone give #", FIXED, "0|generator_disc_auc; 0|generator_context_free_auc"),
    Figure(
        "README.md",
        "on SST-2, # (five seeds) where the same network from random weights reaches #",
        SST2,
        f"finetuned|electra|{ACCURACY}; finetuned|random|{ACCURACY}",
    ),
    Figure(
        "README.md",
        "answers a sentence in # ms where `transformers`' model, padded to 128 tokens, takes # and its pipeline #,",
        DEPLOYMENT,
        "rows|onnx-int8|latency|p50_ms; rows|transformers, padded to 128|latency|p50_ms; rows|transformers' pipeline|latency|p50_ms",
    ),
    Figure(
        "docs/design.md",
        "all # documents of # MB of `corpus-en` and all # of `corpus-zh` (# MB), none different",
        TODAY,
        "; ".join(f"sections|prepare|result|languages|{language}|encode|1|{what}" for language in ("en", "zh") for what in ("documents", "mb")),
    ),
    *(
        Figure(
            "docs/design.md",
            f"| {said} | # | # | # |",
            TODAY,
            "; ".join(
                f"sections|prepare|result|languages|{language}|encode|1|summary|{kind}|{side}|median"
                for side in ("electra", "tokenizers", "electra_is_faster_by")
            ),
        )
        for said, language, kind in (
            ("English never seen before (median of blocks of 16 MB)", "en", "carried"),
            ("English, from an empty table", "en", "cold"),
            ("English, seen before", "en", "warm"),
            ("Chinese never seen before", "zh", "carried"),
        )
    ),
    Figure("docs/design.md", "| local | # MB/s | # MB/s |", ENGINES, "local|workers_1|median|mb_per_s; local|workers_2|median|mb_per_s"),
    Figure("docs/design.md", "| Ray | # | # |", ENGINES, "ray|workers_1|median|mb_per_s; ray|workers_2|median|mb_per_s"),
    Figure("docs/design.md", "| S3 in, S3 out | # | # |", ENGINES, "s3|workers_1|median|mb_per_s; s3|workers_2|median|mb_per_s"),
    Figure(
        "docs/design.md",
        "on a fixed corruption set AUC # (context-free #) against a frozen generator, # (#) against word frequencies.",
        FIXED,
        "0|generator_disc_auc; 0|generator_context_free_auc; 0|frequency_disc_auc; 0|frequency_context_free_auc",
    ),
    Figure("docs/design.md", "| 1 rank x 16 | # |", RANKS, "runs|1 rank x 16|loss"),
    *(
        Figure(
            "docs/design.md",
            f"| {way} | # | #, # |",
            RANKS,
            "; ".join(f"runs|{way}|{place}" for place in ("loss", "largest_relative_difference|loss", "largest_relative_difference|grad_norm")),
        )
        for way in ("2 ranks x 8, DDP", "2 ranks x 8, FSDP2")
    ),
    *(
        Figure(
            "docs/design.md",
            f"| `{name}` ({said}) | # M | # | # |",
            HOURS,
            f"runs|{name}|tokens*1e-6; runs|{name}|generator_auc; runs|{name}|frequency_auc",
        )
        for name, said in (("mini", "ours"), ("mini-paper", "the paper's, same shape"))
    ),
    Figure(
        "docs/design.md",
        "(first 64 examples; `mini` there: #, #) | # M | # | # |",
        HOURS,
        "runs|mini|generator_auc_first_64; runs|mini|frequency_auc_first_64; runs|mini-mlm|tokens*1e-6; runs|mini-mlm|generator_auc_first_64"
        "; runs|mini-mlm|frequency_auc_first_64",
    ),
    Figure(
        "docs/design.md",
        "ELECTRA's hour # (#), a masked LM's # (#), random weights # (#), TF-IDF + logistic regression #.",
        SST2,
        "; ".join(f"finetuned|{start}|scores|accuracy|{what}*100" for start in ("electra", "mlm", "random") for what in ("mean", "sd"))
        + "; tfidf_logistic_regression*100",
    ),
    Figure("docs/design.md", "five seeds: 83.9 from `mini`, # from `mini-paper`", PAPER, f"finetuned|paper|{ACCURACY}"),
    Figure("docs/design.md", "| `electra finetune` | # | # |", TODAY, f"{TUNED}|median_seconds|electra; {TUNED}|runs|electra|0|computed_tokens"),
    *(
        Figure(
            "docs/design.md",
            f"| {said} | # | # | # |",
            TODAY,
            f"{TUNED}|median_seconds|{key}; {TUNED}|runs|{key}|0|computed_tokens; {TUNED}|times_as_fast|{key}",
        )
        for said, key in (
            ("`transformers` Trainer, batches padded to their longest text", "dynamic"),
            ("the same, every text padded to 128 (12 of 63 steps timed)", "padded"),
        )
    ),
    Figure(
        "docs/design.md",
        "on one sentence # s from a checkpoint, # s from an int8 artefact; a script with `transformers`' pipeline # s.",
        TODAY,
        "; ".join(
            f"sections|startup|result|summary|{name}|warm|median"
            for name in ("electra predict, checkpoint", "electra predict, onnx-int8", "transformers' pipeline, script")
        ),
    ),
    Figure(
        "docs/design.md",
        "# requests/s from one client that waits (p50 # ms), #/s from 64. Then five minutes at twice that, # requests: # answered,"
        " #/s, p50 # s, p99 # s",
        SERVING,
        "electra|one_client|requests_per_second; electra|one_client|p50_ms; electra|capacity|requests_per_second; electra|overload|requests"
        "; electra|overload|statuses|200; electra|overload|answered_per_second; electra|overload|p50_ms*1e-3; electra|overload|p99_ms*1e-3",
    ),
    Figure(
        "docs/design.md",
        "one client # requests/s (p50 # ms) against # (# ms); 64 clients #/s against #;",
        BESIDE,
        "; ".join(f"{side}|one_client|{what}" for side in ("electra", "transformers") for what in ("requests_per_second", "p50_ms"))
        + "; electra|capacity|requests_per_second; transformers|capacity|requests_per_second",
    ),
    *(
        Figure(
            "docs/log.md",
            f"| {said} | # | # | # # # # # |",
            SST2,
            f"finetuned|{start}|{ACCURACY}; finetuned|{start}|scores|accuracy|sd*100; "
            + "; ".join(f"finetuned|{start}|scores|accuracy|each|{seed}*100" for seed in range(5)),
        )
        for said, start in (
            ("`checkpoints/mini` (ELECTRA, an hour)", "electra"),
            ("`mini-mlm` (masked LM, an hour's updates)", "mlm"),
            ("random weights", "random"),
        )
    ),
    *(
        Figure(
            "docs/log.md", f"| {name} | # | # |", EXPERIMENTS + "chinese-mini.json", f"held_out|{name}; electra_tiny_after_1M_steps_of_10_GB|{name}"
        )
        for name in (*(f"disc_{what}" for what in ("accuracy", "auc", "loss", "precision", "recall")), "loss", "masked_lm_loss")
    ),
    Figure(NOTES, "five seeds); random weights #, TF-IDF #", SST2, f"finetuned|random|{ACCURACY}; tfidf_logistic_regression*100"),
    Figure(NOTES, "TNEWS #, IFLYTEK #, CSL #;", TASKS, "; ".join(f"tasks|{name}|score|mean*100" for name in ("tnews", "iflytek", "csl"))),
    Figure(NOTES, "F1 #, below the # of", TASKS, "tasks|squad|score|mean*100; tasks|squad|baselines|closest sentence|f1*100"),
    Figure(NOTES, "Smallest: # (#, two seeds", TASKS, "tasks|imdb|score|mean*100; tasks|imdb|score|sd*100"),
    Figure(NOTES, "`small` on two cores: # tokens/s", TODAY, "sections|pretraining|result|runs|3|summary|electra|tokens_per_second|median"),
    Figure(NOTES, "ONNX int8 # s, OpenVINO int8 # s", DEPLOYMENT, "rows|onnx-int8|build_seconds; rows|openvino-int8|build_seconds"),
    Figure(NOTES, "# MB in fp32 and # MB in int8", DEPLOYMENT, "rows|onnx|size_bytes*1e-6; rows|onnx-int8|size_bytes*1e-6"),
    Figure(NOTES, "disc_auc #, masked_lm_accuracy # (", EXPERIMENTS + "chinese-mini.json", "held_out|disc_auc; held_out|masked_lm_accuracy"),
    Figure(
        "electra/presets/finetune/mini.toml",
        "SST-2 dev # from an hour of 'mini', # from random weights",
        SST2,
        f"finetuned|electra|{ACCURACY}; finetuned|random|{ACCURACY}",
    ),
]


@cache
def document(name: str) -> str:
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


@cache
def record(name: str) -> Any:
    text = (ROOT / name).read_text(encoding="utf-8")
    read = [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)
    if name == DEPLOYMENT:
        # Of a row the best of its numbers of texts at a time, as the text says; the padded model answers one at a time.
        for row in read["rows"]:
            each = {size: speed["texts_per_second"] for size, speed in row["throughput"].items()}
            row["texts"] = each["1"] if row["name"] == "transformers, padded to 128" else max(each.values())
        read["rows"] = {row["name"]: row for row in read["rows"]}
    return read


def value(name: str, place: str) -> float:
    """'a|b|0*100' -> the number there, times the factor."""
    keys, _, factor = place.partition("*")
    found = record(name)
    for key in keys.split("|"):
        found = found[int(key) if isinstance(found, list) else key]
    return float(found) * float(factor or 1)


def agrees(told: str, measured: float) -> bool:
    """Whether a number as printed is the measured one, rounded to as many digits."""
    mantissa, _, exponent = told.replace(",", "").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(told.replace(",", "")) - measured) <= 0.5 * unit * (1 + 1e-6)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{Path(figure.document).stem}-{figure.sentence[:40]}")
def test_a_figure_is_its_records(figure: Figure) -> None:
    pattern = re.escape(" ".join(figure.sentence.split())).replace(r"\#", NUMBER)
    match = re.search(pattern, document(figure.document))
    assert match, f"{figure.document} does not say this any more: {figure.sentence}"
    places = figure.places.split("; ")
    assert len(places) == len(match.groups()), places
    for told, place in zip(match.groups(), places, strict=True):
        assert agrees(told, value(figure.record, place)), (
            f"{figure.document}: {told}, but {figure.record} has {value(figure.record, place)} at {place}"
        )


def rows(name: str, first: str) -> dict[str, list[str]]:
    """The table of a document whose head begins with `first` -> cells by the first one."""
    _, _, rest = (ROOT / name).read_text(encoding="utf-8").partition(f"\n| {first} |")
    lines = rest.split("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)}


def test_the_table_of_tasks_is_its_record() -> None:
    """Mean, deviation, interval, number of seeds and every baseline of each task."""
    tasks, table = record(TASKS)["tasks"], rows("docs/tasks.md", "task | metric | without a network")
    assert table.keys() == tasks.keys()
    for name, found in tasks.items():
        metric, without, mean, sd, interval, seeds, _ = table[name]
        score = found["score"]
        low, high = (agrees(told.lstrip("-"), abs(end) * 100) for told, end in zip(interval.split(" to "), score["interval"], strict=True))
        assert metric == found["counted_metric"] and int(seeds) == len(found["seeds"]), name
        assert agrees(mean, score["mean"] * 100) and agrees(sd, score["sd"] * 100) and low and high, name
        told = dict(part.rsplit(" ", 1) for part in without.split(", "))
        assert told.keys() == found["baselines"].keys(), name
        assert all(agrees(number, found["baselines"][key][metric] * 100) for key, number in told.items()), name


def test_the_table_of_built_models_is_its_record() -> None:
    found = record(DEPLOYMENT)["rows"]
    table = rows("docs/design.md", "| accuracy | agreement | size")
    names = {"its pipeline": "transformers' pipeline", "ours, PyTorch": "small-sst2", "`transformers`, padded to 128": "transformers, padded to 128"}
    assert len(table) == len(found)
    for said, cells in table.items():
        row = found[names.get(said, said.strip("`"))]
        accuracy, agreement, size, padded, free = cells[:5]
        assert agrees(accuracy, row["score"] * 100) and (not agreement or agrees(agreement.rstrip("%"), row["agreement"] * 100)), said
        assert not size or agrees(size.removesuffix(" MB"), row["size_bytes"] / 1e6), said
        assert agrees(padded.removesuffix(" ms"), row["padded"]["p50_ms"]) and agrees(free.removesuffix(" ms"), row["latency"]["p50_ms"]), said
        assert agrees(cells[7], row["texts"]), said


def test_targets_are_those_of_the_record() -> None:
    _, _, rest = (ROOT / TODAY).with_suffix(".md").read_text(encoding="utf-8").partition("## Targets\n\n")
    assert rest.split("\n\n")[0] in (ROOT / "docs/design.md").read_text(encoding="utf-8")


def test_the_table_of_pre_training_is_its_record() -> None:
    """Speeds and ratios of each side, the share of the limit, memory."""
    runs, table = record(TODAY)["sections"]["pretraining"]["result"]["runs"], rows("docs/design.md", "preset, batch, dropout")
    assert len(table) == len(runs)
    for run in runs:
        found, shape = run["summary"], run["shape"]
        cells = table[f"{run['preset']}, {shape['batch_size']} x {shape['length']}, {run['dropout']}"]
        sides = [found[side] for side in ("plain, eager", "plain, SDPA", "improved", "improved, oneDNN products")]
        measured = [found["electra"]["tokens_per_second"]["median"]]
        measured += [side[what]["median"] for side in sides for what in ("tokens_per_second", "electra_is_faster_by")]
        measured += [100 * found["electra"]["share_of_limit"]["median"]]
        measured += [found[side]["peak_memory_bytes"] / 1e9 for side in ("electra", "plain, SDPA")]
        assert all(agrees(told.removesuffix("%").removesuffix(" GB"), number) for told, number in zip(cells, measured, strict=True)), cells


def test_the_table_of_pre_training_in_bf16_is_its_record() -> None:
    runs, table = record(TODAY)["sections"]["pretraining"]["result"]["runs"], rows("docs/design.md", "bf16: preset, batch, dropout")
    assert len(table) == len(runs)
    for run in runs:
        shape, ours, peer = run["shape"], run["summary"]["electra, bf16"], run["summary"]["improved, bf16"]
        cells = table[f"{run['preset']}, {shape['batch_size']} x {shape['length']}, {run['dropout']}"]
        measured = [ours["tokens_per_second"], ours["faster_than_fp32"], peer["tokens_per_second"], peer["electra_is_faster_by"]]
        numbers = [found["median"] for found in measured] + [side["peak_memory_bytes"] / 1e9 for side in (ours, peer)]
        assert all(agrees(told.removesuffix(" GB"), number) for told, number in zip(cells, numbers, strict=True)), cells


def test_whole_prepare_is_its_record() -> None:
    found = record(TODAY)["sections"]["prepare"]["result"]["languages"]
    pattern = r"English \(# MB\) # MB/s with one worker, # with two; Chinese with word boundaries # and #\. With two workers of English the reader"
    match = re.search((pattern + r" holds # MB, the larger worker # MB").replace("#", NUMBER), document("docs/design.md"))
    assert match
    speeds = [
        statistics.median(found[language]["prepare_mb"] / run["command_seconds"] for run in found[language]["prepare"][count])
        for language in ("en", "zh")
        for count in "12"
    ]
    memory = [max(run["peak_memory_mb"][what] for run in found["en"]["prepare"]["2"]) for what in ("reader", "largest_worker")]
    assert all(agrees(told, number) for told, number in zip(match.groups(), [found["en"]["prepare_mb"], *speeds, *memory], strict=True)), match[0]


@pytest.mark.parametrize("name", ["scratch", "imdb"])
def test_the_words_of_an_ablation_are_its_record(name: str) -> None:
    """Sentences, table and remarks as the command printed them."""
    text = (ROOT / "docs/ablation.md").read_text(encoding="utf-8").splitlines()
    printed = to_markdown(record(f"{EXPERIMENTS}ablation/{name}.json")["results"]).splitlines()[2:]
    assert len(printed) > 10 and [line for line in printed if line not in text] == []


def test_every_record_that_a_document_names_exists() -> None:
    """And every record is named: by its name, or as one of several that differ in a `*`."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in documents)
    named = set(re.findall(r"((?:bench|experiments)/records/[\w.*/-]*[\w*])", text))
    assert len(named) > 10
    for name in sorted(named):
        assert list(ROOT.glob(name)), f"no such record: {name}"
    covered = {path for name in named for found in ROOT.glob(name) for path in ([found] if found.is_file() else found.iterdir())}
    kept = {path for folder in (BENCH, EXPERIMENTS) for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert not {str(path.relative_to(ROOT)) for path in kept - covered}


def test_a_wrong_figure_would_be_seen() -> None:
    assert agrees("83.9", 83.92) and agrees("1,098", 1098.4) and agrees("1.1e-6", 1.146e-6) and agrees("0.50", 0.495)
    assert not agrees("83.9", 83.86 - 0.02) and not agrees("0.79", 0.796) and not agrees("1.2e-6", 1.14e-6)
