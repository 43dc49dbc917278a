"""Connections between processes: frames, calls over them, and the networks that make them."""

from __future__ import annotations

from .errors import error_of, failure_of
from .memory import MemoryNetwork
from .sockets import SocketNetwork

__all__ = ["MemoryNetwork", "SocketNetwork", "error_of", "failure_of"]
