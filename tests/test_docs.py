"""The documentation: generated tables equal their records, links and names exist, command lines and flags are real, the walk's functions exist."""

from __future__ import annotations

import importlib
import re
import statistics
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_cli import lines_of_commands, parse, with_a_run  # noqa: F401  (a fixture)

from electra import config, settings
from electra.cli import COMMANDS
from electra.finetuning.hyperparameters import resolve
from electra.settings import FinetuneSettings

sys.path += [str(ROOT / "tools"), str(ROOT / "bench")]
import compatibility
import docs_records
import docs_speed
import docs_tables
import overviews

PAGES = {path.relative_to(ROOT).as_posix(): path for path in docs_tables.pages()}
OF_OTHERS = set(
    "format docker file tag build-arg rm read-only tmpfs cap-drop security-opt memory pids-limit publish volume secret cpus".split()
) | set(
    "time constraint now unit output cat follow offline no-edit force nproc-per-node nnodes max-restarts rdzv-id rdzv-backend rdzv-endpoint "
    "job-name nodes ntasks-per-node gpus-per-node cpus-per-task requeue open-mode signal".split()
)
"""Flags of podman, systemd, pip, torchrun and Slurm."""
OF_BENCH = set("base sections quick again data scratch peers model minutes texts hostile check trials hparams seconds".split())
OF_BENCH |= set("interpreter bi-encoder cross-encoder replicas tasks".split())
"""Flags of our scripts, and words that look like flags."""
ORIGINALS = set("corpus-dir vocab-file output-dir max-seq-length num-processes blanks-separate-docs do-lower-case doc-stride".split())
"""Flags of the original code."""


@pytest.mark.parametrize("name", PAGES)
def test_tables_links_and_names_of_a_page_are_right(name: str) -> None:
    assert docs_tables.problems(PAGES[name]) == ""


def test_drift_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed number, a lost row, a broken link or anchor, and a test that does not exist each give the page's one line."""
    monkeypatch.setattr(docs_tables, "ROOT", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "electra" / "a").mkdir(parents=True)
    (tmp_path / "electra" / "a" / "b.py").write_text("class C:\n    def method(self): ...\n")
    page = tmp_path / "page.md"
    monkeypatch.setitem(docs_tables.MAKERS, "one", lambda old: docs_records.table(("a", "b"), [("x", "83.9")]))
    text = docs_tables.generated("# A title\n<!-- table: one -->\n<!-- end -->\n[here](#a-title) `a/b.py:C.method`\n")
    page.write_text(text)
    assert docs_tables.problems(page) == "" and "| x | 83.9 |" in text
    for wrong, message in (
        (text.replace("83.9", "84.0"), "tables differ from their records (one): python bench/docs_tables.py"),
        (text.replace("#a-title", "#another"), "broken links: #another"),
        (text + "[gone](gone.md)", "broken links: gone.md"),
        (text + "`data/test_x::test_y`", "no such function, test or record (moved tests: python bench/docs_tables.py): data/test_x::test_y"),
        (text + "`bench/records/none.json`", "no such function, test or record (moved tests: python bench/docs_tables.py): bench/records/none.json"),
        (text + "`a/b.py:C.gone`", "no such function, test or record (moved tests: python bench/docs_tables.py): a/b.py:C.gone"),
        (text.replace("table: one", "table: two"), "table two: no maker or no such value in its record ('two')"),
    ):
        page.write_text(wrong)
        assert docs_tables.problems(page) == f"page.md: {message}"


def test_a_test_that_moved_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_tables, "ROOT", tmp_path)
    (tmp_path / "tests" / "data").mkdir(parents=True)
    (tmp_path / "tests" / "data" / "test_new.py").write_text("def test_y():\n")
    assert docs_tables.with_moved_tests("`data/test_old::test_y`, `data/test_old::test_z`") == "`data/test_new::test_y`, `data/test_old::test_z`"


def test_hand_written_columns_are_kept_and_never_invented() -> None:
    old = ["| name | what | metric |", "|---|---|---|", r"| `a` | one \| two | | x |"]
    assert docs_records.kept(docs_records.cells_of(old), "`a`", "what") == [r"one \| two"]
    with pytest.raises(docs_records.MissingRow, match="write a row for `b` by hand, with what"):
        docs_records.kept(docs_records.cells_of(old), "`b`", "what")


def of(value: float) -> dict[str, float]:
    """A figure of the bench, with its range."""
    return {"median": value, "least": value, "most": value}


def test_sections_of_the_bench_have_their_tables_when_a_record_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    results: dict[str, Any] = {}
    monkeypatch.setattr(docs_speed, "measured", lambda name: [("bench/records/x.json", "CPU, today", results[name])] if name in results else [])
    for name, section in (("length", "length"), ("servers", "serving")):
        assert docs_records.MAKERS[name]([]) == [f'Not measured yet: `make bench ARGS="--sections {section}"`.']
    row = {"ms": of(2.0), "tokens_per_second": of(4096.0), "peak_memory_bytes": 5e8, "cost": of(1.25)}
    summary = {
        name: {"128": row, "4096": {"error": "it reads at most 512 tokens at once"}} for name in ("fp32", "bf16", "PyTorch", "onnx", "onnx-int8")
    }
    results["length"] = {"lengths": [128, 4096], "summary": summary}
    text = "\n".join(docs_records.MAKERS["length"]([]))
    assert "| CPU, today | 128 | 4,096 (1.25x) | 0.50 GB | 4,096 (1.25x) | 0.50 GB |" in text
    assert "| CPU, today | 128 | 2.0 (1.25x) | 0.50 GB |" in text and "| CPU, today | 4,096 | it reads at most 512 tokens at once |  |" in text
    run = {"answered_per_second": 1200.4, "p50_ms": 3.0, "p99_ms": 9.26, "rejection_rate": 0.015}
    results["serving"] = {
        "rows": {"electra serve, onnx": {"16": [run, run | {"p50_ms": 5.0}]}},
        "memory_mb": {},
        "failed": {"infinity": "no package"},
    }
    rows = docs_records.MAKERS["servers"]([])[2:]
    assert rows[0] == "| CPU, today | electra serve, onnx | 16 | 1,200 | 4.0 ms | 9.3 ms | 1.5% |  |"
    assert rows[1] == "| CPU, today | infinity |  | not run: no package |  |  |  |  |"


def test_a_headline_is_a_range_over_the_records_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(plain: float, improved: float, **more: Any) -> dict[str, Any]:
        peers = {"plain, eager": 9.0, "plain, SDPA": plain, "improved": 3.0, "improved, oneDNN products": improved}
        found = {name: {"electra_is_faster_by": of(value)} for name, value in peers.items()} | {"improved, compiled": {"error": "why"}}
        return {"runs": [{"preset": "small", "dropout": 0.1, "summary": found | more}]}

    results = {"pretraining": [trained(4.0, 2.0), trained(3.0, 2.5, **{"electra, bf16": {"share_of_limit": of(0.7)}}), {"runs": []}]}
    monkeypatch.setattr(docs_speed, "measured", lambda name: [("", f"CPU {number}", one) for number, one in enumerate(results.get(name, []))])
    rows = docs_records.MAKERS["headlines"]([])[2:]
    assert rows[0] == "| pre-training `small`: speed over the faster plain loop | 3.00x to 4.00x | CPU 0: 4.00x; CPU 1: 3.00x |"
    assert rows[1] == "| pre-training `small`: speed over the fastest improved loop | 2.00x to 2.50x | CPU 0: 2.00x; CPU 1: 2.50x |"
    assert rows[2] == "| pre-training `small` in bf16: share of the matmul limit | 70% | CPU 1: 70% |" and "5.90x" in rows[3] and len(rows) == 4


def test_every_record_is_named_in_the_docs() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for name, path in PAGES.items() if name.startswith("docs/"))
    named = set(re.findall(r"`((?:bench|experiments)/records/[\w.*/-]*[\w*])/?`", text))
    covered = {path for name in named for found in ROOT.glob(name) for path in ([found] if found.is_file() else found.rglob("*"))}
    kept = {path for folder in ("bench/records", "experiments/records") for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert not {str(path.relative_to(ROOT)) for path in kept - covered}


@pytest.mark.usefixtures("with_a_run")
@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("CHANGELOG.md", "docs/log.md")])
def test_command_lines_of_a_page_parse(name: str) -> None:
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", PAGES[name].read_text(encoding="utf-8"), re.M | re.S):
        for words in lines_of_commands(re.sub(r"\$START\b", "large --data shards", block)):
            parse([word for word in words if word != "..."])


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("CHANGELOG.md", "docs/log.md")])
def test_flags_of_a_page_exist(name: str) -> None:
    leaves = {path[-1].replace("_", "-") for command in COMMANDS.values() for path, _, _ in config.leaves(getattr(settings, command.settings))}
    leaves |= {f"no-{leaf}" for leaf in leaves} | {"help", "help-all", "version", "preset"}
    found = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*[a-z])(?!\*)", re.sub(r"\]\([^)]*\)", "", PAGES[name].read_text(encoding="utf-8"))))
    assert found - leaves - OF_OTHERS - OF_BENCH - ORIGINALS == set()


@pytest.mark.parametrize("name", ["README.md", *(name for name in PAGES if name.startswith("docs/"))])
def test_python_of_a_page_compiles_and_its_imports_exist(name: str) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", PAGES[name].read_text(encoding="utf-8"), re.M | re.S):
        code = "".join(line.removeprefix(">>> ") + "\n" for line in block.splitlines() if line.startswith(">>> ") or ">>>" not in block)
        compile(code, name, "exec")
        for module, names in re.findall(r"^from (electra[\w.]*) import (.+)$", code, re.M):
            for each in names.split(", "):
                assert hasattr(importlib.import_module(module), each), f"{module}.{each}"


@pytest.mark.parametrize("name", ["docs/reliability.md", "SECURITY.md"])
def test_every_promise_has_a_test(name: str) -> None:
    """Each row of a table with a column 'test' names one; that they exist is checked by `docs_tables.problems`."""
    rows, column = [], None
    for line in PAGES[name].read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if not cells or "test" in cells:
            column = cells.index("test") if cells else None
        elif column is not None and set(line) - set("|-: "):
            rows.append((cells[0], cells[column] if column < len(cells) else ""))
    assert len(rows) > 10 and [promise for promise, test in rows if not re.search(r"`[\w/]*test_\w+::test_\w+`", test)] == []


def test_readme_names_every_package() -> None:
    packages = {f"electra/{path.parent.name}" for path in (ROOT / "electra").glob("*/__init__.py")} | {"electra/presets"}
    assert packages <= set(re.findall(r"`(electra/\w+)`", PAGES["README.md"].read_text(encoding="utf-8")))


def test_readme_is_short() -> None:
    assert len(PAGES["README.md"].read_text(encoding="utf-8").splitlines()) <= 130


def test_the_targets_of_the_record_are_those_there_are() -> None:
    from electra.exporting.targets import TARGETS

    rows = docs_records.record(docs_records.BENCH + "2026-11-22-targets.json")["rows"]
    assert set(TARGETS) <= {row["kind"] for row in rows} and all(row["error"] is None and row["num_examples"] == 872 for row in rows)


def test_the_clue_preset_has_the_learning_rate_of_its_seed() -> None:
    made = resolve(FinetuneSettings(task="tnews", model="m", output=Path("o"), preset="clue"), "tnews", 312)
    assert (made.optimizer.learning_rate, made.optimizer.layerwise_lr_decay, made.epochs) == (1e-4, 0.8, 10.0)


def test_scores_that_presets_claim_are_their_records() -> None:
    """SST-2 of `mini` and `mini-ship`, in their comments and descriptions; every preset names a source."""
    sst2, shipped = (docs_records.record(docs_records.EXPERIMENTS + name) for name in ("sst2-after-pretraining.json", "shipped/record.json"))
    mini, random = (docs_records.percent(sst2["finetuned"][start]["scores"]["accuracy"]["mean"]) for start in ("electra", "random"))
    ship = docs_records.percent(statistics.fmean(shipped["finetuning"]["accuracy"]))
    texts = {(kind, name): path.read_text(encoding="utf-8") for kind in ("pretrain", "finetune") for name, path in config.presets(kind).items()}
    assert [key for key, text in texts.items() if "Source" not in text] == []
    found = {key: re.findall(r"SST-2 (?:dev )?([0-9.]+[0-9])", text) for key, text in texts.items() if key[1] in ("mini", "mini-ship")}
    assert found == {("pretrain", "mini"): [mini, mini], ("pretrain", "mini-ship"): [ship, ship], ("finetune", "mini"): [mini]}
    assert f"{random} from random weights" in texts["finetune", "mini"] and f"random weights {random}" in texts["pretrain", "mini"]


def test_the_walk_of_a_document_has_at_most_25_steps() -> None:
    """Their functions are checked by `docs_tables.problems`, as all functions that pages name."""
    walk = PAGES["CONTRIBUTING.md"].read_text(encoding="utf-8").partition("## One document")[2].partition("\n## ")[0]
    steps = re.findall(r"^(\d+)\. `[\w/]+\.py:[\w.]+`", walk, re.M)
    assert list(map(int, steps)) == list(range(1, len(steps) + 1)) and 20 <= len(steps) <= 25


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/design.md"])
def test_the_layers_of_a_page_are_those_of_the_import_contract(name: str) -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]
    layers = [word for layer in contract["layers"] if layer != "__main__" for word in layer.split(" | ")]
    block = PAGES[name].read_text(encoding="utf-8").partition("## Layers")[2].split("```")[1]
    shown = re.findall(r"\w+", block) if name == "CONTRIBUTING.md" else re.findall(r"^(\w+)", block, re.M)
    assert set(shown) == set(layers)
    groups = {word: i for i, layer in enumerate(contract["layers"]) for word in layer.split(" | ")}
    assert [groups[word] for word in shown] == sorted(groups[word] for word in shown)


def test_the_table_of_forms_has_a_row_for_each_form_and_refuses_contradictions() -> None:
    """A row for each form: the commands that answer it, those that refuse it, its tests; one form in one command has one outcome."""
    exact, other = ("weights", "sharded", "predict", "exact", "a/test_b::test_c"), ("weights", "sharded", "HTTP", "refused", "a/test_b::test_d")
    page = "words\n<!-- cases: weights -->\nold\n<!-- end -->\n"
    cases = [compatibility.Case(*values) for values in (exact, other, ("tokenizers", "no row", "load", "exact", "t"))]
    made = compatibility.written(page, cases)
    assert made.splitlines()[1:] == [
        "<!-- cases: weights -->",
        "1 forms, 2 answers:",
        "",
        "| form | exact | refused | tests |",
        "|---|---|---|---|",
        "| sharded | predict | HTTP | `a/test_b::test_c`, `a/test_b::test_d` |",
        "<!-- end -->",
    ]
    assert compatibility.written(made, cases) == made
    with pytest.raises(ValueError, match="sharded, predict: both exact and refused"):
        compatibility.written(page, [cases[0], cases[0]._replace(outcome="refused")])


# ---- AGENTS.md, llms.txt ----


def test_overviews_are_those_of_their_sources(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["overviews.py", "--check"])
    assert overviews.main() == 0
    monkeypatch.setattr(overviews, "summary", lambda: "something else")
    assert overviews.main() == 1
    assert capsys.readouterr().err.count("differs from its sources; run: python tools/overviews.py") == 2


def test_agents_are_told_every_target_package_and_rule_in_few_lines() -> None:
    text = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^- \*\*[A-Z]\w+[.*]", guide, re.M)) <= set(re.findall(r"^- \*\*[A-Z]\w+[.*]", text, re.M))
    assert {f"electra/{path.parent.name}" for path in (ROOT / "electra").glob("*/__init__.py")} <= set(re.findall(r"`(electra/\w+)`", text))
    assert set(re.findall(r"CONTRIBUTING\.md#([\w-]+)", text)) <= docs_tables.anchors(guide)


def test_llms_txt_has_its_form_and_every_page() -> None:
    """Of llmstxt.org: a title, a summary as a quotation, sections of links with what each holds."""
    text = (ROOT / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# electra\n\n> [^\n]+\n\n", text)
    assert [line for line in text.partition("\n## ")[2].splitlines()[1:] if line and not re.match(r"## \w+$|- \[[^\]]+\]\([^)]+\): \S.+", line)] == []
    linked = set(re.findall(r"^- \[[^\]]+\]\(([^)]+)\)", text, re.M))
    assert {name for name in linked if not (ROOT / name).exists()} == set()
    assert {name for name in PAGES if name.startswith("docs/")} <= linked and {
        f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py")
    } <= linked
