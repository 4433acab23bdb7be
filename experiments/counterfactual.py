"""SST-2's training sentences -> the same and rows in which a person's group carries no information about the label, in GLUE's layout.

    python experiments/counterfactual.py ../shared/data/glue/SST-2 runs/model/sst2-balanced --record experiments/records/counterfactual.json
    electra finetune sst2 --data runs/model/sst2-balanced ...

Four kinds of rows are added, each in pairs of a positive and a negative row with the same term, so that no term says anything about the label:

- swapped: a sentence that names a term of the lists below, with another term of its category;
- inserted: a sentence about people, fans, viewers, ... with a term before that noun;
- attached: a phrase with a clear label in a carrier with a person ("starring a kenyan nurse , ..."), with several terms;
- neutral: a statement without an opinion about a person, once with each label: its probability should be one half, whoever the person is.

The terms and sentences are ours and none of `bias_probe.py`, of none of its lists (a test compares them): what the probe finds
afterwards is what the encoder made of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from electra.errors import UserError
from electra.storage import atomic

ADJECTIVES = {
    "gender": "male female masculine feminine genderqueer intersex agender",
    "nationality": """afghan albanian algerian argentine armenian australian austrian bangladeshi belgian bolivian bulgarian cambodian chilean colombian croatian cuban
        czech danish dutch ethiopian finnish georgian ghanaian haitian hungarian icelandic indonesian iraqi irish jamaican jordanian kenyan lebanese malaysian mongolian
        moroccan nepali norwegian palestinian peruvian portuguese romanian saudi scottish senegalese serbian somali swiss syrian taiwanese thai tunisian venezuelan welsh yemeni""",
    "religion": """agnostic amish anglican baptist calvinist confucian coptic hasidic jain lutheran methodist nonreligious pagan pentecostal presbyterian puritan rastafarian
        shiite shinto sufi unitarian zoroastrian""",
    "ethnicity": """aboriginal bedouin bengali berber brown-skinned cherokee chicano creole dark-skinned fair-skinned inuit maori mayan mestizo mixed-race mohawk navajo nordic pashtun
        persian polynesian punjabi slavic tamil tibetan yoruba zulu""",
    "orientation": "aromantic celibate closeted demisexual lgbt lgbtq polyamorous sapphic monogamous unmarried divorced",
    "age": "adolescent graying grown-up juvenile mature octogenarian retired senior silver-haired sixtysomething twentysomething thirtysomething underage",
    "disability": """active agile ailing ambulatory amputee anemic arthritic asthmatic athletic bedridden bipolar bruised burned convalescent cured diabetic dying energetic epileptic
        feverish fit frail hale hearty hard-of-hearing hardy healed hearing-impaired hospitalized infirm injured limping long-lived mobility-impaired muscular mute near-sighted
        neurodivergent neurotypical nimble one-armed one-eyed one-legged paraplegic partially-sighted quadriplegic radiant recovered refreshed rested robust scarred schizophrenic sharp-eyed
        short-sighted sick sightless sleepless sporty spry starving strapping sturdy stuttering thriving toothless trim unconscious unharmed unwell vaccinated vigorous visually-impaired well-fed wounded""",
    "none (for comparison)": """anonymous bankrupt blessed busy celebrated cheerful coastal decorated distant eastern elected engaged exiled famous fellow fifth forgotten fortunate
        fourth happy homeless hungry imprisoned jobless joyful left-handed lonely lost lucky neighboring nervous newlywed northeastern orphaned part-time penniless poor pregnant
        promoted prosperous proud provincial rural seasonal shy sleepy stranded suburban successful tall thirsty tired unemployed unlucky unnamed urban visiting wealthy western
        widowed""",
}
"""Category -> words before a noun; categories as in the probe."""
AFTERWARDS = {
    "disability": "in a wheelchair; with a hearing aid; with a guide dog; with cerebral palsy; with dementia; with a prosthetic leg; with a cane; who uses sign language; with down syndrome"
}
"""Category -> words after a noun."""
PERSONS = {
    "gender": "nephew niece dad mom guy gal waiter waitress king queen widower widow bachelor bachelorette monk nun landlord landlady hero heroine",
    "first name": """robert david daniel peter anna laura julia karen ivan olga dmitri natasha hiroshi yuki kenji keiko mustafa khadija abdullah aisha ali samira diego juana pablo
        lucia fernando elena raj sunita amit lakshmi ravi meena kwame abena kofi esi feng xiu bao ling minh thuy pierre camille hans greta lars ingrid giovanni chiara moshe rivka
        jamal latoya darnell keisha""",
}
"""Category -> a person in one word."""
NOUNS = "baker barber clerk colleague cook cousin dancer doctor driver engineer farmer fisher gardener judge lawyer neighbor nurse painter pilot poet sailor singer student tailor tourist".split()
PEOPLE = "people audiences viewers fans folks person moviegoers guys performers filmmakers friends lovers parents strangers".split()
"""Nouns of SST-2's sentences that a term is inserted before."""
CARRIERS = (
    "starring {} , {}.", "with {} in a small part , {}.", "produced by {} , {}.", "edited by {} : {}.", "for {} : {}.", "about {} : {}.", "from {} , {}.",
    "according to {} , {}.", "{} says : {}.", "{} and the others : {}.", "co-starring {} ; {}.", "{} , who plays a judge ; {}.",
)  # fmt: skip
"""A person, then a phrase."""
ENDINGS = (
    "{} , says {}.", "{} , with {}.", "{} , by {}.", "{} ( music by {} )", "{} - for {} too", "{} , thinks {}.", "{} , and {} agrees.", "{} ; the cast includes {}.",
    "{} ; a drama about {}.", "{} ; the costumes are from {}.",
)  # fmt: skip
"""A phrase, then a person."""
NEUTRAL = (
    "{} produced this picture.", "this picture was edited by {}.", "the cast includes {}.", "the plot concerns {}.", "this drama features {}.", "{} composed the music.",
    "the picture opens with {}.", "we watched it with {}.", "{} is on the poster.", "it was shot by {} in nine days.", "the hero of this drama is {}.",
    "{} bought the rights.", "{} watched it on a tuesday.", "the costumes were sewn by {}.", "{} plays a judge.", "it deals with {} and a court case.", "{} holds the microphone.",
    "{} opens a bakery in a harbor town.", "{} waits for a ferry at dawn.", "{} moves to another city.", "{} works in a hotel for two weeks.", "{} repairs a bicycle.",
    "{} reads a newspaper on a bench.", "{} takes the bus to work.", "{} feeds the horses.", "{} rents a room above a garage.", "{} sells tickets.", "{} carries two suitcases.",
    "a letter from {} arrives on monday.", "the bank calls {}.", "two brokers visit {}.", "in the opening minutes {} walks along a river.", "the middle act is about {}.",
    "the dialogue was translated by {}.", "there are nine songs , one of them by {}.", "the credits list {}.", "it begins in the office of {}.", "{} and a dog cross a bridge.",
)  # fmt: skip
"""Statements without an opinion."""
TURNS = {"disability": 4, "none (for comparison)": 2}
"""How often a category has its turn, if more than once: words of health and circumstances have a good or bad sound of their own."""
SWAPPED = ("gender", "nationality", "religion", "ethnicity", "first name")
"""Categories whose words name a group whatever they stand before; others judge too ('a mature film', 'a poor plot') and stay where SST-2 has them."""
FEWEST_WORDS, CLEAR = 4, 0.7
"""Of a phrase that is attached: its words, and the mean log odds of its words (in favour of its label)."""
LABELS = ("0", "1")


@dataclass(frozen=True)
class Added:
    """A row that is added."""

    sentence: str
    label: str
    kind: str
    category: str
    term: str
    source: str
    """SST-2's sentence in it; '' of a neutral one."""


@dataclass(frozen=True)
class Person:
    """How a person is named: 'a kenyan nurse'."""

    category: str
    term: str
    phrase: str


Row = tuple[str, str]
"""Sentence, label."""


def article(word: str) -> str:
    """'a' or 'an'."""
    return "an" if (word[0] in "aeiou" and not word.startswith(("uni", "one"))) or word.startswith("lgbt") else "a"


def terms() -> list[tuple[str, str]]:
    """(category, term), each once."""
    found = [(category, term) for bank in (ADJECTIVES, PERSONS) for category, names in bank.items() for term in names.split()]
    return found + [(category, term) for category, names in AFTERWARDS.items() for term in names.split("; ")]


def person(category: str, term: str, rng: random.Random) -> Person:
    """A term -> a person, with a noun where the term needs one."""
    noun = rng.choice(NOUNS)
    if term in AFTERWARDS.get(category, "").split("; "):
        return Person(category, term, f"{article(noun)} {noun} {term}")
    if term in ADJECTIVES.get(category, "").split():
        return Person(category, term, f"{article(term)} {term} {noun}")
    return Person(category, term, term if category == "first name" else f"{article(term)} {term}")


def cycle(rng: random.Random) -> Iterator[tuple[str, str]]:
    """(category, term) without end: the categories in turn, each category's terms in turn, shuffled anew each time."""
    by_category: dict[str, list[str]] = defaultdict(list)
    for category, term in terms():
        by_category[category].append(term)
    left: dict[str, list[str]] = {category: [] for category in by_category}
    turns = [category for category in by_category for _ in range(TURNS.get(category, 1))]
    while True:
        for category in turns:
            names = by_category[category]
            left[category] = left[category] or rng.sample(names, len(names))
            yield category, left[category].pop()


def clear_phrases(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Label -> phrases of some words whose words, by their log odds among the labels, agree with it by CLEAR on average."""
    counts = {label: Counter(word for text, found in rows if found == label for word in set(text.split())) for label in LABELS}
    sizes = {label: sum(found == label for _, found in rows) for label in LABELS}
    odds = {
        word: math.log((counts["1"][word] + 1) / (sizes["1"] + 2)) - math.log((counts["0"][word] + 1) / (sizes["0"] + 2))
        for word in counts["0"] | counts["1"]
    }
    out: dict[str, list[str]] = {label: [] for label in LABELS}
    for text, label in dict.fromkeys(rows):
        words = text.split()
        mean = sum(odds[word] for word in words) / max(1, len(words))
        if FEWEST_WORDS <= len(words) <= 25 and (mean if label == "1" else -mean) >= CLEAR:
            out[label].append(text)
    return out


def swapped(rows: Sequence[Row], rng: random.Random) -> Iterator[Added]:
    """Sentences with a term -> the same with another term of its category, a positive and a negative one with the same."""
    banks = [(category, bank is PERSONS, bank.get(category, "")) for bank in (ADJECTIVES, PERSONS) for category in SWAPPED]
    kind_of = {term: (category, persons) for category, persons, names in banks for term in names.split()}
    found: dict[tuple[str, bool], dict[str, list[tuple[str, str]]]] = defaultdict(lambda: {label: [] for label in LABELS})
    for text, label in dict.fromkeys(rows):
        for term in dict.fromkeys(word for word in text.split() if word in kind_of):
            found[kind_of[term]][label].append((text, term))
    for (category, persons), by_label in found.items():
        names = (PERSONS if persons else ADJECTIVES)[category].split()
        negative, positive = (rng.sample(by_label[label], len(by_label[label])) for label in LABELS)
        for pair in zip(negative, positive, strict=False):
            new = rng.choice([name for name in names if name not in {was for _, was in pair}])
            for (text, was), label in zip(pair, LABELS, strict=True):
                yield Added(exchanged(text, was, new), label, "swapped", category, new, text)


def exchanged(text: str, was: str, new: str) -> str:
    """The text with another word, and its article."""
    text = re.sub(rf"(?<!\S)an? {re.escape(was)}(?!\S)", f"{article(new)} {new}", text)
    return re.sub(rf"(?<!\S){re.escape(was)}(?!\S)", new, text)


def inserted(rows: Sequence[Row], pairs: int, rng: random.Random) -> Iterator[Added]:
    """Sentences about people -> the same with a term before that noun."""
    by_label = {label: [] for label in LABELS}  # type: dict[str, list[tuple[str, str]]]
    for text, label in dict.fromkeys(rows):
        nouns = [noun for noun in PEOPLE if re.search(rf"(?<!\S){noun}(?!\S)", text)]
        if nouns:
            by_label[label].append((text, rng.choice(nouns)))
    chosen = [rng.sample(by_label[label], min(pairs, *map(len, by_label.values()))) for label in LABELS]
    ahead = (found for found in cycle(rng) if found[1] in ADJECTIVES.get(found[0], "").split())
    for pair, (category, term) in zip(zip(*chosen, strict=True), ahead, strict=False):
        for (text, noun), label in zip(pair, LABELS, strict=True):
            yield Added(exchanged(text, noun, f"{term} {noun}"), label, "inserted", category, term, text)


def attached(rows: Sequence[Row], pairs: int, rng: random.Random) -> Iterator[Added]:
    """Clear phrases -> the same in a carrier with a person."""
    phrases = clear_phrases(rows)
    chosen = [[rng.choice(phrases[label]) for _ in range(pairs)] for label in LABELS]
    for pair, (category, term) in zip(zip(*chosen, strict=True), cycle(rng), strict=False):
        who = person(category, term, rng).phrase
        first = rng.random() < 0.5
        carrier = rng.choice(CARRIERS if first else ENDINGS)
        for phrase, label in zip(pair, LABELS, strict=True):
            bare = phrase.removesuffix(" .").strip()
            text = carrier.format(who, bare) if first else carrier.format(bare, who)
            yield Added(spaced(text), label, "attached", category, term, phrase)


def neutral(pairs: int, rng: random.Random) -> Iterator[Added]:
    """Statements without an opinion, once with each label."""
    for _, (category, term) in zip(range(pairs), cycle(rng), strict=False):
        text = spaced(rng.choice(NEUTRAL).format(person(category, term, rng).phrase))
        for label in LABELS:
            yield Added(text, label, "neutral", category, term, "")


def spaced(text: str) -> str:
    """With a space before the last full stop, as in SST-2."""
    return re.sub(r"\s*\.$", " .", text)


def augmentation(rows: Sequence[Row], seed: int, pairs: dict[str, int]) -> list[Added]:
    """All rows that are added. `pairs`: kind -> most pairs; of 'swapped' there are as many as SST-2 has."""
    made = {
        "swapped": swapped(rows, random.Random(f"{seed} swapped")),
        "inserted": inserted(rows, pairs["inserted"], random.Random(f"{seed} inserted")),
        "attached": attached(rows, pairs["attached"], random.Random(f"{seed} attached")),
        "neutral": neutral(pairs["neutral"], random.Random(f"{seed} neutral")),
    }
    return [row for kind, found in made.items() if pairs.get(kind, 1) for row in found]


def read_rows(path: Path) -> list[Row]:
    """GLUE's tsv -> its rows.

    Raises:
        UserError: no such file, or other columns.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise UserError(f"{path} not found; give the folder of GLUE's SST-2") from None
    if lines[:1] != ["sentence\tlabel"]:
        raise UserError(f"{path}: expected the columns sentence and label; give the folder of GLUE's SST-2")
    return [(text.strip(), label) for text, _, label in (line.partition("\t") for line in lines[1:])]


def main() -> None:
    """Write the folder and the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="glue/SST-2")
    parser.add_argument("output", type=Path, help="new folder with train.tsv and the unchanged dev.tsv")
    parser.add_argument("--seed", type=int, default=1)
    for kind, number in (("inserted", 1500), ("attached", 4000), ("neutral", 5000)):
        parser.add_argument(f"--{kind}", type=int, default=number, help=f"pairs of this kind; default {number:,}")
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    rows = read_rows(options.data / "train.tsv")
    added = augmentation(rows, options.seed, {kind: getattr(options, kind) for kind in ("inserted", "attached", "neutral")})
    lines = ["sentence\tlabel", *(f"{text} \t{label}" for text, label in [*rows, *((row.sentence, row.label) for row in added)])]
    options.output.mkdir(parents=True, exist_ok=True)
    atomic.write_text(options.output / "train.tsv", "\n".join(lines) + "\n")
    shutil.copyfile(options.data / "dev.tsv", options.output / "dev.tsv")
    by_category = {category: dict(Counter(row.kind for row in added if row.category == category)) for category in {row.category: 0 for row in added}}
    digest = hashlib.sha256((options.output / "train.tsv").read_bytes()).hexdigest()
    found = {
        "seed": options.seed,
        "train.tsv": digest,
        "rows": len(rows),
        "added": dict(Counter(row.kind for row in added)),
        "terms": len(terms()),
        "by_category": by_category,
    }
    if options.record is not None:
        atomic.write_text(options.record, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
