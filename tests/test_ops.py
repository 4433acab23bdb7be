"""The container file, the systemd unit, ops/README.md and the workflows use only instructions, flags, targets and files that exist."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from electra.command_line import from_command_line
from electra.errors import UserError
from electra.settings import ServeSettings

sys.path.insert(0, str(ROOT / "tools"))
import release_check

OPS = ROOT / "ops"
INSTRUCTIONS = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the container file, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (OPS / "Containerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def last(name: str) -> str:
    """The arguments of the last instruction of a name."""
    return [rest for found, rest in instructions() if found == name][-1]


def settings(words: list[str]) -> ServeSettings:
    parsed = from_command_line(ServeSettings, words, "electra serve")
    assert isinstance(parsed, ServeSettings)
    return parsed


def unit() -> dict[str, dict[str, list[str]]]:
    """Section -> key -> its values; systemd allows a key several times."""
    out: dict[str, dict[str, list[str]]] = {}
    for line in (OPS / "electra.service").read_text().splitlines():
        if line.startswith("["):
            section = out.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return out


def test_container_serves_with_flags_that_exist() -> None:
    assert {name for name, _ in instructions()} <= INSTRUCTIONS
    entry = json.loads(last("ENTRYPOINT"))
    assert entry == ["electra", "serve"]
    parsed = settings(json.loads(last("CMD")))
    assert parsed.models == ("model=/model",) and parsed.host == "0.0.0.0"
    assert last("EXPOSE") == str(parsed.port)
    assert f":{parsed.port}/health" in last("HEALTHCHECK") and last("USER") == "65532:65532"
    command = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    compile(command[2], "HEALTHCHECK", "exec")


def test_container_installs_what_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = next(rest for name, rest in instructions() if name == "ARG" and rest.startswith("EXTRAS=")).removeprefix("EXTRAS=")
    assert extras == "serve" and extras in project["optional-dependencies"]
    assert "--constraint constraints.txt" in " ".join(rest for name, rest in instructions() if name == "RUN")
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
    python = next(rest for name, rest in instructions() if name == "ARG" and rest.startswith("PYTHON="))
    assert f"Python :: {python.removeprefix('PYTHON=')}" in " ".join(project["classifiers"])


def test_unit_serves_with_flags_that_exist() -> None:
    service = unit()["Service"]
    (command,) = service["ExecStart"]
    words = shlex.split(command)
    assert words[1] == "serve"
    parsed = settings(words[2:])
    assert str(parsed.token_file) == "%d/" + service["LoadCredential"][0].partition(":")[0]
    assert service["SocketBindAllow"] == [f"tcp:{parsed.port}"] and parsed.host == "127.0.0.1"
    assert int(service["TimeoutStopSec"][0]) > parsed.timeout, "accepted requests need time to be answered"
    for key, value in {
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "MemoryMax": "2G",
    }.items():
        assert service[key] == [value]


def test_replicas_serve_with_flags_that_exist() -> None:
    """Kubernetes' file: flags, ports and paths that fit, without privileges."""
    yaml = pytest.importorskip("yaml", reason="no PyYAML")
    deployment, service = yaml.safe_load_all((OPS / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    parsed = settings(container["args"])
    places = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert parsed.models == (f"model={places['model']['mountPath']}",) and places["model"]["readOnly"]
    assert parsed.token_file is not None and str(parsed.token_file.parent) == places["token"]["mountPath"]
    (port,) = container["ports"]
    assert port["containerPort"] == parsed.port and parsed.host == "0.0.0.0" and service["spec"]["ports"][0]["targetPort"] == port["name"]
    probes = [container[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert probes == [{"path": "/health", "port": port["name"]}] * 3
    assert str(parsed.threads) == container["resources"]["limits"]["cpu"] and pod["terminationGracePeriodSeconds"] > parsed.timeout + 5
    assert pod["securityContext"]["runAsUser"] == int(last("USER").partition(":")[0]) and container["securityContext"]["readOnlyRootFilesystem"]
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"] == service["spec"]["selector"]


def test_readme_runs_with_flags_that_exist() -> None:
    text = re.sub(r"\\\n\s*", "", (OPS / "README.md").read_text())
    commands = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("podman run ")]
    assert len(commands) == 2
    for words in commands:
        own = words[words.index("electra-serve") + 1 :]
        parsed = settings(own or json.loads(last("CMD")))
        mounted = [word.split(":")[1] for word in words if ":ro" in word]
        assert sorted(mounted) == sorted(model.partition("=")[2] for model in parsed.models)


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(UserError, match="--no-such-flag"):
        settings(["model=/model", "--no-such-flag", "1"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    text = (OPS / "electra.service").read_text()
    copy = tmp_path / "electra.service"
    copy.write_text(text.replace("/opt/electra/bin/electra", sys.executable))
    found = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert found.returncode == 0 and "electra.service" not in found.stderr, found.stderr
    rated = subprocess.run(["systemd-analyze", "security", "--offline=true", copy], capture_output=True, text=True)
    if "unrecognized option" in rated.stderr:  # older than 250
        pytest.skip("systemd-analyze has no --offline")
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated.stdout)
    assert exposure and float(exposure.group(1)) <= 1.5, rated.stdout[-500:]


def test_unit_is_an_ini_file() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string((OPS / "electra.service").read_text())
    assert parser.sections() == ["Unit", "Service", "Install"]


# ---- workflows and forms of GitHub ----

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
SCHEMAS = {"workflows": "vendor.github-workflows", "ISSUE_TEMPLATE": "vendor.github-issue-forms", "config.yml": "vendor.github-issue-config"}


def program(name: str) -> str:
    """A program of the package of this name in this environment, or a skip."""
    found = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.defpath)))
    return found or pytest.skip(f"{name} is not installed: pip install {name}")


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    """The jobs of a workflow."""
    yaml = pytest.importorskip("yaml", reason="no PyYAML")
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return found


def scripts(path: Path) -> list[str]:
    """The shell scripts of a workflow, each expression of GitHub as one word."""
    return [re.sub(r"\$\{\{.*?\}\}", "word", step["run"]) for job in jobs(path).values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", [*WORKFLOWS, *FORMS], ids=lambda path: path.name)
def test_a_file_of_github_has_the_form_of_its_schema(path: Path) -> None:
    schema = SCHEMAS.get(path.name, SCHEMAS[path.parent.name])
    done = subprocess.run([program("check-jsonschema"), "--builtin-schema", schema, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_no_weakness_in_the_workflows(tmp_path: Path) -> None:
    """Unpinned actions, too many permissions, values of others in scripts, kept credentials."""
    words = [program("zizmor"), "--offline", "--no-progress", "--quiet"]
    done = subprocess.run([*words, *WORKFLOWS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    weak = tmp_path / "weak.yml"
    weak.write_text(re.sub(r"checkout@[0-9a-f]{40}", "checkout@main", WORKFLOWS[0].read_text(encoding="utf-8")), encoding="utf-8")
    assert "unpinned-uses" in subprocess.run([*words, weak], capture_output=True, text=True).stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_of_a_workflow_are_valid_and_what_they_call_exists(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for script in scripts(path):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        assert set(re.findall(r"^\s*make ([a-z-]+)", script, re.M)) <= set(targets), script
        named = re.findall(r"(?<![\w/.])((?:tools|ops|tests|bench|docs)/[\w./-]+|constraints\.txt)", script)
        assert all((ROOT / name).exists() for name in named), script
        for words in re.findall(r"^\s*python (tools/\w+\.py .*)$", script, re.M):
            flags, text = re.findall(r"(--[a-z-]+)", words), (ROOT / words.split()[0]).read_text(encoding="utf-8")
            assert all(f'"{flag}"' in text for flag in flags), words


def test_workflows_test_the_supported_pythons_and_ask_for_few_permissions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    supported = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    found = {path.stem: jobs(path) for path in WORKFLOWS}
    assert found["ci"]["test"]["strategy"]["matrix"]["python"] == supported
    assert [script for script in scripts(ROOT / ".github" / "workflows" / "ci.yml") if "make" in script] == ["make audit", "make test JOBS=4"]
    for name, job in ((f"{stem}/{name}", job) for stem, each in found.items() for name, job in each.items()):
        writes = {scope for scope, access in job["permissions"].items() if access == "write"}
        assert job["timeout-minutes"] <= 120 and writes <= ALLOWED_TO_WRITE.get(name, set()), name
        assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in job["steps"] if "uses" in step), name


ALLOWED_TO_WRITE = {
    "docs/publish": {"pages", "id-token"},
    "release/attest": {"id-token", "attestations"},
    "release/publish": {"id-token"},
    "release/image": {"packages", "id-token", "attestations"},
}


def test_the_release_checks_every_environment_of_the_readme() -> None:
    """The commands of README.md are known to the check, and the extras of the workflow are those that it has."""
    found = jobs(ROOT / ".github" / "workflows" / "release.yml")
    assert found["test"]["strategy"]["matrix"]["extra"] == list(release_check.SUPPORTED)
    assert {"test"} == {found["attest"]["needs"], found["image"]["needs"]} and found["publish"]["needs"] == "attest"
    needs = [release_check.need(line) for line in release_check.lines()]
    assert set(needs) == release_check.SUPPORTED["demo"] and len(needs) >= 10
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(release_check.SUPPORTED) - {"base", "pipx"} <= set(extras)


def test_files_of_another_version_than_the_tag_are_not_released(tmp_path: Path) -> None:
    for name in ("electra-0.2.0.tar.gz", "electra-0.2.0-py3-none-any.whl"):
        (tmp_path / name).touch()
    assert release_check.files(tmp_path, "v0.2.0") == (tmp_path / "electra-0.2.0-py3-none-any.whl", "0.2.0")
    with pytest.raises(release_check.Failed, match="differ; is the tag on the commit"):
        release_check.files(tmp_path, "v0.3.0")
    (tmp_path / "electra-0.2.0.tar.gz").rename(tmp_path / "electra-0.2.1.tar.gz")
    with pytest.raises(release_check.Failed, match="differ in their version"):
        release_check.files(tmp_path, None)
    (tmp_path / "electra-0.2.0-py3-none-any.whl").unlink()
    with pytest.raises(release_check.Failed, match="0 wheels and 1 sdists"):
        release_check.files(tmp_path, None)
