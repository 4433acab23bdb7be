"""Small random checkpoints of every head, and artifacts built from them: what the tests of building and serving share."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from tiny_models import SHAPE, checkpoints, vocabulary

LABELS = {
    "ElectraForSequenceClassification": ("negative", "neutral", "positive"),
    "ElectraOriginalClassifier": ("negative", "neutral", "positive"),
    "ElectraMeanClassifier": ("negative", "neutral", "positive"),
    "ElectraForTokenClassification": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
}
ARCHITECTURES = (
    *LABELS,
    "ElectraForPreTraining",
    "ElectraForMaskedLM",
    "ElectraForQuestionAnswering",
    "ElectraOriginalQuestionAnswering",
    "ElectraModel",
)


@functools.cache
def checkpoint(architecture: str, *, multilabel: bool = False) -> Path:
    """A checkpoint with random weights, wide enough that its answers differ from text to text."""
    from electra.data.tokenizer import load_tokenizer
    from electra.model.encoder import EncoderConfig
    from electra.model.huggingface import new_module, reinitialize, save_checkpoint

    folder = Path(tempfile.mkdtemp()) / architecture
    labels = LABELS.get(architecture, ())
    module = new_module(architecture, EncoderConfig(vocab_size=len(vocabulary()), **SHAPE), len(labels), multilabel=multilabel)
    reinitialize(module, 5)
    save_checkpoint(module, folder, labels=labels)
    load_tokenizer(checkpoints()["vocab"]).save(folder)
    return folder


@functools.cache
def artifact(source: Path, target: str = "onnx", *, zipped: bool = False, texts: tuple[str, ...] = ()) -> Path:
    """What `electra build` makes of a checkpoint."""
    from electra.exporting.targets import build_artifact

    output = Path(tempfile.mkdtemp()) / ("built.zip" if zipped else "built")
    build_artifact(str(source), target, output, texts=texts)
    return output


@functools.cache
def hub_folder(source: Path, *dtypes: str) -> Path:
    """What `electra build --layout hub` makes of a checkpoint; fp32 alone unless number formats are named."""
    from electra.exporting.targets import build_hub_folder

    folder = Path(tempfile.mkdtemp()) / source.name
    build_hub_folder(str(source), folder, dtypes=dtypes or ("fp32",))
    return folder
