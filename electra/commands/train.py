"""The commands that make data and models: vocab, prepare, pretrain, finetune, mine."""

from __future__ import annotations

import json

from electra import api
from electra.errors import UserError
from electra.finetuning.results import score_lines
from electra.settings import FinetuneSettings, MineSettings, PrepareSettings, PretrainSettings, VocabSettings
from electra.storage import atomic
from electra.terminal import data_size, duration, say


def vocab(settings: VocabSettings) -> None:
    """Train, extend or trim the vocabulary and report it."""
    found = api.train_vocabulary(settings)
    print(f"{found.path}: {found.description} from {data_size(found.text_bytes)} read")


def prepare(settings: PrepareSettings) -> None:
    """Tokenize the corpus and report the counts."""
    found = api.prepare(settings)
    if settings.json:
        print(json.dumps({**found.manifest, "run": found.run}, ensure_ascii=False))
        return
    train, held_out = (found.manifest["splits"][name] for name in ("train", "held_out"))
    print(
        f"{found.path}: {train['documents']:,} documents, {train['tokens']:,} tokens to train on; "
        f"{held_out['documents']:,} documents, {held_out['tokens']:,} tokens held out; {found.manifest['duplicates']:,} duplicates dropped; "
        f"{data_size(found.text_bytes)} in {found.run['seconds']:.1f} s ({found.run['text_mb_per_s']} MB/s)"
    )


SHOWN = ("masked_lm_loss", "disc_loss", "disc_auc", "hidden_loss", "teacher_cosine")


def pretrain(settings: PretrainSettings) -> int:
    """Pre-train and report; 128 + signal if a signal stopped it."""
    result = api.pretrain(settings)
    if result.estimate and result.first:
        print("\n".join(result.estimate))
    elif not result.signal and result.first:
        shown = ", ".join(f"{name} {result.metrics[name]:.3f}" for name in SHOWN if name in result.metrics)
        scores = f"; held out: {shown}" if shown else ""
        say(f"{result.checkpoint}: {result.steps:,} steps, {result.tokens:,} tokens, {duration(result.seconds)}{scores}")
    return 128 + result.signal if result.signal else 0


def finetune(settings: FinetuneSettings) -> int:
    """Fine-tune and report: 128 + signal if a signal stopped it, 1 if a trial of a suite or a search failed."""
    result = api.finetune(settings)
    if result.signal is not None:
        return 128 + result.signal
    if result.first:
        print(json.dumps(result.scores, indent=1) if settings.json else "\n".join(_lines(result)))
    return 1 if result.failed else 0


def mine(settings: MineSettings) -> None:
    """Write rows with hard negatives and report their number."""
    from electra.inference.search import mined

    atomic.fresh_output(settings.output, remedy="give another name, or remove it first")
    if settings.output.suffix not in (".jsonl", ".ndjson"):
        raise UserError(f"--output {settings.output}: rows with a list of negatives are JSON lines; give a name that ends in .jsonl")
    count = 0
    with atomic.atomic_file(settings.output) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for row in mined(settings):
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
        if not count:
            few = f"no query has {settings.num_negatives} negatives"
            raise UserError(f"{few}; give more passages by --passages, or lower --num-negatives, --skip or --relative-margin")
    print(f"{settings.output}: {count:,} queries and passages with {settings.num_negatives} negatives each")


def _lines(result: api.FinetuneResult) -> list[str]:
    """The table of a suite or a search; else a line of scores per task, and the best model."""
    if (result.output / "table.md").exists():
        return [(result.output / "table.md").read_text(encoding="utf-8").rstrip()]
    best = ", ".join(map(str, result.best.values()))
    return [*score_lines(result.scores), f"best: {best} (seed {result.scores['best_seed']})"]
