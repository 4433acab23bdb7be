"""The command table: name -> settings -> lazy import. `--help` imports neither torch nor any command."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from electra.errors import EXTRAS, UserError, did_you_mean, failure_line, missing_package, shortened

LONGEST_MESSAGE = 1000
"""Characters of the one line of an error; a longer value is shown without its middle."""


@dataclass(frozen=True)
class Command:
    """One verb: its settings class, its function in the form MODULE:NAME (settings -> exit code or None), its line in the help."""

    settings: str
    function: str
    summary: str

    def load(self) -> Callable[[Any], int | None]:
        """Import the function."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


GROUPS = {
    "train": {
        "vocab": Command("VocabSettings", "electra.commands.train:vocab", "train a WordPiece vocabulary on a corpus"),
        "prepare": Command("PrepareSettings", "electra.commands.train:prepare", "tokenize a corpus into shards"),
        "pretrain": Command("PretrainSettings", "electra.commands.train:pretrain", "pre-train by replaced token detection or masked LM"),
        "finetune": Command("FinetuneSettings", "electra.commands.train:finetune", "fine-tune on one task, several, or a benchmark"),
        "mine": Command("MineSettings", "electra.commands.train:mine", "find hard negatives for vectors and re-rankers"),
        "ablate": Command("AblateSettings", "electra.recipes.ablation.run:run", "compare ELECTRA with BERT at equal FLOPs and equal time"),
        "demo": Command("DemoSettings", "electra.recipes.demo.run:run", "raw text to fine-tuned model and report, in minutes"),
    },
    "use": {
        "predict": Command("PredictSettings", "electra.commands.predict:run", "label a text or every line of a file"),
        "detect": Command("DetectSettings", "electra.commands.detect:run", "probability that each token was replaced"),
        "score": Command("ScoreSettings", "electra.commands.score:run", "likelihood of texts; re-rank n-best lists"),
        "embed": Command("EmbedSettings", "electra.commands.embed:run", "sentence vectors"),
        "rerank": Command("RerankSettings", "electra.commands.score:rerank", "sort passages by their relevance to a query"),
    },
    "measure": {
        "evaluate": Command("EvaluateSettings", "electra.commands.measure:evaluate", "pre-training metrics or task scores of a model"),
        "significance": Command("SignificanceSettings", "electra.commands.measure:significance", "test whether two models differ significantly"),
        "compare": Command("CompareSettings", "electra.commands.measure:compare", "accuracy, speed and size of a model and its artifacts"),
        "inspect": Command("InspectSettings", "electra.commands.inspect:run", "describe a corpus, tokenized data, checkpoint, artifact or run"),
        "plot": Command("PlotSettings", "electra.commands.plot:run", "plot learning curves"),
    },
    "deploy": {
        "build": Command("BuildSettings", "electra.commands.deploy:build", "export a checkpoint to ONNX Runtime or OpenVINO, fp32 to int8"),
        "serve": Command("ServeSettings", "electra.commands.serve:run", "serve models over HTTP, with dynamic batching and a web page"),
        "convert": Command("ConvertSettings", "electra.commands.convert:run", "convert a TensorFlow or other checkpoint to a Hugging Face directory"),
        "push": Command("PushSettings", "electra.commands.deploy:push", "upload a checkpoint to the Hugging Face hub"),
        "submit": Command("SubmitSettings", "electra.commands.submit:run", "predict a benchmark's test sets and write the zip to submit"),
        "dataset": Command("DatasetSettings", "electra.commands.deploy:dataset", "convert a data set's official files to csv"),
    },
}
"""Group of the help -> name -> command."""
COMMANDS = {name: command for commands in GROUPS.values() for name, command in commands.items()}


def _usage() -> str:
    rows = "\n".join(
        f"{group}:\n" + "\n".join(f"  {name:<14}{command.summary}" for name, command in commands.items()) for group, commands in GROUPS.items()
    )
    return f"""usage: electra COMMAND ...

From raw text to a served text encoder: ELECTRA pre-training, fine-tuning and inference.

{rows}

try the bundled models:
  electra predict "what a wonderful film"
  electra detect "the chef ate the meal"

from text to server:
  electra vocab corpus/ --size 8192 --output vocab
  electra prepare corpus/ --tokenizer vocab --output shards
  electra pretrain mini --data shards --output runs/mini --budget 1h
  electra detect runs/mini/final -
  electra finetune sst2 --model runs/mini/final --data glue/SST-2 --output runs/sst2
  electra predict runs/sst2/best reviews.txt
  electra serve runs/sst2/best

'electra COMMAND --help' shows a command's main flags and examples, '--help-all' all its flags."""


def dispatch(argv: Sequence[str]) -> int:
    """Run one command line -> its exit code; a user's mistake is raised as `UserError`."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if argv[0] == "--trust":
        raise UserError("--trust was removed together with target torch-export, the only one that ran native code; leave it out")
    if argv[0] in ("-V", "--version"):
        from electra import __version__

        print(f"electra {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        raise UserError(f"unknown command '{name}'; {did_you_mean(name, COMMANDS)}")
    from electra import settings as all_settings
    from electra.command_line import from_command_line

    command = COMMANDS[name]
    settings = from_command_line(getattr(all_settings, command.settings), argv[1:], f"electra {name}")
    try:
        return command.load()(settings) or 0
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in EXTRAS:
            raise
        raise missing_package(error.name) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line -> exit code; a `UserError` becomes one line on standard error and code 2."""
    try:
        code = dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except UserError as error:
        # A message of the parser begins with its command, 'electra NAME'.
        print(f"electra: {shortened(' '.join(str(error).split()).removeprefix('electra '), LONGEST_MESSAGE)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of the output (head, less) has exited: not an error. stdout is redirected so that the flush at exit is silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        line = failure_line(error)
        if line is None:
            raise
        print(f"electra: {shortened(line, LONGEST_MESSAGE)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("electra: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
