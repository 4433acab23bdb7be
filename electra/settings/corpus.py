"""Settings of the commands that make vocabularies and tokenized data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.config import Settings, argument, flag, fraction, on_off
from electra.settings.sections import MAX_SEED


@dataclass(frozen=True, kw_only=True)
class CorpusSettings(Settings):
    """Reading the corpus."""

    text: str = flag("text", aliases=("text_field",))
    """Column of the text in jsonl, parquet and hub data sets."""
    documents: Literal["auto", "blank-line", "line", "file"] = "auto"
    """What separates documents in text files; 'auto': blank lines, if the file has any, else each line is one."""


@dataclass(frozen=True, kw_only=True)
class VocabSettings(CorpusSettings):
    """Train a WordPiece vocabulary on a corpus, or add a domain's words to a checkpoint's vocabulary (--extend).

    Examples:
      electra vocab wiki.txt.xz --size 8192 --output vocab
      electra vocab reviews.jsonl --text review --size 16000 --output vocab
      electra vocab s3://bucket/corpus --output s3://bucket/vocab
      electra vocab reviews/ --extend runs/mini --size 1000 --output mini-reviews
    """

    corpus: tuple[str, ...] = argument()
    """Files, folders (txt, txt.gz/.xz/.zst, jsonl, parquet, tar, zip), their URLs, or hf:NAME for a data set of the Hugging Face hub."""
    output: str
    """Folder or URL for vocab.txt, tokenizer.json and tokenizer_config.json; with --extend for a whole checkpoint."""
    size: int | None = flag(None, minimum=1)
    """Vocabulary size, the five special tokens included (default: 30522); with --extend, tokens to add (default: 1000)."""
    extend: str | None = None
    """Checkpoint (folder, run or hub name) whose vocabulary is extended with the corpus words that save most tokens, and whose embeddings get rows
    for them; its case rule is kept. Continue with 'prepare --tokenizer OUTPUT' and 'pretrain --init OUTPUT'. Default: a new vocabulary."""
    lowercase: bool = True
    """Lower-case the text, as BERT's uncased models."""
    strip_accents: bool | None = flag(None, parse=on_off)
    """Strip accents, as BERT's uncased models; 'auto' (the default) keeps them where they tell words apart, and says what it decided and why
    (--no-lowercase: keeps them)."""
    split_chinese: bool = True
    """Make every Chinese character a word."""
    min_frequency: int = flag(2, minimum=1)
    """Minimum frequency of a token."""
    sample_bytes: int = flag(200_000_000, minimum=1)
    """Bytes of text to train on, sampled evenly from the corpus."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(CorpusSettings):
    """Tokenize a corpus into memory-mapped shards, with a held-out part.

    Examples:
      electra prepare corpus/ --tokenizer vocab --output shards --workers 2
      electra prepare wiki.txt.xz reviews.jsonl --tokenizer vocab.txt --output shards --held-out 0.5%
      electra prepare zh.txt.xz --tokenizer zh-vocab.txt --output shards-zh --words chinese
      electra prepare pretrain_tfrecords/ --tokenizer vocab.txt --output shards
      electra prepare openwebtext.tar.xz --tokenizer vocab.txt --output s3://bucket/shards
      electra prepare s3://bucket/corpus --tokenizer s3://bucket/vocab --output shards --engine ray --ray-address auto
    """

    corpus: tuple[str, ...] = argument()
    """Files, folders (txt, txt.gz/.xz/.zst, jsonl, parquet, tar, zip), their URLs, hf:NAME for a data set of the Hugging Face hub, or original
    ELECTRA's TFRecords."""
    tokenizer: str
    """Tokenizer: a folder, vocab.txt, a URL of these, a hub name, or shipped:mini (the bundled model's)."""
    output: str
    """Folder for the tokenized data, or its URL (made in the cache, then uploaded); an interrupted run continues where it stopped."""
    engine: Literal["local", "ray"] = "local"
    """Tokenize in processes on this machine, or on a Ray cluster; the result is the same."""
    ray_address: str | None = None
    """Address of a running Ray cluster ('auto' finds this machine's); default: start one for this run."""
    workers: int = flag(0, minimum=0)
    """Processes; 0: one per core (of the cluster)."""
    held_out: float = flag(0.005, minimum=0, below=1, parse=fraction, metavar="0.5%")
    """Fraction of documents held out for evaluation."""
    deduplicate: bool = True
    """Drop exact duplicates of documents; their number is reported."""
    lowercase: bool | None = None
    """Lower-case the text; default: as the tokenizer's files say (a bare vocab.txt without capitals is uncased)."""
    strip_accents: bool | None = flag(None, parse=on_off)
    """Strip accents; default ('auto'): as the tokenizer's files say, else as lowercase."""
    split_chinese: bool | None = None
    """Make every Chinese character a word; default: as the tokenizer's files say, else on."""
    words: Literal["auto", "none", "chinese"] = "auto"
    """Store where Chinese words start, for whole-word masking: 'chinese' segments with rjieba; 'auto' does so if the vocabulary is Chinese and rjieba
    is installed. Other languages do not need it. Token ids stay the same."""
    json: bool = False
    """Print the manifest as JSON."""


@dataclass(frozen=True, kw_only=True)
class DatasetSettings(Settings):
    """Convert a data set's official files to csv.

    NAME: imdb (train/train_data.csv and test/test_data.csv, columns sentences and labels).

    Examples:
      electra dataset imdb --data aclImdb_v1.tar.gz --output imdb-csv
      electra dataset imdb --data aclImdb --output imdb-csv --valid 10%
    """

    name: str = argument()
    """Name of the data set."""
    data: Path
    """Its folder or archive."""
    output: Path
    """Output folder."""
    valid: float = flag(0.0, minimum=0, below=1, parse=fraction, metavar="10%")
    """Fraction of the training reviews held out as valid/valid_data.csv, which the task imdb then scores on instead of the test half."""
    seed: int = flag(1, minimum=0, maximum=MAX_SEED)
    """Seed of the split."""
