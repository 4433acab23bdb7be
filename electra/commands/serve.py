"""models -> HTTP: check the flags, bind the port, load, serve until a signal."""

from __future__ import annotations

import ipaddress
import os

from electra.errors import UserError, require
from electra.serve import models as served_models
from electra.serve.limits import limits_of
from electra.settings import ServeSettings
from electra.storage import atomic

TOKEN_VARIABLE = "ELECTRA_TOKEN"
SHORTEST_TOKEN = 16


def run(settings: ServeSettings) -> None:
    """Serve; errors in flags, names, files and the port are reported before a model is loaded."""
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        require(package, "serve")
    from electra.serve import app, server
    from electra.serve.observability import RequestLog
    from electra.serve.service import Serving

    if settings.threads < 0:
        raise UserError(f"--threads {settings.threads}: expected a number of threads, or 0 for one per core")
    limits = limits_of(settings)
    token = read_token(settings)
    sources = served_models.named_sources(settings.models or served_models.SHIPPED)
    served_models.check_sources(sources)
    server.allow_connections(limits.max_connections)
    with server.bind(settings.host, settings.port, reuse_port=settings.reuse_port) as bound:
        models = served_models.open_models(sources, settings)
        log = RequestLog(log_text=settings.log_text)
        if token is None and not is_loopback(settings.host):
            log.write("warning", message=f"{settings.host} can be reached from other machines without a token; see --token-file")
        for name, model in models.items():
            if model.predictor.spec.above_limit:
                log.write(
                    "warning", message=f"{name} reads {model.predictor.max_length} tokens; --max-length {settings.max_length} is above its limit"
                )
        serving = Serving(models, limits, token=token, log=log, local=token is None and is_loopback(settings.host))
        server.run(app.create_app(serving, docs=settings.docs), serving, bound)


def read_token(settings: ServeSettings) -> str | None:
    """The token of --token-file, else of the environment, else none.

    Raises:
        UserError: no such file, or its content is too short or not valid in a header.
    """
    token, place = os.environ.get(TOKEN_VARIABLE), f"the environment variable {TOKEN_VARIABLE}"
    if settings.token_file is not None:
        path, place = atomic.existing_path(settings.token_file, "token file"), str(settings.token_file)
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{path} cannot be read as text; put a token into it, such as the output of 'openssl rand -hex 32'") from None
    if token is None:
        return None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"{place} holds no good token: expected {SHORTEST_TOKEN} or more letters and digits, such as the output of 'openssl rand -hex 32'"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
