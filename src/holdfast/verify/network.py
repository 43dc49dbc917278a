"""A network of the rig's own: each runner in a network namespace, on a bridge by a cable that can be pulled.

A namespace has one address on the bridge, and passes what comes to it on to the runner, which listens on the loopback
in there. Relays stand on the bridge, so everything a runner says or hears goes over its cable. Whatever is made here
has a name of its own, and is taken away at the end, however that comes. Needs root.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Literal

from .aftermath import Aftermath

NETWORK_FAULTS = LINK_DOWN, DROP_PACKETS, RESET_CONNECTIONS = "link down", "drop packets", "reset connections"
NEEDED = {"ip": "iproute2", "nft": "nftables"}
"""Programs, and the packages that bring them."""
Chain = Literal["in", "out"]
_RULES = """
table ip holdfast {
    chain arriving { type nat hook prerouting priority dstnat; iif eth0 dnat to 127.0.0.1; }
    chain in { type filter hook input priority 0; }
    chain out { type filter hook output priority 0; }
}
"""
_ON = {"in": "iif", "out": "oif"}


@cache
def no_network() -> str | None:
    """Why there can't be one."""
    if os.geteuid() != 0:
        return "network namespaces need root: sudo"
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if missing:
        return f"network namespaces need {' and '.join(NEEDED)}: apt-get install {' '.join(missing)}"
    try:
        Network(1).close()
    except subprocess.CalledProcessError as error:
        return f"network namespaces can't be made here: {error.stderr.strip()}"
    return None


class Network:
    """A bridge, and as many namespaces as there are runners."""

    def __init__(self, cables: int) -> None:
        self._name = _fresh_name()
        subnet = f"198.18.{random.randrange(256)}"  # set aside for measuring: nobody's addresses
        self.host = f"{subnet}.1"
        """Where relays listen."""
        undo = [("ip", "link", "del", self._name)]
        self.cables = [Cable(f"{self._name}{number}", f"{subnet}.{number + 10}") for number in range(cables)]
        undo += [("ip", "netns", "del", cable.namespace) for cable in self.cables]
        self._aftermath = Aftermath(undo)
        try:
            self._lay()
        except BaseException:
            self.close()
            raise

    def _lay(self) -> None:
        _run("ip", "link", "add", self._name, "type", "bridge")
        _run("ip", "addr", "add", f"{self.host}/24", "dev", self._name)
        _run("ip", "link", "set", self._name, "up")
        for cable in self.cables:
            cable.lay(self._name)

    def close(self) -> None:
        self._aftermath.come()


class Cable:
    """One namespace's way to the bridge."""

    def __init__(self, namespace: str, address: str) -> None:
        self.namespace = namespace
        self.address = address

    @property
    def prefix(self) -> tuple[str, ...]:
        """What makes a command run in there."""
        return ("ip", "netns", "exec", self.namespace)

    def lay(self, bridge: str) -> None:
        _run("ip", "netns", "add", self.namespace)
        _run("ip", "link", "add", self.namespace, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        _run("ip", "link", "set", self.namespace, "master", bridge, "up")
        for command in ("addr add {}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _run("ip", "-n", self.namespace, *command.format(self.address).split())
        _run(*self.prefix, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet")
        _run(*self.prefix, "nft", "-f", "-", said=_RULES)

    def pull(self) -> None:
        """Raises OSError where that changes nothing."""
        _run("ip", "link", "set", self.namespace, "down")
        if (state := Path(f"/sys/class/net/{self.namespace}/operstate").read_text().strip()) != "down":
            raise OSError(f"the link of {self.namespace} is {state}")

    def plug_in(self) -> None:
        """The cable is in, and nothing is dropped or refused."""
        _run("ip", "link", "set", self.namespace, "up")
        for chain in _ON:
            _run(*self.prefix, "nft", "flush", "chain", "ip", "holdfast", chain)

    def drop(self, chain: Chain) -> None:
        """In that direction nothing gets through, and nobody hears of it."""
        self._add(chain, "counter drop")

    def reset(self, chain: Chain) -> None:
        """Every connection that says something in that direction is broken."""
        self._add(chain, "ip protocol tcp counter reject with tcp reset")

    def struck(self, chain: Chain) -> int:
        """How many packets were dropped or refused since then."""
        counted = re.search(
            r"counter packets (\d+)", _run(*self.prefix, "nft", "list", "chain", "ip", "holdfast", chain)
        )
        return 0 if counted is None else int(counted[1])

    def _add(self, chain: Chain, rule: str) -> None:
        _run(*self.prefix, "nft", "add", "rule", "ip", "holdfast", chain, _ON[chain], "eth0", *rule.split())


def _fresh_name() -> str:
    """Of the bridge; its cables add a number. An interface's name has 15 characters at most."""
    return f"hf{random.SystemRandom().randrange(16**6):06x}v"


def _run(*command: str, said: str | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, input=said).stdout
