"""Answers in Chinese -> exact match and F1 by the rules of CMRC 2018's official script.

Chinese characters count one by one, other writing word by word; F1 is that of the longest run of such units both texts share. Other writing
is split here at white space and punctuation; the official script asks NLTK's English tokenizer, which treats contractions ("don't") in its
own way: such answers are a handful.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from electra.contracts import Example, Head, Prediction
from electra.tasks.answer_scores import mean_scores

PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""What the script leaves out. It names '……' too, which as two characters never equals one."""
UNITS = re.compile(r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+(?:[.,']\w+)*|[^\w\s]")
"""A Chinese character; a word or number ('3.14', '1,000'); a mark."""


def segment(text: str) -> list[str]:
    """A text -> its units, lower-cased, punctuation left out (what it separated becomes one word)."""
    out: list[str] = []
    for part in re.split(r"([\u4e00-\u9fa5])", "".join(character for character in text.lower().strip() if character not in PUNCTUATION)):
        out += UNITS.findall(part)
    return out


def longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest run of units that stands in both."""
    best, before = 0, [0] * (len(b) + 1)
    for unit in a:
        row = [0] * (len(b) + 1)
        for j, other in enumerate(b, start=1):
            if unit == other:
                row[j] = before[j - 1] + 1
        best, before = max(best, *row), row
    return best


def run_f1(gold: str, predicted: str) -> float:
    """F1 of the longest shared run of units."""
    a, b = segment(gold), segment(predicted)
    return 2 * longest_run(a, b) / (len(a) + len(b)) if a and b else 0.0


def same_text(gold: str, predicted: str) -> float:
    """1 where both are the same without case and punctuation, else 0."""
    bare = ["".join(character for character in text.lower().strip() if character not in PUNCTUATION) for text in (gold, predicted)]
    return float(bare[0] == bare[1])


def score_chinese(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Exact match and F1 (CMRC 2018)."""
    return mean_scores(examples, predictions, same_text, run_f1)
