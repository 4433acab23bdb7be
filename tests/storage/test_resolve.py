"""A run directory as a model: its best checkpoint, the one model of a run of several tasks, or a line that names them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance import case

from electra import cli
from electra.errors import UserError
from electra.inference.inspect import describe
from electra.storage import remote, resolve

RUNS = Path(__file__).parents[1] / "fixtures" / "v0.1" / "runs"


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["config.json", "best/config.json"], ""),
        (["best/config.json", "final/config.json", "seed-1/final/config.json"], "best"),
        (["final/config.json", "checkpoints/step-00000001/config.json"], "final"),
        (["checkpoints/step-00000001/config.json", "checkpoints/step-00000002/config.json"], "checkpoints/step-00000002"),
        (["best/sst2/config.json", "results.json", "sst2/seed-1/best/config.json"], "best/sst2"),
        (["sst2/best/config.json", "results.json"], "sst2/best"),
    ],
)
def test_a_run_is_its_best_model(files: list[str], found: str, tmp_path: Path) -> None:
    make(tmp_path, *files)
    assert resolve.resolve(tmp_path) == tmp_path / found


@pytest.mark.parametrize("files", [["best/rte/config.json", "best/sst2/config.json"], ["rte/best/config.json", "sst2/best/config.json"]])
def test_models_of_several_tasks_are_named(files: list[str], tmp_path: Path) -> None:
    run = make(tmp_path / "run", *files, "results.json", "generator/config.json")
    names = " ".join(f"{run}/{file.removesuffix('/config.json')}," for file in files).rstrip(",")
    with pytest.raises(UserError, match=f"{run} has the models of 2 tasks; give one of {names}"):
        resolve.resolve(run)
    assert [str(model) for model in resolve.local_models(run)] == names.split(", ")


def test_folders_that_are_not_runs_hold_no_model(tmp_path: Path) -> None:
    make(tmp_path, "sst2/best/config.json", "other/config.json")
    with pytest.raises(UserError, match=r"is not a checkpoint: it has no config\.json"):
        resolve.resolve(tmp_path)


@pytest.mark.parametrize(
    ("run", "models"), [("several", ["best/rte", "best/sst2"]), ("suite", ["rte/best", "sst2/best"]), ("search", ["sst2/best"]), ("seeds", [])]
)
def test_runs_of_version_0_1(run: str, models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = describe(str(RUNS / run))
    assert found["status"] == "finished" and found.get("models", []) == [str(RUNS / run / model) for model in models]
    assert cli.main(["predict", str(RUNS / run), "a good film"]) == (2 if len(models) > 1 else 0)
    assert ("has the models of 2 tasks" in capsys.readouterr().err) == (len(models) > 1)


FORMS = {
    "sharded safetensors": ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    "sharded pytorch_model.bin": [
        "config.json",
        "pytorch_model.bin.index.json",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ],
    "pytorch_model.bin": ["config.json", "pytorch_model.bin"],
    "model.safetensors": ["config.json", "model.safetensors"],
}
OTHERS = ["tf_model.h5", "flax_model.msgpack", "rust_model.ot", "training_args.bin", "optimizer.pt"]


@pytest.mark.parametrize("names", [case(names, form=form, where=("URL", "hub"), outcome="exact") for form, names in FORMS.items()])
def test_all_files_of_a_form_are_fetched(names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a store as from the hub; files of other libraries are not."""
    hub = pytest.importorskip("huggingface_hub.utils")
    monkeypatch.setenv("ELECTRA_CACHE", str(tmp_path / "cache"))
    url = f"memory://forms-{tmp_path.name}"
    for name in (*names, "vocab.txt", *OTHERS):
        remote.write_text(f"{url}/{name}", "{}")
    folder = resolve.resolve(url)
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == sorted([*names, "vocab.txt"])
    assert sorted(hub.filter_repo_objects([*names, "vocab.txt", *OTHERS], allow_patterns=resolve.FILES)) == sorted([*names, "vocab.txt"])
