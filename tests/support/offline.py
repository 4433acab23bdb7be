"""Commands in a process that may not leave the machine: `python offline.py FOLDER COMMANDS.json` prints what they tried as JSON.

Two watches: an audit hook in this process and in those that it starts (names looked up, connections to other machines), which also raises; and
the counter of packets without a route, which sees native code too, where the process is in a network namespace of its own (`unshare -n`).
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", None)
HOOK = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import offline; offline.watch()"


def is_local(host: Any) -> bool:
    """Whether a host's name or address is this machine."""
    host = host.decode() if isinstance(host, bytes) else host
    return host in LOCAL or str(host).startswith("127.") or host == socket.gethostname()


def watch() -> None:
    """Raise, and write a line to $ELECTRA_ATTEMPTS, when Python looks up a name or sends to another machine."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto"):
            address = arguments[1]
            if not isinstance(address, tuple) or is_local(address[0]):
                return
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
            address = arguments[0]
            if is_local(address):
                return
        else:
            return
        with open(os.environ["ELECTRA_ATTEMPTS"], "a", encoding="utf-8") as out:
            out.write(f"{event} {address}\n")
        raise OSError(f"the test allows no network: {event} {address}")

    sys.addaudithook(hook)


def loopback_up() -> None:
    """In a new network namespace 127.0.0.1 is down."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, 0x8913, struct.pack("16sh14x", b"lo", 0)))[1]
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))


def packets_without_route() -> int:
    """How many packets of this network namespace had no way out, IPv4 and IPv6."""
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    newer = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines()) if Path("/proc/net/snmp6").exists() else {}
    return int(dict(zip(*lines, strict=True))["OutNoRoutes"]) + int(newer.get("Ip6OutNoRoutes", 0))


def served(words: list[str]) -> int:
    """`electra serve` in a process, one request, SIGTERM -> its exit code."""
    import subprocess
    import urllib.request

    with subprocess.Popen([sys.executable, "-m", "electra", *words], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = (json.loads(line) for line in process.stderr if line.startswith("{"))
        url = next(line["url"] for line in lines if line["event"] == "ready")
        for path, body in (("/detect", b'{"inputs": "the chef cooked"}'), ("/", None), ("/docs", None), ("/metrics", None)):
            request = urllib.request.Request(url + path, body, {"Content-Type": "application/json"})
            assert urllib.request.urlopen(request, timeout=60).status == 200
        process.terminate()
        return process.wait(60)


def main(folder: Path, commands: list[list[str]], own_namespace: bool) -> None:
    """Run the commands, each as on the command line; print codes, attempts and modules."""
    sites = folder / "sites"
    sites.mkdir()
    (sites / "sitecustomize.py").write_text(HOOK)
    attempts = folder / "attempts"
    attempts.touch()
    os.environ |= {"ELECTRA_ATTEMPTS": str(attempts), "PYTHONPATH": os.pathsep.join(filter(None, (str(sites), os.environ.get("PYTHONPATH"))))}
    if own_namespace:
        loopback_up()
    watch()
    from electra.cli import main as electra

    before = packets_without_route()
    codes, seconds = [], {}
    for words in commands:
        started = sum(os.times()[:4])
        codes.append(served(words) if words[0] == "serve" else electra(words))
        seconds[words[0]] = round(sum(os.times()[:4]) - started, 2)
    result = {
        "codes": codes,
        "cpu_seconds": seconds,
        "attempts": attempts.read_text().splitlines(),
        "modules": sorted(name for name in ("transformers", "sentence_transformers", "requests", "openvino_telemetry") if sys.modules.get(name)),
        "without_route": packets_without_route() - before if own_namespace else None,
    }
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), "--own-namespace" in sys.argv)
