"""A folder's tokenizer files -> rules: the `tokenizers.Tokenizer` that `transformers.AutoTokenizer` would build, and the tokens of the five roles.

Source: `transformers` 5, `models/auto/tokenization_auto.py` (which class), `tokenization_utils_base.py` (precedence of the files),
`tokenization_utils_tokenizers.py` and `models/bert/tokenization_bert.py` (what the classes build). Two kinds of classes:

- BERT's: vocabulary from tokenizer.json or vocab.txt; the normalizer from tokenizer_config.json (`do_lower_case` is true where it is not
  given), whatever tokenizer.json says; words of up to 100 characters; `[CLS] a [SEP] b [SEP]`.
- `PreTrainedTokenizerFast`: tokenizer.json as it is.

Others have rules of their own, or code of their own, and are refused. A bare vocab.txt has no configuration: its pieces decide.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from electra.errors import UserError, parse_json

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Special tokens that have a name, in the order in which `transformers` adds them."""
BERT_CLASSES = ("Bert", "Electra", "MobileBert", "SqueezeBert", "LayoutLM", "Lxmert", "DistilBert")
"""Of `tokenizer_class`, without 'Tokenizer(Fast)': those with BERT's rules."""
JSON_CLASSES = ("PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend", "ConvBertTokenizer", "ConvBertTokenizerFast")
BERT_MODELS = ("electra", "bert", "mobilebert", "squeezebert", "megatron-bert", "distilbert", "")
"""Values of `model_type` whose tokenizers have BERT's rules by default."""
INPUT_NAMES = ["input_ids", "token_type_ids", "attention_mask"]
CAPITALS, ACCENTS = 0.01, 0.01
"""Shares of pieces from which on a bare vocabulary is cased, or was made without stripping accents."""
_WHITE_SPACE = " \t\n\x0b\x0c\r\x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_SPECIAL_LOOKING = re.compile(r"\[.*\]|<.*>|.*[\[<]unused.*", re.DOTALL)


LARGEST_VOCABULARY = 1 << 24
"""Ids from here on are no ids of a network: their table alone would fill the memory."""


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """What a tokenizer's files say that `tokenizers` does not keep."""

    roles: tuple[str, ...] = SPECIAL_PIECES
    """The tokens for padding, unknown words, the beginning, the end of a text, and masking."""
    segments: bool = True
    """Whether the second text of a pair is segment 1; without 'token_type_ids' in `model_input_names` all is segment 0."""
    clean_up: bool = False
    """`clean_up_tokenization_spaces`: whether `decode` removes spaces before punctuation."""
    max_length: int = 0
    """`model_max_length`; 0: no limit is given."""
    truncate_left: bool = False
    """`truncation_side`: whether a text that is cut by request loses its beginning."""
    note: str = ""
    """What was decided from the vocabulary's pieces, and why."""


PLAIN_SETTINGS = TokenizerSettings()


# ---- BERT's rules ----


def check_ids(vocabulary: Mapping[str, int]) -> None:
    """Check, before anything as long as the largest id is made, that it is one that a network can have.

    Raises:
        UserError: it is not.
    """
    last = max(vocabulary, key=vocabulary.__getitem__, default="")
    if vocabulary.get(last, 0) >= LARGEST_VOCABULARY:
        raise UserError(f"the token {last!r:.60} has the id {vocabulary[last]}, expected less than {LARGEST_VOCABULARY:,}; correct the file")


def bert_backend(
    vocabulary: dict[str, int], *, lowercase: bool, strip_accents: bool | None = None, split_chinese: bool = True, unk_token: str = "[UNK]"
) -> tokenizers.Tokenizer:
    """BERT's rules around a vocabulary (piece -> id), without special tokens; `strip_accents` None: as `lowercase`."""
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=unk_token, max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=split_chinese, strip_accents=strip_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def bert_template(backend: tokenizers.Tokenizer, cls_token: str, sep_token: str) -> None:
    """Let the backend write `[CLS] a [SEP] b [SEP]` with segments 0 and 1."""
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls_token}:0 $A:0 {sep_token}:0",
        pair=f"{cls_token}:0 $A:0 {sep_token}:0 $B:1 {sep_token}:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in dict.fromkeys((cls_token, sep_token))],
    )


def bert_rules(vocabulary: dict[str, int], *, lowercase: bool, strip_accents: bool | None = None, split_chinese: bool = True) -> tokenizers.Tokenizer:
    """BERT's rules with BERT's special tokens, where the vocabulary has them."""
    backend = bert_backend(vocabulary, lowercase=lowercase, strip_accents=strip_accents, split_chinese=split_chinese)
    if all(piece in vocabulary for piece in SPECIAL_PIECES):
        backend.add_special_tokens(list(SPECIAL_PIECES))
        bert_template(backend, "[CLS]", "[SEP]")
    return backend


def read_vocabulary(path: Path) -> dict[str, int]:
    """vocab.txt -> piece -> line number, the last of equal ones. Lines end at newline alone: U+2028 and the like can be pieces.

    White space at the end of a line is no part of the piece, as in `tokenizers`; nor is a byte-order mark at the beginning.

    Raises:
        UserError: not UTF-8.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a vocabulary: byte {error.start} is not UTF-8; expected one piece a line") from None
    if not lines[-1]:
        lines.pop()
    return {line.rstrip(_WHITE_SPACE) or line.rstrip("\r"): index for index, line in enumerate(lines)}


def judged_rules(vocabulary: Mapping[str, int]) -> tuple[bool, bool | None, str]:
    """A vocabulary without configuration -> lowercase, strip_accents (None: as lowercase), and the reason in a few words.

    Pieces that look like special tokens ([UNK], <S>) do not count.
    """
    pieces = [piece for piece in vocabulary if piece and not _SPECIAL_LOOKING.fullmatch(piece)]
    letters = [piece for piece in pieces if piece.lower() != piece.upper()]
    capitals = sum(piece != piece.lower() for piece in letters)
    if capitals > CAPITALS * len(letters):
        return False, None, f"cased: {capitals:,} of its {len(letters):,} pieces with letters have capitals"
    lowercase = f"uncased: {capitals:,} of its {len(letters):,} pieces with letters have capitals"
    # A piece that stripping changes can never be found in stripped text.
    accented = sum(_stripped(piece) != piece for piece in pieces)
    if accented > ACCENTS * len(pieces):
        return True, False, f"{lowercase}; accents are kept: {accented:,} of {len(pieces):,} pieces have some"
    return True, None, f"{lowercase}; accents are stripped: {accented:,} pieces have some"


def _stripped(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


# ---- the files of a folder ----


@dataclass(frozen=True)
class Files:
    """Tokenizer files of a folder, or one file alone."""

    place: Path
    """The folder or file, for messages."""
    rules: Path | None
    """tokenizer.json."""
    vocabulary: Path | None
    """vocab.txt."""
    config: dict[str, Any]
    special: dict[str, Any]
    added: dict[str, int]
    model: dict[str, Any] | None
    """config.json of the model; None: there is none."""
    configured: bool
    """Whether there is a tokenizer_config.json."""


def find_files(path: Path) -> Files:
    """A folder, or a vocab.txt or tokenizer.json -> its files. A file next to a tokenizer_config.json has that configuration.

    Raises:
        UserError: a file is not a JSON object.
    """
    folder = path if path.is_dir() else path.parent
    configured = (folder / "tokenizer_config.json").is_file()
    alone = path.is_file() and not configured
    rules, vocabulary = folder / "tokenizer.json", folder / "vocab.txt"
    if path.is_file():
        rules, vocabulary = (path, vocabulary) if path.suffix == ".json" else (folder / "absent", path)

    def read(name: str) -> dict[str, Any]:
        return {} if alone else _read_json(folder / name)

    config = read("tokenizer_config.json")
    if path.is_file() and path.suffix != ".json" and _kind(str(config.get("tokenizer_class") or "")) == "json":
        rules = folder / "tokenizer.json"
    return Files(
        place=path,
        rules=rules if rules.is_file() else None,
        vocabulary=vocabulary if vocabulary.is_file() else None,
        config=config,
        special=read("special_tokens_map.json"),
        added=read("added_tokens.json"),
        model=None if alone or not (folder / "config.json").is_file() else read("config.json"),
        configured=configured,
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = parse_json(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a JSON object")
    return values


def _kind(name: str) -> str:
    """`tokenizer_class` -> 'bert', 'json' or '' for others."""
    if name in JSON_CLASSES:
        return "json"
    return "bert" if name.removesuffix("Fast").removesuffix("Tokenizer") in BERT_CLASSES and "Tokenizer" in name else ""


def _choose(files: Files) -> str:
    """'bert' or 'json': the kind of class that `AutoTokenizer` takes.

    Raises:
        UserError: a class of another kind.
    """
    where = files.place if files.place.is_dir() else files.place.parent
    if files.config.get("auto_map"):
        raise UserError(
            f"{where}/tokenizer_config.json: auto_map: the tokenizer is code of its own ({_first(files.config['auto_map'])}), which is not "
            "run; expected a tokenizer.json and tokenizer_class PreTrainedTokenizerFast"
        )
    name = files.config.get("tokenizer_class") or (files.model or {}).get("tokenizer_class")
    if name:
        if kind := _kind(str(name)):
            return kind
        source = "tokenizer_config.json" if files.config.get("tokenizer_class") else "config.json"
        raise UserError(
            f"{where}/{source}: tokenizer_class {name} has rules that this package does not have; expected BertTokenizer, ElectraTokenizer or "
            "PreTrainedTokenizerFast (where a tokenizer.json holds all its rules, set PreTrainedTokenizerFast)"
        )
    if files.model is None:
        return "json" if files.rules is not None else "bert"
    kind = str(files.model.get("model_type", ""))
    if kind in BERT_MODELS:
        return "bert" if kind or files.rules is None else "json"
    raise UserError(f"{where}/config.json: model_type {kind}: its tokenizer's rules are not known; give tokenizer_class in tokenizer_config.json")


def _first(auto_map: Any) -> str:
    names = auto_map.get("AutoTokenizer", auto_map) if isinstance(auto_map, dict) else auto_map
    return next((str(name) for name in names if name), str(names)) if isinstance(names, list) else str(names)


# ---- special and added tokens ----


def _token(value: Any) -> Any:
    """An added token as JSON -> AddedToken; other values as they are."""
    if isinstance(value, dict) and "content" in value:
        return AddedToken(**{key: part for key, part in value.items() if key not in ("__type", "id")})
    return [_token(part) for part in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class DeclaredTokens:
    """Named and other special tokens, and added tokens by id."""

    named: dict[str, Any]
    """Name -> str or AddedToken; those of `NAMED` first."""
    extra: list[Any]
    added: dict[int, AddedToken]


def special_tokens(files: Files, defaults: Mapping[str, str]) -> DeclaredTokens:
    """tokenizer_config.json, special_tokens_map.json, added_tokens.json and tokenizer.json, merged as `transformers` does.

    With `added_tokens_decoder` in the configuration the three others say nothing; `defaults` are those of the class.
    """
    values = dict(files.config)
    if "additional_special_tokens" in values and not values.get("extra_special_tokens"):
        values["extra_special_tokens"] = values.pop("additional_special_tokens")
    more = values.pop("extra_special_tokens") if isinstance(values.get("extra_special_tokens"), dict) else {}
    added: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in values:
        added = {int(index): _token(token) for index, token in values["added_tokens_decoder"].items()}
    else:
        for key, value in files.special.items():
            if key == "extra_special_tokens" and isinstance(value, list):
                value = [*(values.get(key) or []), *(token for token in value if token not in (values.get(key) or []))]
            values[key] = _token(value | {"special": True}) if isinstance(value, dict) and "content" in value else value
        if isinstance(values.get("extra_special_tokens"), dict):
            more |= values.pop("extra_special_tokens")
        known = {str(_token(values[key])) for key in NAMED if values.get(key)} | {str(_token(t)) for t in values.get("extra_special_tokens") or []}
        for content, index in files.added.items():
            added[index] = AddedToken(content, normalized=content not in known, special=content in known)
        for token in _read_json(files.rules).get("added_tokens", []) if files.rules is not None else ():
            added[token["id"]] = _token(token)
    by_content = {str(token): token for token in added.values()}
    named = {key: _token(values[key] if key in values else defaults.get(key)) for key in NAMED}
    named = {key: by_content.get(str(value), value) if key in values else value for key, value in named.items() if value is not None}
    others = {key: _token(value) for key, value in values.items() if key.endswith("_token") and key not in NAMED}
    named |= {key: value for key, value in (others | _token(more)).items() if isinstance(value, str | AddedToken)}
    extra = values.get("extra_special_tokens", values.get("additional_special_tokens")) or []
    return DeclaredTokens(named, _token(extra), added)


def add_tokens(backend: tokenizers.Tokenizer, tokens: DeclaredTokens) -> None:
    """Add to the backend what it lacks, in the order of `TokenizersBackend.__init__`: added tokens by id, then special ones."""
    present = {repr(token) for token in backend.get_added_tokens_decoder().values()}
    missing: list[Any] = [token for _, token in sorted(tokens.added.items(), key=lambda item: item[0]) if repr(token) not in present]
    known = {str(token.content) for token in backend.get_added_tokens_decoder().values()} | {token.content for token in missing}
    for token in (*tokens.named.values(), *tokens.extra):
        content = token if isinstance(token, str) else token.content
        if content not in known:
            known.add(content)
            missing.append(token)
    names = {value if isinstance(value, str) else value.content for value in tokens.named.values()}
    found = [AddedToken(token, special=True) if isinstance(token, str) else token for token in missing]
    for token in found:
        token.special = token.special or token.content in names
    if found:
        backend.add_tokens(found)


# ---- assembly ----


def assemble(
    path: Path, *, lowercase: bool | None = None, strip_accents: bool | None = None, split_chinese: bool | None = None
) -> tuple[tokenizers.Tokenizer, TokenizerSettings]:
    """A folder or file -> the backend and its settings; the three rules of BERT, where given, replace those of the files.

    Raises:
        UserError: a class, field or form that would change ids and is not known; no tokenizer.
    """
    files = find_files(path)
    kind = _choose(files)
    given = {"do_lower_case": lowercase, "strip_accents": strip_accents, "tokenize_chinese_chars": split_chinese}
    changes = {key: value for key, value in given.items() if value is not None}
    _check_config(files)
    name = files.config.get("tokenizer_class") or (files.model or {}).get("tokenizer_class")
    convbert = str(name).startswith("ConvBert")  # tokenizer.json as it is, but BERT's inputs
    names = files.config.get("model_input_names", [] if kind == "json" and files.place.is_dir() and not convbert else INPUT_NAMES)
    settings = TokenizerSettings(
        segments="token_type_ids" in names
        and not ("DistilBert" in str(files.config.get("tokenizer_class")) and "model_input_names" not in files.config),
        clean_up=bool(files.config.get("clean_up_tokenization_spaces", False)),
        max_length=model_max_length(files.config),
        truncate_left=files.config.get("truncation_side") == "left",
    )
    return _bert(files, changes, settings) if kind == "bert" else _json(files, changes, settings)


def _check_config(files: Files) -> None:
    for field, remedy in (("split_special_tokens", "set it to false"), ("init_inputs", "remove it")):
        if files.config.get(field):
            raise UserError(f"{files.place}: tokenizer_config.json: {field} {files.config[field]} is not supported; {remedy}")


def model_max_length(config: Mapping[str, Any]) -> int:
    """tokenizer_config.json -> `model_max_length` (or the older `max_len`); 0 where it is not given, or is the huge number of 'no limit'."""
    length = config.get("model_max_length", config.get("max_len", 0))
    return int(length) if isinstance(length, int | float) and 3 < length < 1 << 20 else 0


def _bert(files: Files, changes: dict[str, Any], settings: TokenizerSettings) -> tuple[tokenizers.Tokenizer, TokenizerSettings]:
    source = files.rules or files.vocabulary
    if source is None:
        other = next((name for name in ("spiece.model", "tokenizer.model", "vocab.json") if (files.place / name).is_file()), "")
        raise UserError(f"{files.place}: {other or 'no vocabulary'}; expected tokenizer.json or vocab.txt of a WordPiece vocabulary")
    if files.rules is not None:
        model = _read_rules(files.rules).get("model", {})
        if model.get("type") not in ("WordPiece", None):
            raise UserError(
                f"{files.rules}: model {model.get('type')}, but the tokenizer_class is {files.config.get('tokenizer_class', 'BertTokenizer')}, "
                "whose vocabulary is WordPiece; set tokenizer_class PreTrainedTokenizerFast"
            )
        vocabulary = model["vocab"]
    else:
        vocabulary = read_vocabulary(source)
    config = files.config | changes
    for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        value = config.get(key)
        if not (isinstance(value, bool) or (value is None and (key == "strip_accents" or key not in config))):
            raise UserError(f"{files.place}/tokenizer_config.json: {key} is {value!r}; expected true or false")
    rules = {
        "lowercase": config.get("do_lower_case", True),
        "strip_accents": config.get("strip_accents"),
        "split_chinese": config.get("tokenize_chinese_chars", True),
    }
    if files.model is None and not files.configured and "do_lower_case" not in config:
        lowercase, accents, reason = judged_rules(vocabulary)
        rules |= {"lowercase": lowercase} | ({} if "strip_accents" in config else {"strip_accents": accents})
        settings = replace(settings, note=f"{source} has no configuration; it is read as {reason}")
    tokens = special_tokens(files, dict(zip(ROLES, SPECIAL_PIECES, strict=True)))
    roles = tuple(str(tokens.named.get(role, piece)) for role, piece in zip(ROLES, SPECIAL_PIECES, strict=True))
    listed = {str(token) for token in tokens.added.values()}
    missing = [f"{role} {token}" for role, token in zip(ROLES, roles, strict=True) if token not in vocabulary and token not in listed]
    if missing:
        name, token = missing[0].split(" ", 1)
        raise UserError(
            f"{source} is not a WordPiece vocabulary of ELECTRA or BERT: {token} is missing; expected one piece a line, {', '.join(roles)} too "
            f"({name} in tokenizer_config.json names another)"
        )
    backend = bert_backend(vocabulary, unk_token=roles[1], **rules)
    add_tokens(backend, tokens)
    bert_template(backend, roles[2], roles[3])
    return backend, replace(settings, roles=roles)


def _read_rules(path: Path) -> dict[str, Any]:
    values = _read_json(path)
    if "model" not in values:
        raise UserError(f"{path} is not a tokenizer.json: it has no 'model'")
    return values


def _json(files: Files, changes: dict[str, Any], settings: TokenizerSettings) -> tuple[tokenizers.Tokenizer, TokenizerSettings]:
    if files.rules is None:
        raise UserError(f"{files.place}: tokenizer_class {files.config.get('tokenizer_class')} needs a tokenizer.json; save the tokenizer as one")
    try:
        backend = tokenizers.Tokenizer.from_file(str(files.rules))
    except Exception as error:  # `tokenizers` raises bare Exception
        raise UserError(f"{files.rules} is not a tokenizer.json: {error}") from None
    check_ids(backend.get_vocab(with_added_tokens=True))
    if dropout := getattr(backend.model, "dropout", None):
        raise UserError(f"{files.rules}: model.dropout is {dropout}, which makes ids random; set it to null")
    if changes:
        _change_normalizer(backend, changes, files.rules)
    padding = backend.padding
    tokens = special_tokens(files, {"pad_token": padding["pad_token"]} if padding else {})
    add_tokens(backend, tokens)
    vocabulary = backend.get_vocab(with_added_tokens=True)
    missing = [role for role, piece in zip(ROLES, SPECIAL_PIECES, strict=True) if role not in tokens.named and piece not in vocabulary]
    if missing:
        piece = SPECIAL_PIECES[ROLES.index(missing[0])]
        raise UserError(f"{files.place}: the vocabulary lacks {piece}; name another {missing[0]} in tokenizer_config.json")
    roles = tuple(str(tokens.named.get(role, piece)) for role, piece in zip(ROLES, SPECIAL_PIECES, strict=True))
    if backend.post_processor is None and not files.configured:
        bert_template(backend, roles[2], roles[3])
    return backend, replace(settings, roles=roles)


def _change_normalizer(backend: tokenizers.Tokenizer, changes: dict[str, Any], where: Path) -> None:
    rules = json.loads(backend.to_str())
    normalizer = rules.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer":
        raise UserError(
            f"{where}: its normalizer is {normalizer.get('type', 'none')}, not BERT's; --lowercase, --strip-accents, --split-chinese do not apply"
        )
    keys = {"do_lower_case": "lowercase", "strip_accents": "strip_accents", "tokenize_chinese_chars": "handle_chinese_chars"}
    normalizer |= {keys[key]: value for key, value in changes.items()}
    backend.normalizer = tokenizers.Tokenizer.from_str(json.dumps(rules)).normalizer
