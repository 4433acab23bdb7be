"""--class-weights -> a weight for each class, for data in which some classes are rare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from electra.contracts import Features, Head
from electra.errors import UserError
from electra.tasks.task import number

BALANCED = "balanced"


def check_class_weights(text: str | None, head: Head) -> list[float] | None:
    """What --class-weights says -> weights in the order of the head's labels; None where it says nothing, or 'balanced'.

    Raises:
        UserError: not one class of several, another number of weights than classes, or a weight that is not above zero.
    """
    if text is None:
        return None
    if head.kind != "classification":
        raise UserError(f"--class-weights is for one class of several; this task's label is a {head.kind} one, leave it out")
    if text == BALANCED:
        return None
    weights = [number(part.strip(), "--class-weights", remedy=f"give '{BALANCED}' or numbers such as 1,2.5") for part in text.split(",")]
    if len(weights) != len(head.labels):
        raise UserError(
            f"--class-weights {text}: {len(weights)} weights for {len(head.labels)} classes ({', '.join(head.labels[:20])}); give one each"
        )
    if min(weights) <= 0:
        raise UserError(f"--class-weights {text}: every weight must be above zero; leave out the rows of a class that is not wanted")
    return weights


def class_weights(text: str | None, head: Head, train: Sequence[Features]) -> list[float] | None:
    """The same for training features: 'balanced' is n / (number of classes x n of the class), as scikit-learn weighs.

    A class without training examples gets 1, which nothing asks for.

    Raises:
        UserError: see `check_class_weights`.
    """
    if text != BALANCED:
        return check_class_weights(text, head)
    check_class_weights(text, head)
    counts = Counter(feature.label for feature in train)
    return [len(train) / (len(counts) * counts[i]) if counts[i] else 1.0 for i in range(len(head.labels))]
