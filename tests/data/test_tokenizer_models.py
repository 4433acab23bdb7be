"""Tokenizers with other models, normalizers and added tokens than BERT's: read and saved as AutoTokenizer reads them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case, conforms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizer_folders import ELECTRA, JSON, NAMES, TEXTS, check_equal, check_saved, rules, trained, write
from tokenizers import AddedToken, decoders, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.word_boundaries import word_spelling
from electra.data.word_statistics import check_words
from electra.errors import UserError
from electra.settings import ObjectiveSettings

# ---- other models and normalizers ----


def fast_folder(folder: Path, backend: Backend, **more: Any) -> Path:
    return write(folder, tokenizer__json=backend.to_str(), tokenizer_config__json=JSON | NAMES | more, config__json=ELECTRA)


def kind(name: str, make: Callable[[], Backend]) -> Any:
    return case(make, form=name, where=("load", "save"), outcome="exact", section="tokenizers")


def precompiled() -> Any:
    """A `Precompiled` normalizer (SentencePiece's form) whose table is empty."""
    return normalizers.Precompiled(struct.pack("<I", 1024) + bytes(1024))


MODELS = [
    kind("Unigram with Metaspace", lambda: trained("Unigram", pre_tokenizers.Metaspace(), normalizers.NFKC(), decoders.Metaspace())),
    kind(
        "Unigram, Metaspace only before the first word",
        lambda: trained("Unigram", pre_tokenizers.Metaspace(prepend_scheme="first"), normalizers.Lowercase(), decoders.Metaspace()),
    ),
    kind("byte-level BPE", lambda: trained("BPE", pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.NFC(), decoders.ByteLevel())),
    kind("byte-level BPE without prefix space", lambda: trained("BPE", pre_tokenizers.ByteLevel(add_prefix_space=False), None, decoders.ByteLevel())),
    kind("BPE with Metaspace", lambda: trained("BPE", pre_tokenizers.Metaspace(), normalizers.NFD(), decoders.Metaspace())),
    kind(
        "BPE with the suffix </w>",
        lambda: trained("BPE", pre_tokenizers.BertPreTokenizer(), normalizers.Lowercase(), decoders.BPEDecoder(), end_of_word_suffix="</w>"),
    ),
    kind(
        "BPE with the prefix ##",
        lambda: trained("BPE", pre_tokenizers.Whitespace(), normalizers.BertNormalizer(), decoders.WordPiece(), continuing_subword_prefix="##"),
    ),
    kind(
        "WordPiece with another prefix",
        lambda: trained(
            "WordPiece", pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(), decoders.WordPiece("@@"), continuing_subword_prefix="@@"
        ),
    ),
    kind(
        "WordPiece with NFC and Lowercase",
        lambda: trained(
            "WordPiece", pre_tokenizers.BertPreTokenizer(), normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]), decoders.WordPiece()
        ),
    ),
    kind(
        "WordPiece with NFD, Lowercase, StripAccents",
        lambda: trained(
            "WordPiece",
            pre_tokenizers.Whitespace(),
            normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]),
            decoders.WordPiece(),
        ),
    ),
    kind(
        "WordPiece with Replace and NFKC",
        lambda: trained(
            "WordPiece",
            pre_tokenizers.BertPreTokenizer(),
            normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("Fox", "cat")]),
            decoders.WordPiece(),
        ),
    ),
    kind(
        "WordPiece with digits split",
        lambda: trained(
            "WordPiece",
            pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]),
            None,
            decoders.WordPiece(),
        ),
    ),
    kind("Unigram with a Precompiled normalizer", lambda: trained("Unigram", pre_tokenizers.Metaspace(), precompiled(), decoders.Metaspace())),
    kind("WordLevel", lambda: trained("WordLevel", pre_tokenizers.Whitespace(), normalizers.Lowercase())),
    kind("WordPiece without normalizer", lambda: trained("WordPiece", pre_tokenizers.WhitespaceSplit(), None, decoders.WordPiece())),
]


@pytest.mark.parametrize("make", MODELS)
def test_other_models_equal_autotokenizer_and_are_saved(make: Callable[[], Backend], tmp_path: Path) -> None:
    ours = check_equal(fast_folder(tmp_path, make()))
    check_saved(ours, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not (tmp_path / "saved" / "vocab.txt").exists()


SCRIPTS = st.one_of(
    st.sampled_from(TEXTS),
    st.text(max_size=30),
    st.lists(
        st.sampled_from(
            [
                *" \t\n",
                "[MASK]",
                "<mask>",
                "[E1]",
                "Fox",
                "fox",
                "é",
                "e\u0301",
                "中",
                "한",
                "ᄒ",
                "が",
                "か\u3099",
                "İ",
                "ß",
                "🙂",
                "\u200d",
                ".",
                "##e",
                "▁",
                "Ġ",
            ]
        ),
        max_size=12,
    ).map("".join),
)
TOKENS = st.lists(
    st.builds(
        lambda content, flags: AddedToken(content, lstrip=flags[0], rstrip=flags[1], normalized=flags[2], single_word=flags[3]),
        st.sampled_from(["[E1]", "fox", "Fox", "中", "<ent>", "naïve", "lazy dog"]),
        st.tuples(*[st.booleans()] * 4),
    ),
    max_size=2,
)


@conforms(form="any normalizer and added tokens, all scripts (random)", where=("load", "save"), outcome="exact", section="tokenizers")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(SCRIPTS, min_size=2, max_size=4), which=st.integers(0, len(MODELS)), tokens=TOKENS)
def test_random_tokenizers(texts: list[str], which: int, tokens: list[AddedToken], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = [text for text in texts if not any("\ud800" <= c <= "\udfff" for c in text)]
    if which == len(MODELS):
        made = rules()
        backend = Backend.from_str(json.dumps(made))
        backend.add_tokens(tokens)
        write(folder, tokenizer__json=backend.to_str(), tokenizer_config__json={"tokenizer_class": "BertTokenizer"})
    else:
        backend = MODELS[which].values[0]()
        backend.add_tokens(tokens)
        fast_folder(folder, backend)
    ours = check_equal(folder, texts)
    check_saved(ours, folder / "saved", texts)


# ---- where words begin ----

SIMPLE = ["the quick brown Fox jumps", "lazy dog the the quick", "over naïve café la carte", "ma Fox ma dog"]


def by_pre_tokenizer(tokenizer: Tokenizer, text: str) -> list[bool]:
    """Whether each token begins a word, by the pre-tokenizer's words."""
    words = tokenizer.backend.encode(text, add_special_tokens=False).word_ids
    return [index == 0 or word != words[index - 1] for index, word in enumerate(words)]


@pytest.mark.parametrize("make", [model for model in MODELS if model.id != "byte-level BPE without prefix space"])
def test_words_begin_where_the_pre_tokenizer_separates_them(make: Callable[[], Backend], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(fast_folder(tmp_path, make()))
    spelling = word_spelling(tokenizer)
    ids = [tokenizer.encode([text])[0] for text in SIMPLE]
    marks = spelling.mark(np.concatenate([np.array(row) for row in ids]))
    assert marks.tolist() == [mark for text in SIMPLE for mark in by_pre_tokenizer(tokenizer, text)]
    assert marks.sum() == sum(len(text.split()) for text in SIMPLE)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        case(
            lambda: trained("BPE", pre_tokenizers.ByteLevel(add_prefix_space=False), None, decoders.ByteLevel()),
            "ByteLevel with add_prefix_space false",
            form="byte-level BPE without prefix space, whole words",
            where="pretrain",
            outcome="refused",
            section="tokenizers",
        ),
        case(
            lambda: trained("Unigram", pre_tokenizers.Metaspace(prepend_scheme="never"), None, decoders.Metaspace()),
            "prepend_scheme 'never'",
            form="Metaspace with prepend_scheme never, whole words",
            where="pretrain",
            outcome="refused",
            section="tokenizers",
        ),
        case(
            lambda: trained("Unigram", pre_tokenizers.Whitespace()),
            "Unigram, pre_tokenizer Whitespace",
            form="Unigram without Metaspace, whole words",
            where="pretrain",
            outcome="refused",
            section="tokenizers",
        ),
    ],
)
def test_pieces_that_do_not_show_words_are_refused(make: Callable[[], Backend], words: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(fast_folder(tmp_path, make()))
    with pytest.raises(UserError, match=words):
        check_words(ObjectiveSettings(mask_unit="word"), {}, tokenizer)
    check_words(ObjectiveSettings(), {}, tokenizer)
