"""Official archives read like the folders in them; hostile ones are refused and leave nothing."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from electra.benchmark import auto_target
from electra.cli import main
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.tasks import evaluate, hub_datasets
from electra.tasks.registry import TASKS

ROWS = "sentence\tlabel\na good film\t1\na bad film\t0\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELECTRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def zipped(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    return path


def tarred(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as bundle:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            bundle.addfile(entry, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("prefix", ["", "SST-2/", "glue/SST-2/", "./SST-2/"])
def test_an_archive_is_its_folder(make: object, prefix: str, tmp_path: Path) -> None:
    files = {f"{prefix}{split}.tsv": ROWS for split in ("train", "dev")} | {"__MACOSX/._train.tsv": "x", f"{prefix}.DS_Store": "x"}
    path = make(tmp_path / ("SST-2.zip" if make is zipped else "SST-2.tar.gz"), files)  # type: ignore[operator]
    task = TASKS["sst2"]
    for _ in range(2):
        place = hub_datasets.local(task, path)
        assert [(e.text, e.label) for e in task.read(place, "dev")] == [("a good film", "1"), ("a bad film", "0")]


def test_several_tasks_in_one_archive(tmp_path: Path) -> None:
    path = zipped(tmp_path / "glue.zip", {"glue/SST-2/train.tsv": ROWS, "glue/CoLA/train.tsv": "x\t1\t\tfine\n"})
    assert len(TASKS["sst2"].read(hub_datasets.local(TASKS["sst2"], path), "train")) == 2
    assert TASKS["cola"].read(hub_datasets.local(TASKS["cola"], path), "train")[0].text == "fine"


@pytest.mark.parametrize("name", ["../train.tsv", "/etc/train.tsv", "a/../../train.tsv", "..\\train.tsv", "C:train.tsv"])
@pytest.mark.parametrize("make", [zipped, tarred])
def test_names_that_lead_outside(make: object, name: str, tmp_path: Path, cache: Path) -> None:
    path = make(tmp_path / ("a.zip" if make is zipped else "a.tgz"), {name: ROWS})  # type: ignore[operator]
    with pytest.raises(UserError, match="the unsafe name"):
        hub_datasets.unpacked(path)
    assert not list(tmp_path.rglob("train.tsv")) and not list(cache.rglob("*.zip-*/*"))


def test_links_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as bundle:
        link = tarfile.TarInfo("train.tsv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        bundle.addfile(link)
    with pytest.raises(UserError, match="contains no data"):
        hub_datasets.unpacked(path)


@pytest.mark.parametrize("cut", [10, 60])
@pytest.mark.parametrize("make", [zipped, tarred])
def test_damaged_archives(make: object, cut: int, tmp_path: Path, cache: Path) -> None:
    path = make(tmp_path / ("a.zip" if make is zipped else "a.tgz"), {"train.tsv": ROWS * 50})  # type: ignore[operator]
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UserError, match="is damaged or not an archive"):
        hub_datasets.unpacked(path)
    assert not [place for place in cache.rglob("*") if place.is_file()]


def test_an_archive_that_grows_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_datasets, "MOST_BYTES", 1000)
    monkeypatch.setattr(hub_datasets, "BLOCK", 100)
    with pytest.raises(UserError, match="unpacks to more than"):
        hub_datasets.unpacked(zipped(tmp_path / "a.zip", {"train.tsv": "x" * 2000}))


def test_a_changed_archive_is_unpacked_anew(tmp_path: Path) -> None:
    path = zipped(tmp_path / "SST-2.zip", {"train.tsv": ROWS})
    first = hub_datasets.unpacked(path)
    zipped(path, {"train.tsv": ROWS + "more\t1\n"})
    assert hub_datasets.unpacked(path) != first


@pytest.mark.realdata
def test_conll_as_it_is_distributed(data_root: Path, tmp_path: Path) -> None:
    for name in ("train.txt", "test.txt"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((data_root / "conll2000" / name).read_bytes()))
    task = TASKS["chunk"]
    for split in ("train", "dev"):
        assert task.read(tmp_path, split) == task.read(data_root / "conll2000", split)
    (tmp_path / "test.txt.gz").write_bytes((tmp_path / "test.txt.gz").read_bytes()[:-20])
    with pytest.raises(UserError, match="is damaged"):
        task.read(tmp_path, "dev")


def test_a_command_takes_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tiny_models import checkpoints

    path = zipped(tmp_path / "SST-2.zip", {f"SST-2/{split}.tsv": ROWS for split in ("train", "dev")})
    words = ["finetune", "sst2", "--model", str(checkpoints()["discriminator"]), "--data", str(path), "--num-train-steps", "2", "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--task", "sst2", "--data", str(path)]) == 0
    path.write_bytes(b"PK nothing")
    assert main([*words, "--output", str(tmp_path / "again")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("electra: ") and not (tmp_path / "again").exists()


def test_data_of_evaluate_compare_and_build_may_be_an_archive(tmp_path: Path) -> None:
    path = tarred(tmp_path / "SST-2.tar.gz", {"SST-2/train.tsv": ROWS, "SST-2/dev.tsv": ROWS})
    place = evaluate.data_place(TASKS["sst2"], str(path))
    assert (place / "dev.tsv").read_text() == ROWS
    lines: list[str] = []
    settings = EvaluateSettings(model="unused", task="sst2", data=(str(path),))
    assert auto_target.training_texts(settings, lines.append) == ["a good film", "a bad film"] and not lines
    (place / "train.tsv").write_text("no header of GLUE\n")
    assert auto_target.training_texts(settings, lines.append) == [] and "train.tsv" in lines[0]
