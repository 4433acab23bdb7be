"""Folders of tokenizer files in many forms: ids, segments, offsets and text equal those of `transformers.AutoTokenizer`, or the form is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from conformance import case, conforms
from tokenizer_folders import (
    ADDED,
    CASED,
    ELECTRA,
    JSON,
    NAMES,
    PIECES,
    PLAIN,
    VOCAB,
    added,
    check_equal,
    check_saved,
    rules,
    with_added,
    write,
)
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors

from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.tokenizer_files import SPECIAL_PIECES, bert_rules
from electra.errors import UserError

# ---- WordPiece vocabularies and their configuration ----


def form(name: str, **files: Any) -> Any:
    return case(files, form=name, where="load", outcome="exact", section="tokenizers")


SPECIAL_E1 = {"tokenizer_class": "BertTokenizer", "additional_special_tokens": ["[E1]"]}
EXACT = [
    form("added_tokens.json of a special token", vocab__txt=VOCAB, tokenizer_config__json=SPECIAL_E1, added_tokens__json={"[E1]": len(PIECES)}),
    form("mask_token null", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"mask_token": None}),
    form("tokenizer_class LayoutLMTokenizer (BERT's rules)", vocab__txt=VOCAB, tokenizer_config__json={"tokenizer_class": "LayoutLMTokenizer"}),
    form("tokenizer.json alone", tokenizer__json=rules()),
    form("ConvBertTokenizer", tokenizer__json=rules(), tokenizer_config__json={"tokenizer_class": "ConvBertTokenizer", "do_lower_case": False}),
    form("vocab.txt and config.json", vocab__txt=VOCAB, config__json=ELECTRA),
    form("vocab.txt, do_lower_case false", vocab__txt=VOCAB, tokenizer_config__json=CASED),
    form("vocab.txt, strip_accents false", vocab__txt=VOCAB, tokenizer_config__json={"tokenizer_class": "BertTokenizer", "strip_accents": False}),
    form("vocab.txt, cased with strip_accents", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"strip_accents": True}),
    form("tokenize_chinese_chars false", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"tokenize_chinese_chars": False}),
    form("vocab.txt with CRLF", vocab__txt=VOCAB.replace("\n", "\r\n"), config__json=ELECTRA),
    form("vocab.txt with blank lines at the end", vocab__txt=VOCAB + "\n\n\n", config__json=ELECTRA),
    form("vocab.txt with a blank line in it", vocab__txt=VOCAB.replace("\nthe\n", "\n\nthe\n"), config__json=ELECTRA),
    form("vocab.txt without a newline at the end", vocab__txt=VOCAB.rstrip("\n"), config__json=ELECTRA),
    form("vocab.txt with duplicate lines", vocab__txt=VOCAB + "the\n", config__json=ELECTRA),
    form("vocab.txt with trailing spaces", vocab__txt=VOCAB.replace("\nthe\n", "\nthe \n"), config__json=ELECTRA),
    form("added_tokens.json", vocab__txt=VOCAB, config__json=ELECTRA, added_tokens__json={"[E1]": len(PIECES)}),
    form("added_tokens.json after blank lines", vocab__txt=VOCAB + "\n\n", config__json=ELECTRA, added_tokens__json={"[E1]": len(PIECES)}),
    form(
        "added_tokens.json and additional_special_tokens",
        vocab__txt=VOCAB,
        config__json=ELECTRA,
        added_tokens__json={"[E1]": len(PIECES), "E1": len(PIECES) + 1},
        special_tokens_map__json={"additional_special_tokens": ["[E1]"]},
    ),
    form("added_tokens_decoder", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"added_tokens_decoder": ADDED}),
    form(
        "added_tokens_decoder wins over added_tokens.json",
        vocab__txt=VOCAB,
        tokenizer_config__json=CASED | {"added_tokens_decoder": ADDED},
        added_tokens__json={"quick": 9, "xyz": len(PIECES) + 1},
    ),
    form("additional_special_tokens", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"additional_special_tokens": ["[E1]", "[unused1]"]}),
    form("extra_special_tokens", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"extra_special_tokens": ["[E1]"]}),
    form("extra_special_tokens by name", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"extra_special_tokens": {"entity_token": "[E1]"}}),
    form("a special token of another name", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"entity_token": "[E1]"}),
    form("bos_token and eos_token", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"bos_token": "[CLS]", "eos_token": "[EOS]"}),
    form(
        "special tokens with other names",
        vocab__txt=VOCAB.replace("[PAD]", "<pad>")
        .replace("[UNK]", "<unk>")
        .replace("[CLS]", "<s>")
        .replace("[SEP]", "</s>")
        .replace("[MASK]", "<mask>"),
        tokenizer_config__json=CASED | NAMES,
    ),
    form(
        "special_tokens_map.json with other names",
        vocab__txt=VOCAB.replace("[PAD]", "<pad>")
        .replace("[UNK]", "<unk>")
        .replace("[CLS]", "<s>")
        .replace("[SEP]", "</s>")
        .replace("[MASK]", "<mask>"),
        tokenizer_config__json=CASED,
        special_tokens_map__json=NAMES,
    ),
    form(
        "mask_token as an AddedToken",
        vocab__txt=VOCAB,
        tokenizer_config__json=CASED | {"mask_token": {"__type": "AddedToken", **added("[MASK]", lstrip=True)}},
    ),
    form(
        "special_tokens_map.json with options",
        vocab__txt=VOCAB,
        tokenizer_config__json=CASED,
        special_tokens_map__json={"mask_token": {"content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": True, "single_word": False}},
    ),
    form("tokenizer.json alone with config.json", tokenizer__json=rules(), config__json=ELECTRA),
    form("tokenizer.json lower-cases, do_lower_case is false", tokenizer__json=rules(), tokenizer_config__json=CASED),
    form(
        "tokenizer.json is cased, do_lower_case is true",
        tokenizer__json=rules(normalizer={"lowercase": False}),
        tokenizer_config__json=CASED | {"do_lower_case": True},
    ),
    form(
        "tokenizer.json strips, strip_accents is false",
        tokenizer__json=rules(),
        tokenizer_config__json={"tokenizer_class": "ElectraTokenizer", "strip_accents": False},
    ),
    form("tokenizer.json wins over vocab.txt", tokenizer__json=rules(), vocab__txt="[PAD]\n[UNK]\n", tokenizer_config__json=CASED),
    form(
        "tokenizer.json with truncation and padding",
        tokenizer__json=rules(
            truncation={"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0},
            padding={"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        ),
        tokenizer_config__json=CASED,
    ),
    form("max_input_chars_per_word in tokenizer.json", tokenizer__json=rules(model={"max_input_chars_per_word": 4}), tokenizer_config__json=CASED),
    form(
        "max_input_chars_per_word of a PreTrainedTokenizerFast",
        tokenizer__json=rules(model={"max_input_chars_per_word": 4}),
        tokenizer_config__json=JSON | PLAIN,
    ),
    form("normalizer of a PreTrainedTokenizerFast wins", tokenizer__json=rules(), tokenizer_config__json=JSON | PLAIN | {"do_lower_case": False}),
    form(
        "added token with normalized",
        tokenizer__json=with_added(added("[E1]", normalized=True)),
        tokenizer_config__json=CASED | {"do_lower_case": True},
    ),
    form("added token with single_word", tokenizer__json=with_added(added("fox", single_word=True)), tokenizer_config__json=CASED),
    form("added token with lstrip and rstrip", tokenizer__json=with_added(added("E1", lstrip=True, rstrip=True)), tokenizer_config__json=CASED),
    form("added token with a space", tokenizer__json=with_added(added("lazy dog")), tokenizer_config__json=CASED),
    form("added tokens without brackets", tokenizer__json=with_added(added("Tiếng"), added("文 a"), added("。")), tokenizer_config__json=CASED),
    form(
        "tokenizer_class in config.json",
        tokenizer__json=rules(normalizer={"lowercase": False}),
        config__json=ELECTRA | {"tokenizer_class": "PreTrainedTokenizerFast"},
        tokenizer_config__json=PLAIN,
    ),
    form(
        "tokenizer_class ElectraTokenizerFast",
        vocab__txt=VOCAB,
        tokenizer_config__json={"tokenizer_class": "ElectraTokenizerFast"},
        config__json=ELECTRA,
    ),
    form("tokenizer_class DistilBertTokenizer", vocab__txt=VOCAB, tokenizer_config__json={"tokenizer_class": "DistilBertTokenizer"}),
    form(
        "model_input_names without token_type_ids",
        vocab__txt=VOCAB,
        tokenizer_config__json=CASED | {"model_input_names": ["input_ids", "attention_mask"]},
    ),
    form(
        "PreTrainedTokenizerFast without model_input_names",
        tokenizer__json=rules(),
        tokenizer_config__json={"tokenizer_class": "PreTrainedTokenizerFast", **PLAIN},
    ),
    form("never_split and do_basic_tokenize", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"never_split": ["The"], "do_basic_tokenize": False}),
    form("wordpieces_prefix in tokenizer_config.json", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"wordpieces_prefix": "@@"}),
    form(
        "clean_up_tokenization_spaces",
        tokenizer__json=rules(decoder={"cleanup": False}),
        tokenizer_config__json=JSON | PLAIN | {"clean_up_tokenization_spaces": True},
    ),
    form(
        "padding_side and truncation_side left", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"padding_side": "left", "truncation_side": "left"}
    ),
    form(
        "added_tokens_decoder changes tokenizer.json",
        tokenizer__json=with_added(added("fox")),
        tokenizer_config__json=JSON | PLAIN | {"added_tokens_decoder": {str(len(PIECES)): added("fox", single_word=True)}},
    ),
]


@pytest.mark.parametrize("files", EXACT)
def test_folder_equals_autotokenizer(files: dict[str, Any], tmp_path: Path) -> None:
    ours = check_equal(write(tmp_path, **files))
    check_saved(ours, tmp_path / "saved")


# ---- what is refused ----


def refused(name: str, words: str, **files: Any) -> Any:
    return case(files, words, form=name, where="load", outcome="refused", section="tokenizers")


def template(single: str, pair: str) -> dict[str, Any]:
    backend = bert_rules({piece: i for i, piece in enumerate(PIECES)}, lowercase=True)
    backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return json.loads(backend.to_str())


def roberta() -> dict[str, Any]:
    backend = bert_rules({piece: i for i, piece in enumerate(PIECES)}, lowercase=True)
    backend.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    return json.loads(backend.to_str())


def dropping() -> dict[str, Any]:
    pieces = {piece: i for i, piece in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "ab"))}
    backend = Backend(models.BPE(pieces, [("a", "b")], unk_token="[UNK]", dropout=0.5))
    return json.loads(backend.to_str())


REFUSED = [
    refused(
        "BPE with dropout", "model.dropout is 0.5", tokenizer__json=dropping(), tokenizer_config__json={"tokenizer_class": "PreTrainedTokenizerFast"}
    ),
    refused(
        "BertJapaneseTokenizer (MeCab)",
        "tokenizer_class BertJapaneseTokenizer",
        vocab__txt=VOCAB,
        tokenizer_config__json={"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"},
    ),
    refused("KoBertTokenizer", "tokenizer_class KoBertTokenizer", vocab__txt=VOCAB, tokenizer_config__json={"tokenizer_class": "KoBertTokenizer"}),
    refused(
        "auto_map: a tokenizer with its own code",
        r"auto_map.*x\.Own",
        vocab__txt=VOCAB,
        tokenizer_config__json=CASED | {"auto_map": {"AutoTokenizer": ["x.Own", None]}},
    ),
    refused(
        "RobertaTokenizer",
        "tokenizer_class RobertaTokenizer",
        tokenizer__json=rules(),
        tokenizer_config__json={"tokenizer_class": "RobertaTokenizer"},
    ),
    refused(
        "tokenizer_class in config.json of other software",
        "config.json: tokenizer_class BertJapaneseTokenizer",
        vocab__txt=VOCAB,
        config__json=ELECTRA | {"tokenizer_class": "BertJapaneseTokenizer"},
    ),
    refused("PreTrainedTokenizerFast without tokenizer.json", "needs a tokenizer.json", vocab__txt=VOCAB, tokenizer_config__json=JSON),
    refused("RoBERTa's post-processor", "post_processor: two texts become", tokenizer__json=roberta(), tokenizer_config__json=JSON | PLAIN),
    refused(
        "post-processor without [SEP]", "post_processor", tokenizer__json=template("[CLS] $A", "[CLS] $A $B:1"), tokenizer_config__json=JSON | PLAIN
    ),
    refused(
        "post-processor with another order",
        "post_processor",
        tokenizer__json=template("$A [SEP] [CLS]", "$A [SEP] $B:1 [SEP] [CLS]"),
        tokenizer_config__json=JSON | PLAIN,
    ),
    refused(
        "no post-processor in a folder", "post_processor", tokenizer__json=rules() | {"post_processor": None}, tokenizer_config__json=JSON | PLAIN
    ),
    refused(
        "spiece.model without tokenizer.json",
        r"spiece\.model",
        spiece__model=b"\n\x0e",
        tokenizer_config__json={"tokenizer_class": "AlbertTokenizer"},
    ),
    refused("vocab.json and merges.txt without tokenizer.json", r"vocab\.json", vocab__json={"a": 0}, merges__txt="#version: 0.2\n"),
    refused("split_special_tokens", "split_special_tokens", vocab__txt=VOCAB, tokenizer_config__json=CASED | {"split_special_tokens": True}),
    refused(
        "BertTokenizer with a Unigram tokenizer.json",
        "model Unigram",
        tokenizer__json=json.loads(Backend(models.Unigram([("a", 0.0)])).to_str()),
        tokenizer_config__json=CASED,
    ),
    refused("a vocabulary without its special tokens", r"\[PAD\] is missing", vocab__txt="a\nb\n", config__json=ELECTRA),
    refused("do_lower_case null", "do_lower_case is None", vocab__txt=VOCAB, tokenizer_config__json={"do_lower_case": None}),
    refused("do_lower_case as a text", "do_lower_case is 'false'", vocab__txt=VOCAB, tokenizer_config__json={"do_lower_case": "false"}),
    refused("tokenizer_config.json that is not JSON", "is not JSON", vocab__txt=VOCAB, tokenizer_config__json="{"),
    refused("model_type with other rules", "model_type roberta", tokenizer__json=rules(), config__json={"model_type": "roberta"}),
]


@pytest.mark.parametrize(("files", "words"), REFUSED)
def test_refused_in_one_line(files: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load_tokenizer(write(tmp_path, **files))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


# ---- a vocabulary without configuration ----


@conforms(form="vocab.txt with a byte-order mark", where="load", outcome="exact", section="tokenizers")
def test_byte_order_mark_is_no_part_of_the_first_piece(tmp_path: Path) -> None:
    write(tmp_path, vocab__txt=VOCAB, config__json=ELECTRA)
    plain = check_equal(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + VOCAB.encode())
    assert load_tokenizer(tmp_path).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("pieces", "lowercase", "strips"),
    [
        (["<S>", "<T>", "[unused1]", "[UNK]", "<UNK>", *(f"w{i}" for i in range(300))], True, True),
        ([*(f"w{i}" for i in range(300)), *"ABCDEFGH"], False, False),
        ([*(f"w{i}" for i in range(300)), "A"], True, True),
        ([*(f"w{i}" for i in range(300)), *(f"má{i}" for i in range(20))], True, False),
        ([*(f"w{i}" for i in range(300)), *(f"한{i}" for i in range(20))], True, False),
        ([*(f"w{i}" for i in range(300)), *(f"हु{i}" for i in range(20))], True, False),
    ],
    ids=["special-looking", "cased", "one capital", "Vietnamese", "Korean", "Hindi"],
)
def test_bare_vocabulary_is_judged_by_its_pieces(pieces: list[str], lowercase: bool, strips: bool, tmp_path: Path) -> None:
    write(tmp_path, vocab__txt="".join(piece + "\n" for piece in dict.fromkeys([*SPECIAL_PIECES, *pieces])))
    tokenizer = load_tokenizer(tmp_path / "vocab.txt")
    assert (tokenizer.lowercase, tokenizer.strip_accents) == (lowercase, strips)
    assert ("uncased" if lowercase else "cased") in tokenizer.settings.note
    assert load_tokenizer(tmp_path, lowercase=not lowercase).lowercase is not lowercase


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["zh", "uncased-en"])
def test_vocabularies_of_bert_are_uncased(name: str, data_root: Path) -> None:
    assert load_tokenizer(data_root / "vocab" / f"{name}.txt").lowercase


def test_fingerprints_differ_where_ids_differ(tmp_path: Path) -> None:
    base = rules()
    forms = [
        base,
        with_added(added("fox")),
        with_added(added("fox", single_word=True)),
        rules(normalizer={"clean_text": False}),
        rules(model={"max_input_chars_per_word": 4}),
        rules(pre_tokenizer={"type": "Whitespace"}),
    ]
    prints = {load_tokenizer(write(tmp_path, tokenizer__json=made, tokenizer_config__json=JSON | PLAIN)).fingerprint for made in forms}
    unigrams = []
    for score in (-1.0, -9.0):
        scores = [(token, 0.0) for token in SPECIAL_PIECES] + [("a", -2.0), ("b", -2.0), ("ab", score)]
        backend = Backend(models.Unigram(scores, unk_id=1))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        unigrams.append(Tokenizer(backend))
    assert unigrams[0].pieces == unigrams[1].pieces
    assert unigrams[0].encode(["ab ab"]) != unigrams[1].encode(["ab ab"])
    assert len(prints | {made.fingerprint for made in unigrams}) == len(forms) + 2


def test_fingerprints_of_the_first_version_are_known(tmp_path: Path) -> None:
    """It hashed the pieces, and of BERT's normalizer the case rule: ids of its datasets are found to be a tokenizer's own."""
    for made, case_rule in ((rules(), [True, True, True, True]), (rules() | {"normalizer": {"type": "NFKC"}}, [False] * 4)):
        tokenizer = load_tokenizer(write(tmp_path, tokenizer__json=made, tokenizer_config__json=JSON | PLAIN))
        old = hashlib.sha256(json.dumps([tokenizer.pieces, case_rule]).encode()).hexdigest()
        assert tokenizer.matches(old)
        assert tokenizer.matches(tokenizer.fingerprint)
        assert (tokenizer.fingerprint == old) is (made["normalizer"]["type"] == "BertNormalizer")
        assert not tokenizer.matches("0")
