"""Addresses as text: `unix:PATH`, `tcp:HOST:PORT`, `memory:NAME`."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from holdfast.errors import ConfigurationError


class UnixAddress(NamedTuple):
    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class TcpAddress(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it. A name other than `localhost` may lead anywhere."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class MemoryAddress(NamedTuple):
    name: str

    def __str__(self) -> str:
        return f"memory:{self.name}"


Address = UnixAddress | TcpAddress | MemoryAddress


def parse(address: str) -> Address:
    """The parts of an address. Raises ConfigurationError where it is none."""
    scheme, _, rest = address.partition(":")
    match scheme:
        case "unix" if rest:
            return UnixAddress(rest)
        case "memory" if rest:
            return MemoryAddress(rest)
        case "tcp":
            host, _, port = rest.rpartition(":")
            if host and port.isascii() and port.isdigit() and int(port) <= 65535:
                return TcpAddress(host.removeprefix("[").removesuffix("]"), int(port))
        case _:
            pass
    raise ConfigurationError(f"{address!r} is no address: write unix:PATH or tcp:HOST:PORT")
