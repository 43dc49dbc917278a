from right_uses import Cart, app, send_receipt, S1
async def bad() -> None:
    cart = app.ref(Cart, "c")
    await cart.add(1)                                   # B1
    await cart.ad("x")                                  # B2
    s: str = await cart.add("x")                        # B3
    await cart.checkout.send(1)                         # B4
    await cart.checkout.send()                          # B5
    cart.checkout.opts(tiemout=1)                       # B6
    app.ref(Cart, 5)                                    # B7
    await cart.add.send("x")                            # B8 volatile has no send
    await app.cluster.send(Cart.add, "c", 3)            # B9
    await app.cluster.send(Cart.add, "c", "x", qyt=3)   # B10
    await send_receipt.submit(3)                        # B11
    await send_receipt.opts(priority="urgent").submit("x")  # B12
    await app.jobs.submit(send_receipt, 3)              # B13
    await app.jobs.submit(send_receipt)                 # B14
    n: str = await app.jobs.wait(await send_receipt.submit("x"))  # B15
    app.metrics.track_job(job_type="x", operation="sumbit")       # B16
    await cart.history(3)                               # B17 stream is not awaitable
    app.ref(int, "x")                                   # B18
    # beyond types: a ref is typed as its class, so these raise at run time
    cart.state.items.clear()                            # L1
    cart.transaction()                                  # L2
    await cart.submit(send_receipt, "x")                # L3
    await cart.on_activate()                            # L4
    cart.checkout.send("o")                             # B19 un-awaited coroutine
    cart.add("o")                                       # B20 un-awaited
