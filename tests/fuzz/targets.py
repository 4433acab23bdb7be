"""The table of targets: every parser of strangers' bytes, with seeds that our own writers make and a check that knows what is right.

A check takes the bytes of one input (the first of them often chooses the file or form) and returns, or raises `UserError` for a refusal. What
is compared with a reference reader, the docstring of the check says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuzz import readers_data, readers_model, readers_run, readers_tables


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parser, or several that read the same kind of file."""

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    modules: tuple[str, ...]
    """Files of the package whose coverage is reported."""
    slack: float = 1.0
    """Times the usual limit of time: what is compressed unpacks to a thousand times its size."""
    words: tuple[bytes, ...] = ()
    """Parts of the format that mutations insert."""

    @property
    def covers(self) -> str:
        """What it reads, and what it is compared with."""
        return " ".join((self.check.__doc__ or "").split())


def _words(text: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in text.split())


_CONFIG = _words("architectures model_type id2label label2id num_labels problem_type pad_token_id hidden_act classifier_dropout electra_input_spec")
_RUN = ("train/run_log.py", "train/loop.py", "train/checkpoint.py", "pretraining/setup.py", "model/flops.py", "inference/inspect.py")
_NPY = (b"'shape': (1000000000000,)", b"'descr': '|O'", b"'fortran_order': True", b"'<f8'", b"'<U900000000'", b"((((((((", b"\x93NUMPY\x03\0")

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="tensorflow",
            check=readers_model.tensorflow,
            seeds=readers_model.tensorflow_seeds,
            modules=("protobuf.py", "model/tensorflow.py", "model/hf_config.py"),
            words=(b"electra/", b"bert/encoder/layer_", b"\x08\x0e", b"\x12\x02\x08\x01", b"\x3a\x04\x0a\x02\x08\x01", b"\x80\x80\x80\x80\x10"),
        ),
        Target(
            name="tfrecord",
            check=readers_data.tfrecord,
            seeds=readers_data.tfrecord_seeds,
            modules=("data/tfrecord.py", "protobuf.py"),
            words=(b"input_ids", b"input_mask", b"segment_ids", b"\x1a\x04\x0a\x02", b"\x12\x06\x1a\x04"),
        ),
        Target(
            name="config",
            check=readers_model.config,
            seeds=readers_model.config_seeds,
            modules=("model/hf_config.py", "inference/embeddings.py", "storage/resolve.py", "tasks/input_spec.py"),
            words=_CONFIG,
        ),
        Target(name="weights", check=readers_model.weights, seeds=readers_model.weight_seeds, modules=("model/hf_config.py", "model/huggingface.py")),
        Target(
            name="tokenizer",
            check=readers_model.tokenizers,
            seeds=readers_model.tokenizer_seeds,
            modules=("data/tokenizer.py", "data/tokenizer_files.py", "data/fast_tokenizer.py"),
            words=_words("[CLS] [SEP] [UNK] ## added_tokens normalizer pre_tokenizer post_processor Sequence Split Replace Precompiled ByteLevel"),
        ),
        Target(
            name="artifact",
            check=readers_model.artifacts,
            seeds=readers_model.artifact_seeds,
            modules=("inference/artifact.py", "inference/inspect.py"),
            words=_words("artefact.json ../ config.json sha256 size_bytes files max_length PK"),
        ),
        Target(
            name="dataset",
            check=readers_data.dataset,
            seeds=readers_data.dataset_seeds,
            modules=("data/shards.py",),
            words=(*_NPY, *_words("splits tokens lines documents sha256 fingerprint format words stored_examples")),
        ),
        Target(
            name="arrays",
            check=readers_data.arrays,
            seeds=readers_data.array_seeds,
            modules=("data/corruption_set.py", "data/prepare_chunk.py", "tasks/data_warnings.py"),
            words=_NPY,
        ),
        Target(
            name="run_state",
            check=readers_run.run_state,
            seeds=readers_run.run_seeds,
            modules=_RUN,
            words=_words("step tokens seconds kind phase phase_step train evaluation positions num_train_steps budget_seconds earlier"),
        ),
        Target(
            name="records",
            check=readers_run.records,
            seeds=readers_run.record_seeds,
            modules=(
                "benchmark/records.py",
                "finetuning/results.py",
                "finetuning/results_table.py",
                "recipes/ablation/plan.py",
                "inference/inspect.py",
            ),
            words=_words("rows tasks runs by_task mean score scores main_metric points each interval sentences"),
        ),
        Target(
            name="settings",
            check=readers_run.settings,
            seeds=readers_run.settings_seeds,
            modules=("config.py",),
            words=(
                b"base = ",
                b"[loop]\n",
                b"[[model]]\n",
                b"= 1979-05-27T07:32:00Z\n",
                b"= inf\n",
                b'"""',
                b"a.b.c.d = 1\n",
                b"[" * 50,
                b"{a={b=" * 20,
            ),
        ),
        Target(
            name="text_table",
            check=readers_tables.text_table,
            seeds=readers_tables.text_table_seeds,
            modules=("data/tables.py", "inference/text_io.py"),
            slack=10.0,
            words=(b'"', b'""', b'\n"', b'",', b"\t", b";", b"|", b"text,label\n", b"text\tlabel\n"),
        ),
        Target(
            name="json_table",
            check=readers_tables.json_table,
            seeds=readers_tables.json_table_seeds,
            modules=("data/tables.py",),
            words=(rb"\ud800", rb"\udc00", b"{}", b"[]", b"},\n{"),
        ),
        Target(
            name="arrow_table",
            check=readers_tables.arrow_table,
            seeds=readers_tables.arrow_table_seeds,
            modules=("data/tables.py",),
            words=(b"PAR1", b"ARROW1"),
        ),
        Target(
            name="tags",
            check=readers_tables.tags,
            seeds=readers_tables.tag_seeds,
            modules=("tasks/conll_files.py", "tasks/tag_schemes.py", "tasks/data_warnings.py"),
            words=(b"-DOCSTART-", b"# global.columns = ", b"1-2\t", b"1.1\t", b"B-", b"\tO\n", b" O\n", b"(PER*", b"*)"),
        ),
        Target(
            name="questions",
            check=readers_tables.questions,
            seeds=readers_tables.question_seeds,
            modules=("tasks/squad_files.py", "tasks/question_metrics.py", "tasks/significance.py"),
            words=_words("data paragraphs qas answers answer_start is_impossible detected_answers char_spans header prediction_text"),
        ),
        Target(
            name="task_files",
            check=readers_tables.task_files,
            seeds=readers_tables.task_file_seeds,
            modules=("tasks/glue.py", "tasks/clue.py", "tasks/custom.py", "tasks/data_warnings.py", "tasks/evaluate.py", "tasks/imdb.py"),
            words=_words("label sentence sentence1 score prediction id idx target span1_text keyword"),
        ),
        Target(
            name="corpus",
            check=readers_data.corpus,
            seeds=readers_data.corpus_seeds,
            modules=("data/sources.py", "data/documents.py"),
            slack=10.0,
            words=(
                b" = Title = \n",
                b"<br />",
                b"ustar\x0000",
                b"PK\3\4",
                b"PK\1\2",
                b"PK\5\6",
                b'{"text": "',
                b"\x1f\x8b\x08",
                b"\xfd7zXZ",
                b"../",
                b"5",
            ),
        ),
        Target(
            name="archive",
            check=readers_data.archives,
            seeds=readers_data.archive_seeds,
            modules=("tasks/hub_datasets.py", "tasks/imdb.py"),
            slack=10.0,
            words=(
                b"../",
                b"/etc/",
                b"ustar\x0000",
                b"1",
                b"2",
                b"3",
                b"5",
                b"x",
                b"L",
                b"PK\3\4",
                b"PK\1\2",
                b"aclImdb/train/pos/",
                b"GNU.sparse.map=1",
            ),
        ),
        Target(
            name="requests",
            check=readers_run.requests,
            seeds=readers_run.request_seeds,
            modules=("serve/middleware.py", "serve/schemas.py", "serve/operations.py", "serve/routes.py", "serve/service.py"),
            words=_words(
                '"inputs" "parameters" "options" "texts" "text_pair" "top_k" "threshold" "normalize" "truncate" "question" "context" [MASK]'
            ),
        ),
        Target(
            name="inspect",
            check=readers_run.inspect,
            seeds=readers_run.inspect_seeds,
            modules=("inference/inspect.py", "tasks/data_warnings.py"),
            slack=10.0,
            words=(*_words("[UNK] [CLS] rows scores tasks runs text label prediction answers context question"), *_NPY),
        ),
    )
}
