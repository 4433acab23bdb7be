"""electra finetune: one task by its command; several learned together; or many trials (a suite, a search, seeds in parallel) into one table."""

from __future__ import annotations

from electra.commands import finetune
from electra.errors import UserError
from electra.settings import FinetuneSettings


def run(settings: FinetuneSettings) -> int | None:
    """Choose what to do by the task's name and the flags.

    Raises:
        UserError: a combination that has no meaning.
    """
    from electra.finetuning import sweep

    several = sweep.is_many(settings)
    if "+" in settings.task:
        if several:
            raise UserError(f"{settings.task} is one network; --workers, --engine and --search are for tasks by themselves")
        from electra.finetuning import multitask

        return multitask.run(settings)
    if several:
        return sweep.run(settings)
    return finetune.run(settings)
