"""Results of a demo's steps and lines of its metrics, as its report reads them."""

from __future__ import annotations

from typing import Any

TOKENS = [
    {"token": "a", "start": 0, "end": 1, "probability": 0.1, "replaced": False},
    {"token": "<b>", "start": 2, "end": 5, "probability": 0.9, "replaced": True},
]
DETECTION = {"text": "a <b>", "tokens": TOKENS}
BEFORE = {"text": "a cat", "tokens": [TOKENS[0], {"token": "cat", "start": 2, "end": 5, "probability": 0.2, "replaced": False}]}
REPLACEMENT = {
    "index": 1,
    "original": "x", "proposals": [{"token": "y", "probability": 0.5}], "sampled": "y", "verdict": True, "changed": True, "probability": 0.8,
}  # fmt: skip
FOUND: dict[str, dict[str, Any]] = {
    "collect": {
        "seconds": 9.0, "size_bytes": 12_345_678, "num_documents": 5000, "num_sentences": 160000, "num_duplicates": 60000,
        "samples": ["One & <two>."],
    },
    "vocab": {"seconds": 5.0, "size": 4096, "examples": [("a film", ["a", "film"])], "commands": ['electra vocab "a b.txt"']},
    "prepare": {"seconds": 4.0, "train_tokens": 3000000, "held_out_tokens": 30000},
    "pretrain": {"seconds": 200.0, "steps": 2000, "tokens": 3000000, "train_seconds": 190.0, "shape": "2 layers"},
    "evaluate": {"seconds": 8.0, "metrics": {"disc_auc": 0.612, "masked_lm_loss": 5.1, "disc_loss": 0.4}, "frequency_loss": 6.25},
    "detect": {
        "seconds": 3.0,
        "pairs": [{"original": BEFORE, "changed": DETECTION, "word": "<b>"}],
        "bundled": [{"original": BEFORE, "changed": DETECTION, "word": "<b>"}],
        "corruption": {
            "masked": "a [MASK]",
            "replacements": [REPLACEMENT],
            "corrupted": DETECTION,
        },
    },
    "sentiment": {
        "seconds": 60.0, "encoder": "shipped:mini", "classifier": 0.789, "majority": 0.5, "num_train": 2262, "num_dev": 316,
        "rows": [
            {"network": network, "size": size, "mean": mean, "low": mean - 0.05, "high": mean + 0.05, "each": [mean] * (3 if size == 64 else 1)}
            for network, means in {"encoder": (0.684, 0.829), "tfidf": (0.516, 0.706), "pretrained": (0.52, 0.6), "random": (0.503, 0.61)}.items()
            for size, mean in zip((64, 2262), means, strict=True)
        ],
        "gaps": [{"size": 64, "mean": 0.168, "low": 0.12, "high": 0.213}, {"size": 2262, "mean": 0.123, "low": 0.08, "high": 0.17}],
        "commands": [f"electra finetune {i}" for i in range(24)],
    },
    "films": {
        "seconds": 20.0, "source": "glue/SST-2", "majority": 0.5, "num_train": 67349, "num_dev": 872, "gaps": [],
        "rows": [
            {"network": network, "size": 256, "mean": mean, "low": mean - 0.03, "high": mean + 0.03, "each": [mean]}
            for network, mean in (("encoder", 0.765), ("tfidf", 0.589), ("pretrained", 0.523), ("random", 0.511))
        ],
    },
    "predict": {"seconds": 2.0, "answers": [{"text": "<script>alert(1)</script>", "label": "1", "probability": 0.7, "expected": "0"}]},
    "build": {
        "seconds": 9.0,
        "rows": [
            {"name": "checkpoint", "size_bytes": 3_900_000, "p50_ms": 2.0, "speedup": [], "accuracy": 0.684, "agreement": None,
             "load_seconds": 2.0},
            {"name": "built", "size_bytes": 1_300_000, "p50_ms": 0.25, "speedup": [8.0, 7.1, 9.2], "accuracy": 0.681, "agreement": 0.997,
             "load_seconds": 0.2},
        ],
    },
}  # fmt: skip
LINES = [
    {
        "kind": kind,
        "step": step,
        "tokens": step * 100,
        "seconds": step / 10,
        "masked_lm_loss": 8 - step / 1000,
        "disc_loss": 0.4,
        "disc_auc": 0.5 + step / 9000,
    }
    for step in range(50, 2001, 50)
    for kind in (("train", "evaluation") if step % 200 == 0 else ("train",))
]
