"""Folders of tokenizer files, and the comparison of their tokenizers with `transformers.AutoTokenizer`."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, processors, trainers

from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.tokenizer_files import SPECIAL_PIECES, bert_rules

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
    assert [ids.tolist(), counts.tolist()] == [[i for found in ours.encode(lines) for i in found], [len(found) for found in ours.encode(lines)]]
    for a, b in itertools.pairwise(texts):
        single, first, second = theirs(a), *ours.encode([a, b])
        assert ours.wrap(first)[0] == single["input_ids"]
        if b:
            both = theirs(a, b)
            assert ours.wrap(first, second) == (both["input_ids"], both.get("token_type_ids", [0] * len(both["input_ids"])))
    roles = (theirs.pad_token_id, theirs.unk_token_id, theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id)
    for expected, own in zip(roles, (ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id, ours.mask_id), strict=True):
        assert expected in (own, None)
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
