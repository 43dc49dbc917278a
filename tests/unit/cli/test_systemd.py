"""What systemd hears: readiness, the watchdog's food while the loop turns, and the beginning of the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.cli.systemd import LOOP_CHECK, SOCKET_VARIABLE, WATCHDOG_VARIABLE, Systemd
from holdfast.model.health import Check, Health

PATIENCE_S = 120.0


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where the manager listens."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address)
        line.settimeout(PATIENCE_S)
        monkeypatch.setenv(SOCKET_VARIABLE, address)
        yield line


def health(turns: bool) -> Health:
    return Health.of([Check(LOOP_CHECK, turns, ""), Check("commits", False, "the database is away")])


def test_ready_then_the_watchdog_then_stopping(heard: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner without its database is not ready, and is not restarted for it."""
    monkeypatch.setenv(WATCHDOG_VARIABLE, "2000")
    with Systemd(lambda: health(True)) as systemd:
        assert heard.recv(100) == b"READY=1"
        assert [heard.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        systemd.stopping()
        while (said := heard.recv(100)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"


def test_a_loop_that_is_stuck_is_not_fed(heard: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WATCHDOG_VARIABLE, "2000")
    looked = threading.Semaphore(0)

    def stuck() -> Health:
        looked.release()
        return health(False)

    with Systemd(stuck) as systemd:
        assert heard.recv(100) == b"READY=1"
        for _ in range(3):
            assert looked.acquire(timeout=PATIENCE_S)
        systemd.stopping()
        assert heard.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_is_sent_and_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    monkeypatch.setenv(WATCHDOG_VARIABLE, "2000")

    def asked() -> Health:
        raise AssertionError("nobody listens")

    with Systemd(asked) as systemd:
        systemd.stopping()


def test_a_manager_that_is_gone_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "nobody"))
    with Systemd(lambda: health(True)):
        assert "was not told READY=1" in caplog.text
