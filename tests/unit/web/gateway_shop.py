"""The application that the gateway's tests ask over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pydantic

from holdfast import App, Entity, Settings, message, stream
from holdfast.settings import EntitySettings, GatewaySettings


class SoldOut(Exception):
    """A declared error."""


@dataclass
class Line:
    sku: str
    qty: int = 1


class Customer(pydantic.BaseModel):
    name: str
    age: int


@dataclass
class State:
    lines: list[Line] = field(default_factory=list)


def shop(*, gate: asyncio.Event | None = None, body_timeout: float = 0.5) -> App:  # noqa: C901 - declarations
    """Handlers that hold wait at the gate."""
    gate = gate or asyncio.Event()
    settings = Settings(
        entities=EntitySettings(mailbox=2),
        gateway=GatewaySettings(body_bytes_max=10_000, body_timeout=body_timeout, timeout_max=30.0),
    )
    app = App("shop", settings=settings)

    @app.entity
    class Cart(Entity[State]):
        """A customer's cart."""

        @message
        async def add(self, line: Line) -> list[Line]:
            """Puts something in."""
            self.state.lines.append(line)
            return self.state.lines

        @message
        async def greet(self, customer: Customer, loud: bool = False) -> str:
            return f"hello {customer.name}{'!' if loud else ''}"

        @message
        async def shift(self, raw: bytes, at: datetime, by: dict[int, float]) -> tuple[bytes, datetime]:
            return raw[::-1], at + timedelta(seconds=sum(by.values()))

        @message(errors=(SoldOut,))
        async def refuse(self, sku: str) -> None:
            raise SoldOut(sku, 3)

        @message
        async def fail(self) -> None:
            raise ValueError("secret")

        @message
        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

        @message(durable=True)
        async def note(self, text: str) -> int:
            self.state.lines.append(Line(text))
            return len(self.state.lines)

        @message
        async def hold(self) -> None:
            await gate.wait()

        @message(durable=True)
        async def hold_durably(self) -> str:
            await gate.wait()
            return "held"

        @stream
        async def each(self):  # type: ignore[no-untyped-def]
            yield 1

    @app.job
    async def double(number: int) -> int:
        """Twice as much."""
        return 2 * number

    @app.job
    async def wait_long(seconds: float) -> None:
        await asyncio.sleep(seconds)

    @app.job(max_attempts=1)
    async def break_down() -> None:
        raise ValueError("broken")

    return app
