"""A classifier as its users run it with `transformers` and with ONNX Runtime, in the face that `electra compare` measures.

Opened in processes under the peers' own interpreters; of `electra` only what has no dependencies is imported there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electra.benchmark.worker import Answered, CandidateModel, digest
from electra.contracts import Example, Head, Prediction

LENGTH = 128


class Peer:
    """What both ways of `transformers` share."""

    def __init__(self, folder: str, threads: int) -> None:
        import torch
        import transformers

        torch.set_num_threads(threads)
        transformers.utils.logging.disable_progress_bar()
        self.torch = torch
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        names = self.model.config.id2label
        self.head = Head(kind="classification", labels=tuple(names[number] for number in sorted(names)))
        self.max_length = LENGTH


class Eager(Peer):
    """The model called as it comes; every input is padded to 128 tokens, whatever is asked for."""

    def logits(self, examples: Sequence[Example], batch_size: int) -> tuple[list[Any], list[list[int]]]:
        """(C,) of each example, and its token ids."""
        outputs, ids = [], []
        for start in range(0, len(examples), batch_size):
            batch = examples[start : start + batch_size]
            pairs = [example.text_pair or "" for example in batch] if batch[0].text_pair is not None else None
            options: dict[str, Any] = {"padding": "max_length", "truncation": True, "max_length": LENGTH, "return_tensors": "pt"}
            inputs = self.tokenizer([example.text for example in batch], pairs, **options)
            with self.torch.no_grad():
                outputs += list(self.model(**inputs).logits.numpy())
            ids += [row[mask.bool()].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
        return outputs, ids

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        """The likeliest label of each."""
        return [Prediction(label=self.head.labels[int(row.argmax())]) for row in self.logits(examples, batch_size)[0]]

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        """Labels and logits."""
        outputs, ids = self.logits(examples, batch_size)
        predictions = [Prediction(label=self.head.labels[int(row.argmax())]) for row in outputs]
        return Answered(predictions=predictions, outputs=outputs, inputs_digest=digest(ids))


class Pipeline(Peer):
    """`pipeline("text-classification")`, at real lengths; batches of more than one are padded to their longest by it."""

    def __init__(self, folder: str, threads: int) -> None:
        import transformers

        super().__init__(folder, threads)
        self.pipeline = transformers.pipeline("text-classification", model=self.model, tokenizer=self.tokenizer, device="cpu")

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        """The likeliest label of each."""
        pairs = ({"text": example.text, "text_pair": example.text_pair} for example in examples)
        texts: list[Any] = [pair["text"] if pair["text_pair"] is None else pair for pair in pairs]
        options: dict[str, Any] = {"truncation": True, "max_length": LENGTH}
        options |= {"padding": "max_length"} if padded_length else {}
        return [Prediction(label=answer["label"]) for answer in self.pipeline(texts, batch_size=batch_size, **options)]

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        """Labels; a pipeline tells no logits."""
        return Answered(predictions=self.predict(examples, batch_size))


def open_eager(folder: str, threads: int) -> CandidateModel:
    """In the process of its own."""
    return Eager(folder, threads)


def open_pipeline(folder: str, threads: int) -> CandidateModel:
    """In the process of its own."""
    return Pipeline(folder, threads)


class Exported:
    """optimum's export of the model in ONNX Runtime as it comes, with the tokenizer of `transformers`; batches padded to their longest."""

    def __init__(self, folder: str, threads: int) -> None:
        import json

        import onnxruntime
        import transformers

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"), settings, providers=["CPUExecutionProvider"])
        self.wanted = [given.name for given in self.session.get_inputs()]
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        names = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["id2label"]
        self.head = Head(kind="classification", labels=tuple(names[str(number)] for number in range(len(names))))
        self.max_length = LENGTH

    def logits(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> tuple[list[Any], list[list[int]]]:
        """(C,) of each example, and its token ids."""
        outputs, ids = [], []
        for start in range(0, len(examples), batch_size):
            batch = examples[start : start + batch_size]
            pairs = [example.text_pair or "" for example in batch] if batch[0].text_pair is not None else None
            options: dict[str, Any] = {"padding": "max_length" if padded_length else True, "truncation": True, "max_length": LENGTH}
            inputs = self.tokenizer([example.text for example in batch], pairs, return_tensors="np", **options)
            outputs += list(self.session.run(["logits"], {name: inputs[name].astype("int64", copy=False) for name in self.wanted})[0])
            ids += [row[mask.astype(bool)].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
        return outputs, ids

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        """The likeliest label of each."""
        return [Prediction(label=self.head.labels[int(row.argmax())]) for row in self.logits(examples, batch_size, padded_length)[0]]

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        """Labels and logits."""
        outputs, ids = self.logits(examples, batch_size)
        predictions = [Prediction(label=self.head.labels[int(row.argmax())]) for row in outputs]
        return Answered(predictions=predictions, outputs=outputs, inputs_digest=digest(ids))


def open_exported(folder: str, threads: int) -> CandidateModel:
    """In the process of its own."""
    return Exported(folder, threads)
