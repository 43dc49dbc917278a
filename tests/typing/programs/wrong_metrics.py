from holdfast.metrics import MetricsService

m = MetricsService()


@m.track_job(job_type="mail", operation="process")
async def handle(x: int) -> str:
    return "a"


m.track_job(job_type="mail", operation="sumbit")  # B1
m.track_cluster(operation="process", entity_type="Cart")  # B2
m.track_cluster(operation="send")  # B3
m.cluster.eroors.labels()  # B4
m.inc(m.cluster.entities, m.label())  # B5 a gauge is no counter
m.gauge(m.cluster.errors, m.label(), 1)  # B6 a counter is no gauge
m.cluster.errors.labels(type="x").dec()  # B7 a counter only grows
m.jobs.duration.labels(job_type="x").inc()  # B8 a histogram observes
m.jobs.meter(operation="process", job_type="x").succeeded(0.1, accepted=2)  # B9 only a submit accepts
MetricsService(buckets="finest")  # B10
MetricsService(None, "fine")  # B11
m.inc(m.cluster.errors, {"type": "x"})  # B12 labels are made by label()


async def main() -> None:
    await handle("one")  # B13
    number: int = await handle(1)  # B14
    print(number)
    m.track_stream([1], m.stream.elements)  # B15
