"""EXAMPLES -> FEATURES -> SCORES: name -> Task, one explicit table."""

from __future__ import annotations

from electra.contracts import Task
from electra.errors import UserError, did_you_mean
from electra.tasks.clue import CLUE
from electra.tasks.glue import COLA, MNLI, MRPC, QNLI, QQP, RTE, SST2, STSB, WNLI
from electra.tasks.imdb import IMDB
from electra.tasks.own import OWN
from electra.tasks.questions import QUESTION_TASKS
from electra.tasks.tagging import CHUNK, TAGGING

TASKS: dict[str, Task] = {
    task.name: task
    for task in (SST2, COLA, MRPC, STSB, QQP, MNLI, QNLI, RTE, WNLI, IMDB, *CLUE.values(), CHUNK, *QUESTION_TASKS.values(), OWN, TAGGING)
}
ALIASES = {"conll2000": "chunk"}


def find_task(name: str) -> Task:
    """The task of a name, as GLUE writes it ("SST-2") or as the table does ("sst2").

    Raises:
        UserError: unknown; the nearest name is given.
    """
    key = name.lower().replace("-", "").replace("_", "")
    key = ALIASES.get(key, key)
    if key not in TASKS:
        raise UserError(f"unknown task '{name}'; {did_you_mean(key, TASKS)}")
    return TASKS[key]
