"""Where a node's configuration comes from: argument, then environment, then pyproject.toml, then the default.

The environment is read when a node starts, never at import.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from holdfast.errors import ConfigurationError

from .tls import TlsFiles

STORE_VARIABLE = "HOLDFAST_STORE"
STORE_DIRECT_VARIABLE = "HOLDFAST_STORE_DIRECT"
STORE_POOLED_VARIABLE = "HOLDFAST_STORE_POOLED"
HTTP_VARIABLE = "HOLDFAST_HTTP"
HTTP_TOKEN_VARIABLE = "HOLDFAST_HTTP_TOKEN"
"""Only the environment: arguments show in process lists, and pyproject.toml is in version control."""
GATEWAY_VARIABLE = "HOLDFAST_GATEWAY"
GATEWAY_TOKEN_VARIABLE = "HOLDFAST_GATEWAY_TOKEN"
"""Only the environment, for the same reasons."""
GATEWAY_HOSTS_VARIABLE = "HOLDFAST_GATEWAY_HOSTS"
LISTEN_VARIABLE = "HOLDFAST_LISTEN"
ADVERTISE_VARIABLE = "HOLDFAST_ADVERTISE"
CLUSTER_TOKEN_VARIABLE = "HOLDFAST_CLUSTER_TOKEN"
"""Only the environment, for the same reasons."""
TLS_VARIABLES = ("HOLDFAST_TLS_CERT", "HOLDFAST_TLS_KEY", "HOLDFAST_TLS_CA", "HOLDFAST_TLS_NAME")
SECRET_MAX = 512
ANY_PORT_HERE = ("127.0.0.1", 0)
"""Where a runner listens that was not told: for the other processes of this machine."""


_YES_OR_NO = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """What a node needs to know of its surroundings. `store_source` says who chose the store."""

    store: str = field(repr=False)
    """May hold a password."""
    store_source: str
    store_direct: str | None = field(default=None, repr=False)
    """The same database past a pooler, for what a pooler can't carry: leases and notifications."""
    store_pooled: bool = False
    """The store's URL leads to a pooler in transaction mode."""
    http: tuple[str, int] | None = None
    http_token: str | None = field(default=None, repr=False)
    """The bearer token that the operations pages ask for; they listen beyond the loopback only with one."""
    gateway: tuple[str, int] | None = None
    """Where programs in other languages are served; None for nowhere."""
    gateway_token: str | None = field(default=None, repr=False)
    """The bearer token that the gateway asks for; without one it does not start."""
    gateway_hosts: tuple[str, ...] = ()
    """Names in the Host header by which the gateway may be asked, beside its own address."""
    listen: tuple[str, int] | None = None
    """Where a runner on PostgreSQL awaits other processes; None for `ANY_PORT_HERE`."""
    advertise: tuple[str, int] | None = None
    """Where the others find it, if that is another address: of a service, or of a host behind a translation."""
    cluster_token: str = field(default="", repr=False)
    """What runners and clients of one cluster show each other."""
    tls: TlsFiles = field(default_factory=TlsFiles)


def resolve(
    app_name: str,
    *,
    store: str | None = None,
    http: str | None = None,
    gateway: str | None = None,
    listen: str | None = None,
    advertise: str | None = None,
) -> NodeConfig:
    """Raises ConfigurationError for what can't be read."""
    table = _pyproject(Path.cwd())
    chosen, source = chosen_store(store)
    if not source:
        chosen, source = absolute(f"sqlite:///{app_name}.db"), "default"

    def address(given: str | None, variable: str, name: str) -> tuple[str, int] | None:
        text, _ = _first((given, "argument"), (os.environ.get(variable), variable), (table.get(name), "pyproject.toml"))
        return host_and_port(text) if text else None

    return NodeConfig(
        store=chosen,
        store_source=source,
        store_direct=direct_store(),
        store_pooled=store_is_pooled(),
        http=address(http, HTTP_VARIABLE, "http"),
        http_token=_secret(HTTP_TOKEN_VARIABLE),
        gateway=address(gateway, GATEWAY_VARIABLE, "gateway"),
        gateway_token=_secret(GATEWAY_TOKEN_VARIABLE),
        gateway_hosts=tuple(os.environ.get(GATEWAY_HOSTS_VARIABLE, "").replace(",", " ").split()),
        listen=address(listen, LISTEN_VARIABLE, "listen"),
        advertise=address(advertise, ADVERTISE_VARIABLE, "advertise"),
        cluster_token=_secret(CLUSTER_TOKEN_VARIABLE) or "",
        tls=TlsFiles(*(os.environ.get(variable) or None for variable in TLS_VARIABLES)),
    )


def advertised() -> tuple[str, int] | None:
    """Where the runner that is configured here is found, as far as the environment and pyproject.toml say."""
    table = _pyproject(Path.cwd())
    for variable, name in ((ADVERTISE_VARIABLE, "advertise"), (LISTEN_VARIABLE, "listen")):
        text, _ = _first((os.environ.get(variable), variable), (table.get(name), "pyproject.toml"))
        if text:
            return host_and_port(text)
    return None


def _secret(variable: str) -> str | None:
    """A token. Raises ConfigurationError, which does not repeat it, for one that no header can carry."""
    token = os.environ.get(variable)
    if token and not (token.isascii() and token.isprintable() and token.strip() == token and len(token) <= SECRET_MAX):
        raise ConfigurationError(f"{variable} is 1 to {SECRET_MAX} visible ASCII characters, without spaces around")
    return token


def chosen_store(store: str | None = None) -> tuple[str, str]:
    """(URL, who said so) where there is no App to name a default; both empty where nobody did."""
    chosen, source = _first(
        (store, "argument"),
        (os.environ.get(STORE_VARIABLE), STORE_VARIABLE),
        (_pyproject(Path.cwd()).get("store"), "pyproject.toml"),
    )
    return absolute(chosen), source


def direct_store() -> str | None:
    """Where PostgreSQL itself is, if the store's URL leads to a pooler."""
    table = _pyproject(Path.cwd())
    chosen, _ = _first(
        (os.environ.get(STORE_DIRECT_VARIABLE), STORE_DIRECT_VARIABLE), (table.get("store_direct"), "pyproject.toml")
    )
    return chosen or None


def store_is_pooled() -> bool:
    """Whether the store's URL leads to a pooler in transaction mode. Raises ConfigurationError for no yes or no."""
    text = os.environ.get(STORE_POOLED_VARIABLE)
    said: object = _pyproject(Path.cwd()).get("store_pooled", False) if text is None else _YES_OR_NO.get(text.lower())
    if not isinstance(said, bool):
        raise ConfigurationError(f"{STORE_POOLED_VARIABLE} is 1 or 0, not {said if text is None else text!r}")
    return said


def host_and_port(text: str) -> tuple[str, int]:
    """`HOST:PORT` in parts. Raises ConfigurationError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"{text!r} is no HOST:PORT, such as 127.0.0.1:9464")
    return host.strip("[]"), int(port)


def _first(*candidates: tuple[Any, str]) -> tuple[str, str]:
    for value, source in candidates:
        if value:
            if not isinstance(value, str):
                raise ConfigurationError(f"{source}: {value!r} should be text")
            return value, source
    return "", ""


def absolute(url: str) -> str:
    """A relative SQLite path depends on the working directory, so it is made absolute and shown like that."""
    prefix = "sqlite:///"
    if url.startswith(prefix) and not url.startswith(prefix + "/"):
        return prefix + str(Path(url[len(prefix) :]).absolute())
    return url


def _pyproject(directory: Path) -> dict[str, Any]:
    path = directory / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("holdfast", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}") from error
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: [tool.holdfast] is a table")
    return cast("dict[str, Any]", table)
