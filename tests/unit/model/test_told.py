"""What decorators are told is refused where it is said, not when rows can't be written or nothing is ever handled."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import App, Entity, message
from holdfast.errors import ConfigurationError, UsageError


async def work() -> None: ...


class Counter(Entity[int]):
    @message(durable=True)
    async def count(self) -> None: ...


@pytest.mark.parametrize(
    "told",
    [
        {"mailbox": 0},
        {"mailbox": -1},
        {"mailbox": "many"},
        {"idle_after": 0.0},
        {"idle_after": float("nan")},
        {"schema": -1},
        {"schema": 2**40},
        {"name": ""},
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"name": "n" * 256},
        {"shard_group": ""},
    ],
    ids=repr,
)
def test_an_entity_type_that_can_t_be(told: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="entity Counter"):
        App("shop").entity(**told)(Counter)


@pytest.mark.parametrize(
    "told",
    [
        {"max_attempts": 0},
        {"max_attempts": 2**40},
        {"group_limit": -1},
        {"timeout": 0.0},
        {"timeout": float("inf")},
        {"name": ""},
        {"name": "n" * 256},
        {"shard_group": ""},
    ],
    ids=repr,
)
def test_a_job_type_that_can_t_be(told: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="job work"):
        App("shop").job(**told)(work)


@pytest.mark.parametrize(
    "told",
    [{"max_deliveries": 0}, {"max_deliveries": 2**40}, {"name": ""}, {"errors": (int,)}],
    ids=repr,
)
def test_a_message_that_can_t_be(told: dict[str, Any]) -> None:
    with pytest.raises((ConfigurationError, RuntimeError)) as refused:  # Python 3.11 wraps what making a class raises

        class Odd(Entity[None]):
            @message(durable=True, **told)
            async def go(self) -> None: ...

    assert isinstance(refused.value.__cause__ or refused.value, ConfigurationError)


def test_two_messages_of_one_name() -> None:
    class Twice(Entity[None]):
        @message(name="go")
        async def here(self) -> None: ...

        @message(name="go")
        async def there(self) -> None: ...

    with pytest.raises(ConfigurationError, match="two of its messages"):
        App("shop").entity(Twice)


def test_two_errors_of_one_name() -> None:
    ours: Any = type("KeyError", (Exception,), {})
    with pytest.raises((ConfigurationError, RuntimeError)) as refused:

        class Odd(Entity[None]):
            @message(errors=(KeyError, ours))
            async def go(self) -> None: ...

    assert "have the name KeyError" in str(refused.value.__cause__ or refused.value)


def test_a_timer_that_would_never_rest() -> None:
    app = App("shop")
    app.entity(Counter)
    with pytest.raises(UsageError, match="`every`"):
        app.ref(Counter, "one").count.opts(every=1e-7, name="tick")
