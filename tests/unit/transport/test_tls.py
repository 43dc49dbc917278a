"""TLS between runners as somebody outside meets it: who gets in, who does not, and what each side is told."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from holdfast.errors import ConfigurationError, RunnerUnavailable
from holdfast.model.envelope import Result
from holdfast.ports.transport import Listener
from holdfast.runtime.tls import TlsFiles
from holdfast.transport import SocketNetwork
from tests.support.certificates import OPENSSL, Authority
from tests.unit.transport.inbound import IDENTITY, Answering, call

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl command to make certificates with")

HERE = "DNS:localhost,IP:127.0.0.1"
MEMBER = IDENTITY._replace(token="secret")

Run = Callable[[Coroutine[None, None, None]], None]


class Cluster:
    """An authority, what it has signed, and a stranger's."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "cluster")
        self.stranger = Authority(folder, "stranger")
        self.runner = self.authority.certificate("runner", names=HERE)
        self.client = self.authority.certificate("client", names="DNS:client")
        self.elsewhere = self.authority.certificate("elsewhere", names="DNS:runner.internal")
        self.forged = self.stranger.certificate("forged", names=HERE, trusts=self.authority)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def listening(files: TlsFiles) -> AsyncGenerator[Listener]:
    network = SocketNetwork(server_tls=files.server())
    listener = await network.listen("tcp:0.0.0.0:0", identity=MEMBER, inbound=Answering())
    try:
        yield listener
    finally:
        await listener.close()


def here(listener: Listener) -> str:
    return f"tcp:127.0.0.1:{listener.address.rpartition(':')[2]}"


def trusting(files: TlsFiles) -> TlsFiles:
    """The authority alone: no certificate to show."""
    return TlsFiles(authority=files.authority)


async def answered(listener: Listener, files: TlsFiles, *, name: str | None = None, identity: object = MEMBER) -> bytes:
    """What comes back of half a megabyte. Raises what `connect` raises."""
    network = SocketNetwork(client_tls=files.client(), tls_name=name)
    peer = await network.connect(here(listener), identity=identity, inbound=Answering())  # type: ignore[arg-type]
    try:
        reply = await peer.call(call(payload=os.urandom(512 * 1024)))
        assert isinstance(reply, Result)
        return reply.payload
    finally:
        peer.close()
        await peer.closed()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_both_sides_of_one_authority_talk(run: Run, cluster: Cluster) -> None:
    async def main() -> None:
        async with listening(cluster.runner) as listener:
            assert len(await answered(listener, cluster.client)) == 512 * 1024

    run(main())


@pytest.mark.parametrize("who", ["nobody's", "a stranger's"])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_client_without_a_certificate_of_the_authority_is_turned_away(run: Run, cluster: Cluster, who: str) -> None:
    files = trusting(cluster.client) if who == "nobody's" else cluster.forged

    async def main() -> None:
        async with listening(cluster.runner) as listener:
            with pytest.raises(RunnerUnavailable):
                await answered(listener, files)
            assert not listener.peers

    run(main())


async def test_a_runner_with_a_strangers_certificate_is_not_talked_to(cluster: Cluster) -> None:
    async with listening(cluster.forged) as listener:
        with pytest.raises(RunnerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await answered(listener, cluster.client)


async def test_a_certificate_must_name_the_host_or_the_name_all_runners_share(cluster: Cluster) -> None:
    async with listening(cluster.elsewhere) as listener:
        with pytest.raises(RunnerUnavailable, match=r"127\.0\.0\.1"):
            await answered(listener, cluster.client)
        assert await answered(listener, cluster.client, name="runner.internal")


async def test_a_certificate_does_not_replace_the_token(cluster: Cluster) -> None:
    async with listening(cluster.runner) as listener:
        with pytest.raises(ConfigurationError, match="token"):
            await answered(listener, cluster.client, identity=IDENTITY)


async def test_nor_does_it_replace_the_cluster(cluster: Cluster) -> None:
    async with listening(cluster.runner) as listener:
        with pytest.raises(RunnerUnavailable, match="cluster 'shop', not 'bank'"):
            await answered(listener, cluster.client, identity=MEMBER._replace(cluster_id="bank"))


async def test_who_speaks_without_tls_gets_no_word(cluster: Cluster) -> None:
    async with listening(cluster.runner) as listener:
        with pytest.raises(RunnerUnavailable):
            plain = SocketNetwork()
            await plain.connect(here(listener), identity=MEMBER, inbound=Answering())
        assert not listener.peers


async def test_an_older_tls_is_refused(cluster: Cluster) -> None:
    old = cluster.client.client()
    assert old is not None
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    async with listening(cluster.runner) as listener:
        with pytest.raises(RunnerUnavailable):
            await SocketNetwork(client_tls=old).connect(here(listener), identity=MEMBER, inbound=Answering())


@pytest.mark.parametrize(
    ("tls", "token", "missing"),
    [
        (False, "", "HOLDFAST_TLS_CERT.* and a token .HOLDFAST_CLUSTER_TOKEN"),
        (True, "", "give it a token .HOLDFAST_CLUSTER_TOKEN"),
        (False, "secret", "give it TLS .HOLDFAST_TLS_CERT"),
    ],
)
async def test_an_address_beyond_this_machine_says_what_to_set(
    cluster: Cluster, tls: bool, token: str, missing: str
) -> None:
    network = SocketNetwork(server_tls=cluster.runner.server() if tls else None)
    with pytest.raises(ConfigurationError, match=missing):
        await network.listen("tcp:0.0.0.0:0", identity=IDENTITY._replace(token=token), inbound=Answering())
