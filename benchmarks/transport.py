"""How fast do two processes talk? Requests per second and CPU per request, over a Unix socket and TCP on loopback.

One process echoes, the other asks, with 1 and with 64 requests in flight. Beside it the baseline: asyncio streams with
one line of JSON and one write per message. Both run on uvloop. Medians over the rounds, which take turns.

    python benchmarks/transport.py [--rounds 5] [--requests 60000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from holdfast.model.envelope import Call, Incoming, Request, Result
from holdfast.ports.transport import Identity, Peer
from holdfast.transport import SocketNetwork

IDENTITY = Identity("benchmark", software="benchmark")
PAYLOAD = msgspec.msgpack.encode(["apple", 2])
TIMEOUT_US = 30_000_000
WARM_UP = 2000

Ask = Callable[[int], Awaitable[object]]


class Echo:
    """Answers a Call with its payload, and a Request with the CPU seconds this process has used."""

    def on_envelopes(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        for envelope in batch:
            if isinstance(envelope, Call):
                peer.send(Result(envelope.correlation, envelope.payload))
            elif isinstance(envelope, Request):
                peer.send(Result(envelope.correlation, str(time.process_time()).encode()))

    def on_lost(self, peer: Peer) -> None:
        pass


class Frames:
    """The transport under test."""

    async def serve(self, address: str) -> str:
        self.listener = await SocketNetwork().listen(address, identity=IDENTITY, inbound=Echo())
        return self.listener.address

    async def connect(self, address: str) -> None:
        self.peer = await SocketNetwork().connect(address, identity=IDENTITY, inbound=Echo())

    async def ask(self, number: int) -> object:
        return await self.peer.call(Call(0, "Cart", f"cart-{number}", "add", PAYLOAD, TIMEOUT_US))

    async def remote_cpu_s(self) -> float:
        reply = await self.peer.call(Request(0, "cpu", b"", TIMEOUT_US))
        assert isinstance(reply, Result)
        return float(reply.payload)


class Lines:
    """The baseline: a line of JSON and a write for each message."""

    async def serve(self, address: str) -> str:
        if address.startswith("unix:"):
            self.server = await asyncio.start_unix_server(self._echo, address.removeprefix("unix:"))
            return address
        self.server = await asyncio.start_server(self._echo, "127.0.0.1", 0)
        return f"tcp:127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            number, entity_type, _, _, payload = msgspec.json.decode(line)
            reply = payload if entity_type else str(time.process_time())
            writer.write(msgspec.json.encode((number, reply)) + b"\n")
            await writer.drain()
        writer.close()

    async def connect(self, address: str) -> None:
        if address.startswith("unix:"):
            reader, self.writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        else:
            host, port = address.removeprefix("tcp:").split(":")
            reader, self.writer = await asyncio.open_connection(host, int(port))
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.last = 0
        self.reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            number, payload = msgspec.json.decode(line)
            self.waiting.pop(number).set_result(payload)

    async def ask(self, number: int, entity_type: str = "Cart") -> object:
        self.last += 1
        reply = self.waiting[self.last] = asyncio.get_running_loop().create_future()
        message = (self.last, entity_type, f"cart-{number}", "add", ["apple", 2])
        self.writer.write(msgspec.json.encode(message) + b"\n")
        await self.writer.drain()
        return await reply

    async def remote_cpu_s(self) -> float:
        return float(str(await self.ask(0, "")))


KINDS: dict[str, type[Frames] | type[Lines]] = {"holdfast": Frames, "lines": Lines}


def echo_process(kind: str, address: str, pipe: Pipe) -> None:
    async def serve() -> None:
        side = KINDS[kind]()
        pipe.send(await side.serve(address))
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    uvloop.run(serve())


async def in_flight(ask: Ask, requests: int, tasks: int) -> None:
    async def one(first: int) -> None:
        for number in range(first, requests, tasks):
            await ask(number)

    await asyncio.gather(*(one(first) for first in range(tasks)))


async def measure(kind: str, address: str, requests: int) -> dict[str, float]:
    side = KINDS[kind]()
    await side.connect(address)
    await in_flight(side.ask, WARM_UP, 64)
    figures: dict[str, float] = {}
    for tasks, count in ((64, requests), (1, requests // 10)):
        remote, own, began = await side.remote_cpu_s(), time.process_time(), time.perf_counter()
        await in_flight(side.ask, count, tasks)
        seconds = time.perf_counter() - began
        figures[f"per_s_{tasks}"] = count / seconds
        figures[f"asking_cpu_us_{tasks}"] = (time.process_time() - own) / count * 1e6
        figures[f"answering_cpu_us_{tasks}"] = (await side.remote_cpu_s() - remote) / count * 1e6
    latencies = []
    for number in range(requests // 20):
        began = time.perf_counter()
        await side.ask(number)
        latencies.append((time.perf_counter() - began) * 1e6)
    figures["p50_us_1"] = statistics.median(latencies)
    figures["p99_us_1"] = statistics.quantiles(latencies, n=100)[98]
    return figures


def run(kind: str, address: str, requests: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=echo_process, args=(kind, address, there), daemon=True)
    process.start()
    try:
        return uvloop.run(measure(kind, here.recv(), requests))
    finally:
        here.send(None)
        process.join(10)
        process.kill()


def compare(rounds: int, requests: int) -> dict[str, dict[str, float]]:
    results: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-") as directory:
        for round_number in range(rounds):
            for network in ("unix", "tcp"):
                for kind in KINDS:
                    path = Path(directory) / f"{kind}-{round_number}"
                    address = f"unix:{path}" if network == "unix" else "tcp:127.0.0.1:0"
                    results.setdefault(f"{kind} {network}", []).append(run(kind, address, requests))
    return {
        name: {figure: statistics.median(one[figure] for one in found) for figure in found[0]}
        for name, found in results.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    medians = compare(options.rounds, options.requests)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {sys.platform}"
    if options.json:
        print(json.dumps({"machine": machine, "rounds": options.rounds, "medians": medians}, indent=2))
        return
    print(f"{machine}; medians of {options.rounds} rounds")
    for name, figures in medians.items():
        print(f"\n{name}")
        for figure, value in figures.items():
            print(f"  {figure:22} {value:12,.1f}")


if __name__ == "__main__":
    main()
