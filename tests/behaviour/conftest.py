"""What entities promise, shown on a running App: every test runs once per store, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Module, Settings, testing

Hosting = Callable[..., AbstractAsyncContextManager[tuple[App, testing.LiveRunner]]]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store."""
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def hosting(store: str) -> Hosting:
    """Hosts the declarations of a module: `async with hosting(module) as (app, t)`."""
    return hosting_on(store)


@pytest.fixture
def hosting_sql(tmp_path: Path) -> Hosting:
    """The same, on stores that have SQL."""
    return hosting_on(f"sqlite:///{tmp_path}/store.db")


def hosting_on(store: str) -> Hosting:
    @asynccontextmanager
    async def host(
        module: Module, *, settings: Settings | None = None, **options: Any
    ) -> AsyncGenerator[tuple[App, testing.LiveRunner]]:
        app = App("shop", modules=[module], settings=settings)
        async with testing.runner(app, store=store, **options) as t:
            yield app, t

    return host
