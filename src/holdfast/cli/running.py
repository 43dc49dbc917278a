"""`holdfast run`: an App's runner as a process of its own.

What a person wants to know goes to standard output, the log to standard error. The exit code says how it ended: 0 after
a drain, 1 when a second signal ended it, 2 when it could not start.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace

from holdfast.runtime.app import App
from holdfast.runtime.config import NodeConfig
from holdfast.runtime.node import Node
from holdfast.storage.urls import masked

from .collector import settle_for_running
from .exits import Exit
from .loading import load_app
from .logs import log_to_stderr
from .loops import LoopName, run_on
from .plain import shown
from .signals import StopSignals
from .supervised import report_to_supervisor, supervisors_store
from .supervisor import RunnerOptions, check, supervise
from .systemd import Systemd


@dataclass(frozen=True, slots=True, kw_only=True)
class RunArguments:
    """What the command line said; None where it said nothing."""

    store: str | None
    http: str | None
    gateway: str | None
    listen: str | None
    advertise: str | None


def run_app(target: str, arguments: RunArguments, *, runners: int, loop: LoopName, log_level: str) -> Exit:
    """Returns when all have stopped. Raises ConfigurationError for what keeps a runner from starting."""
    log_to_stderr(log_level)
    app = load_app(target)
    arguments = replace(arguments, store=supervisors_store() or arguments.store)
    config = app.config(**asdict(arguments))
    if config.store_source == "argument":
        config = replace(config, store_source="--store" if arguments.store else "the App")
    check(config, runners)
    if runners == 1:
        return run_on(loop, serve(app, config, arguments))
    options = RunnerOptions(
        target=target,
        store=config.store,
        listen=arguments.listen,
        advertise=arguments.advertise,
        loop=loop,
        log_level=log_level,
    )
    return run_on("asyncio", supervise(config, options, runners))


async def serve(app: App, config: NodeConfig, arguments: RunArguments) -> Exit:
    """Hosts until a signal comes, or until who started it as one of several is gone."""
    task = asyncio.current_task()
    assert task is not None
    with StopSignals(task) as signals:
        try:
            async with app.runner(**{**asdict(arguments), "store": config.store}) as node:
                settle_for_running()
                if not report_to_supervisor(node.http, signals.ask):
                    say(announcement(app, config, node))
                with Systemd(node.health) as systemd:
                    await signals.asked.wait()
                    systemd.stopping()
                say("draining: what runs may end; a second signal stops at once")
        except asyncio.CancelledError:
            if not signals.insisted:
                raise
            say("stopped at once: what was running is taken up again by the next runner")
            return Exit.FAILED
    say("stopped")
    return Exit.OK


def announcement(app: App, config: NodeConfig, node: Node) -> str:
    """What runs where, for the one who started it."""
    entities = ", ".join(declared.name for declared in app.entity_types.values()) or "none"
    jobs = ", ".join(app.job_types) or "none"
    pages = f"{node.http}/metrics" if node.http else "not served; give --http 127.0.0.1:9464"
    gateway = [f"  gateway  {app.gateway_url}"] if app.gateway_url else []
    return "\n".join(
        [
            f"{app.name} runs (entities: {entities}; jobs: {jobs})",
            f"  store    {masked(node.store_url)} (from {config.store_source})",
            f"  metrics  {pages}",
            *gateway,
            "  stop     Ctrl-C or SIGTERM drains, a second one stops at once",
        ]
    )


def say(text: str) -> None:
    """To a person or a pipe, now."""
    print(shown(text), flush=True)
