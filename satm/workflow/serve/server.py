"""Serves a registry to the browsers of this machine until Ctrl-C."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from satm.errors import ConfigError
from satm.workflow.serve.site import browsing

_LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    registry: Path | str = "satm.db",
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Show the registry in datasette, read-only, until Ctrl-C.

    Args:
        registry: the SQLite file.
        host: the address to listen at. The default can be reached from this machine only.
        port: the port; 0: a free one.
        ready: called with the address of the page when it can be opened.

    Raises ConfigError if datasette is not installed or the port cannot be used, and the errors of `Registry.open`.
    """
    if not host:
        raise ConfigError("--host is empty, which would let every machine in; name an address, as 127.0.0.1")
    with browsing(Path(registry).absolute()) as site:
        import uvicorn

        with _listening(host, port) as listener:
            port = listener.getsockname()[1]
            app = _only_for((*_LOCAL, host), site.app()) if _is_local(host) else site.app()
            settings = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/satm")
            with suppress(KeyboardInterrupt):  # uvicorn has ended in order and raises it again
                uvicorn.Server(settings).run(sockets=[listener])


def _is_local(host: str) -> bool:
    """Whether only this machine can reach the address."""
    with suppress(ValueError):
        return host in _LOCAL or ipaddress.ip_address(host).is_loopback
    return False


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{host} port {port} cannot be used: {reason}; choose another --port or --host") from error


def _only_for(hosts: tuple[str, ...], app: Any) -> Any:
    """`app`, but only for requests to one of `hosts`.

    Any web page may give a name of its own the address 127.0.0.1 and then read what this server shows (DNS rebinding).
    """

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        named = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if named.rpartition(":")[0].strip("[]") in hosts or named in hosts:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"this server answers to localhost only"})

    return guarded
