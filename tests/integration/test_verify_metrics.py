"""`holdfast verify metrics` beside a runner that goes on working: it agrees, or says what does not."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.commands import execute
from holdfast.cli.exits import Exit
from holdfast.errors import JobDead
from holdfast.ports.store import ClientStore
from holdfast.verify import metrics
from tests.integration.shop import Cart, app, double, fail_job

PATIENCE_S = 60.0


async def verified(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = await asyncio.to_thread(execute, ["verify", "metrics", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


async def work(number: int) -> None:
    await app.ref(Cart, f"c{number % 3}").note(number)
    assert await (await double.submit(number)).result() == 2 * number
    if number % 5 == 0:
        with pytest.raises(JobDead):
            await (await fail_job.submit("on purpose")).result()


async def work_for_ever(done: list[int]) -> None:
    while True:
        await work(len(done) + 1)
        done.append(len(done) + 1)


async def test_counters_and_store_agree_while_the_runner_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    look, done = metrics.look, list[int]()

    async def look_once_more_is_done(store: ClientStore, pages: metrics.Pages) -> metrics.Look:
        enough = len(done) + 5
        async with asyncio.timeout(PATIENCE_S):
            while len(done) < enough:  # noqa: ASYNC110 - another thread's loop does it
                await asyncio.sleep(0.01)
        return await look(store, pages)

    monkeypatch.setattr(metrics, "look", look_once_more_is_done)
    async with app.runner(store=url, http="127.0.0.1:0") as node:
        await work(0)
        working = asyncio.create_task(work_for_ever(done))
        code, out, _ = await verified(str(node.http), "--store", url, "--for", "0.1", "--json", capsys=capsys)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    found: dict[str, Any] = json.loads(out)
    assert (code, found["agrees"]) == (Exit.OK, True), found["disagreements"]
    grown = {(one["what"], one["subject"]): one["counted"] for one in found["findings"]}
    assert grown["completed", "double/normal"] > 0


async def test_a_count_that_has_no_row_is_a_disagreement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    look, looks = metrics.look, itertools.count()

    async def look_and_lie(store: ClientStore, pages: metrics.Pages) -> metrics.Look:
        seen = await look(store, pages)
        if next(looks) == 0:
            app.metrics.jobs.completions.labels(job_type="double", priority="normal").inc()
        return seen

    monkeypatch.setattr(metrics, "look", look_and_lie)
    monkeypatch.setattr(metrics, "LAG_S", 0.0)
    async with app.runner(store=url, http="127.0.0.1:0") as node:
        await work(0)
        code, out, _ = await verified(str(node.http), "--store", url, "--for", "0", capsys=capsys)
    assert code == Exit.FAILED
    assert "DISAGREEMENT  completed of double/normal: counted 1 != stored 0" in out


async def test_a_page_that_is_named_twice_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LAG_S", 0.0)
    url = f"sqlite:///{tmp_path}/shop.db"
    async with app.runner(store=url, http="127.0.0.1:0") as node:
        page = f"{node.http}/metrics"
        code, out, _ = await verified(page, page, "--store", url, "--for", "0", capsys=capsys)
    assert code == Exit.FAILED
    assert "counted 128 != stored 64" in out and "none twice" in out


@pytest.mark.parametrize("page", ["ftp://here/metrics", "here", "http://"])
async def test_what_is_no_page_is_refused(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = await verified(page, "--store", "sqlite:///none.db", capsys=capsys)
    assert (code, "is no page" in err) == (Exit.USAGE, True)
