"""What systemd hears: readiness, the watchdog's food while the loop turns, and the beginning of the end."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.cli.systemd import LOOP_CHECK, SOCKET_VARIABLE, WATCHDOG_VARIABLE, Systemd
from holdfast.model.health import Check, Health

PATIENCE_S = 120.0


class Manager:
    """What hears; in a thread of its own, for the kernel keeps few words for who does not."""

    def __init__(self, line: socket.socket) -> None:
        self._words = queue.SimpleQueue[bytes]()
        self._line = line
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def next(self) -> bytes:
        return self._words.get(timeout=PATIENCE_S)

    def close(self, address: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(b"", address)
        self._thread.join()

    def _listen(self) -> None:
        while word := self._line.recv(100):
            self._words.put(word)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address)
        monkeypatch.setenv(SOCKET_VARIABLE, address)
        manager = Manager(line)
        yield manager
        manager.close(address)


def health(turns: bool) -> Health:
    return Health.of([Check(LOOP_CHECK, turns, ""), Check("commits", False, "the database is away")])


def test_ready_then_the_watchdog_then_stopping(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner without its database is not ready, and is not restarted for it."""
    monkeypatch.setenv(WATCHDOG_VARIABLE, "20000")
    with Systemd(lambda: health(True)) as systemd:
        assert manager.next() == b"READY=1"
        assert [manager.next() for _ in range(3)] == [b"WATCHDOG=1"] * 3
        systemd.stopping()
        while (said := manager.next()) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"


def test_a_loop_that_is_stuck_is_not_fed(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WATCHDOG_VARIABLE, "20000")
    looked = threading.Semaphore(0)

    def stuck() -> Health:
        looked.release()
        return health(False)

    with Systemd(stuck) as systemd:
        assert manager.next() == b"READY=1"
        for _ in range(3):
            assert looked.acquire(timeout=PATIENCE_S)
        systemd.stopping()
        assert manager.next() == b"STOPPING=1"


def test_without_systemd_nothing_is_sent_and_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    monkeypatch.setenv(WATCHDOG_VARIABLE, "20000")

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


def test_a_manager_that_does_not_listen_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A runner that could not say that it stops would never stop."""
    monkeypatch.setattr("holdfast.cli.systemd.TOLD_WITHIN_S", 0.05)
    address = str(tmp_path / "notify")
    monkeypatch.setenv(SOCKET_VARIABLE, address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address)
        with Systemd(lambda: health(True)) as systemd:
            for _ in range(10_000):  # the kernel keeps some
                systemd.stopping()
                if "was not told STOPPING=1" in caplog.text:
                    break
    assert "was not told STOPPING=1" in caplog.text
