"""Canaries: real processes are given secrets and led into trouble; nothing that anybody else sees repeats them.

Looked at are standard output and error (logs at debug level), every page, and the arguments of every process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.certificates import OPENSSL, Authority
from tests.support.postgres import emptied_schema

pytestmark = pytest.mark.slow

PATIENCE_S = 120.0
PASSWORD, HTTP_TOKEN, CLUSTER_TOKEN, GATEWAY_TOKEN = (
    f"canary{number}-of-the-{word}" for number, word in enumerate(("oriole", "siskin", "linnet", "redpoll"))
)
SECRETS = (PASSWORD, HTTP_TOKEN, CLUSTER_TOKEN, GATEWAY_TOKEN)
TOKENS = {
    "HOLDFAST_HTTP_TOKEN": HTTP_TOKEN,
    "HOLDFAST_CLUSTER_TOKEN": CLUSTER_TOKEN,
    "HOLDFAST_GATEWAY_TOKEN": GATEWAY_TOKEN,
}
PROGRAM = """
from holdfast import App, Entity, message

app = App("birds")

@app.entity
class Nest(Entity[None]):
    @message
    async def lay(self) -> None:
        raise ValueError("broken")
"""
ASK = """
import asyncio, birds
async def main():
    async with birds.app.client():
        try:
            await birds.app.ref(birds.Nest, "n").lay()
        except Exception as error:
            print(repr(error))
asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "birds.py").write_text(PROGRAM)
    return tmp_path


def environment(more: Mapping[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return {**ours, **TOKENS, **more}


def silent(text: str, where: str) -> None:
    for secret in SECRETS:
        assert secret not in text, f"{secret} is repeated in {where}"


def failed(folder: Path, words: list[str], **more: str) -> str:
    """What a command that can't work says, which is short and holds no secret."""
    command = [sys.executable, "-m", "holdfast", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment(more), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    said = done.stdout + done.stderr
    silent(said, " ".join(words))
    assert done.returncode in (1, 2), said
    return said


@contextmanager
def running(folder: Path, *options: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A `holdfast run` at debug level, and all that it says."""
    command = [sys.executable, "-m", "holdfast", "run", "birds:app", "--log-level", "debug", *options]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said: list[str] = []
    assert process.stdout is not None
    reading = threading.Thread(target=lambda: said.extend(process.stdout or []), daemon=True)
    reading.start()
    try:
        yield process, said
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            reading.join(PATIENCE_S)
            process.stdout.close()


def until(found: Callable[[], object], said: list[str]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < give_up_at, "".join(said)
        time.sleep(0.05)


def family(pid: int) -> list[int]:
    """The process and all below it."""
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid, *(below for text in lists for child in text.split() for below in family(int(child)))]


def arguments(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")


def page(url: str, token: str | None) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode() + str(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode() + str(error.headers)


def with_password(url: str) -> str:
    """The wheel's server trusts whoever comes, so any password will do."""
    parts = urlsplit(url)
    return url.replace(parts.netloc, f"postgres:{PASSWORD}@{parts.netloc.rpartition('@')[2]}", 1)


@pytest.fixture
async def url(postgres_servers: Callable[[str], str]) -> AsyncIterator[str]:
    async with emptied_schema(postgres_servers("postgres")) as url:
        yield with_password(url)


@pytest.mark.postgres
@pytest.mark.parametrize("runners", [1, 2])
def test_what_serves_repeats_no_secret(folder: Path, url: str, runners: int) -> None:
    """Pages, logs at debug level, a client's errors, `status --json`, and all arguments."""
    (folder / "ask.py").write_text(ASK)
    addresses = ("--http", "127.0.0.1:0", "--gateway", "127.0.0.1:0")
    with running(folder, "--runners", str(runners), *addresses, HOLDFAST_STORE=url) as (process, said):
        until(lambda: process.poll() is not None or re.search(r"http://\S+/metrics", "".join(said)), said)
        assert process.poll() is None, "".join(said)
        found = re.search(r"(http://\S+)/metrics", "".join(said))
        assert found is not None
        until(lambda: page(f"{found[1]}/readyz", HTTP_TOKEN)[0] == 200, said)
        for path in ("/metrics", "/readyz?verbose", "/livez", "/nowhere"):
            for token in (None, "wrong", HTTP_TOKEN):
                status, text = page(found[1] + path, token)
                assert (status == 401) == (token != HTTP_TOKEN)
                silent(text, path)
        ask = [sys.executable, "ask.py"]
        asked = subprocess.run(
            ask,
            cwd=folder,
            env=environment({"HOLDFAST_STORE": url}),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert "HandlerFailed" in asked.stdout, asked.stderr
        silent(asked.stdout + asked.stderr, "a client")
        command = [sys.executable, "-m", "holdfast", "status", "--json"]
        looked = subprocess.run(
            command, env=environment({"HOLDFAST_STORE": url}), capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert looked.returncode == 0 and ":***@" in looked.stdout
        silent(looked.stdout + looked.stderr, "status --json")
        processes = family(process.pid)
        assert len(processes) >= (1 if runners == 1 else 1 + runners)
        for pid in processes:
            silent(arguments(pid), f"the arguments of {pid}")
    silent("".join(said), "the log")
    assert "Traceback" in "".join(said)


TROUBLE = {
    "nobody there": "postgresql://me:{secret}@127.0.0.1:1/db",
    "no such host": "postgresql://me:{secret}@nowhere.invalid/db",
    "a number sign in it": "postgresql://me:{secret}#{secret}@127.0.0.1:1/db",
    "a slash in it": "postgresql://me:{secret}/{secret}@127.0.0.1:1/db",
    "a question mark in it": "postgresql://me:{secret}?{secret}@127.0.0.1:1/db",
    "a bracket in it": "postgresql://me:{secret}[{secret}@127.0.0.1:1/db",
    "brackets in it": "postgresql://me:[{secret}]x@127.0.0.1:1/db",
    "an at in it": "postgresql://me:{secret}@{secret}@127.0.0.1:1/db",
    "a colon in it": "postgresql://me:{secret}:{secret}@127.0.0.1:1/db",
    "no port": "postgresql://me:{secret}@127.0.0.1:port/db",
    "in the query": "postgresql://me@127.0.0.1:1/db?password={secret}#{secret}",
    "an unknown setting": "postgresql://me:{secret}@127.0.0.1:1/db?sslmode=whatever",
    "a wrong escape": "postgresql://me:{secret}%zz@127.0.0.1:1/db",
    "another database": "mysql://me:{secret}@127.0.0.1/db",
    "no scheme at all": "me:{secret}@127.0.0.1/db",
    "of a file": "sqlite://me:{secret}@/db",
    "with control characters": "postgresql://me:{secret}\x1b[2J@127.0.0.1:1/db",
}


@pytest.mark.parametrize("url", TROUBLE.values(), ids=TROUBLE)
def test_a_store_that_can_not_be_had_is_told_of_without_its_password(
    folder: Path, url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, as each would be a second of starting; those below are real ones."""
    from holdfast.cli.commands import execute

    monkeypatch.chdir(folder)
    whole = url.replace("{secret}", PASSWORD)
    for words in (["status"], ["status", "--json"], ["db", "status"], ["db", "migrate"], ["db", "sql"]):
        assert execute([*words, "--store", whole]) in (1, 2)
        assert execute([*words, whole]) in (1, 2)
    said = capfd.readouterr()
    silent(said.out + said.err, url)
    assert "Traceback" not in said.err and "\x1b" not in said.err


def test_a_runner_that_can_not_start_repeats_no_secret(folder: Path) -> None:
    stores = [TROUBLE[name].replace("{secret}", PASSWORD) for name in ("nobody there", "a slash in it")]
    for store in stores:
        failed(folder, ["run", "birds:app", "--log-level", "debug"], HOLDFAST_STORE=store)
    failed(folder, ["run", "birds:app", "--runners", "2", "--log-level", "debug"], HOLDFAST_STORE=stores[0])
    failed(folder, ["run", "birds:app", "--gateway", "0.0.0.0:0"], HOLDFAST_STORE=f"sqlite:///{folder}/b.db")


@pytest.mark.parametrize("variable", TOKENS)
@pytest.mark.parametrize("wrong", ["{secret}\nX-More: 1", "{secret} ", "{secret}é", "{secret}" + "x" * 600])
def test_a_token_that_no_header_can_carry_is_refused_by_its_name(folder: Path, variable: str, wrong: str) -> None:
    if wrong != "{secret} " and variable != "HOLDFAST_HTTP_TOKEN":
        return  # one rule for all three: each kind of wrong once, and each variable once
    said = failed(folder, ["run", "birds:app"], **{variable: wrong.replace("{secret}", TOKENS[variable])})
    assert variable in said


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl command to make certificates with")
def test_a_bad_certificate_is_told_of_without_what_is_in_it(folder: Path) -> None:
    good = Authority(folder, "birds").certificate("runner", names="DNS:localhost")
    assert good.key is not None and good.certificate is not None
    bad = folder / "bad.pem"
    bad.write_text(f"-----BEGIN PRIVATE KEY-----\n{PASSWORD}\n-----END PRIVATE KEY-----\n")
    for certificate, key in ((good.certificate, str(bad)), (str(bad), good.key), (good.key, good.key)):
        failed(
            folder, ["run", "birds:app", "--gateway", "127.0.0.1:0"], HOLDFAST_STORE=f"sqlite:///{folder}/b.db",
            HOLDFAST_TLS_CERT=certificate, HOLDFAST_TLS_KEY=key,
        )  # fmt: skip


def test_what_knows_a_secret_does_not_show_it() -> None:
    """Objects end up in logs and tracebacks."""
    from holdfast.cli.supervisor import RunnerOptions
    from holdfast.ports.transport import Identity
    from holdfast.runtime.config import NodeConfig
    from holdfast.storage.postgres.connection import PostgresOptions

    url = f"postgresql://me:{PASSWORD}@h/db"
    config = NodeConfig(
        store=url, store_source="", store_direct=url, http_token=HTTP_TOKEN, gateway_token=GATEWAY_TOKEN,
        cluster_token=CLUSTER_TOKEN,
    )  # fmt: skip
    options = RunnerOptions(target="a:b", store=url, listen=None, advertise=None, loop="asyncio", log_level="info")
    identity = Identity("shop", token=CLUSTER_TOKEN)
    opening = PostgresOptions(url=url, direct_url=url)
    silent(f"{config!r} {options!r} {options.command()} {identity!r} {identity} {opening!r}", "a repr")
