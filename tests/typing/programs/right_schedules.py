from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_type
from holdfast import App, JobHandle, JobId, Overlap, ScheduleStatus, Singleton
app = App("shop")
@app.cron("0 9 * * MON-FRI", tz="Europe/Berlin", skip_if_older_than=3600, overlap="queue")
@app.job(timeout=600)
async def report(days: int = 1) -> str: return ""
@app.job
async def sweep(region: str) -> int: return 1
@app.job
async def tidy() -> None: ...
overlap: Overlap = "allow"
app.schedule("sweep-eu", sweep.call("eu"), cron="@hourly", overlap=overlap)
app.schedule("tidy", tidy, cron="@daily", tz="America/New_York")
@dataclass
class Cursor:
    at: int = 0
@app.singleton
class Feed(Singleton[Cursor]):
    async def run(self) -> None:
        self.state.at += 1
        await self.save()
@app.singleton(name="other")
class Other(Singleton[None]):
    async def run(self) -> None: ...
@app.singleton(every=60.0)
async def refresh() -> None: ...
@app.singleton
async def watch() -> None: ...
async def main() -> None:
    assert_type(await report.submit(days=2), JobHandle[str])
    assert_type(Feed().state, Cursor)
    assert_type(Other(), Other)
    await refresh()
    await watch()
    assert_type(await app.schedules.run("report"), JobId)
    assert_type(await app.schedules.status("report"), ScheduleStatus)
    assert_type(app.schedules.next("report", count=3), list[datetime])
    assert_type(app.schedules.names, Sequence[str])
