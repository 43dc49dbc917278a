"""The command line as its users meet it: real processes, real signals, a real file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.runtime.config import HTTP_TOKEN_VARIABLE, HTTP_VARIABLE, STORE_VARIABLE

PATIENCE_S = 120.0

PROGRAM = """
import asyncio, os
from pathlib import Path
import holdfast.cli.signals
from holdfast import App, Entity, Settings, message
from holdfast.settings import ClusterSettings

app = App("shop", settings=Settings(cluster=ClusterSettings(drain_timeout=60.0)))
if os.environ.get("PATIENT"):
    holdfast.cli.signals.STOP_S = 600.0  # a slow disk does not end it as a kill would

@app.entity
class Door(Entity[dict[str, int]]):
    def initial(self) -> dict[str, int]:
        return {}

    @message(durable=True)
    async def knock(self) -> None:
        self.state["knocks"] = self.state.get("knocks", 0) + 1

@app.job(max_attempts=1)
async def slow(name: str) -> str:
    print("begun", flush=True)
    while not Path("go on").exists():
        await asyncio.sleep(0.01)
    print("ended", flush=True)
    return name

@app.job(max_attempts=1)
async def deaf(name: str) -> None:
    print("begun", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""
SUBMIT = """
import asyncio, sys
import shop
from holdfast.storage import migrations
async def main() -> None:
    await migrations.apply("sqlite:///shop.db")
    async with shop.app.client():
        for call in sys.argv[1:]:
            await eval(call, vars(shop))
asyncio.run(main())
"""


class Running:
    """A `holdfast run` in a process of its own."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", "run", *options],
            cwd=folder,
            env=clean_environment() | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.seen: list[str] = []

    def line(self, start: str) -> str:
        """Reads standard output up to the line that starts so."""
        assert self._process.stdout is not None
        for text in self._process.stdout:
            self.seen.append(text)
            if text.strip().startswith(start):
                return text.strip()
        raise AssertionError(f"it ended without {start!r}: {self.seen} {self.end()}")

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """(exit code, the rest of standard output, standard error)."""
        out, err = self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode, out, err

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


Start = Callable[..., Running]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(PROGRAM)
    (tmp_path / "submit.py").write_text(SUBMIT)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    started: list[Running] = []

    def start(*options: str, environment: dict[str, str] | None = None) -> Running:
        started.append(Running(folder, *options, environment=environment))
        return started[-1]

    yield start
    for running in started:
        running.kill()


def clean_environment() -> dict[str, str]:
    ours = {STORE_VARIABLE, HTTP_VARIABLE, HTTP_TOKEN_VARIABLE}
    return {name: value for name, value in os.environ.items() if name not in ours}


def holdfast(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "holdfast", *words]
    return subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )


def submitted(folder: Path, *calls: str) -> None:
    """Submits before anybody runs."""
    command, quiet = [sys.executable, "submit.py", *calls], subprocess.DEVNULL
    subprocess.run(command, cwd=folder, check=True, timeout=PATIENCE_S, env=clean_environment(), stdout=quiet)


def stored_jobs(folder: Path) -> dict[str, dict[str, int]]:
    found = json.loads(holdfast(folder, "status", "--store", "sqlite:///shop.db", "--json").stdout)
    return {job["job_type"]: job for job in found["jobs"]}


def fetched(url: str, token: str | None = None) -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def ready(url: str) -> str:
    """What it says once it is: a loop that had no core for a moment says that it is not."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return fetched(url)
        except urllib.error.HTTPError as error:
            assert error.code == 503 and time.monotonic() < give_up_at, error


def test_a_runner_says_where_everything_is_and_answers_there(start: Start, folder: Path) -> None:
    """The store made absolute, who chose it, and the address really bound."""
    running = start("shop:app", "--http", "127.0.0.1:0")
    assert running.line("store") == f"store    sqlite:///{folder / 'shop.db'} (from default)"
    url = running.line("metrics").split()[1]
    assert "jobs_worker_slots" in fetched(url)
    assert ready(url.replace("/metrics", "/readyz")) == "ready\n"
    running.signal()
    code, out, err = running.end()
    assert (code, out.splitlines()[-1]) == (0, "stopped")
    assert "level=info logger=holdfast.runtime msg=" in err and "Traceback" not in err


def test_sigterm_lets_what_runs_end(start: Start, folder: Path) -> None:
    """Drained means exit code 0, and the job is completed in the store."""
    submitted(folder, 'slow.submit("a")')
    running = start("shop:app")
    running.line("begun")
    running.signal()
    running.line("draining")
    (folder / "go on").touch()
    code, out, _ = running.end()
    assert code == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == ["ended", "stopped"]
    assert stored_jobs(folder)["slow"]["completed"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_second_signal_stops_at_once_and_loses_nothing(
    start: Start, folder: Path, number: signal.Signals, loop: str
) -> None:
    """Exit code 1; the job is live again, at no cost of an attempt."""
    submitted(folder, 'slow.submit("a")')
    running = start("shop:app", "--loop", loop, environment={"PATIENT": "1"})
    running.line("begun")
    running.signal(number)
    running.line("draining")
    running.signal(number)
    code, out, _ = running.end()
    assert code == 1
    assert "stopped at once" in out
    job = stored_jobs(folder)["slow"]
    assert (job["available"], job["completed"], job["dead"]) == (1, 0, 0)


@pytest.mark.slow
def test_a_handler_that_does_not_end_cannot_hold_up_a_stop(start: Start, folder: Path) -> None:
    """A second signal ends the process within seconds, whatever is running."""
    submitted(folder, 'deaf.submit("a")')
    running = start("shop:app")
    running.line("begun")
    running.signal()
    running.line("draining")
    running.signal()
    code, _, _ = running.end()
    assert code == 1
    assert stored_jobs(folder)["deaf"]["live"] == 1


def test_a_store_has_one_runner_and_the_second_is_told_whose_it_is(start: Start, folder: Path) -> None:
    """By process id, with exit code 2; reading the store meanwhile is fine, migrating it is not."""
    running = start("shop:app")
    running.line("stop")
    second = holdfast(folder, "run", "shop:app")
    assert second.returncode == 2
    assert "another runner (process" in second.stderr and "Traceback" not in second.stderr
    status = json.loads(holdfast(folder, "status", "--store", "sqlite:///shop.db", "--json").stdout)
    (runner,) = status["runners"]
    assert (runner["state"], runner["lease_valid"], runner["entity_types"]) == ("active", True, ["Door"])
    assert runner["shards"] == status["shards"]["count"] > 0 == status["shards"]["unowned"]
    assert holdfast(folder, "db", "migrate", "--store", "sqlite:///shop.db").returncode == 2
    assert holdfast(folder, "db", "status", "--store", "sqlite:///shop.db").returncode == 0
    running.signal()
    assert running.end()[0] == 0
    after = json.loads(holdfast(folder, "status", "--store", "sqlite:///shop.db", "--json").stdout)
    assert after["runners"] == [] and after["shards"]["unowned"] == after["shards"]["count"]


def test_a_port_in_use_is_told_before_anything_is_started(folder: Path) -> None:
    """Exit code 2, and no store is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = holdfast(folder, "run", "shop:app", "--http", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 2
    assert "the port is in use" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "shop.db").exists()


def test_other_machines_are_let_in_with_a_token_only(start: Start, folder: Path) -> None:
    """The token comes from the environment and is asked for."""
    refused = holdfast(folder, "run", "shop:app", "--http", "0.0.0.0:0")
    assert refused.returncode == 2 and "token" in refused.stderr
    running = start("shop:app", "--http", "0.0.0.0:0", environment={HTTP_TOKEN_VARIABLE: "s3cret"})
    port = running.line("metrics").split()[1].split(":")[2].split("/")[0]
    url = f"http://127.0.0.1:{port}/livez"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        fetched(url)
    assert fetched(url, token="s3cret") == "alive\n"


def test_the_store_is_found_by_argument_environment_and_project(start: Start, folder: Path) -> None:
    """In this order, and the runner says by which."""
    (folder / "pyproject.toml").write_text('[tool.holdfast]\nstore = "sqlite:///from-project.db"\n')
    found = []
    for options, environment in (
        ((), {}),
        ((), {STORE_VARIABLE: "sqlite:///from-environment.db"}),
        (("--store", "sqlite:///from-argument.db"), {STORE_VARIABLE: "sqlite:///from-environment.db"}),
    ):
        running = start("shop:app", *options, environment=environment)
        found.append(running.line("store").removeprefix(f"store    sqlite:///{folder}/"))
        running.kill()
    assert found == [
        "from-project.db (from pyproject.toml)",
        "from-environment.db (from HOLDFAST_STORE)",
        "from-argument.db (from --store)",
    ]


def test_the_demo_reconciles_its_counters_with_its_store(folder: Path) -> None:
    """Hundreds of messages and jobs, retries among them, and both sides say the same."""
    for seconds in ("2", "10", "50"):  # until it has been enough, on a slow machine too
        done = holdfast(folder, "demo", "--for", seconds, "--rate", "150", "--json")
        found = json.loads(done.stdout)
        assert (done.returncode, found["disagreements"], found["surprises"]) == (0, [], [])
        if found["messages"] > 300 and found["jobs"] > 100 and found["retries"] > 0:
            break
    else:
        pytest.fail(f"too little happened: {found}")
    assert found["compared"] > 20
    assert sorted(path.name for path in folder.iterdir()) == ["shop.py", "submit.py"]


def test_a_demo_on_a_kept_store_reconciles_again(folder: Path) -> None:
    """The second run's counters begin at zero, its store does not; progress is a line a second."""
    for _ in range(2):
        done = holdfast(folder, "demo", "--for", "1", "--store", "sqlite:///kept.db")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "metrics at http://127.0.0.1:" in done.stdout
        assert "counters and store agree" in done.stdout
    assert (folder / "kept.db").exists()


def test_an_interrupted_demo_still_gives_its_summary(folder: Path) -> None:
    """Ctrl-C ends the load, not the proof."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "demo"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "messages" in line:
            demo.send_signal(signal.SIGINT)
            break
    out, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 0, out
    assert "counters and store agree" in out
