"""Text -> a new WordPiece vocabulary; counts of words; which words a tokenizer does not know."""

from __future__ import annotations

import functools
import itertools
import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import normalizers, trainers

from electra.data.fast_tokenizer import LONG_WORD
from electra.data.tokenizer import LONG_TEXT, Tokenizer, encodable, is_chunk_local
from electra.data.tokenizer_files import SPECIAL_PIECES, bert_rules
from electra.data.word_boundaries import long_runs
from electra.errors import UserError

ALPHABET_COVERAGE = 0.9999
"""Fraction of a corpus's characters that have single-letter pieces when a vocabulary is trained."""
OTHER_SCRIPTS, CHANGED, CHANGED_AND_MERGED, COMPARABLE = 0.01, 0.05, (0.02, 0.002), 20
"""Shares of words from which on accents are kept, see `accent_rule`."""
LOST_CASE = 0.001
NO_WORDS = {piece: index for index, piece in enumerate(SPECIAL_PIECES)}
MANY_UNKNOWN = 0.01
"""Share of unknown tokens from which on a report is a warning."""
MOSTLY_UNKNOWN = 0.5
"""Share from which on no model is pre-trained."""
CUTS = re.compile("[!-/:-@[-`{-~\u3001-\u301f\u3400-\u4dbf\u4e00-\u9fff]")
"""Characters that BERT's rules make a word of their own, the frequent ones."""
LONGEST_DECOMPOSITION = 4
"""Most characters that stripping accents makes of one."""
ENCODED_TOGETHER = 1_000
SAMPLED_BYTES = 1 << 14
"""Text of a call in which unknown words are looked for."""
MOST_WORDS = 20_000
"""Unknown words that are counted at a time: bounds the memory."""
MOST_CHUNKS = 500_000
"""Distinct chunks kept before they are split into words."""
LONGEST_WORD = 100
"""Longest word, in characters, that BERT's rules split into pieces; a longer one is [UNK]."""
IN_LONG_RUNS = 3
"""How many times their share of the tokens unknown ones must have of the letters, to be reported by these: of text without spaces (Thai) a
whole run is one unknown token."""


# ---- a new vocabulary ----


def choose_letters(counts: Counter[str], pieces: int, is_word: Callable[[str], bool] = lambda letter: False) -> list[str]:
    """The most frequent letters that cover the text, in code point order (equal counts: the lower code point first).

    Together they have at most `pieces` pieces, or 20 letters: one of a letter that is a word of its own, as Chinese characters are, two of others.
    """
    needed = ALPHABET_COVERAGE * counts.total()
    chosen: list[str] = []
    covered = used = 0
    for letter, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        used += 1 if is_word(letter) else 2
        if covered >= needed or (used > pieces and len(chosen) >= 20):
            break
        chosen.append(letter)
        covered += count
    return sorted(chosen)


def accent_rule(counts: Mapping[str, int]) -> tuple[bool, str]:
    """Counts of words with their accents -> whether a new vocabulary strips accents, and why, in a line.

    Stripping is decomposition (NFD) without nonspacing marks (Mn), as `tokenizers` does it. Accents are kept if it would

    - change words of other scripts than Latin (vowel signs, dakuten, Hangul, niqqud ...), 1% of all words or more,
    - or change 5% of all words or more,
    - or change 2% and merge 0.2% or more with another word at most 20 times as frequent.

    English Wikipedia: 0.01% to 0.06%, 0.3%, 0.04%. German, French, Spanish, Czech, Turkish, Vietnamese: 8% to 90% of the words are changed.
    """
    total, changed, other = 0, 0, 0
    groups: dict[str, list[tuple[int, str]]] = {}
    scripts: Counter[str] = Counter()
    for word, count in counts.items():
        if not any(map(str.isalpha, word)):
            continue
        total += count
        bare = "".join(letter for letter in unicodedata.normalize("NFD", word) if unicodedata.category(letter) != "Mn")
        groups.setdefault(bare, []).append((count, word))
        if bare != word:
            script = next((unicodedata.name(letter, "other").split()[0].title() for letter in bare if letter.isalpha()), "other")
            scripts[script] += count
            changed, other = changed + count, other + (count if script != "Latin" else 0)
    merged: Counter[tuple[str, str]] = Counter()
    for group in groups.values():
        group.sort(key=lambda item: (-item[0], item[1]))
        merged.update({(group[0][1], word): count for count, word in group[1:] if count * COMPARABLE >= group[0][0]})
    total = max(1, total)
    examples = ", ".join(f"{first}/{second}" for (first, second), _ in sorted(merged.items(), key=lambda item: (-item[1], item[0]))[:4])
    names = ", ".join(script for script, count in ranked(scripts) if count >= OTHER_SCRIPTS * total) or "Latin" * bool(changed)
    what = f"change {changed / total:.2%} of the words{f' ({names})' if names else ''} and merge {merged.total() / total:.2%} with others"
    reason = f"stripping them would {what}{f' ({examples})' if examples else ''}"
    many = changed >= CHANGED * total or (changed >= CHANGED_AND_MERGED[0] * total and merged.total() >= CHANGED_AND_MERGED[1] * total)
    keep = other >= OTHER_SCRIPTS * total or many
    return not keep, f"accents are {'kept' if keep else 'stripped'}: {reason} (--strip-accents {'off' if keep else 'on'})"


def case_warnings(counts: Mapping[str, int]) -> list[str]:
    """Counts of lower-cased words with their accents -> a line for each distinction that lower-casing loses in 0.1% of the words or more."""
    total = sum(counts.values())
    lines = []
    if sum(count for word, count in counts.items() if "\u0131" in word or "i\u0307" in word) > LOST_CASE * total:
        lines.append("lower-casing makes I to i, which is another letter than \u0131, and leaves a dot above the i of \u0130 where accents are kept")
    if sum(count for word, count in counts.items() if len(word) > 1 and word.endswith("\u03c3")) > LOST_CASE * total:
        lines.append("lower-casing makes a capital sigma at the end of a word to \u03c3, which is another letter than \u03c2")
    return [f"warning: {line}; --no-lowercase keeps the words apart" for line in lines]


def train_tokenizer(
    texts: Iterator[str],
    size: int,
    lowercase: bool = True,
    min_frequency: int = 2,
    *,
    strip_accents: bool | None = None,
    split_chinese: bool = True,
    explain: Callable[[str], None] = lambda line: None,
) -> Tokenizer:
    """Texts -> a Tokenizer of at most `size` pieces, the five special ones first.

    The most frequent letters get pieces until they cover 99.99% of the first 20 million characters, but at most a quarter of the
    vocabulary (each letter has two pieces: at the start of a word and inside); rarer letters become [UNK].

    Args:
        strip_accents: None decides from the first two million characters, see `accent_rule`; a cased vocabulary keeps accents.
        explain: gets the decision, what lower-casing loses, and the unknown words among the first 20 million characters, line by line.

    Raises:
        UserError: no text, or `size` is too small.
    """
    if size < 100:
        raise UserError(f"--size {size} is too small for a vocabulary; give at least 100")
    plain = Tokenizer(bert_rules(NO_WORDS, lowercase=lowercase, strip_accents=False))
    texts = map(encodable, texts)
    head = first_texts(texts, 20_000_000)
    words = count_words(first_texts(iter(head), 2_000_000), plain)
    strip_accents = _decided_accents(words, lowercase, strip_accents, explain)
    rules = {"lowercase": lowercase, "strip_accents": strip_accents, "split_chinese": split_chinese}
    backend = bert_rules({}, **rules)
    letters, inner = _alphabet(_parts(head, plain), backend, size // 2)
    # The trainer numbers pieces in the order of a hash map and breaks ties by number. With single letters given beforehand, their numbers
    # are fixed, and the same corpus gives the same vocabulary.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        limit_alphabet=len(letters),
        initial_alphabet=letters,
        special_tokens=[*SPECIAL_PIECES, *letters, *(f"##{letter}" for letter in inner)],
        show_progress=False,
    )
    backend.train_from_iterator(_parts(itertools.chain(head, texts), plain), trainer)
    made = Tokenizer(bert_rules(backend.get_vocab(with_added_tokens=True), **rules))
    unknown = UnknownWords(made)
    for first in range(0, len(head), 1000):
        lines = "\n".join(head[first : first + 1000]).encode("utf-8")
        unknown.add_lines(lines, *made.encode_lines(lines))
    for line in unknown.lines(give="give"):
        explain(line)
    return made


def _alphabet(texts: Iterable[str], backend: Any, pieces: int) -> tuple[list[str], list[str]]:
    """Texts and a tokenizer's rules -> the letters of a vocabulary, which take `pieces` pieces at most, and those of them that occur inside words.

    Raises:
        UserError: no text.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(backend.normalizer.normalize_str(text))
    counts.pop(" ", None)
    if not counts:
        raise UserError("the corpus holds no text to train a vocabulary on; check the files and --text, or give a larger --sample-bytes")

    def is_word(letter: str) -> bool:
        return len(backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(f"a{letter}a"))) > 1

    letters = choose_letters(counts, pieces, is_word)
    return letters, [letter for letter in letters if not is_word(letter)]


def _parts(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[str]:
    """Texts without long words: one of megabytes would be one of as many letters to the trainer, which joins them a pair at a time."""
    for text in texts:
        yield from tokenizer.independent_parts(text) if len(text) > LONG_WORD else (text,)


def _decided_accents(words: Counter[str], lowercase: bool, strip_accents: bool | None, explain: Callable[[str], None]) -> bool:
    """Whether accents are stripped, of a choice or None; what the corpus says goes to `explain`."""
    for line in case_warnings(words) if lowercase else ():
        explain(line)
    best, reason = accent_rule(words) if lowercase else (False, "accents are kept, as in BERT's cased models (--strip-accents off)")
    if strip_accents is None:
        explain(reason)
        return best
    if strip_accents and not best and lowercase:
        explain(f"warning: --strip-accents auto would decide otherwise; {reason}")
    return strip_accents


def first_texts(texts: Iterator[str], characters: int) -> list[str]:
    """The first texts, with about so many characters."""
    out: list[str] = []
    while characters > 0 and (text := next(texts, None)) is not None:
        out.append(text)
        characters -= len(text) + 1
    return out


# ---- unknown words ----


class UnknownWords:
    """How many tokens of some text are [UNK], and which words they are.

    All tokens are counted. Words are looked for in the lines that hold an unknown token; of much text, in a sample of these lines, so that the
    report costs little. The result depends on the texts and the order of the calls alone.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._alone, self._limit = _word_rules(tokenizer)
        self._letters = _letters_of_pieces(tokenizer)
        self._found: dict[str, list[str]] = {}
        self.tokens = 0
        self.unknown = 0
        self.letters = 0
        """Letters and digits of all tokens."""
        self.unknown_letters = 0
        """Those of unknown tokens; of much text estimated by the sample."""
        self.words: Counter[str] = Counter()
        """Unknown words as they are written, without the long ones."""
        self.long_words: Counter[str] = Counter()
        """Words that are unknown because they have more characters than the tokenizer splits (100)."""
        self.sampled = False
        """Whether `words` and `long_words` come from a sample of the text."""

    @property
    def share(self) -> float:
        """Fraction of the tokens."""
        return self.unknown / self.tokens if self.tokens else 0.0

    @property
    def share_of_letters(self) -> float:
        """Fraction of the letters and digits that unknown tokens stand for."""
        return self.unknown_letters / self.letters if self.letters else 0.0

    def add(self, texts: Sequence[str], ids: Sequence[Sequence[int]] | None = None) -> None:
        """Count texts; `ids`: those of each, if they are known already."""
        if ids is None:
            for first in range(0, len(texts), ENCODED_TOGETHER):
                some = texts[first : first + ENCODED_TOGETHER]
                self.add(some, self._tokenizer.encode(some))
            return
        counts = [sum(index == self._tokenizer.unk_id for index in row) if self._tokenizer.unk_id in row else 0 for row in ids]
        self.tokens += sum(map(len, ids))
        self.unknown += sum(counts)
        self.letters += int(self._letters[np.fromiter(itertools.chain.from_iterable(ids), np.int64)].sum())
        unknown = [index for index, count in enumerate(counts) if count]
        chosen = [unknown[index] for index in self._sample([len(texts[index]) for index in unknown])]
        self._weigh([texts[index] for index in chosen], [ids[index] for index in chosen], sum(counts))
        self._examine(self._chunks(self._bounded(encodable(line)) for index in chosen for line in texts[index].split("\n")))

    def add_lines(self, text: bytes, ids: np.ndarray, lengths: np.ndarray) -> None:
        """Count UTF-8 lines: (N,) the ids of all, (lines,) how many each has; as `Tokenizer.encode_lines`."""
        places = np.flatnonzero(ids == self._tokenizer.unk_id)
        self.tokens += len(ids)
        self.unknown += len(places)
        self.letters += int(self._letters[ids].sum())
        if len(places):
            lines, ends = text.split(b"\n"), np.cumsum(lengths)
            unknown = np.unique(np.searchsorted(ends, places, side="right")).tolist()
            chosen = [unknown[index] for index in self._sample([len(lines[index]) for index in unknown])]
            sample = [lines[index].decode("utf-8") for index in chosen]
            self._weigh(sample, [ids[ends[index] - lengths[index] : ends[index]] for index in chosen], len(places))
            chunks = self._chunks(map(self._bounded, sample))
            new = list(chunks)
            found, counts = self._tokenizer.encode_lines("\n".join(new).encode("utf-8"))
            with_unknown = np.bincount(np.repeat(np.arange(len(new)), counts), found == self._tokenizer.unk_id, len(new))
            self._examine(Counter({new[index]: chunks[new[index]] for index in np.flatnonzero(with_unknown).tolist()}), long=False)
            runs = long_runs(text, self._limit, SAMPLED_BYTES)
            self.sampled |= sum(map(len, runs)) > SAMPLED_BYTES
            # Most long runs are sentences of a language without spaces, whose words the rules cut at every character.
            if self._tokenizer.split_chinese and self._alone:
                runs = [run for run in runs if max(map(len, CUTS.split(run))) * LONGEST_DECOMPOSITION > self._limit]
            self._examine(Counter(map(self._bounded, runs)), short=False)

    def add_words(self, counts: Mapping[str, int]) -> None:
        """Count normalized words, see `count_words`."""
        words, letters = list(counts), self._letters.tolist()
        for word, ids in zip(words, self._tokenizer.encode(words), strict=True):
            self.tokens += len(ids) * counts[word]
            self.letters += sum(map(letters.__getitem__, ids)) * counts[word]
            if found := sum(index == self._tokenizer.unk_id for index in ids):
                self.unknown += found * counts[word]
                self._weigh([word], [ids], found, counts[word])
                self._examine(Counter({word: counts[word]}))

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Add what another one's `record` holds, or the manifest of a tokenized dataset (old ones have the number alone)."""
        self.tokens += int(record["tokens"] if "tokens" in record else sum(split["tokens"] for split in record["splits"].values()))
        self.unknown += int(record.get("unknown_tokens", 0))
        self.letters += int(record.get("letters", 0))
        self.unknown_letters += int(record.get("unknown_letters", 0))
        self.words.update(record.get("unknown_words", {}))
        self.long_words.update(record.get("long_words", {}))
        self.sampled |= bool(record.get("unknown_words_sampled", False))

    def record(self, most: int = 100) -> dict[str, Any]:
        """For JSON: the counts, and the `most` frequent words."""
        return {
            "tokens": self.tokens,
            "unknown_tokens": self.unknown,
            "letters": self.letters,
            "unknown_letters": self.unknown_letters,
            "unknown_words": dict(ranked(self.words)[:most]),
            "unknown_words_sampled": self.sampled,
            "long_words": dict(ranked(self.long_words)[:most]),
        }

    def lines(self, *, give: str = "") -> list[str]:
        """The report: 'unknown tokens: 0.37% (44,826 of 12,112,633)', and their share of the letters where that is much larger; if either is
        above 1% a warning with the five most frequent words, and another case rule if it would know them; words that are too long.

        `give`: what to do with the flags --lowercase and --strip-accents, such as "give"; '': name the keys of tokenizer_config.json instead.
        """
        share = f"{self.share:.2%}" if self.share >= 0.0001 or not self.unknown else f"{self.share:.1g}".replace("e", " x 10^")
        line = f"unknown tokens: {share} ({self.unknown:,} of {self.tokens:,})"
        largest = max(self.share, self.share_of_letters)
        many = largest > MANY_UNKNOWN
        if many and largest > IN_LONG_RUNS * self.share:
            line += f" with {largest:.0%} of the letters"
        prefix = "warning: " if many else ""
        out = [line]
        frequent = ranked(self.words)[:5]
        if many and frequent:
            names = ", ".join(f"'{word}' ({count:,})" for word, count in frequent)
            out = [f"{line}; the most frequent unknown words{' in a sample of the text' if self.sampled else ''}: {names}"]
        if self.long_words:
            words = ", ".join(f"'{word}'" for word, _ in ranked(self.long_words)[:3])
            out.append(f"unknown words of more than {self._limit} characters: {'at least ' * self.sampled}{self.long_words.total():,} ({words})")
            out[-1] += "; of text without spaces between words (Thai, Lao, Khmer, Burmese) segment it first, or such runs are lost"
        if many and self._alone and (hint := self._hint([word for word, _ in frequent], give)):
            out.append(hint)
        elif largest > MOSTLY_UNKNOWN:
            out.append("most of the text is unknown: the vocabulary is not made for it; 'electra vocab' makes one from a corpus")
        return [prefix + line for line in out]

    def _hint(self, words: Sequence[str], give: str) -> str | None:
        """Another case rule with which the vocabulary knows one of the words, in a line."""
        tokenizer = self._tokenizer
        now = {"lowercase": tokenizer.lowercase, "strip_accents": tokenizer.strip_accents}
        keys = {"lowercase": "do_lower_case", "strip_accents": "strip_accents"}
        rules = [dict(zip(now, values, strict=True)) for values in itertools.product((False, True), repeat=2)]
        for rule in sorted(rules, key=lambda rule: sum(rule[key] != now[key] for key in now))[1:]:
            changed = {key: value for key, value in rule.items() if value != now[key]}
            normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=tokenizer.split_chinese, **rule)
            for word in words:
                known, before = normalizer.normalize_str(word), normalized(tokenizer, word)
                if known != before and all(token.id != tokenizer.unk_id for token in tokenizer.backend.model.tokenize(known)):
                    flag = " ".join(f"--{'' if value else 'no-'}{key.replace('_', '-')}" for key, value in changed.items())
                    setting = ", ".join(f'"{keys[key]}": {json.dumps(value)}' for key, value in changed.items())
                    remedy = f"{give} {flag}" if give else f"its case rule differs from the vocabulary's; set {setting} in tokenizer_config.json"
                    return f"the vocabulary has '{known}' but not '{before}': {remedy}"
        return None

    def _sample(self, sizes: Sequence[int]) -> Sequence[int]:
        """The sizes of lines -> places of about SAMPLED_BYTES of them, spread evenly."""
        step = 1 + sum(sizes) // SAMPLED_BYTES
        self.sampled |= step > 1 and len(sizes) > 1
        if step == 1:
            return range(len(sizes))
        shift = random.Random(len(sizes))  # a fixed step would see one kind of lines only, where kinds take turns
        return [min(first + shift.randrange(step), len(sizes) - 1) for first in range(0, len(sizes), step)]

    def _weigh(self, texts: Sequence[str], ids: Sequence[Sequence[int] | np.ndarray], unknown: int, count: int = 1) -> None:
        """Count the letters of unknown tokens: those of the texts without those of their known tokens.

        The texts are a sample of those that hold the `unknown` tokens, and occur `count` times.
        """
        seen = missing = 0
        for text, row in zip(texts, ids, strict=True):
            found = np.asarray(row)
            seen += int((found == self._tokenizer.unk_id).sum())
            # At least none: decomposed, a Hangul syllable has several letters.
            missing += max(0, letters_in(text) - int(self._letters[found].sum()))
        estimated = round(missing * unknown / seen) * count if seen else 0
        self.unknown_letters += estimated
        self.letters += estimated

    def _bounded(self, text: str) -> str:
        """A text, or its beginning where it is long even with its long words shortened."""
        if len(text) <= LONG_TEXT or len(short := self._tokenizer.within_limit(text)) <= LONG_TEXT:
            return text
        self.sampled = True
        return next(self._tokenizer.independent_parts(short))

    def _chunks(self, lines: Iterable[str]) -> Counter[str]:
        """Lines -> counts of the parts that are tokenized independently of each other."""
        return Counter(chunk for line in lines for chunk in (line.split(" ") if self._alone else [line]))

    def _examine(self, chunks: Counter[str], *, long: bool = True, short: bool = True) -> None:
        """Count the unknown words in chunks: those of a length that the tokenizer splits if `short`, longer ones if `long`."""
        for chunk, count in chunks.items():
            if chunk not in self._found:
                self._found[chunk] = self._unknown_in(chunk)
            for word in self._found[chunk]:
                is_long = len(normalized(self._tokenizer, self._tokenizer.within_limit(word))) > self._limit
                if long if is_long else short:
                    (self.long_words if is_long else self.words)[shortened(word)] += count
        if len(self._found) > MOST_WORDS:
            self._found.clear()
        for counts in (self.words, self.long_words):
            if len(counts) > MOST_WORDS:
                kept = dict(ranked(counts)[: MOST_WORDS // 2])
                counts.clear()
                counts.update(kept)

    def _unknown_in(self, chunk: str) -> list[str]:
        spans = zip(*self._tokenizer.encode_offsets(chunk), strict=True)
        words = [chunk[start:end] for index, (start, end) in spans if index == self._tokenizer.unk_id]
        return [word for word in words if word != self._tokenizer.pieces[self._tokenizer.unk_id]]


@functools.lru_cache(maxsize=4)
def _word_rules(tokenizer: Tokenizer) -> tuple[bool, int]:
    """Whether text may be split at spaces, and the characters of the longest word that is split into pieces."""
    rules = json.loads(tokenizer.backend.to_str())
    return is_chunk_local(rules), int(rules["model"].get("max_input_chars_per_word") or LONGEST_WORD)


@functools.lru_cache(maxsize=4)
def _letters_of_pieces(tokenizer: Tokenizer) -> np.ndarray:
    """(V,) letters and digits of each token; none of the unknown one."""
    letters = np.array([letters_in(piece) for piece in tokenizer.pieces])
    letters[tokenizer.unk_id] = 0
    return letters


def letters_in(text: str) -> int:
    """Letters and digits; no marks, which the rules of a tokenizer may strip."""
    return sum(map(str.isalnum, text))


def ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """Words and counts, the most frequent first; equal counts in the order of code points."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def at_start(where: str, line: str) -> str:
    """A line with its place at the start, after 'warning: '."""
    return f"warning: {where}{line[9:]}" if line.startswith("warning: ") else where + line


def shortened(word: str) -> str:
    """At most 40 characters of a word, and how many it has."""
    return word if len(word) <= 40 else f"{word[:24]}... ({len(word):,} characters)"


def normalized(tokenizer: Tokenizer, text: str) -> str:
    """The text as the tokenizer's rules normalize it."""
    return str(tokenizer.backend.normalizer.normalize_str(text)) if tokenizer.backend.normalizer is not None else text


def count_words(texts: Iterable[str], tokenizer: Tokenizer) -> Counter[str]:
    """Texts -> counts of words, normalized as before they are split into pieces."""
    backend = tokenizer.backend
    alone = is_chunk_local(json.loads(backend.to_str()))
    chunks: Counter[str] = Counter()
    words: Counter[str] = Counter()

    def break_up() -> None:
        for chunk, count in chunks.items():
            for part in tokenizer.independent_parts(chunk):
                for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized(tokenizer, part)):
                    words[word] += count
        chunks.clear()

    for text in texts:
        for line in encodable(text).split("\n"):
            chunks.update(line.split(" ") if alone else [line])
        if len(chunks) > MOST_CHUNKS:
            break_up()
    break_up()
    return words
