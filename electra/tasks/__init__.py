"""EXAMPLES -> FEATURES -> SCORES: name -> Task, one explicit table."""

from __future__ import annotations

from electra.contracts import Task
from electra.errors import UserError, did_you_mean
from electra.tasks.clue import CLUE
from electra.tasks.glue import COLA, MNLI, MRPC, QNLI, QQP, RTE, SST2, STSB, WNLI
from electra.tasks.imdb import IMDB
from electra.tasks.own import OWN

TASKS: dict[str, Task] = {task.name: task for task in (SST2, COLA, MRPC, STSB, QQP, MNLI, QNLI, RTE, WNLI, IMDB, *CLUE.values(), OWN)}


def find_task(name: str) -> Task:
    """The task of a name, as GLUE writes it ("SST-2") or as the table does ("sst2").

    Raises:
        UserError: unknown; the nearest name is given.
    """
    key = name.lower().replace("-", "").replace("_", "")
    if key not in TASKS:
        raise UserError(f"unknown task '{name}'; {did_you_mean(key, TASKS)}")
    return TASKS[key]
