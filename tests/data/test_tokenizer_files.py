"""Folders of tokenizer files in many forms: ids, segments, offsets and text equal those of `transformers.AutoTokenizer`, or the form is refused."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.tokenizer_files import SPECIAL_PIECES, bert_rules
from electra.errors import UserError
from tests.support.conformance import case, conforms

TEXTS = [
    "The quick brown Fox jumps over the lazy dog, isn't it?",
    "Crème brûlée à la carte, naïve café. ÀÉÎÕÜ",
    "İstanbul'da ışık, iki IĞDIR",
    "ma má mà mạ mã, Tiếng Việt rất đẹp",
    "हिन्दी में पाठ, नमस्ते",
    "ภาษาไทยง่าย นิดเดียว",
    "النصّ العربيّ مُشَكَّل",
    "한국어 각 한국어",
    "ひらがな カタカナ がぎぐ ｶﾞ",
    "他说中文 and English 混在一起。",
    "👩‍👩‍👧 🏳️‍🌈 🙂",
    "a\u200bb\tc\nd\x00e\ufeff \x85 x\u2028y",
    "say [MASK] and[SEP] <mask> </s> [E1] [e1]x E1 [unused1]",
    "w" * 120 + " ABC Abc abc",
    "",
    "  two  spaces  ",
]
PIECES = [*SPECIAL_PIECES, *dict.fromkeys(c for text in TEXTS[:11] for c in text.lower() + text if not c.isspace())]
PIECES += [f"##{piece}" for piece in PIECES[5:]] + ["the", "quick", "Fox", "fox", "The", "e", "##e", "c", "##c", "ma", "má", "cafe", "café"]
PIECES = list(dict.fromkeys(PIECES))
VOCAB = "".join(piece + "\n" for piece in PIECES)
CASED = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
ELECTRA = {"model_type": "electra"}
NAMES = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
JSON = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
PLAIN = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL_PIECES, strict=True))


def write(folder: Path, **files: Any) -> Path:
    """Files by name, with '__' for the dot; dicts as JSON."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode()
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def check_equal(folder: Path, texts: list[str] = TEXTS, ours: Tokenizer | None = None) -> Tokenizer:
    """Assert that ids, segments, offsets and decoded texts are those of AutoTokenizer."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    ours = ours or load_tokenizer(folder)
    for text in texts:
        expected = theirs(text, add_special_tokens=False, return_offsets_mapping=True)
        assert ours.encode([text])[0] == expected["input_ids"]
        assert ours.encode_offsets(text) == (expected["input_ids"], expected["offset_mapping"])
        assert ours.decode(expected["input_ids"]) == theirs.decode(expected["input_ids"], skip_special_tokens=True)
    assert ours.encode(texts) == theirs(texts, add_special_tokens=False)["input_ids"] if texts else True
    lines = [text.replace("\n", " ") for text in texts]
    ids, counts = ours.encode_lines("\n".join(lines).encode())
    assert [ids.tolist(), counts.tolist()] == [sum(ours.encode(lines), []), [len(found) for found in ours.encode(lines)]]
    for a, b in zip(texts, texts[1:], strict=False):
        single, first, second = theirs(a), *ours.encode([a, b])
        assert ours.wrap(first)[0] == single["input_ids"]
        if b:
            both = theirs(a, b)
            assert ours.wrap(first, second) == (both["input_ids"], both.get("token_type_ids", [0] * len(both["input_ids"])))
    roles = (theirs.pad_token_id, theirs.unk_token_id, theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id)
    assert roles == (ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id, ours.mask_id)
    return ours


def check_saved(ours: Tokenizer, folder: Path, texts: list[str] = TEXTS) -> None:
    """Assert that what we save opens in AutoTokenizer and here with equal ids and a true length."""
    transformers = pytest.importorskip("transformers")
    folder.mkdir(exist_ok=True)
    ours.save(folder, 64)
    again = check_equal(folder, texts)
    assert again.encode(texts) == ours.encode(texts)
    assert again.fingerprint == ours.fingerprint
    assert transformers.AutoTokenizer.from_pretrained(str(folder)).model_max_length == 64
    assert pickle.loads(pickle.dumps(ours)).wrap(again.encode(texts)[0]) == again.wrap(ours.encode(texts)[0])


# ---- WordPiece vocabularies and their configuration ----

ADDED = {str(len(PIECES)): {"content": "[E1]", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}}


def rules(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(bert_rules({piece: i for i, piece in enumerate(PIECES)}, lowercase=True).to_str())
    for key, value in changes.items():
        made[key] = {**made[key], **value} if isinstance(value, dict) and isinstance(made[key], dict) else value
    return made


def added(content: str, **options: Any) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": False}
    return {"content": content, **plain, **options}


def with_added(*tokens: dict[str, Any]) -> dict[str, Any]:
    made = rules()
    made["added_tokens"] += [{"id": len(PIECES) + i, **token} for i, token in enumerate(tokens)]
    return made


def form(name: str, **files: Any) -> Any:
    return case(files, form=name, where="load", outcome="exact", section="tokenizers")


EXACT = [
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


# ---- other models and normalizers ----


def trained(model: str, pre_tokenizer: Any, normalizer: Any = None, decoder: Any = None, **options: Any) -> Backend:
    """A small tokenizer trained on TEXTS, with the roles <s> </s> <mask> <pad> <unk>."""
    if model == "Unigram":
        backend = Backend(models.Unigram())
        trainer: Any = trainers.UnigramTrainer(vocab_size=400, special_tokens=list(NAMES.values()), unk_token="<unk>", show_progress=False)
    elif model == "WordLevel":
        backend = Backend(models.WordLevel(unk_token="<unk>"))
        trainer = trainers.WordLevelTrainer(special_tokens=list(NAMES.values()), show_progress=False)
    elif model == "WordPiece":
        prefix = options.get("continuing_subword_prefix", "##")
        backend = Backend(models.WordPiece(unk_token="<unk>", continuing_subword_prefix=prefix))
        trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=list(NAMES.values()), show_progress=False, **options)
    else:
        backend = Backend(models.BPE(unk_token="<unk>", **options))
        trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=list(NAMES.values()), show_progress=False, **options)
    backend.pre_tokenizer, backend.normalizer, backend.decoder = pre_tokenizer, normalizer, decoder
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[(t, backend.token_to_id(t)) for t in ("<s>", "</s>")]
    )
    return backend


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


REFUSED = [
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


def test_wrong_case_in_the_configuration_is_reported(tmp_path: Path) -> None:
    words = [f"word{chr(97 + i)}" for i in range(26)]
    write(tmp_path, vocab__txt="".join(piece + "\n" for piece in [*SPECIAL_PIECES, *words]), tokenizer_config__json=CASED)
    tokenizer = load_tokenizer(tmp_path)
    texts = [" ".join(word.capitalize() for word in words)]
    assert tokenizer.encode(texts)[0] == [tokenizer.unk_id] * 26
    assert tokenizer.other_case_unknowns(texts) == (26, 0)
    assert "do_lower_case true" in tokenizer.case_warning(texts)
    assert not tokenizer.case_warning([" ".join(words)])


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
