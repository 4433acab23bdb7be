"""The container file, the systemd unit and ops/README.md use only instructions, flags and files that exist."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from electra.command_line import from_command_line
from electra.errors import UserError
from electra.settings import ServeSettings

ROOT = Path(__file__).resolve().parent.parent
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
