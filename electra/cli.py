"""The command table: name -> settings -> lazy import. `--help` imports neither torch nor any command."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from electra.errors import EXTRAS, UserError, did_you_mean, missing_package


@dataclass(frozen=True)
class Command:
    """One verb: its settings class, the module with its `run(settings)`, its line in the help."""

    settings: str
    module: str
    summary: str
    preset_kind: str | None = None


COMMANDS = {
    "vocab": Command("VocabSettings", "electra.commands.vocab", "train a WordPiece vocabulary from a corpus"),
    "prepare": Command("PrepareSettings", "electra.commands.prepare", "tokenize a corpus into shards"),
    "pretrain": Command("PretrainSettings", "electra.commands.pretrain", "pre-train by replaced-token detection or masked LM", "pretrain"),
    "evaluate": Command("EvaluateSettings", "electra.commands.evaluate", "pre-training metrics or task scores of a model"),
    "finetune": Command("FinetuneSettings", "electra.commands.finetune", "fine-tune on a task, over several seeds"),
    "compare": Command("CompareSettings", "electra.commands.compare", "a model and its artefacts: how right and how fast each is"),
    "significance": Command("SignificanceSettings", "electra.commands.significance", "whether two models differ by more than chance"),
    "submit": Command("SubmitSettings", "electra.commands.submit", "answer a benchmark's test sets: the zip its site takes"),
    "dataset": Command("DatasetSettings", "electra.commands.dataset", "a data set's official files to csv"),
    "predict": Command("PredictSettings", "electra.commands.predict", "label a text or every line of a file"),
    "detect": Command("DetectSettings", "electra.commands.detect", "probability of being replaced for every token"),
    "score": Command("ScoreSettings", "electra.commands.score", "how likely texts are; re-rank n-best lists"),
    "embed": Command("EmbedSettings", "electra.commands.embed", "sentence vectors"),
    "build": Command("BuildSettings", "electra.commands.build", "a checkpoint for another runtime: ONNX Runtime, OpenVINO; fp32 to int8"),
    "inspect": Command("InspectSettings", "electra.commands.inspect", "what a corpus, shard folder, checkpoint or run is"),
    "plot": Command("PlotSettings", "electra.commands.plot", "learning curves to PNG"),
    "convert": Command("ConvertSettings", "electra.commands.convert", "TensorFlow or other checkpoint to a Hugging Face directory"),
    "push": Command("PushSettings", "electra.commands.push", "upload a checkpoint to the Hugging Face hub"),
    "serve": Command("ServeSettings", "electra.commands.serve", "answer over HTTP: batching, several models, a page"),
    "ablate": Command("AblateSettings", "electra.recipes.ablation.run", "ELECTRA beside BERT at equal FLOPs and equal time, over seeds"),
    "demo": Command("DemoSettings", "electra.recipes.demo.run", "raw text to fine-tuned model and report, in minutes"),
}


def _usage() -> str:
    rows = "\n".join(f"  {name:<14}{command.summary}" for name, command in COMMANDS.items())
    return f"""usage: electra COMMAND ...

From raw text to a served text encoder: ELECTRA pre-training, fine-tuning and prediction.

commands:
{rows}

at once, with models that come with it:
  electra predict "what a wonderful film"
  electra detect "the chef ate the meal"

the journey:
  electra vocab corpus/ --size 8192 --output vocab
  electra prepare corpus/ --tokenizer vocab --output shards
  electra pretrain mini --data shards --output runs/mini --budget 1h
  electra detect runs/mini/final -
  electra finetune sst2 --model runs/mini/final --data glue/SST-2 --output runs/sst2
  electra predict runs/sst2/best reviews.txt
  electra serve runs/sst2/best

'electra COMMAND --help' shows a command's flags and examples."""


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
    settings = from_command_line(getattr(all_settings, command.settings), argv[1:], f"electra {name}", preset_kind=command.preset_kind)
    try:
        return importlib.import_module(command.module).run(settings) or 0
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in EXTRAS:
            raise
        raise missing_package(error.name) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake becomes one line on standard error and exit code 2."""
    try:
        code = dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except UserError as error:
        # A message of the parser begins with its command, 'electra NAME'.
        print(f"electra: {' '.join(str(error).split()).removeprefix('electra ')}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output (head, less) has left: not an error. Point stdout elsewhere so that the flush at exit is quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A path of the user's that no command foresaw (read-only, a folder where a file was meant, a full disk).
        if error.filename is None:
            raise
        print(f"electra: {error.filename}: {error.strerror}; check the path and its permissions", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("electra: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
