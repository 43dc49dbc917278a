# ruff: noqa: ASYNC240 - a test may look at a file without leaving its loop
"""Real sockets: where they are, who may use them, and peers that break every rule."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import pytest
import uvloop

from holdfast.errors import ConfigurationError, MailboxFull, RpcClientError, RunnerUnavailable
from holdfast.model.envelope import Call, Result
from holdfast.ports.transport import Network
from holdfast.settings import TransportSettings
from holdfast.transport import SocketNetwork
from holdfast.transport.connection import Connection
from holdfast.transport.frames import Envelope, FrameDecoder, GoAway, encode
from holdfast.transport.hello import Hello, Refusal, Welcome, greeting
from holdfast.transport.server import SocketListener
from tests.unit.transport.inbound import IDENTITY, Answering, call

HELLO = encode([greeting(IDENTITY)])[0]
PATIENCE_S = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """A short one: pytest's own are often longer than a socket's may be."""
    with tempfile.TemporaryDirectory(prefix="hf-") as directory:
        yield str(Path(directory) / "s")


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture(params=["unix", "tcp"])
async def listener(request: pytest.FixtureRequest, path: str, answering: Answering) -> AsyncIterator[SocketListener]:
    address = f"unix:{path}" if request.param == "unix" else "tcp:127.0.0.1:0"
    listening = await SocketNetwork().listen(address, identity=IDENTITY, inbound=answering)
    yield listening
    await listening.close()


async def connect(address: str) -> Connection:
    return await SocketNetwork().connect(address, identity=IDENTITY, inbound=Answering())


async def leave(peer: Connection) -> None:
    peer.close()
    await peer.closed()


@contextlib.asynccontextmanager
async def stranger(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare socket to the address."""
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, port = address.removeprefix("tcp:").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def heard(reader: asyncio.StreamReader) -> list[Envelope]:
    """All that the other side says until it hangs up."""
    decoder = FrameDecoder()
    data = b""
    with contextlib.suppress(ConnectionResetError):
        data = await asyncio.wait_for(reader.read(), PATIENCE_S)
    return decoder.feed(data)


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop go round until it is so, or fails."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await one_pass()


async def one_pass() -> None:
    await asyncio.sleep(0)


def test_a_network_is_one_by_its_port() -> None:
    network: Network = SocketNetwork()
    assert callable(network.connect)


async def test_calls_pass(listener: SocketListener) -> None:
    peer = await connect(listener.address)
    replies = await asyncio.gather(*(peer.call(call(payload=bytes([number]))) for number in range(100)))
    assert [reply.payload for reply in replies if isinstance(reply, Result)] == [bytes([n]) for n in range(100)]
    assert peer.identity.software == "holdfast test"
    await leave(peer)


@pytest.mark.parametrize("network", ["unix", "tcp"])
def test_the_same_on_uvloop(network: str, path: str, answering: Answering) -> None:
    """Its transports are not asyncio's own: calls, a large payload, and both ways to end."""

    async def main() -> None:
        address = f"unix:{path}" if network == "unix" else "tcp:127.0.0.1:0"
        listening = await SocketNetwork().listen(address, identity=IDENTITY, inbound=answering)
        peer, other = await connect(listening.address), await connect(listening.address)
        replies = await asyncio.gather(*(peer.call(call(payload=bytes([number]))) for number in range(100)))
        assert [reply.payload for reply in replies if isinstance(reply, Result)] == [bytes([n]) for n in range(100)]
        payload = os.urandom(3 * 1024 * 1024)
        assert (await peer.call(call(payload=payload))).payload == payload  # type: ignore[union-attr]
        await leave(peer)
        waiting = other.call(call("never"))
        await other.call(call())
        await listening.close()
        with pytest.raises(RpcClientError):
            await waiting
        await other.closed()
        assert len(answering.lost) == 2

    uvloop.run(main())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_what_the_kernel_does_not_take_at_once_keeps_its_place(
    run: Callable[[Coroutine[None, None, None]], None], path: str, answering: Answering
) -> None:
    """Bytes that go to the socket directly never overtake those that the event loop still holds."""

    async def main() -> None:
        network = SocketNetwork(TransportSettings(unsent_bytes_max=64 * 1024 * 1024))
        listening = await network.listen(f"unix:{path}", identity=IDENTITY, inbound=answering)
        peer = await network.connect(listening.address, identity=IDENTITY, inbound=Answering())
        payloads = [number.to_bytes(2, "big") * 50_000 for number in range(100)]
        async with asyncio.timeout(PATIENCE_S):
            replies = await asyncio.gather(*(peer.call(call(payload=payload)) for payload in payloads))
        assert [asked.payload for asked in answering.asked if isinstance(asked, Call)] == payloads
        assert [reply.payload for reply in replies if isinstance(reply, Result)] == payloads
        await leave(peer)
        await listening.close()

    run(main())


async def test_a_large_payload_passes(listener: SocketListener) -> None:
    peer = await connect(listener.address)
    payload = os.urandom(3 * 1024 * 1024)
    assert (await peer.call(call(payload=payload))).payload == payload  # type: ignore[union-attr]
    await leave(peer)


async def test_closing_the_listener_ends_its_connections_and_its_file(listener: SocketListener) -> None:
    peer = await connect(listener.address)
    waiting = peer.call(call("never"))
    await listener.close()
    await listener.close()
    with pytest.raises(RpcClientError):
        await waiting
    await peer.closed()
    with pytest.raises(RunnerUnavailable):
        await connect(listener.address)
    if listener.address.startswith("unix:"):
        assert not Path(listener.address.removeprefix("unix:")).exists()


BAD_BEGINNINGS = {
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "a huge frame": b"\xff\xff\xff\xff",
    "no hello": encode([GoAway("first")])[0],
    "a welcome": encode([Welcome(1, "shop")])[0],
    "noise": b"\x00\x00\x00\x04\xc1\xc1\xc1\xc1",
}


@pytest.mark.parametrize("said", BAD_BEGINNINGS.values(), ids=BAD_BEGINNINGS)
async def test_a_bad_hello_is_hung_up_on_and_disturbs_nobody(
    listener: SocketListener, answering: Answering, said: bytes
) -> None:
    peer = await connect(listener.address)
    async with stranger(listener.address) as (reader, writer):
        writer.write(said)
        assert await heard(reader) == []
    assert isinstance(await peer.call(call()), Result)
    assert not answering.lost
    await leave(peer)


async def test_another_version_is_told_why(listener: SocketListener) -> None:
    async with stranger(listener.address) as (reader, writer):
        writer.write(encode([Hello(2, 3, "shop")])[0])
        (refusal,) = await heard(reader)
    assert isinstance(refusal, Refusal) and "upgrade the older one" in refusal.message


BROKEN_TALK = {
    "an oversized frame": b"\x7f\xff\xff\xff",
    "too many envelopes": b"\x00\x00\x00\x05\xdd\x00\x01\x00\x00",
    "an unknown kind": b"\x00\x00\x00\x03\x91\x91\x63",
    "a second hello": HELLO,
}


@pytest.mark.parametrize("said", BROKEN_TALK.values(), ids=BROKEN_TALK)
async def test_a_peer_that_breaks_the_protocol_is_hung_up_on(
    listener: SocketListener, answering: Answering, said: bytes
) -> None:
    async with stranger(listener.address) as (reader, writer):
        writer.write(HELLO + said)
        await heard(reader)
        await until(lambda: answering.lost)
    assert not listener.peers


async def test_a_peer_that_vanishes_amid_a_frame_is_just_lost(listener: SocketListener, answering: Answering) -> None:
    sent = encode([call("never"), call("never")])[0]
    async with stranger(listener.address) as (_, writer):
        writer.write(HELLO + encode([call("never")])[0] + sent[:-3])
        await until(lambda: answering.asked)
    await until(lambda: answering.lost)
    assert len(answering.asked) == 1


async def test_a_silent_stranger_is_hung_up_on(path: str) -> None:
    settings = TransportSettings(handshake_timeout=0.05)
    listening = await SocketNetwork(settings).listen(f"unix:{path}", identity=IDENTITY, inbound=Answering())
    async with stranger(listening.address) as (reader, _):
        assert await heard(reader) == []
    await listening.close()


async def test_a_reader_that_does_not_read_is_refused_then_cut_off(path: str, answering: Answering) -> None:
    """What it leaves unread is bounded: first its calls are turned back, and in the end the line."""
    settings = TransportSettings(unsent_bytes_max=1024 * 1024, unsent_bytes_limit=4 * 1024 * 1024, heartbeat=60.0)
    listening = await SocketNetwork(settings).listen(f"unix:{path}", identity=IDENTITY, inbound=answering)
    async with stranger(listening.address) as (_, writer):
        writer.write(HELLO)
        await until(lambda: listening.peers)
        (peer,) = listening.peers
        writer.write(encode([call("large")] * 8)[0])
        await until(lambda: peer.line.choked)
        with pytest.raises(MailboxFull):
            peer.call(call())
        asked, heard_at = len(answering.asked), peer.line._heard_at
        writer.write(encode([call("large")])[0])
        await until(lambda: peer.line._heard_at > heard_at)
        assert len(answering.asked) == asked and peer.open
        for _ in range(20):  # answers to what was asked before
            peer.send(Result(1, bytes(256 * 1024)))
        peer.line.flush()
        assert peer.open
        peer.line._choked_at -= 60.1  # a heartbeat later
        peer.send(Result(1, b""))
        peer.line.flush()
        await until(lambda: answering.lost)
    await listening.close()


async def test_a_killed_process_is_noticed_at_once(path: str) -> None:
    program = (
        "import asyncio\n"
        "from holdfast.transport import SocketNetwork\n"
        "from tests.unit.transport.inbound import IDENTITY, Answering\n"
        "async def main():\n"
        f"    await SocketNetwork().listen('unix:{path}', identity=IDENTITY, inbound=Answering())\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    runner = subprocess.Popen(  # noqa: ASYNC220 - started and read before anything else runs here
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    with runner:
        try:
            assert runner.stdout is not None and runner.stdout.readline() == b"ready\n"
            peer = await connect(f"unix:{path}")
            waiting = [peer.call(call("never")) for _ in range(3)]
            assert isinstance(await peer.call(call()), Result)
        finally:
            runner.send_signal(signal.SIGKILL)
        errors = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE_S)
    assert [getattr(error, "executed", None) for error in errors] == ["unknown"] * 3
    await peer.closed()
    assert Path(path).exists()  # left behind by the dead process
    again = await SocketNetwork().listen(f"unix:{path}", identity=IDENTITY, inbound=Answering())
    await leave(await connect(again.address))
    await again.close()
    assert not Path(path).exists()


async def test_only_this_user_may_use_the_socket(path: str) -> None:
    listening = await SocketNetwork().listen(f"unix:{path}", identity=IDENTITY, inbound=Answering())
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    await listening.close()


async def test_a_socket_that_somebody_listens_on_is_left_alone(path: str) -> None:
    listening = await SocketNetwork().listen(f"unix:{path}", identity=IDENTITY, inbound=Answering())
    with pytest.raises(ConfigurationError, match="another process listens"):
        await SocketNetwork().listen(f"unix:{path}", identity=IDENTITY, inbound=Answering())
    await leave(await connect(listening.address))
    await listening.close()


async def test_a_full_backlog_is_not_taken_for_a_dead_listener(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as waiting:
        busy.bind(path)
        busy.listen(0)
        for _ in range(3):
            one = waiting.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            one.connect_ex(path)
        with pytest.raises(ConfigurationError, match="another process listens"):
            await SocketNetwork().listen(f"unix:{path}", identity=IDENTITY, inbound=Answering())


async def test_another_kind_of_file_is_never_removed(path: str) -> None:
    Path(path).write_text("precious")
    with pytest.raises(ConfigurationError, match="in the way"):
        await SocketNetwork().listen(f"unix:{path}", identity=IDENTITY, inbound=Answering())
    assert Path(path).read_text() == "precious"


async def test_closing_leaves_the_file_of_a_successor(path: str) -> None:
    first = await SocketNetwork().listen(f"unix:{path}", identity=IDENTITY, inbound=Answering())
    Path(path).rename(f"{path}-moved")  # the number of its inode stays taken
    second = await SocketNetwork().listen(f"unix:{path}", identity=IDENTITY, inbound=Answering())
    await first.close()
    await leave(await connect(second.address))
    await second.close()


async def test_a_path_too_long_for_the_kernel_gets_a_short_one(tmp_path: Path) -> None:
    wanted = tmp_path / ("long" * 30) / "socket"
    listening = await SocketNetwork().listen(f"unix:{wanted}", identity=IDENTITY, inbound=Answering())
    place = Path(listening.address.removeprefix("unix:"))
    assert len(os.fsencode(place)) <= 103 and stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    await leave(await connect(listening.address))
    await listening.close()
    assert not place.parent.exists()


async def test_a_missing_folder_is_said_so() -> None:
    with pytest.raises(ConfigurationError, match="can't listen"):
        await SocketNetwork().listen("unix:/nowhere/at/all", identity=IDENTITY, inbound=Answering())


@pytest.mark.parametrize("address", ["unix:/nowhere/at/all", "tcp:127.0.0.1:1"])
async def test_nobody_at_the_address_is_said_so(address: str) -> None:
    with pytest.raises(RunnerUnavailable, match=address) as error:
        await connect(address)
    assert error.value.executed == "no"


async def test_a_listener_that_never_speaks_is_given_up(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(path)
        mute.listen()
        with pytest.raises(RunnerUnavailable, match="no handshake within"):
            network = SocketNetwork(TransportSettings(handshake_timeout=0.05))
            await network.connect(f"unix:{path}", identity=IDENTITY, inbound=Answering())


@pytest.mark.parametrize("address", ["tcp:0.0.0.0:0", "tcp:[::]:0", "tcp:example.com:0"])
async def test_a_port_others_can_reach_needs_tls_and_a_token(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"HOLDFAST_TLS_CERT.* and a token"):
        await SocketNetwork().listen(address, identity=IDENTITY, inbound=Answering())


@pytest.mark.parametrize("address", ["", "unix:", "tcp:localhost", "tcp::80", "tcp:h:99999", "http://x", "memory:x"])
async def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError):
        await SocketNetwork().connect(address, identity=IDENTITY, inbound=Answering())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_tls_lets_in_who_trusts_and_has_the_token(run: Callable[[Coroutine[None, None, None]], None]) -> None:
    """The certificate is for tests only: made for `localhost`, signed by itself, valid for a century."""
    certificate = Path(__file__).with_name("localhost.pem")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    identity = IDENTITY._replace(token="secret")

    async def main() -> None:
        listening = await SocketNetwork(server_tls=server_tls).listen(
            "tcp:0.0.0.0:0", identity=identity, inbound=Answering()
        )
        address = f"tcp:localhost:{listening.address.rpartition(':')[2]}"
        peer = await SocketNetwork(client_tls=trusting).connect(address, identity=identity, inbound=Answering())
        payload = os.urandom(1024 * 1024)
        assert (await peer.call(call(payload=payload))).payload == payload  # type: ignore[union-attr]
        await leave(peer)
        with pytest.raises(ConfigurationError, match="token"):
            await SocketNetwork(client_tls=trusting).connect(address, identity=IDENTITY, inbound=Answering())
        with pytest.raises(RunnerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            distrusting = SocketNetwork(client_tls=ssl.create_default_context())
            await distrusting.connect(address, identity=identity, inbound=Answering())
        await listening.close()

    run(main())
