"""Every command x every kind of bad input: exit code 2, one line on standard error that begins with 'electra: ', nothing lost."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from pathlib import Path

import pytest
from shop import contents, fill, make_shop
from tiny_models import checkpoints

from electra.cli import COMMANDS, main

# Words in {braces} are paths of the shop below; the last column is what the one line must say.
CASES: dict[str, list[tuple[str, str, str]]] = {
    "vocab": [
        ("missing", "{none}/corpus.txt --size 200 --output {out}", "not found"),
        ("near name", "{corpis.txt} --size 200 --output {out}", "did you mean 'corpus.txt'"),
        ("empty", "{empty.txt} --size 200 --output {out}", "no text found in"),
        ("empty folder", "{empty} --size 200 --output {out}", "expected files ending in .txt"),
        ("binary", "{binary.txt} --size 200 --output {out}", "binary.txt: binary (or UTF-16: convert it to UTF-8)"),
        ("wrong type", "{table.csv} --size 200 --output {out}", "jsonl"),
        ("wrong column", "{reviews.jsonl} --text reviw --size 200 --output {out}", "review"),
        ("truncated", "{cut.xz} --size 200 --output {out}", "Compressed file ended before the end-of-stream marker"),
        ("no place to write", "{corpus.txt} --size 200 --output {blocked}", "cannot write"),
        ("something is there", "{corpus.txt} --size 200 --output {model}", "already exists"),
        ("flag", "{corpus.txt} --sise 200 --output {out}", "did you mean '--size'"),
        ("number", "{corpus.txt} --size many --output {out}", "many"),
    ],
    "prepare": [
        ("missing", "{none}.txt --tokenizer {vocab.txt} --output {out} --workers 1", "not found"),
        ("missing tokenizer", "{corpus.txt} --tokenizer {vocob.txt} --output {out} --workers 1", "vocab.txt"),
        ("empty", "{empty.txt} --tokenizer {vocab.txt} --output {out} --workers 1", "no text found in"),
        ("binary", "{binary.txt} --tokenizer {vocab.txt} --output {out} --workers 1", "binary.txt: binary (or UTF-16: convert it to UTF-8)"),
        ("wrong type", "{corpus.txt} --tokenizer {corpus.txt} --output {out} --workers 1", "vocabulary"),
        ("wrong column", "{reviews.jsonl} --text reviw --tokenizer {vocab.txt} --output {out} --workers 1", "review"),
        ("truncated", "{cut.xz} --tokenizer {vocab.txt} --output {out} --workers 1", "Compressed file ended before the end-of-stream marker"),
        ("no place to write", "{corpus.txt} --tokenizer {vocab.txt} --output {blocked} --workers 1", "cannot write"),
        ("something is there", "{corpus.txt} --tokenizer {vocab.txt} --output {model} --workers 1", "already exists; choose another --output"),
        ("share", "{corpus.txt} --tokenizer {vocab.txt} --output {out} --held-out 200%", "fraction"),
    ],
    "pretrain": [
        ("two lengths", "tiny --data {shards} --output {out} --budget 1m --num-train-tokens 1M", "both num_train_tokens and budget are set"),
        ("no batch", "tiny --data {shards} --output {out} --total-batch-size 0", "--total-batch-size 0: expected at least 1"),
        ("preset typo", "minni --data {shards} --output {out}", "did you mean 'mini'"),
        ("no preset", "--data {shards} --output {out}", "preset"),
        ("missing", "tiny --data {none} --output {out}", "not found"),
        ("wrong type", "tiny --data {corpus.txt} --output {out}", "is not a tokenized dataset (no manifest.json)"),
        ("empty", "tiny --data {empty} --output {out}", "is not a tokenized dataset (no manifest.json)"),
        ("truncated", "tiny --data {shards-cut} --output {out}", "held_out/ids.npy cannot be read"),
        ("damaged manifest", "tiny --data {shards-manifest} --output {out}", "is not the manifest of a tokenized dataset"),
        ("binary settings", "{binary.toml} --data {shards} --output {out}", "not valid TOML"),
        ("unknown key", "{unknown.toml} --data {shards} --output {out}", "did you mean 'hidden_size'"),
        ("wrong value", "{value.toml} --data {shards} --output {out}", "hidden_size"),
        ("no place to write", "tiny --data {shards} --output {blocked} --num-train-steps 2", "cannot write"),
        ("something is there", "tiny --data {shards} --output {model} --num-train-steps 2", "already exists"),
        ("nothing to resume", "tiny --output {none} --resume", "is not a run directory (no config.toml)"),
        ("truncated start", "tiny --data {shards} --output {out} --init {cut} --num-train-steps 2", "cut/model.safetensors cannot be read"),
    ],
    "evaluate": [
        ("missing", "{none} --data {shards}", "not found"),
        ("truncated", "{cut} --data {shards}", "cut/model.safetensors cannot be read"),
        ("missing data", "{model} --data {none}", "not found"),
        ("wrong type", "{model} --data {corpus.txt}", "is not a tokenized dataset (no manifest.json)"),
        ("no task", "{classifier} --data {table.csv}", "score a fine-tuned one with --task"),
        ("truncated data", "{model} --data {shards-cut}", "held_out/ids.npy cannot be read"),
        ("beyond the positions", "{model} --data {shards} --sequence-length 1000", "--sequence-length 1000 is above the "),
        ("task typo", "{classifier} --task sst3 --data {glue}", "sst2"),
        ("other labels", "{classifier} --task sst2 --data {glue} --split train", "fine-tune on it"),
        ("no report of that", "{model} --data {shards} --report {out}", "name its task by --task"),
        ("something is there", "{classifier} --task own --data {table.csv} --text review --label stars --report {model}", "already exists"),
        (
            "unknown label",
            "{classifier} --task own --data {table.csv} --text review --label stars",
            "the data with 1, 0; give the data's labels in the order of the model's outputs: --labels",
        ),
        ("another file", "{classifier} --task sst2 --data {table.csv}", "use --task own"),
        ("no such fold", "{classifier} --task tnews --data {empty} --fold 7", "expected one of 0"),
        ("no fold", "{classifier} --task sst2 --data {glue} --fold 1", "--fold is for FewCLUE"),
    ],
    "finetune": [
        ("two lengths", "sst2 --model {model} --data {glue} --output {out} --budget 1m --num-train-steps 3", "both num_train_steps and budget"),
        ("task typo", "sst3 --model {model} --data {glue} --output {out}", "did you mean 'sst2'"),
        ("missing data", "sst2 --model {model} --data {none} --output {out}", "not found"),
        ("empty", "sst2 --model {model} --data {empty} --output {out}", "contains neither train.tsv nor a folder SST-2"),
        ("missing model", "sst2 --model {none} --data {glue} --output {out}", "not found"),
        ("truncated", "sst2 --model {cut} --data {glue} --output {out}", "cut/model.safetensors cannot be read"),
        (
            "binary",
            "own --model {model} --train {binary.csv} --dev {table.csv} --text review --label stars --output {out}",
            "binary.csv, line 1: a binary file, not text",
        ),
        ("wrong column", "own --model {model} --train {table.csv} --dev {table.csv} --text reviw --label stars --output {out}", "review"),
        (
            "wrong type",
            "own --model {model} --train {model} --dev {table.csv} --text review --label stars --output {out}",
            "expected a file ending in .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .arrow",
        ),
        ("questions missing", "squad --model {model} --data {empty} --output {out}", "train-v1.1.json"),
        ("questions of one file", "squad --model {model} --data {table.csv} --output {out}", "is one file; give two"),
        ("questions of another layout", "squad --model {model} --train {reviews.jsonl} --dev {reviews.jsonl} --output {out}", "no column 'question'"),
        ("questions without paragraphs", "mrqa --model {model} --train {reviews.jsonl} --dev {reviews.jsonl} --output {out}", "no list 'qas'"),
        ("no place to write", "sst2 --model {model} --data {glue} --output {blocked} --num-train-steps 1", "cannot write"),
        ("weights", "sst2 --model {model} --data {glue} --output {out} --class-weights 1,2,3", "3 weights for 2 classes"),
        ("truncation", "sst2 --model {model} --data {glue} --output {out} --truncate middle", "choose from"),
        ("layers", "sst2 --model {model} --data {glue} --output {out} --freeze-layers 9", "the model has 2 layers"),
        ("damaged parquet", "own --model {model} --train {bad.parquet} --dev {bad.parquet} --output {out}", "not a readable parquet"),
        ("something is there", "sst2 --model {model} --data {glue} --output {classifier}", "already exists"),
        ("suite without files", "glue --model {model} --data {empty} --output {out}", "holds no folder of the suite"),
        ("search", "sst2 --model {model} --data {glue} --output {out} --search learning_rat=1", "did you mean 'learning_rate'"),
        ("teacher", "sst2 --model {model} --data {glue} --output {out} --teacher {model}", "no classifier head"),
        ("together with own", "sst2+own --model {model} --data {glue} --output {out}", "own"),
        ("together with a typo", "sst2+rte3 --model {model} --data {glue} --output {out}", "did you mean 'rte'"),
    ],
    "significance": [
        ("missing", "{none} {reviews.jsonl}", "not found"),
        ("empty", "{empty.txt} {reviews.jsonl}", "empty"),
        ("binary", "{binary.txt} {reviews.jsonl}", "binary.txt is not UTF-8 text (byte 128)"),
        ("not answers", "{reviews.jsonl} {reviews.jsonl}", "line 1: expected JSON with id, label and prediction"),
        ("metric typo", "{reviews.jsonl} {reviews.jsonl} --metric acuracy", "acuracy"),
    ],
    "compare": [
        ("missing data", "{classifier} --task sst2 --data {none}", "not found"),
        ("task typo", "{classifier} --task sst3 --data {glue}", "did you mean 'sst2'"),
        ("no such split", "{classifier} --task sst2 --data {glue} --split valid", "no split 'valid'"),
        ("too few calls", "{classifier} --task sst2 --data {glue} --calls 1", "--calls 1: expected at least 10"),
        ("too many threads", "{classifier} --task sst2 --data {glue} --threads 4000", "this machine has"),
        ("something is there", "{classifier} --task sst2 --data {glue} --output {model}", "already exists"),
        ("number", "{classifier} --task sst2 --data {glue} --calls many", "many"),
    ],
    "submit": [
        ("unknown", "glu --models sst2={classifier} --data {glue} --output {out}.zip", "did you mean 'glue'"),
        ("task typo", "glue --models sst3={classifier} --data {glue} --output {out}.zip", "did you mean 'sst2'"),
        ("no model", "glue --models sst2 --data {glue} --output {out}.zip", "expected TASK=MODEL"),
        ("twice", "glue --models sst2=a SST-2=b --data {glue} --output {out}.zip", "twice"),
        ("no zip", "glue --models sst2={classifier} --data {glue} --output {out}.tar", "ends in .zip"),
        ("missing", "glue --models sst2={classifier} --data {none} --output {out}.zip --fill", "not found"),
        ("no test file", "glue --models sst2={classifier} --data {glue} --output {out}.zip --fill", "not found"),
        ("something is there", "clue --models csl={classifier} --data {glue} --output {there.zip}", "already exists"),
    ],
    "dataset": [
        ("unknown", "imbd --data {glue} --output {out}", "known: imdb"),
        ("missing", "imdb --data {none} --output {out}", "not found"),
        ("empty", "imdb --data {empty} --output {out}", "no reviews"),
        ("binary", "imdb --data {binary.txt} --output {out}", "is not a complete tar archive (invalid header)"),
        ("truncated", "imdb --data {cut.xz} --output {out}", "is not a complete tar archive (truncated header)"),
        ("share", "imdb --data {glue} --output {out} --valid 200%", "fraction"),
        ("something is there", "imdb --data {glue} --output {model}", "already exists"),
    ],
    "predict": [
        ("missing", "{classifier} {none}.txt", "not found"),
        ("near name", "{classifier} {text.txt}", "did you mean 'texts.txt'"),
        ("nothing", "", "nothing to read"),
        ("a file alone", "{texts.txt}", "is a file, not a model"),
        ("a typo alone", "{classifer}", "if it is a text"),
        ("a column of lines", "{classifier} {texts.txt} --text film", "texts.txt is a text per line, without columns"),
        (
            "a column alone",
            "{classifier} --text film",
            "--text film: standard input is a text per line, without columns; leave it out (a text is an argument)",
        ),
        ("a text as a column", "{classifier} --text 10/10", "--text 10/10 names a column, and no file is given"),
        ("output kind", "{classifier} {texts.txt} --output {out}.doc", "expected a name ending in .csv, .tsv, .jsonl, .json, .parquet"),
        ("output there", "{classifier} {texts.txt} --output {there.zip} --format csv", "already exists"),
        ("no table", "{classifier} {texts.txt} --format input", "is no table; choose one of csv"),
        ("no such shipped one", "shipped:feeling {texts.txt}", "no such model is bundled with electra"),
        ("missing model", "{classifer} {texts.txt}", "did you mean 'classifier'"),
        ("hub typo", "googel/electra-small-discriminator {texts.txt}", "googel/electra-small-discriminator"),
        ("empty", "{classifier} {empty.txt}", "empty"),
        ("binary", "{classifier} {binary.txt}", "binary"),
        ("not UTF-8", "{classifier} {latin.txt}", "line 2"),
        ("wrong type", "{classifier} {empty}", "folder"),
        ("three columns", "{classifier} {columns.txt}", "line 1: 3 columns"),
        ("wrong column", "{classifier} {reviews.jsonl} --text reviw", "did you mean 'review'"),
        ("not JSON", "{classifier} {broken.jsonl}", "line 2"),
        ("not text", "{classifier} {number.jsonl}", "not text"),
        ("truncated", "{cut-classifier} {texts.txt}", "damaged"),
        ("damaged settings", "{badconfig} {texts.txt}", "not valid JSON"),
        ("another model", "{bert} {texts.txt}", "bert"),
        ("no head", "{model} {texts.txt}", "electra finetune sst2 --model"),
        ("a file as model", "{texts.txt} {texts.txt}", "file"),
        ("window", "{classifier} {texts.txt} --max-length 4", "at least 8"),
        ("another zip", "{there.zip} {texts.txt}", "not a readable .zip"),
        ("a changed artifact", "{artifact-changed} {texts.txt}", "was changed since it was built"),
        ("an artifact of a newer version", "{artifact-newer} {texts.txt}", "newer electra"),
    ],
    "detect": [
        ("missing", "{model} {none}.txt", "not found"),
        ("nothing", "", "nothing to read"),
        ("a typo alone", "{modle}", "if it is a text"),
        ("missing model", "{modle} {texts.txt}", "did you mean 'model'"),
        ("empty", "{model} {empty.txt}", "empty"),
        ("binary", "{model} {binary.txt}", "binary"),
        ("wrong type", "{model} {empty}", "folder"),
        ("wrong column", "{model} {reviews.jsonl} --text reviw", "did you mean 'review'"),
        ("truncated", "{cut} {texts.txt}", "damaged"),
        ("wrong model", "{classifier} {texts.txt}", "discriminator"),
        ("wrong artifact", "{artifact} {texts.txt}", "no discriminator head"),
        ("no generator", "{lone} {texts.txt} --corrupt", "generator"),
        ("share", "{model} {texts.txt} --corrupt --mask-prob 2", "--mask-prob 2: expected above 0 and below 1"),
        ("threshold", "{model} {texts.txt} --threshold 7", "--threshold 7: expected at least 0 and at most 1"),
    ],
    "score": [
        ("missing", "{masked} {none}.txt", "not found"),
        ("missing model", "{none} {texts.txt}", "not found"),
        ("empty", "{masked} {empty.txt}", "empty"),
        ("binary", "{masked} {binary.txt}", "binary"),
        ("wrong type", "{masked} {empty}", "folder"),
        ("wrong column", "{masked} {reviews.jsonl} --text reviw", "did you mean 'review'"),
        ("wrong list", "{masked} {reviews.jsonl} --nbest hypotheses", "no list 'hypotheses'"),
        ("not JSON", "{masked} {texts.txt} --nbest hypotheses", "line 1: not valid JSON"),
        ("truncated", "{cut} {texts.txt}", "damaged"),
        ("no likelihoods", "{classifier} {texts.txt}", "gives no likelihoods"),
        ("no generator", "{lone} {texts.txt}", "without its generator"),
    ],
    "embed": [
        ("missing", "{model} {none}.txt --json", "not found"),
        ("missing model", "{none} {texts.txt} --json", "not found"),
        ("empty", "{model} {empty.txt} --output {out}.npy", "empty"),
        ("binary", "{model} {binary.txt} --output {out}.npy", "binary"),
        ("wrong type", "{model} {texts.txt} --output {out}.txt", ".npy"),
        ("wrong column", "{model} {reviews.jsonl} --text reviw", "did you mean 'review'"),
        ("truncated", "{cut} {texts.txt} --json", "damaged"),
        ("no place to write", "{model} {texts.txt} --output {blocked}.npy", "cannot write"),
        ("something is there", "{model} {texts.txt} --output {vectors.npy}", "already exists"),
    ],
    "rerank": [
        ("missing", "{classifier} {none}.txt --query x", "not found"),
        ("missing model", "{none} {texts.txt} --query x", "not found"),
        ("no query", "{classifier} {texts.txt}", "--query"),
        ("empty query", "{classifier} {texts.txt} --query=", "--query: expected a value"),
        ("classes", "{classifier} {texts.txt} --query x", "is not a re-ranker"),
        ("vectors", "{model} {texts.txt} --query x", "is not a re-ranker"),
        ("wrong number", "{classifier} {texts.txt} --query x --top-k 0", "--top-k 0: expected at least 1"),
    ],
    "mine": [
        ("missing", "{none}.csv --output {out}.jsonl", "not found"),
        ("no output", "{reviews.jsonl}", "--output"),
        ("one text", "{reviews.jsonl} --text-columns review --output {out}.jsonl", "expected pairs"),
        ("wrong column", "{reviews.jsonl} --text-columns reviw label --output {out}.jsonl", "did you mean 'review'"),
        ("another format", "{reviews.jsonl} --output {out}.csv", "ends in .jsonl"),
        ("something is there", "{reviews.jsonl} --output {reviews.jsonl}", "already exists"),
        ("no layout", "{empty} --output {out}.jsonl", "expected a file"),
    ],
    "build": [
        ("missing", "{none} --target onnx --output {out}", "not found"),
        ("near name", "{modle} --target onnx --output {out}", "did you mean 'model'"),
        ("no such target", "{model} --target onx --output {out}", "did you mean 'onnx'"),
        ("no target", "{model} --output {out}", "target"),
        ("truncated", "{cut} --target onnx --output {out}", "damaged"),
        ("damaged settings", "{badconfig} --target onnx --output {out}", "not valid JSON"),
        ("a file", "{texts.txt} --target onnx --output {out}", "file"),
        ("something is there", "{model} --target onnx --output {classifier}", "already exists"),
        ("a file is there", "{model} --target onnx --output {there.zip}", "already exists"),
        ("no place to write", "{model} --target onnx --output {blocked}", "cannot write"),
        ("no texts", "{model} --target onnx-int8-static --output {out}", "give --calibrate FILE"),
        ("missing texts", "{model} --target onnx-int8-static --calibrate {none}.txt --output {out}", "not found"),
        ("empty texts", "{model} --target onnx-int8-static --calibrate {empty.txt} --output {out}", "empty"),
        ("binary texts", "{model} --target onnx-int8-static --calibrate {binary.txt} --output {out}", "binary"),
        ("wrong column", "{model} --target onnx-int8-static --calibrate {reviews.jsonl} --text reviw --output {out}", "did you mean 'review'"),
        (
            "no number of texts",
            "{model} --target onnx-int8-static --calibrate {texts.txt} --num-texts 0 --output {out}",
            "--num-texts 0: expected at least 1",
        ),
        ("texts for nothing", "{model} --target onnx --calibrate {texts.txt} --output {out}", "needs no texts"),
        ("an artifact", "{artifact} --target onnx --output {out}", "is an artifact already"),
    ],
    "inspect": [
        ("missing", "{none}", "not found"),
        ("near name", "{modle}", "did you mean 'model'"),
        ("preset typo", "smal", "did you mean 'small'"),
        ("empty", "{empty.txt}", "empty"),
        ("empty folder", "{empty}", "expected files ending in .txt"),
        ("truncated", "{cut}", "damaged"),
        ("truncated shards", "{shards-cut}", "train/ids.npy cannot be read"),
        ("damaged manifest", "{shards-manifest}", "is not the manifest of a tokenized dataset"),
        ("damaged settings", "{badconfig}", "not valid JSON"),
        ("another model", "{bert}", "bert"),
        ("binary", "{binary.toml-run}", "not valid TOML"),
        ("a changed artifact", "{artifact-changed}", "was changed since it was built"),
    ],
    "plot": [
        ("missing", "{none}", "not found"),
        ("empty", "{empty}", "has no metrics.jsonl; give the --output of"),
        ("wrong type", "{corpus.txt}", "has no metrics.jsonl; give the --output of"),
        ("no such metric", "{run} --metrics losss", "loss"),
        ("no place to write", "{run} --output {blocked}.png", "cannot write"),
    ],
    "convert": [
        ("missing", "{none} {out}", "not found"),
        ("near name", "{modle} {out}", "did you mean 'model'"),
        ("empty", "{empty} {out}", "is not a checkpoint: it has no config.json"),
        ("binary", "{binary.txt} {out}", "file"),
        ("truncated", "{cut} {out}", "damaged"),
        ("damaged settings", "{badconfig} {out}", "not valid JSON"),
        ("no place to write", "{model} {blocked}", "cannot write"),
        ("something is there", "{model} {classifier}", "already exists"),
        ("number format", "{model} {out} --dtype float61", "choose from 'float32'"),
        ("another vocabulary", "{model} {out} --vocab {corpus.txt}", "vocabulary"),
        ("heads", "{model} {out} --num-attention-heads 3", "--num-attention-heads is for TensorFlow"),
    ],
    "push": [
        ("missing", "{none} --name me/model", "checkpoint folder not found"),
        ("empty", "{empty} --name me/model", "not a checkpoint"),
        ("wrong type", "{corpus.txt} --name me/model", "not a checkpoint"),
        ("truncated", "{cut} --name me/model", "damaged"),
        ("name", "{model} --name model", "OWNER/NAME"),
        ("characters of a name", "{model} --name me/a--b", "--name 'me/a--b'"),
        ("no name", "{model}", "--name OWNER/NAME is missing"),
        ("a run", "{run} --name me/model", "not a checkpoint"),
        ("an artifact", "{artifact} --output {out}", "give the checkpoint it was built from"),
        ("number format", "{model} --output {out} --dtypes q4", "dtype 'q4' of transformers.js is not made here"),
        ("private folder", "{model} --output {out} --private", "--private is for a repository on the hub"),
        ("existing", "{model} --output {model}", "choose another --output"),
        ("no token", "{model} --name me/model", "hf auth login"),
    ],
    "serve": [
        ("missing", "{none} --port 0", "not found"),
        ("near name", "{modell} --port 0", "did you mean 'model'"),
        ("empty", "{empty} --port 0", "is not a checkpoint: it has no config.json"),
        ("wrong type", "{corpus.txt} --port 0", "is a file; give the checkpoint's folder"),
        ("truncated", "{model} {cut-classifier} --port 0", "cut-classifier/model.safetensors cannot be read"),
        ("binary settings", "{badconfig} --port 0", "not valid JSON"),
        ("another network", "{bert} --port 0", "has no model.safetensors"),
        ("two of one name", "{model} {model} --port 0", "two models are called 'model'"),
        ("no such port", "{model} --port 99999", "--port 99999"),
        ("binary token", "{model} --port 0 --token-file {binary.txt}", "cannot be read as text"),
        ("no token", "{model} --port 0 --token-file {empty.txt}", "holds no good token"),
        ("flag", "{model} --prt 0", "did you mean '--port'"),
    ],
    "ablate": [
        ("typo", "scrach --data {shards} --output {out}", "did you mean 'scratch'"),
        ("missing", "scratch --data {none} --task-data {glue} --output {out}", "not found"),
        ("missing task", "scratch --data {shards} --task-data {none} --output {out}", "not found"),
        ("wrong type", "scratch --data {corpus.txt} --task-data {glue} --output {out}", "is not a tokenized dataset (no manifest.json)"),
        ("truncated", "scratch --data {shards-cut} --task-data {glue} --output {out}", "train/ids.npy cannot be read"),
        ("truncated archive", "imdb --data {cut.xz} --output {out}", "not a complete tar archive"),
        ("no reviews", "imdb --data {empty} --init {cut} --output {out}", "no reviews under train/unsup"),
        ("method typo", "scratch --data {shards} --task-data {glue} --output {out} --methods electra mln", "did you mean 'mlm'"),
        ("budget", "scratch --data {shards} --task-data {glue} --output {out} --budget soon", "expected a duration"),
        ("something is there", "scratch --data {shards} --task-data {glue} --output {model}", "already exists"),
        ("nothing to resume", "scratch --data {shards} --task-data {glue} --output {none} --resume", "holds no ablation"),
    ],
    "demo": [
        ("missing", "--output {out} --data {none}", "not found"),
        ("no such encoder", "--output {out} --encoder {none}", "not found"),
        ("an artifact as encoder", "--output {out} --encoder shipped:sentiment", "checkpoint"),
        ("no place to write", "--output {blocked}", "cannot write"),
        ("number", "--output {out} --minutes soon", "soon"),
    ],
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Path) -> Path:
    """A folder with a good and a bad one of everything."""
    return make_shop(tmp_path_factory.mktemp("shop"), tiny_corpus)


TABLE = [pytest.param(command, *case[1:], id=f"{command}: {case[0]}") for command, cases in CASES.items() for case in cases]


def test_the_table_covers_every_command() -> None:
    assert set(CASES) == set(COMMANDS)


@pytest.mark.parametrize(("command", "arguments", "message"), TABLE)
def test_a_mistake_is_one_line(
    command: str, arguments: str, message: str, shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(COMMANDS[command].function.partition(":")[0]) is None:
        pytest.skip(f"no command '{command}' yet")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    before = contents(shop)
    capsys.readouterr()
    code = main([command, *fill(arguments, shop)])
    captured = capsys.readouterr()
    assert code == 2, f"exit code {code}\n{captured.out}\n{captured.err}"
    # What is read before the fault may be reported.
    lines = [line for line in captured.err.splitlines() if line.startswith("electra: ")]
    assert len(lines) == 1 and captured.err.splitlines()[-1] == lines[0], captured.err
    assert "Traceback" not in captured.err
    assert message and message in lines[0], lines[0]
    after = contents(shop)
    assert {name: after.get(name) for name in before} == before, "a file made before is gone or changed"
    assert not [name for name in after if name.endswith(".part")], "a half-written file was left"
    leftover = shop / "made-by-the-test"
    if leftover.is_dir():
        shutil.rmtree(leftover)
    for file in shop.glob("made-by-the-test*"):
        file.unlink()


@pytest.mark.parametrize(
    ("argv", "message"), [(["predcit"], "did you mean 'predict'"), (["detct", "x"], "did you mean 'detect'"), (["xyzzy"], "known:")]
)
def test_a_mistyped_command_is_named(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("electra: ") and error.count("\n") == 1 and message in error


@pytest.mark.parametrize("command", ["predict", "detect", "embed"])
def test_empty_standard_input_is_named(command: str, shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    assert main([command, str(shop / ("classifier" if command == "predict" else "model"))]) == 2
    assert "standard input is empty" in capsys.readouterr().err


def test_pickled_code_is_never_run(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pytorch_model.bin that would write a file when unpickled."""
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    folder = tmp_path / "evil"
    shutil.copytree(shop / "classifier", folder, ignore=shutil.ignore_patterns("model.safetensors"))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    assert main(["predict", str(folder), str(shop / "texts.txt")]) == 2
    assert not (tmp_path / "ran").exists()
    assert "electra: " in capsys.readouterr().err


def test_a_tokenizer_of_another_model_is_noticed(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(shop / "model", folder)
    tokens = [*checkpoints()["vocab"].read_text(encoding="utf-8").splitlines(), *(f"extra{i}" for i in range(50))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert main(["detect", str(folder), str(shop / "texts.txt")]) == 2
    assert f"only {config['vocab_size']}" in capsys.readouterr().err
