"""electra submit: fine-tuned models + a benchmark's test files -> the zip that its site accepts.

models, test files    -> a plan of every file   (row counts are checked before a model is opened)
for every model          its test sets -> predictions
tasks without model   -> one constant answer, with --fill
predictions           -> tsv or JSON lines -> zip
"""

from __future__ import annotations

from itertools import groupby

from electra.contracts import Prediction
from electra.errors import UserError
from electra.settings import SubmitSettings
from electra.storage import atomic
from electra.tasks.data_warnings import unknown_lines
from electra.tasks.registry import find_task
from electra.tasks.submission import SubmissionFile, clue_file, constant_answer, files_of, glue_file, parse_models, plan, write_zip
from electra.terminal import say


def run(settings: SubmitSettings) -> None:
    """Predict, write, and print where each file came from."""
    models = parse_models(settings.models, files_of(settings.benchmark))
    if settings.output.suffix != ".zip":
        raise UserError(f"--output {settings.output}: the sites accept a zip; give a name that ends in .zip")
    atomic.fresh_output(settings.output, remedy="choose another --output")
    made = plan(settings.benchmark, models, settings.data, fill=settings.fill)
    from electra.inference.predictor import open_fine_tuned

    answers: dict[SubmissionFile, list[Prediction]] = {}
    for name, files in groupby(sorted(made.answered, key=lambda file: file.task), key=lambda file: file.task):
        task = find_task(name)
        model = open_fine_tuned(models[name]).for_task(task, task.head([]))
        for file in files:
            unlabelled = made.answered[file]
            answers[file] = model.answer(unlabelled, batch_size=settings.batch_size)
            say(f"{file.name}: {len(answers[file]):,} answers by {models[name]}")
            for line in unknown_lines({file.name: unlabelled}, model.tokenizer):
                say(line)
    for file in made.filled:
        answer, origin = constant_answer(find_task(file.task), settings.data)
        answers[file] = [answer] * len(made.filled[file])
        shown = f"{answer.label:.3f}" if isinstance(answer.label, float) else answer.label
        say(f"{file.name}: no model, {len(answers[file]):,} times '{shown}' ({origin})")
    for file in made.omitted:
        say(f"{file.name}: no model, omitted")
    examples = made.answered | made.filled
    contents = {}
    for file, predictions in answers.items():
        is_glue = settings.benchmark == "glue"
        contents[file.name] = glue_file(predictions, find_task(file.task).head([])) if is_glue else clue_file(predictions, examples[file])
    write_zip(settings.output, contents)
    print(f"{settings.output}: {', '.join(sorted(contents))}")
