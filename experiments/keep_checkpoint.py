"""RUN -> a small copy to keep in the repository: fp16 weights, the generator without its shared embeddings, config and record.

python experiments/keep_checkpoint.py runs/chinese-mini checkpoints/chinese-mini
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

from electra.model import huggingface
from electra.storage import atomic, resolve
from electra.tasks.input_spec import copied_record


def keep(run: Path, target: Path) -> None:
    """Write `target`: discriminator, generator/, config.toml, metrics.jsonl, environment.json."""
    source = resolve.resolve(run)
    discriminator = huggingface.load_checkpoint(source, "discriminator")
    huggingface.save_checkpoint(
        discriminator.module,
        target,
        tokenizer=source,
        dtype=torch.float16,
        card=(source / "README.md").read_text(encoding="utf-8"),
        extra=copied_record(discriminator.hf_config),
    )
    generator = huggingface.load_checkpoint(source, "generator")
    huggingface.save_checkpoint(
        generator.module,
        target / "generator",
        dtype=torch.float16,
        extra={**copied_record(generator.hf_config), "embeddings_in_parent": True},
    )
    (target / "record").mkdir(exist_ok=True)
    for folder, prefix in ((run / "mlm-first", "mlm-first-"), (run, "")):
        for name in ("config.toml", "metrics.jsonl", "environment.json"):
            if (folder / name).exists():
                # Paths of the machine it ran on say nothing to anyone else: only their last parts are kept.
                text = re.sub(r'"/[^"\n]*/([^"/\n]+)"', r'"\1"', (folder / name).read_text(encoding="utf-8"))
                atomic.write_text(target / "record" / (prefix + name), text)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
