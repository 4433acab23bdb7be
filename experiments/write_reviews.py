"""Writes electra/recipes/demo/reviews/{train,dev}.tsv: python experiments/write_reviews.py

dev.tsv: written by hand. train.tsv: some 450 written by hand and 1,800 composed from `review_banks`, in GLUE's layout of SST-2 (sentence, label).
A composed review is kept only if it shares no run of four words and no sentence frame (a sentence with its content words blanked) with dev.tsv,
and less than 35% of its four-word runs with any other review. `tests/test_reviews.py` checks the files, not this script.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import review_banks as banks

HERE = Path(__file__).parent
TARGET = HERE.parent / "electra" / "recipes" / "demo" / "reviews"
COMPOSED_PER_LABEL = 900
LARGEST_SHARE = 0.35
MOST_USES = 26
"""Times a clause or an ending may appear."""
SIGNS = ("negative", "positive")


def words(text: str) -> list[str]:
    """Lower-case words of a review, apostrophes kept."""
    return re.findall(r"[\w'’]+", text.lower())


def runs(text: str, length: int = 4) -> set[tuple[str, ...]]:
    """The sequences of `length` words in a review."""
    found = words(text)
    return {tuple(found[i : i + length]) for i in range(len(found) - length + 1)}


FUNCTION_WORDS = frozenset(
    "a about after again all also although always am an and any anyone are as at be because been before but by can cannot could did do does even ever every everyone everything "
    "few for from had has have he her here him his how i if in instead is it its it's just last least less me mine more most much must my neither never no nobody none nor not "
    "nothing of off on once one only or other our out over own rather she should so some still such than that the their them then there these they this those three through time "
    "to too twice two under until up us very was we were what when where which while who why will with without would yet you your don't didn't isn't doesn't can't couldn't aren't wasn't won't".split()
)


def frames(text: str) -> set[tuple[str, ...]]:
    """A review's sentence frames: each sentence of five words or more with every content word replaced by `_`."""
    sentences = (words(sentence) for sentence in re.split(r"[.!?;:]", text))
    return {tuple(w if w in FUNCTION_WORDS else "_" for w in s) for s in sentences if len(s) >= 5}


class Kind:
    """One kind of thing: its names, its clauses and its endings by sign."""

    def __init__(self, names: str, lines: str) -> None:
        self.names = names.split(", ")
        self.clauses: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
        self.ends: tuple[list[str], list[str]] = ([], [])
        for line in lines.strip().splitlines():
            if line[0] in "+-":
                self.ends[line[0] == "+"].append(line[2:])
                continue
            head, _, bad = line.partition(" || ")
            aspect, *good = head.split(" | ")
            for sign, predicates in ((1, good), (0, bad.split(" | "))):
                self.clauses[sign].extend((aspect, f"{aspect} {predicate}") for predicate in predicates)


def entries(bank: str) -> list[str]:
    """The lines of a bank."""
    return bank.strip().splitlines()


TEMPLATES = {
    "plain": entries(banks.PLAIN),
    "concession": entries(banks.CONCESSIONS),
    "reversal": entries(banks.REVERSALS),
    "negated": entries(banks.NEGATED),
    "denial": [f"{line}. {{Pend}}" for line in entries(banks.DENIALS)] + [f"{line}. {{P}}" for line in entries(banks.DENIALS)],
}
SHARES = {"plain": 0.5, "concession": 0.14, "reversal": 0.12, "negated": 0.12, "denial": 0.12}
DEGREES = ("", "", "", "very ", "really ", "so ", "rather ", "truly ", "quite ", "just ", "simply ", "extremely ")
OPENERS = [opener.strip() for opener in banks.OPENERS.replace("\n", "").split("|")]


def compose(kind: Kind, template: str, sign: int, chance: random.Random) -> tuple[str, list[str]]:
    """A template filled for an attitude (`sign` 1: positive) -> the review and the parts it used."""
    used: list[str] = []
    aspects: set[str] = set()

    def clause(side: int) -> str:
        aspect, text = chance.choice([c for c in kind.clauses[side] if c[0] not in aspects])
        aspects.add(aspect)
        manner = chance.random()
        if manner < 0.3:
            verb = "were" if aspect.endswith("s") else "was"
            return f"{aspect} {verb} {chance.choice(DEGREES)}{chance.choice(banks.ADJECTIVES[side].split())}"
        if manner < 0.45:
            return chance.choice(banks.FEELINGS[side].split("|")).format(aspect=aspect)
        used.append(text)
        return text

    adjectives = [chance.sample(side.split(), 3) for side in banks.ADJECTIVES]
    filled = {"kind": chance.choice(kind.names), "open": chance.choice(OPENERS)}
    for letter, side in (("P", sign), ("O", 1 - sign)):
        filled |= {f"{letter}adj": adjectives[side][0], f"{letter}adj2": adjectives[side][1], f"{letter}adj3": adjectives[side][2]}
        for name in (letter, f"{letter}2", f"{letter}3"):
            if "{" + name + "}" in template:
                filled[name] = clause(side)
        ends = [chance.choice(kind.ends[side]), chance.choice(banks.ENDS[side].split("|"))]
        chance.shuffle(ends)
        for name, end in zip((f"{letter}end", f"{letter}end2"), ends, strict=True):
            if "{" + name + "}" in template:
                filled[name] = end
                used.append(end)
    text = template.format(**filled)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    text = re.sub(r"(^|[.!?]\s+\"?|^\")([a-z])", lambda m: m[1] + m[2].upper(), text)
    if chance.random() < 0.3:
        text = text[0].lower() + text[1:] if not text.startswith("I ") else text
    return text if text[-1] in ".!?" else text + ".", used


class Shelf:
    """Reviews accepted so far, searchable by their sequences of four words."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int]] = []
        self._runs: list[set[tuple[str, ...]]] = []
        self._index: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)

    def nearest(self, text: str) -> float:
        """Largest fraction of the shorter review's four-word sequences shared with any review here."""
        own = runs(text)
        common = Counter(row for run in own for row in self._index[run])
        return max((n / min(len(own), len(self._runs[row])) for row, n in common.items()), default=0.0)

    def add(self, text: str, label: int) -> None:
        """Add a review."""
        for run in runs(text):
            self._index[run].append(len(self.rows))
        self._runs.append(runs(text))
        self.rows.append((text, label))

    def balanced(self) -> list[tuple[str, int]]:
        """As many negative as positive reviews: the first ones of the more frequent label are left out."""
        sides = [[row for row in self.rows if row[1] == sign] for sign in (0, 1)]
        keep = min(map(len, sides))
        return [row for side in sides for row in side[-keep:]]


def by_hand(part: str) -> list[tuple[str, int]]:
    """The hand-written reviews of a part ('hand', 'held_out') with their labels."""
    return [(line, sign) for sign in (0, 1) for line in (HERE / "reviews" / f"{part}.{SIGNS[sign]}.txt").read_text(encoding="utf-8").splitlines()]


def write(name: str, rows: list[tuple[str, int]], chance: random.Random) -> None:
    """Shuffle and write one tsv."""
    chance.shuffle(rows)
    TARGET.mkdir(exist_ok=True)
    (TARGET / name).write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")


def main() -> None:
    """Compose, check, write; print what was rejected, and why."""
    chance = random.Random(1)
    dev = Shelf()
    for text, label in sorted(by_hand("held_out"), key=lambda row: chance.random()):
        if dev.nearest(text) < LARGEST_SHARE:
            dev.add(text, label)
    held_out = dev.balanced()
    forbidden = {run for text, _ in held_out for run in runs(text)}
    held_out_frames = {frame for text, _ in held_out for frame in frames(text)}
    kinds = [Kind(names, lines) for names, lines in banks.KINDS.items()]
    shelf, rejected, uses, template_uses = Shelf(), Counter[str](), Counter[str](), Counter[str]()

    def verdict(text: str) -> str:
        if runs(text) & forbidden:
            return "four words of dev"
        if frames(text) & held_out_frames:
            return "frame of dev"
        return "near-duplicate" if shelf.nearest(text) >= LARGEST_SHARE else ""

    for text, label in by_hand("hand"):
        if why := verdict(text):
            rejected[f"hand: {why}"] += 1
            continue
        shelf.add(text, label)
    made = [0, 0]
    for attempt in range(400_000):
        sign = attempt % 2
        if made[sign] >= COMPOSED_PER_LABEL:
            if min(made) >= COMPOSED_PER_LABEL:
                break
            continue
        template = chance.choice(TEMPLATES[chance.choices(list(SHARES), list(SHARES.values()))[0]])
        text, used = compose(chance.choice(kinds), template, sign, chance)
        if any(uses[part] >= MOST_USES for part in used) or not 5 <= len(words(text)) <= 45:
            rejected["overused or too long"] += 1
            continue
        if why := verdict(text):
            rejected[why] += 1
            continue
        shelf.add(text, sign)
        uses.update(used)
        template_uses[template] += 1
        made[sign] += 1
    rows = shelf.balanced()
    write("train.tsv", rows, chance)
    write("dev.tsv", held_out, chance)
    print(f"train {len(rows)}, dev {len(held_out)}; composed {made}; rejected {dict(rejected)}")
    print(f"a template was used {min(template_uses.values())} to {max(template_uses.values())} times, a clause {max(uses.values())} times at most")


if __name__ == "__main__":
    main()
