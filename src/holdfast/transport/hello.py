"""The first words on a connection: who speaks, for which cluster, and in which version of the protocol.

The side that connected sends a Hello with the range of versions it speaks. The other answers with a Welcome that
names the version chosen, or with a Refusal that says why not, and closes. Only then anything else is sent. All of
this fits a small frame, so a stranger can't make us hold more than that.
"""

from __future__ import annotations

import enum
import hmac
from typing import Annotated, assert_never

import msgspec

from holdfast.errors import ConfigurationError, HoldfastError, RunnerUnavailable
from holdfast.ports.transport import Identity

VERSION_MIN = 1
VERSION_MAX = 1
HELLO_BYTES_MAX = 4096

_Word = Annotated[str, msgspec.Meta(max_length=512)]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    version_min: int
    version_max: int
    cluster_id: _Word
    runner_id: int = 0
    software: _Word = ""
    token: _Word = ""


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    version: int
    cluster_id: _Word
    runner_id: int = 0
    software: _Word = ""


class RefusalKind(enum.StrEnum):
    VERSION = "version"
    CLUSTER = "cluster"
    TOKEN = "token"
    BUSY = "busy"


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Why there is no Welcome; `kind` is a RefusalKind, or a later version's."""

    kind: _Word
    message: _Word


def greeting(identity: Identity) -> Hello:
    return Hello(VERSION_MIN, VERSION_MAX, identity.cluster_id, identity.runner_id, identity.software, identity.token)


def answer(said: Hello, identity: Identity) -> Welcome | Refusal:
    """What the listening side says to a Hello. The token is looked at before anything is told about us."""
    if not hmac.compare_digest(said.token.encode(), identity.token.encode()):
        return Refusal(RefusalKind.TOKEN, "the token is not the one that this side expects")
    if said.cluster_id != identity.cluster_id:
        return Refusal(RefusalKind.CLUSTER, f"this is cluster {identity.cluster_id!r}, not {said.cluster_id[:100]!r}")
    version = min(said.version_max, VERSION_MAX)
    if version < max(said.version_min, VERSION_MIN):
        return Refusal(
            RefusalKind.VERSION,
            f"this side ({identity.software or 'unnamed'}) speaks protocol versions {VERSION_MIN} to {VERSION_MAX}, "
            f"the other ({said.software[:40]!r}) {said.version_min} to {said.version_max}: upgrade the older one",
        )
    return Welcome(version, identity.cluster_id, identity.runner_id, identity.software)


def objection(said: Welcome | Refusal, identity: Identity) -> HoldfastError | None:
    """Why the connecting side can't go on after this answer; None where it can."""
    if isinstance(said, Refusal):
        return _refused(said)
    if said.cluster_id != identity.cluster_id:
        return RunnerUnavailable(f"the peer belongs to cluster {said.cluster_id!r}, not {identity.cluster_id!r}")
    if not VERSION_MIN <= said.version <= VERSION_MAX:
        return RunnerUnavailable(f"the peer chose protocol version {said.version}, which was not offered")
    return None


def _refused(said: Refusal) -> HoldfastError:
    try:
        kind = RefusalKind(said.kind)
    except ValueError:
        return RunnerUnavailable(said.message)
    match kind:
        case RefusalKind.TOKEN:
            return ConfigurationError(said.message)
        case RefusalKind.VERSION | RefusalKind.CLUSTER | RefusalKind.BUSY:
            return RunnerUnavailable(said.message)
        case _:
            assert_never(kind)
