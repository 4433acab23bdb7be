"""Builds sdist and wheel, installs the wheel into a fresh environment per extra, and runs README.md's commands there.

    python tools/release_check.py                                       build, then every environment (`make release-check`)
    python tools/release_check.py --dist dist --extras runtime serve    check files that were built before
    python tools/release_check.py --dist dist --tag v0.2.0              and that their version is the tag's

Each environment holds the wheel with one extra and nothing of this clone. The commands are the lines of README.md that the extra supports, run
from an empty folder with small files of the names that README.md uses and a pre-training of a few steps; the lines that it does not support must be
refused in one line. `pipx` installs the extra `runtime` by pipx, with only the entry point `electra` on the path. Needs Python alone; without
--dist also the package `build`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = {
    "base": {"base"},
    "runtime": {"base", "runtime"},
    "serve": {"base", "runtime", "serve"},
    "train": {"base", "train"},
    "demo": {"base", "runtime", "serve", "train", "build"},
    "pipx": {"base", "runtime"},
}
"""Environment -> what it can do. `demo` is what `make` installs: all of README.md."""
NEEDED = {"vocab": "base", "prepare": "base", "predict": "runtime", "detect": "runtime", "embed": "runtime"}
NEEDED |= {"pretrain": "train", "finetune": "train", "build": "build", "serve": "serve", "curl": "serve"}
"""Command -> what it needs, except that a checkpoint needs `train`."""
STEPS = 20
"""In place of README.md's hour."""
ROWS = 400
SECONDS = 1800
"""One command may take so long."""


class Failed(Exception):
    """A command did not do what it should."""


def lines() -> list[str]:
    """README.md's command lines, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines() if line.startswith(("electra ", "curl "))]


def need(line: str) -> str:
    """What a command line needs."""
    words = shlex.split(line)
    name = words[1] if words[0] == "electra" else words[0]
    return "train" if name == "predict" and words[2].startswith("runs/") else NEEDED[name]


def run(words: list[str], folder: Path, environment: dict[str, str], code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command that must end with `code`."""
    try:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Failed(f"{shlex.join(words)}: not finished after {SECONDS} s") from None
    if done.returncode != code:
        raise Failed(f"{shlex.join(words)}: exit code {done.returncode}, expected {code}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done


def clean(path: str) -> dict[str, str]:
    """The environment variables of a new user: nothing of this Python."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "COV_", "COVERAGE_"))}
    return {**kept, "PATH": path + os.pathsep + os.defpath}


def build(out: Path) -> None:
    """The sdist from the clone, the wheel from the sdist."""
    done = subprocess.run([sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"python -m build: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")


def files(dist: Path, tag: str | None) -> tuple[Path, str]:
    """The wheel of a folder with one sdist and one wheel of the same version, and that version."""
    wheels, sdists = sorted(dist.glob("electra-*.whl")), sorted(dist.glob("electra-*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        raise Failed(f"{dist}: {len(wheels)} wheels and {len(sdists)} sdists of electra, expected one of each")
    version = sdists[0].name.removeprefix("electra-").removesuffix(".tar.gz")
    if wheels[0].name.split("-")[1] != version:
        raise Failed(f"{wheels[0].name} and {sdists[0].name} differ in their version")
    if tag is not None and tag != f"v{version}":
        raise Failed(f"the tag {tag} and the version {version} of {sdists[0].name} differ; is the tag on the commit that was built?")
    for file in (sdists[0], wheels[0]):
        print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB", flush=True)
    return wheels[0], version


def install(wheel: Path, extra: str, folder: Path, pins: list[str]) -> Path:
    """A new virtual environment with the wheel and an extra -> its folder of programs."""
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    wanted = f"{wheel}[{extra}]" if extra != "base" else str(wheel)
    run([str(programs / "python"), "-m", "pip", "install", "-q", *pins, wanted], folder, clean(str(programs)))
    return programs


def install_by_pipx(wheel: Path, folder: Path, pins: list[str]) -> Path:
    """pipx's own environment for the wheel with `runtime` -> the folder in which it puts entry points."""
    venv.create(folder / "pipx", with_pip=True)
    tool, programs = folder / "pipx" / "bin", folder / "programs"
    run([str(tool / "python"), "-m", "pip", "install", "-q", "pipx"], folder, clean(str(tool)))
    places = {"PIPX_HOME": str(folder / "venv"), "PIPX_BIN_DIR": str(programs), "PIPX_MAN_DIR": str(folder / "man")}
    words = [str(tool / "pipx"), "install", f"{wheel}[runtime]", *([f"--pip-args={shlex.join(pins)}"] if pins else [])]
    run(words, folder, clean(str(tool)) | places)
    if (found := sorted(path.name for path in programs.iterdir())) != ["electra"]:
        raise Failed(f"pipx put {', '.join(found) or 'nothing'} on the path, expected electra alone")
    return programs


def make_data(folder: Path) -> None:
    """README.md's input: corpus/, train.csv, dev.csv and new.csv, from this clone's pages and reviews."""
    (folder / "corpus").mkdir(parents=True)
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        shutil.copy(page, folder / "corpus" / f"{page.stem}.txt")
    for name, source, rows in (("train", "train", ROWS), ("dev", "dev", ROWS), ("new", "dev", 20)):
        reviews = (ROOT / "electra" / "recipes" / "demo" / "reviews" / f"{source}.tsv").read_text(encoding="utf-8").splitlines()[1 : rows + 1]
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([("review", "stars"), *(line.split("\t") for line in reviews)])


def ready(line: str, port: int) -> list[str]:
    """A command line of README.md as it is run here: a few steps, a free port."""
    line = line.replace("--budget 1h", f"--num-train-steps {STEPS}").replace("--port 8000", f"--port {port}").replace(":8000/", f":{port}/")
    return shlex.split(line)


def serve_and_ask(server: list[str], question: list[str], port: int, folder: Path, environment: dict[str, str]) -> str:
    """Start `electra serve`, ask it by curl, stop it -> the answer."""
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(server, cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                break
            if process.poll() is not None:
                raise Failed(f"{shlex.join(server)}: exit code {process.returncode}\n{(folder / 'serve.log').read_text()[-3000:]}")
            time.sleep(0.1)
        answer = run(question, folder, environment).stdout
        if not all(row["label"] and 0 <= row["score"] <= 1 for row in json.loads(answer)):
            raise Failed(f"{shlex.join(question)}: {answer[:300]}")
    finally:
        process.terminate()
        code = process.wait(60)
    if code:
        raise Failed(f"{shlex.join(server)}: exit code {code} after SIGTERM")
    return answer


def check(name: str, programs: Path, version: str, folder: Path) -> float:
    """Run what an environment supports, from `folder` -> seconds."""
    make_data(folder)
    environment, start = clean(str(programs)), time.monotonic()
    if (found := run(["electra", "--version"], folder, environment).stdout.strip()) != f"electra {version}":
        raise Failed(f"electra --version prints '{found}', the wheel's version is {version}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server: list[str] = []
    for line in lines():
        words, wanted, began = ready(line, port), need(line), time.monotonic()
        if wanted not in SUPPORTED[name]:
            if words[0] == "electra":
                error = run(words, folder, environment, code=2).stderr
                if error.count("\n") != 1:
                    raise Failed(f"{line}: refused in {error.count(chr(10))} lines, expected one\n{error}")
            continue
        if words[:2] == ["electra", "serve"]:
            server = words
            if not (folder / words[2]).exists():  # where no artifact can be built: the bundled one
                pack_bundled(programs.parent, folder / words[2])
            continue
        output = serve_and_ask(server, words, port, folder, environment) if words[0] == "curl" else run(words, folder, environment).stdout
        print(
            f"  {time.monotonic() - began:6.1f} s  {shlex.join(words)[:100]}  {output.strip().splitlines()[-1][:80] if output.strip() else ''}",
            flush=True,
        )
    return time.monotonic() - start


def pack_bundled(environment: Path, output: Path) -> None:
    """An installed electra's bundled classifier as an artifact in a .zip."""
    (source,) = environment.glob("lib/python*/site-packages/electra/bundled/sentiment")
    with zipfile.ZipFile(output, "w") as archive:
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(source))


def size(folder: Path) -> tuple[int, float]:
    """Packages and MB of an environment."""
    places = [str(path) for path in folder.rglob("site-packages")]
    names = {package.metadata["Name"] for package in importlib.metadata.distributions(path=places)}
    return len(names), sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def main() -> int:
    """Check every environment; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, help="folder with one sdist and one wheel (default: build them)")
    parser.add_argument("--extras", nargs="+", choices=SUPPORTED, default=list(SUPPORTED), help="environments to check (default: all)")
    parser.add_argument("--tag", help="the tag that the version must equal")
    parser.add_argument("--newest", action="store_true", help="install the newest allowed dependencies, not those of constraints.txt")
    args = parser.parse_args()
    pins, rows = [] if args.newest else ["--constraint", str(ROOT / "constraints.txt")], []
    with tempfile.TemporaryDirectory(prefix="electra-release-") as work:
        try:
            dist = args.dist or Path(work, "dist")
            if args.dist is None:
                build(dist)
            wheel, version = files(dist.resolve(), args.tag)
            for name in args.extras:
                folder, start = Path(work, name), time.monotonic()
                folder.mkdir()
                programs = install_by_pipx(wheel, folder, pins) if name == "pipx" else install(wheel, name, folder, pins)
                seconds, (packages, megabytes) = time.monotonic() - start, size(folder / "venv")
                print(f"{name}: {packages} packages, {megabytes:.0f} MB, installed in {seconds:.0f} s", flush=True)
                rows.append((name, packages, f"{megabytes:.0f}", f"{seconds:.0f}", f"{check(name, programs, version, folder / 'work'):.0f}"))
                shutil.rmtree(folder)
        except Failed as error:
            print(f"release_check: {error}", file=sys.stderr)
            return 1
    print("\n".join("| " + " | ".join(map(str, row)) + " |" for row in [("extra", "packages", "MB", "install s", "commands s"), ("---",) * 5, *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
