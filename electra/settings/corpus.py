"""Settings of the commands that make vocabularies and tokenized data sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.config import argument, flag, fraction


@dataclass(frozen=True, kw_only=True)
class VocabSettings:
    """Train a WordPiece vocabulary from a corpus, or add the words of a domain to a checkpoint's (--extend).

    Examples:
      electra vocab wiki.txt.xz --size 8192 --output vocab
      electra vocab reviews.jsonl --text-field review --size 16000 --output vocab
      electra vocab s3://bucket/corpus --output s3://bucket/vocab
      electra vocab reviews/ --extend runs/mini --size 1000 --output mini-reviews
    """

    corpus: tuple[str, ...] = argument()
    """Files, folders (txt, txt.gz/.xz/.zst, jsonl, parquet, tar, zip), URLs of them, or hf:NAME, a data set of the Hugging Face hub."""
    output: str
    """Folder, or URL of one, for vocab.txt, tokenizer.json and tokenizer_config.json; with --extend for a whole checkpoint."""
    size: int | None = None
    """Number of word pieces, the five special ones included (unset: 30522); with --extend, of pieces added (unset: 1000)."""
    extend: str | None = None
    """Checkpoint (folder, run or hub name) whose vocabulary gets the corpus's words that spare most pieces, and whose embeddings get rows for them.
    Its rules about case hold; go on with 'prepare --tokenizer OUTPUT' and 'pretrain --init OUTPUT'."""
    lowercase: bool = True
    """Lower-case (and strip accents), as BERT's uncased models."""
    strip_accents: bool | None = None
    """Strip accents; unset: as lowercase."""
    split_chinese: bool = True
    """Make a word of every Chinese character."""
    min_frequency: int = 2
    """A piece seen less often is not made."""
    sample_bytes: int = 200_000_000
    """Text read for training, spread evenly over the corpus."""
    text_field: str = "text"
    """Name of the text column in jsonl, parquet and hub data sets."""
    documents: Literal["auto", "blank-line", "line", "file"] = "auto"
    """What separates documents in text files."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """Tokenize a corpus into memory-mapped shards, held-out part included.

    Examples:
      electra prepare corpus/ --tokenizer vocab --output shards --workers 2
      electra prepare wiki.txt.xz reviews.jsonl --tokenizer vocab.txt --output shards --held-out 0.5%
      electra prepare zh.txt.xz --tokenizer zh-vocab.txt --output shards-zh --words chinese
      electra prepare pretrain_tfrecords/ --tokenizer vocab.txt --output shards
      electra prepare openwebtext.tar.xz --tokenizer vocab.txt --output s3://bucket/shards
      electra prepare s3://bucket/corpus --tokenizer s3://bucket/vocab --output shards --engine ray --ray-address auto
    """

    corpus: tuple[str, ...] = argument()
    """Files, folders (txt, txt.gz/.xz/.zst, jsonl, parquet, tar, zip), URLs of them (s3://bucket/dir), hf:NAME for a data set of the
    Hugging Face hub, or the original code's TFRecords."""
    tokenizer: str
    """Folder or vocab.txt of the tokenizer, a URL of these, shipped:mini (of the model that comes with electra), or a model's name on the hub."""
    output: str
    """Folder of the shards, or its URL (made in the cache, then uploaded); interrupted work goes on where it stopped."""
    engine: Literal["local", "ray"] = "local"
    """Where to tokenize: processes of this machine, or a Ray cluster; the shards are the same."""
    ray_address: str | None = None
    """Address of a running Ray cluster ('auto' finds this machine's); unset: one is started here for the run."""
    workers: int = 0
    """Processes; 0: one per core (of the cluster)."""
    held_out: float = flag(0.005, parse=fraction, metavar="0.5%")
    """Share of documents set aside for evaluation."""
    text_field: str = "text"
    """Name of the text column in jsonl, parquet and hub data sets."""
    documents: Literal["auto", "blank-line", "line", "file"] = "auto"
    """What separates documents in text files."""
    deduplicate: bool = True
    """Drop exact duplicates of documents (counted)."""
    lowercase: bool | None = None
    """Lower-case the text; unset: as the tokenizer's files say (a bare vocab.txt is uncased when no piece holds a capital)."""
    strip_accents: bool | None = None
    """Strip accents; unset: as the tokenizer's files say, else as lowercase."""
    split_chinese: bool | None = None
    """Make a word of every Chinese character; unset: as the tokenizer's files say, else yes."""
    words: Literal["auto", "none", "chinese"] = "auto"
    """Keep where Chinese words start, for whole-word masking: 'chinese' asks a segmenter (rjieba, of the extra 'data'); 'auto' does so where the
    vocabulary is Chinese and rjieba is installed. Ids stay the same. Words of other languages need none of it."""
    json: bool = False
    """Print the manifest as JSON."""


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """Turn a data set's official files into csv files.

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
    """Folder to write."""
    valid: float = flag(0.0, parse=fraction)
    """Share of the training reviews held out, as valid/valid_data.csv: then the task imdb scores on them instead of the test half."""
    seed: int = 1
    """Seed of that choice."""
