"""Files of texts -> a folder of parts with their answers, on disk or in an object store: `predict` and `embed` of more than one file.

    read the texts of each file in order, cut into parts                      (this process)
      -> answer each part: OUTPUT/00000-00000.jsonl, OUTPUT/done/...          (worker processes, or a Ray cluster)
      -> parts.json: rows, hashes, model, settings

A part depends on its texts, the model and the settings alone. So the folder is the same for any number of workers, on a cluster too, and after
any interruption: a part whose record has the key of its texts is not made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from electra import __version__, bundled, config
from electra.data import tables
from electra.data.sources import COMPRESSIONS, TEXT_ENDINGS, CorpusReport, Source, find_sources
from electra.data.vocabulary import UnknownWords
from electra.errors import UserError, parse_json, require
from electra.inference import text_io
from electra.inference.artifact import hub_layout, is_artifact
from electra.inference.predictor import Predictor, describe, load_for
from electra.inference.text_io import AnsweredText, NoTexts, Table, Text, TypedText
from electra.settings import EmbedSettings, PredictSettings
from electra.settings.sections import check_ray_address
from electra.storage import atomic, remote, resolve
from electra.tasks.data_warnings import TAGGED
from electra.terminal import ReadingProgress, say

if TYPE_CHECKING:
    from electra.data.prepare_chunk import Engine

Settings = PredictSettings | EmbedSettings

PART_CHARACTERS = 16 << 20
"""Characters of rows from which on a part is complete, however few they are."""
MANIFEST, PLAN, DONE = "parts.json", "begun.json", "done/"
"""In the folder: what is finished; what was begun; the records of parts until all are finished."""
PART_NAME = re.compile(r"(done/)?\d{5,}-\d{5,}\.\w+(\.json)?")
RECORDED_WORDS = 5
"""Unknown words in the record of a part."""
NOT_IN_PLAN = ("model", "file", "more", "output", "engine", "ray_address", "workers", "json")
"""Settings that change no byte of a part, or are in the plan in another form."""
PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, kw_only=True)
class PartsOfTexts:
    """What a command does with texts; it can be pickled for worker processes."""

    role: str
    """What the model must do, as in `electra.load`."""
    read: Callable[[Any, Predictor, str], Iterator[Text]]
    """Settings, model, file -> its texts."""
    answer: Callable[[Any, Predictor, Iterator[Text]], Iterator[AnsweredText]]
    """Settings, model, texts -> their answers, in order."""
    write: Callable[[Path, Iterator[AnsweredText], Table], object] = text_io.write_table
    """Answers -> a file."""
    describe: Callable[[Predictor], str] = describe
    """A model -> what it is, in a line."""
    default: str = "jsonl"
    """Format of a part where none is given."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A unit of work."""

    name: str
    """Its file in the folder."""
    texts: Sequence[Text]
    table: Table
    source: str
    """The file that it is from."""
    first_row: int
    """Number of its first text in that file, from 1."""
    key: str
    """Changes with the texts and their columns."""


# ---- the command line ----


def are_wanted(settings: Settings, file: str) -> bool:
    """Whether a command is to write a folder of parts: of several files, for a folder as output, or on a Ray cluster.

    Raises:
        UserError: settings contradict each other.
    """
    check_ray_address(settings.engine, settings.ray_address)
    output = settings.output
    named = file != "-" and not isinstance(file, TypedText)
    several = bool(settings.more) or (named and _is_pattern(file))
    many = several or (named and (remote.is_url(file) or (Path(file).is_dir() and not tables.is_saved(Path(file)))))
    if output is None:
        if several or settings.engine == "ray":
            what = "--engine ray" if settings.engine == "ray" else f"{file}: more than one file"
            raise UserError(f"{what} needs a folder for its answers; give --output FOLDER")
        _refuse_unused(settings)
        return False
    folder = remote.is_url(output) or output.endswith("/") or Path(output).is_dir()
    if not (many or folder or settings.engine == "ray"):
        _refuse_unused(settings)
        return False
    if PurePath(output).suffix.lower() in (*tables.FORMATS, ".npy") and not Path(output).is_dir():
        raise UserError(
            f"--output {output}: the answers here are a folder of parts, not a file; give the name of a folder, and the format as --format"
        )
    if not named:
        source = "a text" if isinstance(file, TypedText) else "standard input"
        raise UserError(
            f"--output {output} is a folder for the answers to files, and {source} is none; give files, or the name of a file as --output"
        )
    return True


def _refuse_unused(settings: Settings) -> None:
    for name in ("workers", "part_rows"):
        if name in config.given(settings):
            raise UserError(f"{config.flag_name(name)} has no effect on one file and one output; leave it out, or give --output FOLDER/")


def _kind_of(path: PurePath) -> str | None:
    """'table' or 'lines' by a file's name; None: it is none that is found in a folder."""
    ending = PurePath(path.stem).suffix if path.suffix.lower() in COMPRESSIONS else path.suffix
    if path.name in ("state.json", "dataset_info.json", "dataset_dict.json"):  # next to the files of a data set that was saved
        return None
    if ending.lower() in tables.FORMATS:
        return "table"
    return "lines" if ending.lower() in TEXT_ENDINGS or path.name.lower().removesuffix(".gz").endswith(TAGGED) else None


def find_files(names: Sequence[str], report: CorpusReport, output: str = "") -> list[Source]:
    """Files, folders (every table and text in them, by path), patterns and URLs of these -> the files, each once, in the order given; without
    those of the answers in `output`.

    Raises:
        UserError: a name does not exist, nothing is there, or a pattern has no file.
    """
    found: list[Source] = []
    for name in names:
        matches = _matching(name) if _is_pattern(name) else [name]
        for match in matches:
            if not remote.is_url(match) and (place := Path(match)).is_dir() and tables.is_saved(place):
                size = sum(file.stat().st_size for file in tables.parts(place))
                found.append(Source("table", place.name, place, size, named=True))
            else:
                found += find_sources([match], report, _kind_of)
    once: dict[str, Source] = {}  # a pattern such as d/** has folders, and what is in them again
    for source in found:
        once.setdefault(str(source.path) if source.path is not None else source.url, source)
    kept = [source for place, source in once.items() if not _is_inside(place, output)]
    report.total_bytes = sum(source.size_bytes for source in kept)
    return kept


def _is_inside(place: str, output: str) -> bool:
    """Whether a file is of the answers, in a folder of answers below the folder that is read."""
    if not output:
        return False
    if remote.is_url(place) or remote.is_url(output):
        return place.startswith(output.rstrip("/") + "/")
    return Path(place).resolve().is_relative_to(Path(output).resolve())


def _is_pattern(name: str) -> bool:
    # A question mark in a URL begins its parameters.
    return "*" in name if remote.is_url(name) else bool(PATTERN.search(name)) and not os.path.lexists(name)


def _matching(pattern: str) -> list[str]:
    if remote.is_url(pattern):
        system, path = remote.store(pattern)
        with remote.store_errors(pattern):
            matches = [str(system.unstrip_protocol(each)) for each in remote.retried(lambda: system.glob(path))]
    else:
        matches = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
    if not matches:
        raise UserError(f"no file matches {pattern}; check the pattern")
    return matches


def _model_files(source: str) -> tuple[Path, str, list[str]]:
    """A model -> a folder, the model's path in it ('': the folder), and the files in the folder that are read to load it."""
    if not is_artifact(source):
        folder = resolve.modules_folder(source, resolve.resolve(source))
        patterns = [pattern for pattern in resolve.FILES if not pattern.startswith("generator/")]
        names = [file.relative_to(folder).as_posix() for depth in ("*", "*/*") for file in folder.glob(depth) if file.is_file()]
        return folder, "", sorted(name for name in names if any(name.count("/") == p.count("/") and fnmatch(name, p) for p in patterns))
    place = bundled.located(source)
    if place.is_file() and hub_layout(place) is None:
        return place.parent, place.name, [place.name]
    folder = place.parent.parent if place.is_file() else place
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    return folder, place.relative_to(folder).as_posix() if place.is_file() else "", sorted(names)


# ---- files -> parts ----


def _parts(settings: Settings, command: PartsOfTexts, model: Predictor, files: Sequence[Source], report: CorpusReport) -> Iterator[Part]:
    """The texts of all files in order, cut; `report` counts them."""
    for number, source in enumerate(files):
        if source.size_bytes == 0:
            report.add("files without texts", source.name)
            continue
        with _on_disk(source) as path, without_texts(source, report):
            table, first_row = None, 1
            for index, (texts, size, digest) in enumerate(_cut(_texts(settings, command, model, source, path), settings.part_rows)):
                if table is None:
                    table = _table(settings, command, str(path), texts[0])
                about = json.dumps([table.format, table.separator, table.mark, str(table.schema), list(table.first.row), table.first.column])
                digest.update(about.encode())
                name = f"{number:05}-{index:05}.{table.format}"
                place = str(source.path or source.name)
                yield Part(name=name, texts=texts, table=table, source=place, first_row=first_row, key=digest.hexdigest())
                first_row += len(texts)
                report.documents += len(texts)
                report.text_bytes += size
        report.done_bytes += source.size_bytes


@contextlib.contextmanager
def without_texts(source: Source, report: CorpusReport) -> Iterator[None]:
    """A table without rows, or a compressed file of nothing, is counted; it does not end the reading of the others."""
    try:
        yield
    except NoTexts:
        report.add("files without texts", source.name)


@contextlib.contextmanager
def _on_disk(source: Source) -> Iterator[Path]:
    """A file of this machine, or of a store a temporary copy with the same suffixes."""
    if source.path is not None:
        yield source.path
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, PurePath(source.name).name)
        with source.open() as stream, path.open("wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
        yield path


def _texts(settings: Settings, command: PartsOfTexts, model: Predictor, source: Source, path: Path) -> Iterator[Text]:
    """The texts of a file; of a copy, places in messages name the original."""
    try:
        for text in command.read(settings, model, str(path)):
            yield text if source.path is not None else dataclasses.replace(text, place=text.place.replace(str(path), source.name))
    except UserError as error:
        if source.path is not None or isinstance(error, NoTexts):
            raise
        raise UserError(str(error).replace(str(path), source.name)) from None


def _cut(texts: Iterator[Text], rows: int) -> Iterator[tuple[list[Text], int, Any]]:
    """Texts -> lists of at most `rows`, their size in characters and the hash of what is in them."""
    held, size, digest = list[Text](), 0, hashlib.blake2b(digest_size=16)
    for text in texts:
        content = json.dumps([text.text, text.pair, text.words, text.row], default=repr).encode()
        digest.update(content)
        held.append(text)
        size += len(content)
        if len(held) == rows or size >= PART_CHARACTERS:
            yield held, size, digest
            held, size, digest = [], 0, hashlib.blake2b(digest_size=16)
    if held:
        yield held, size, digest


def _table(settings: Settings, command: PartsOfTexts, file: str, first: Text) -> Table:
    chosen = command.default if settings.format == "auto" else str(settings.format)
    if chosen == "input":
        chosen = text_io.format_of_input(file, settings.kind)
    names = dataclasses.replace(first, text="", pair=None, words=None, row=dict.fromkeys(first.row))
    return text_io.table_of(chosen, file, names, like_input=settings.format == "input")


# ---- a part -> its file, in any process ----


def start_answering(
    command: PartsOfTexts, settings: Settings, source: str, files: Mapping[str, bytes] | None = None
) -> Callable[[Part], tuple[bytes, dict[str, Any]]]:
    """Load the model -> the function that answers a part.

    Args:
        command: what it does with texts.
        settings: of the command.
        source: the model; where there are `files`, its path among them.
        files: path -> content, for a machine that does not see the model's folder.
    """
    if files is None:
        return partial(answer_part, command, settings, load_for(settings, source, command.role))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return partial(answer_part, command, settings, load_for(settings, Path(folder, source), command.role))


def answer_part(command: PartsOfTexts, settings: Settings, model: Predictor, part: Part) -> tuple[bytes, dict[str, Any]]:
    """A part -> the content of its file, and its record for the manifest."""
    unknown = UnknownWords(model.tokenizer)
    unknown.add([one for text in part.texts for one in (text.text, text.pair or "")])
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()) as said:
        path = Path(folder, part.name)
        command.write(path, command.answer(settings, model, iter(part.texts)), part.table)
        content = path.read_bytes()
    return content, {
        "file": part.name,
        "source": part.source,
        "first_row": part.first_row,
        "rows": len(part.texts),
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "key": part.key,
        "remarks": said.getvalue().splitlines(),
        **unknown.record(RECORDED_WORDS),
    }


def store_part(answered: tuple[bytes, dict[str, Any]], output: str) -> None:
    """Write a part, then its record."""
    content, record = answered
    remote.write_bytes(remote.join(output, record["file"]), content)
    remote.write_text(remote.join(output, f"{DONE}{record['file']}.json"), json.dumps(record, ensure_ascii=False))


# ---- the folder ----


@dataclass
class PartsFolder:
    """The output folder: what it was begun with, and the records of its parts."""

    place: str
    plan: Mapping[str, Any]
    records: dict[str, dict[str, Any]]
    """Name of a part -> its record, of parts whose file is there."""
    fresh: bool
    """Whether nothing was there."""
    finished: bool
    """Whether it has a manifest."""

    def fits(self, part: Part) -> bool:
        """Whether a part is there and was made of the same texts."""
        return self.records.get(part.name, {}).get("key") == part.key

    def update(self, part: Part) -> None:
        """Write where a part's texts are now, in a record of the same texts: a file may have another name."""
        record = self.records[part.name]
        if (record["source"], record["first_row"]) != (part.source, part.first_row):
            self.reopen("")
            self._write(f"{DONE}{part.name}.json", {**record, "source": part.source, "first_row": part.first_row})

    def reopen(self, name: str) -> None:
        """Make the folder one that is not finished, and a part that was there one that is not."""
        if self.finished:
            self._write(PLAN, {"settings": self.plan, "parts": list(self.records.values())})
            remote.remove_files(self.place, [MANIFEST])
            self.finished = False
        if name in self.records:  # its file is about to change, and its record no longer says what is in it
            self._write(f"{DONE}{name}.json", {})

    def finish(self, names: Sequence[str], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Write the manifest and remove all that is not part of the folder any more -> the records of the parts."""
        if not self.finished or list(self.records) != [*names]:
            found = _records(self.place, remote.file_sizes(self.place))
            self.records = {name: found[name] for name in names}
            rows = sum(record["rows"] for record in self.records.values())
            self._write(MANIFEST, {**facts, "rows": rows, "parts": list(self.records.values())})
        sizes = remote.file_sizes(self.place)
        remote.remove_files(self.place, [name for name in sizes if name == PLAN or (PART_NAME.fullmatch(name) and name not in self.records)])
        return list(self.records.values())

    def undo(self) -> None:
        """After an error: leave nothing in a folder that was fresh and has no finished part."""
        sizes = remote.file_sizes(self.place)
        if self.fresh and not any(name.startswith(DONE) for name in sizes):
            remote.remove_files(self.place, list(sizes))
            if not remote.is_url(self.place) and Path(self.place).is_dir():
                Path(self.place).rmdir()

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        remote.write_text(remote.join(self.place, name), json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _records(place: str, sizes: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """The records of a folder's parts whose files are there, in order."""
    names = [name for name in sizes if name.startswith(DONE) and PART_NAME.fullmatch(name)]
    noted = next((name for name in (MANIFEST, PLAN) if name in sizes), None)
    found: dict[str, dict[str, Any]] = {}
    if noted is not None:
        found = {record["file"]: record for record in _object(place, noted)["parts"]}
    if noted != MANIFEST:
        for name, text in zip(names, remote.read_files(place, names), strict=True):
            with contextlib.suppress(ValueError):  # a record that cannot be read: its part is made again
                record = parse_json(text)
                found[name.removeprefix(DONE).removesuffix(".json")] = record if _is_record(record) else {}
    return {name: found[name] for name in sorted(found) if found[name] and sizes.get(name) == found[name]["size_bytes"]}


def _is_record(record: Any) -> bool:
    """Whether it is the record of a part, with every value that is read here."""
    kinds = dict.fromkeys(("file", "source", "sha256", "key"), str) | dict.fromkeys(("rows", "size_bytes", "tokens", "unknown_tokens"), int)
    return isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in (kinds | {"remarks": list}).items())


def _object(place: str, name: str) -> dict[str, Any]:
    """A JSON file of the folder."""
    try:
        values = parse_json(remote.read_files(place, [name])[0])
        whole = isinstance(values["model"]["name"], str) if name == MANIFEST else True
        if whole and isinstance(values["settings"], dict) and all(map(_is_record, values["parts"])):
            return dict(values)
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{remote.join(place, name)} is no record of parts; choose another --output, or delete the folder first")


def open_folder(output: str, plan: Mapping[str, Any]) -> PartsFolder:
    """A new folder, or one that was begun with the same plan.

    Raises:
        UserError: other settings, something else is there, or it cannot be written.
    """
    if not remote.is_url(output):
        atomic.remove_partial(Path(output), Path(output, DONE))
    sizes = remote.file_sizes(output)
    plan = json.loads(json.dumps(plan))
    noted = next((name for name in (MANIFEST, PLAN) if name in sizes), None)
    if noted is None or (sizes.keys() == {PLAN} and not _object(output, PLAN)["parts"]):
        if noted is None:
            remote.fresh_output(output, remedy="choose another --output")
        folder = PartsFolder(output, plan, {}, fresh=True, finished=False)
        folder._write(PLAN, {"settings": plan, "parts": []})
        return folder
    begun = _object(output, noted)["settings"]
    for key, value in plan.items():
        if (was := begun.get(key)) != value:
            raise UserError(f"{output} was begun with {key} = {was!r}, not {value!r}; give the same settings to continue, or another --output")
    return PartsFolder(output, plan, _records(output, sizes), fresh=False, finished=noted == MANIFEST)


def describe_parts(place: str) -> dict[str, Any]:
    """A folder of parts, local or in a store -> what is in it, for `electra inspect`.

    Raises:
        UserError: it is damaged.
    """
    sizes = remote.file_sizes(place)
    finished = MANIFEST in sizes
    noted, records = _object(place, MANIFEST if finished else PLAN), list(_records(place, sizes).values())
    unknown = {name: sum(record[name] for record in records) for name in ("tokens", "unknown_tokens")}
    return {
        "kind": "parts",
        "path": place,
        "status": "finished" if finished else "unfinished: the same command continues",
        **({"model": noted["model"]["name"]} if finished else {}),
        "rows": sum(record["rows"] for record in records),
        "num_parts": len(records),
        "num_files": len({(record["file"].partition("-")[0]) for record in records}),
        "size_bytes": sum(record["size_bytes"] for record in records),
        **unknown,
        "settings": noted["settings"],
    }


def damaged_parts(place: str) -> list[str]:
    """A line for each part of a finished folder that is missing or changed."""
    lines, sizes = [], remote.file_sizes(place)
    for record in _object(place, MANIFEST)["parts"]:
        name = remote.join(place, record["file"])
        if record["file"] not in sizes:
            lines.append(f"{name} is missing")
        elif hashlib.sha256(remote.read_files(place, [record["file"]])[0]).hexdigest() != record["sha256"]:
            lines.append(f"{name} has changed since it was written")
    return lines


# ---- all of it ----


def answer_files(settings: Settings, file: str, command: PartsOfTexts) -> None:
    """Answer the texts of all files given into the folder `settings.output`; interrupted work continues.

    Raises:
        UserError: a file or the model cannot be read, the folder was begun with other settings, or has something else in it.
    """
    settings = dataclasses.replace(settings, threads=settings.threads or 1)
    output, names = str(settings.output), (file, *settings.more)
    if settings.format == "parquet":
        require("pyarrow.parquet", "data")
    report = CorpusReport()
    files = find_files(names, report, output)
    for source in files:
        if source.path is not None and source.size_bytes:
            text_io.check_readable(str(source.path), settings.kind)
        if settings.format == "input" and source.size_bytes:
            text_io.format_of_input(str(source.path or source.name), settings.kind)
    model = load_for(settings, settings.model, command.role)
    folder, entry, model_names = _model_files(settings.model)
    hashes = {name: atomic.sha256(folder / name) for name in model_names}
    plan = {key: value for key, value in dataclasses.asdict(settings).items() if key not in NOT_IN_PLAN}
    plan |= {"command": command.role, "tool_version": __version__, "sources": names, "model": hashlib.sha256(repr(hashes).encode()).hexdigest()}
    made = open_folder(output, plan)
    start = partial(_start, settings, command, model, (folder, entry, model_names))
    try:
        found = _answer_all(_parts(settings, command, model, files, report), made, start, report)
    except BaseException as error:
        with contextlib.suppress(UserError):
            made.undo()
        if isinstance(error, KeyboardInterrupt):
            say("stopped; finished parts are kept, run the same command to continue")
        raise
    if not found:
        made.undo()
        raise UserError(f"{', '.join(names)}: no file has a text; give files with texts")
    about = {"name": settings.model, "description": command.describe(model), "sha256": hashes}
    facts = {"format": "electra-parts", "tool_version": __version__, "model": about, "problems": report.problems, "settings": made.plan}
    records = made.finish(found, facts)
    unknown = UnknownWords(model.tokenizer)
    for record in records:
        unknown.add_record(record)
    remarks = dict.fromkeys(line for record in records for line in record["remarks"])
    for line in (*remarks, *unknown.lines(), *(f"warning: {line}" for line in report.lines()), about["description"]):
        say(line)
    rows = sum(record["rows"] for record in records)
    if settings.json:
        print(json.dumps({"output": output, "rows": rows, "parts": len(records)}))
    else:
        say(f"{output}: {rows:,} rows in {len(records):,} part{'s' * (len(records) != 1)}")


def _answer_all(parts: Iterator[Part], made: PartsFolder, start: Callable[[], Engine], report: CorpusReport) -> list[str]:
    """Make the parts that are missing -> the names of all."""
    names: list[str] = []
    engine: Engine | None = None
    with ReadingProgress(report, f"answering {made.place}") as progress:
        try:
            for part in parts:
                if made.fits(part):
                    made.update(part)
                else:
                    made.reopen(part.name)
                    engine = engine or start()
                    engine.submit(part, made.place)
                names.append(part.name)
                progress.show()
        except BaseException:
            if engine is not None:
                engine.close(failed=True)
            raise
        if engine is not None:
            engine.close(failed=False)
    return names


def _start(settings: Settings, command: PartsOfTexts, model: Predictor, place: tuple[Path, str, list[str]]) -> Engine:
    """Where parts are answered. A model of this process answers where no others work."""
    folder, entry, names = place
    workers = settings.workers or (1 if settings.engine == "local" and getattr(model.backend, "device", "cpu") != "cpu" else 0)
    if settings.engine == "ray":
        files = {name: (folder / name).read_bytes() for name in names}
        begin = partial(start_answering, command, settings, entry, files)
    else:
        begin = partial(start_answering, command, settings, str(folder / entry))
    # Imported here: one file and one output need neither.
    from electra.data.prepare import start_engine
    from electra.data.prepare_chunk import Work

    work = Work(start=begin, store=store_part, noun="part", on_gpus=not is_artifact(settings.model))
    if settings.engine == "local" and workers == 1:
        work = dataclasses.replace(work, start=lambda: partial(answer_part, command, settings, model))
    return start_engine(work, settings.engine, ray_address=settings.ray_address, workers=workers, threads=settings.threads)
