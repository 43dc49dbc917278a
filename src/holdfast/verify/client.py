"""A client process of the rig: `python -m holdfast.verify.client CONFIG`. It ends on SIGTERM, each sender in order."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sys
from pathlib import Path

import msgspec

from .desk import Desk
from .history import Recorder
from .parent import end_with_parent
from .subject import make_app
from .workloads import SENDERS, Workload, probes


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the rig tells a client."""

    name: str
    parent: int
    """The process that has started it, with which it ends."""
    store: str
    folder: str
    """Where its events go."""
    seed: int
    lease_ttl_s: float
    pause_s: float
    """Seconds between two operations of a sender."""
    rest_s: float
    probes: bool
    """Whether it only probes, so that its own load does not show as a gap."""


async def work(config: ClientConfig) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    recorder = Recorder(Path(config.folder) / f"{config.name}.events")
    app = make_app(lease_ttl_s=config.lease_ttl_s)

    def desk(name: str) -> Desk:
        return Desk(
            app=app,
            name=name,
            rng=random.Random(f"{config.seed} {name}"),
            recorder=recorder,
            stopping=stopping,
            pause_s=config.pause_s,
            numbers=itertools.count(1),
            rest_s=config.rest_s,
        )

    chosen: dict[str, tuple[Workload, int]] = {"probe": (probes, 1)} if config.probes else SENDERS
    try:
        async with app.client(store=config.store), asyncio.TaskGroup() as senders:
            print("working", flush=True)
            for kind, (workload, count) in chosen.items():
                for number in range(count):
                    senders.create_task(_sender(workload, desk(f"{config.name}-{kind}.{number}")))
    finally:
        recorder.close()


async def _sender(workload: Workload, desk: Desk) -> None:
    await workload(desk)


def main() -> None:
    config = msgspec.json.decode(sys.argv[1], type=ClientConfig)
    end_with_parent(config.parent)
    asyncio.run(work(config))


if __name__ == "__main__":
    main()
