"""Keyword arguments of the Python API (`electra.api`), typed; written by tools/typed_arguments.py from `electra.settings`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict


class VocabularyArguments(TypedDict, total=False):
    """Of `electra.train_vocabulary`."""

    text: str
    documents: Literal["auto", "blank-line", "line", "file"]
    output: str | Path
    size: int | None
    extend: str | Path | None
    trim: str | Path | None
    lowercase: bool
    strip_accents: bool | str | None
    split_chinese: bool
    min_frequency: int
    sample_bytes: int


class PrepareArguments(TypedDict, total=False):
    """Of `electra.prepare`."""

    text: str
    documents: Literal["auto", "blank-line", "line", "file"]
    tokenizer: str | Path
    output: str | Path
    engine: Literal["local", "ray"]
    ray_address: str | None
    workers: int
    held_out: float | str
    deduplicate: bool
    lowercase: bool | None
    strip_accents: bool | str | None
    split_chinese: bool | None
    words: Literal["auto", "none", "chinese"]


class PretrainArguments(TypedDict, total=False):
    """Of `electra.pretrain`."""

    output: str | Path
    resume: bool
    dry_run: bool
    init: str | Path | None
    new_vocabulary: bool
    init_generator: str | None
    teacher: str | Path | None
    hidden_size: int
    embedding_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    generator_size: float
    generator_layers: float
    generator_init: Literal["random", "encoder"]
    generator: Literal["masked", "two-tower", "uniform", "shared"]
    embedding_sharing: Literal["tied", "disentangled", "untied"]
    generator_hidden_size: int | None
    generator_num_hidden_layers: int | None
    generator_num_attention_heads: int | None
    generator_intermediate_size: int | None
    generator_embedding_size: int | None
    generator_embedding_rows: int | None
    embedding_rows: int | None
    type_vocab_size: int
    layer_norm_eps: float
    hidden_act: str
    tie_word_embeddings: bool
    model_type: Literal["electra", "bert"]
    dropout: float
    attention_init: Literal["normal", "local"]
    embedding_init: Literal["normal", "cooccurrence", "teacher"]
    new_token_init: Literal["similar", "mean", "random"]
    freeze_layers: bool
    objective: Literal["electra", "mlm", "electric", "electra-masked", "replace-mlm", "all-tokens-mlm", "clm", "distill"]
    mask_prob: float
    mask_token_prob: float
    mask_unit: Literal["piece", "word"]
    mask_frequency_power: float
    generator_weight: float
    disc_weight: float
    temperature: float
    temperature_end: float | None
    disallow_correct: bool
    mlm_first: float | str
    mlm_first_learning_rate: float | None
    clm_first: float | str
    teacher_shape: int | Sequence[int]
    data: str | Path | Sequence[str | Path]
    weights: float | Sequence[float]
    sequence_length: int
    single_segment_prob: float
    short_example_prob: float
    vocab_size: int
    learning_rate: float
    generator_learning_rate: float | None
    warmup_steps: int | None
    warmup_fraction: float
    schedule: Literal["linear", "cosine", "constant", "trapezoidal"]
    lr_decay_power: float
    decay_fraction: float | str
    weight_decay: float
    layerwise_lr_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    bias_correction: bool
    moments: Literal["fp32", "bf16"]
    clip_norm: float
    log_to: Literal["trackio", "mlflow", "wandb"] | Sequence[Literal["trackio", "mlflow", "wandb"]]
    log_project: str | None
    threads: int
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    num_train_steps: int | None
    num_train_tokens: int | str | None
    budget: float | str | None
    batch_size: int
    accumulation: int
    total_batch_size: int | None
    compile: bool
    parallel: Literal["ddp", "fsdp"]
    activation_checkpointing: bool
    seed: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    keep_checkpoints: int
    keep_steps: int | Sequence[int]
    show_examples: int
    peak_tflops: float | None
    probe: str | None
    probe_data: str | Path | None
    probe_every: int
    wandb: str | None


class FinetuneArguments(TypedDict, total=False):
    """Of `electra.finetune`."""

    constrained: bool
    text: str
    text_pair: str | None
    label: str
    label_columns: str | Sequence[str]
    label_separator: str
    word_column: str | None
    tag_column: str | None
    tag_names: str | Sequence[str]
    fold: str | None
    model: str | Path
    output: str | Path
    preset: str | None
    data: str | Path | None
    train: str | Path | None
    dev: str | Path | None
    pretraining_data: str | Path | Sequence[str | Path]
    token_segment: Literal[0, 1]
    kind: Literal["auto", "classification", "regression", "multilabel"]
    epochs: float
    max_train_examples: int
    few_shot: int | None
    few_shot_method: Literal["contrastive", "frozen", "fine-tune"]
    max_length: int
    truncate: Literal["head", "tail", "head-tail", "windows"]
    class_weights: str | None
    freeze_layers: int | None
    freeze_encoder_epochs: float
    seeds: int
    head: Literal["transformers", "original", "mean"]
    calibrate: bool
    dropout: float
    stride: int
    max_query_length: int
    max_answer_length: int
    null_threshold: float
    double_unordered: bool
    resume: bool
    early_stopping: int
    metric: str | None
    mixing: str
    workers: int
    engine: Literal["local", "ray"]
    ray_address: str | None
    search: str | Sequence[str]
    baselines: bool
    teacher: str | Path | None
    teacher_labels: str | Sequence[str]
    distill_weight: float
    distill_temperature: float
    unlabelled: str | Path | None
    text_columns: str | Sequence[str]
    loss: Literal["auto", "ranking", "symmetric-ranking", "cosent", "cosine", "batch-all-triplet", "binary", "listwise", "margin-mse"]
    pooling: Literal["auto", "mean", "cls", "max"]
    layers: str
    similarity_scale: float
    matryoshka: int | Sequence[int]
    query_prompt: str
    document_prompt: str
    learning_rate: float
    generator_learning_rate: float | None
    warmup_steps: int | None
    warmup_fraction: float
    schedule: Literal["linear", "cosine", "constant", "trapezoidal"]
    lr_decay_power: float
    decay_fraction: float | str
    weight_decay: float
    layerwise_lr_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    bias_correction: bool
    moments: Literal["fp32", "bf16"]
    clip_norm: float
    log_to: Literal["trackio", "mlflow", "wandb"] | Sequence[Literal["trackio", "mlflow", "wandb"]]
    log_project: str | None
    threads: int
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    num_train_steps: int | None
    num_train_tokens: int | str | None
    budget: float | str | None
    batch_size: int
    accumulation: int
    total_batch_size: int | None
    compile: bool
    parallel: Literal["ddp", "fsdp"]
    activation_checkpointing: bool
    seed: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    keep_checkpoints: int
    keep_steps: int | Sequence[int]


class EvaluateArguments(TypedDict, total=False):
    """Of `electra.evaluate`."""

    threads: int
    batch_size: int
    precision: Literal["fp32", "bf16", "fp16"]
    max_length: int
    truncate: Literal["head", "tail", "head-tail", "windows"] | None
    constrained: bool
    text: str
    text_pair: str | None
    label: str
    label_columns: str | Sequence[str]
    label_separator: str
    word_column: str | None
    tag_column: str | None
    tag_names: str | Sequence[str]
    fold: str | None
    data: str | Path | Sequence[str | Path]
    task: str | None
    reranker: str | None
    candidates: int
    fuse: bool
    approximate: bool
    corruption: str | Path | None
    against: str | None
    split: str
    labels: str | Sequence[str]
    per_class: bool
    report: str | Path | None
    na_probs: str | Path | None
    na_threshold: float
    predictions: str | Path | None
    num_examples: int
    sequence_length: int
    seed: int


class BuildArguments(TypedDict, total=False):
    """Of `electra.build`."""

    max_length: int
    truncate: Literal["head", "tail", "head-tail", "windows"] | None
    text: str
    text_pair: str | None
    label: str
    label_columns: str | Sequence[str]
    label_separator: str
    word_column: str | None
    tag_column: str | None
    tag_names: str | Sequence[str]
    fold: str | None
    target: str
    output: str | Path
    layout: Literal["artifact", "hub"]
    dtypes: str | Sequence[str]
    calibrate: str | Path | None
    num_texts: int
    task: str | None
    data: str | Path | None
    split: str
    labels: str | Sequence[str]
    max_drop: float
    calls: int
    threads: int
    skip: str | Sequence[str]


class PushArguments(TypedDict, total=False):
    """Of `electra.push`."""

    name: str | None
    output: str | Path | None
    private: bool
    onnx: bool
    dtypes: str | Sequence[str]
    license: str | None
    language: str | Sequence[str]
    base_model: str | None
    datasets: str | Sequence[str]


class CompareArguments(TypedDict, total=False):
    """Of `electra.compare`."""

    text: str
    text_pair: str | None
    label: str
    label_columns: str | Sequence[str]
    label_separator: str
    word_column: str | None
    tag_column: str | None
    tag_names: str | Sequence[str]
    fold: str | None
    data: str | Path
    task: str | None
    python: str | Sequence[str]
    add: str | Path | Sequence[str | Path]
    split: str
    labels: str | Sequence[str]
    calls: int
    threads: int
    num_examples: int
    output: str | Path | None
    chart: str | Path | None
    keep: bool
    device: Literal["cpu", "cuda"]
    seed: int
