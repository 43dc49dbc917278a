"""`holdfast node` and `holdfast shard` as they are typed."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from .exits import Exit
from .options import AsJson, Limit, Store

node = App(name="node", help="Runners, and what is wanted of them.")
shard = App(name="shard", help="Who owns what.")

Address = Annotated[str | None, Parameter(help="HOST:PORT that the runner tells the others.")]


@node.command(name="list")
def list_nodes(*, store: Store = None, as_json: AsJson = False) -> Exit:
    """Show the registered runners. Reads the store and changes nothing."""
    from .nodes import show_nodes

    return show_nodes(store, as_json=as_json)


@node.command
def drain(
    runner: int | None = None,
    /,
    *,
    address: Address = None,
    wait: Annotated[bool, Parameter(negative="")] = False,
    timeout: float = 45.0,
    store: Store = None,
    as_json: AsJson = False,
) -> Exit:
    """Let a runner give all its shards away. It goes on running without any, and is not ready.

    With --wait exits with 0 once it owns nothing or is gone, and with 1 where shards are left.

    Parameters
    ----------
    runner
        Its id; without it and --address the one of HOLDFAST_ADVERTISE, or HOLDFAST_LISTEN.
    wait
        Return when it is done.
    timeout
        Seconds to wait at most.
    """
    from .nodes import ask_node, drain_node

    if wait:
        return drain_node(store, runner, address=address, timeout_s=timeout, as_json=as_json)
    return ask_node(store, "drain", runner, address=address, as_json=as_json)


@node.command
def cordon(
    runner: int | None = None, /, *, address: Address = None, store: Store = None, as_json: AsJson = False
) -> Exit:
    """Let a runner keep the shards it has and take no more.

    Parameters
    ----------
    runner
        Its id; without it and --address the one of HOLDFAST_ADVERTISE, or HOLDFAST_LISTEN.
    """
    from .nodes import ask_node

    return ask_node(store, "cordon", runner, address=address, as_json=as_json)


@node.command
def uncordon(
    runner: int | None = None, /, *, address: Address = None, store: Store = None, as_json: AsJson = False
) -> Exit:
    """End a cordon or a drain: the runner takes its share of the shards again.

    Parameters
    ----------
    runner
        Its id; without it and --address the one of HOLDFAST_ADVERTISE, or HOLDFAST_LISTEN.
    """
    from .nodes import ask_node

    return ask_node(store, "uncordon", runner, address=address, as_json=as_json)


@shard.command(name="list")
def list_shards(*, limit: Limit = 1000, after: int = -1, store: Store = None, as_json: AsJson = False) -> Exit:
    """Show shards with their owners, by number.

    Parameters
    ----------
    after
        Only those with a higher number.
    """
    from .nodes import show_shards

    return show_shards(store, limit=limit, after=after, as_json=as_json)


@shard.command(name="map")
def map_shards(*, store: Store = None, as_json: AsJson = False) -> Exit:
    """Show which shards each runner owns, in ranges."""
    from .nodes import show_map

    return show_map(store, as_json=as_json)
