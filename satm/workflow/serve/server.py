"""The web server that shows a registry to browsers of this machine, until the user presses Ctrl-C."""

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
    """Show the registry in datasette until the user presses Ctrl-C. The registry is only read.

    Args:
        registry: the SQLite file.
        host: the address to listen at. The default address can be reached from this machine only.
        port: the port; 0: any free port.
        ready: a function that is called with the web address of the page as soon as the page can be opened.

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
            with suppress(KeyboardInterrupt):  # uvicorn stops properly on Ctrl-C and then raises the error again
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
    """An ASGI app that passes requests on to `app` if their Host header is in `hosts`, and refuses other requests.

    This stops DNS rebinding: a web page on the internet can let its own host name point to 127.0.0.1. Then the page can
    read what this server shows. Such requests have the page's host name in the Host header.
    """

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        named = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if named.rpartition(":")[0].strip("[]") in hosts or named in hosts:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"this server answers to localhost only"})

    return guarded
