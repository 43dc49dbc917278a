from right_schedules import Cursor, Feed, app, report, sweep
async def plain() -> None: ...
app.schedule("x", sweep, cron="@daily")                                # B1 its job needs an argument
app.schedule("x", sweep.call(1), cron="@daily")                        # B2
app.schedule("x", sweep.call("eu"))                                    # B3 no cron
app.schedule("x", sweep.call("eu"), cron="@daily", overlap="both")     # B4
app.cron("@daily")(plain)                                              # B5 not a job
app.cron("@daily", tzinfo="UTC")                                       # B6
app.singleton(lambda: None)                                            # B7 not async
app.singleton(Cursor)                                                  # B8 not a Singleton
app.singleton(sweep)                                                   # B9 takes an argument
app.singleton(period=3)                                                # B10
async def bad() -> None:
    Feed().state.nowhere                                               # B11
    await app.schedules.pause(report)                                  # B12
    await report.submit("two")                                         # B13
