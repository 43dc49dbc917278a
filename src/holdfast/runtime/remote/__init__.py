"""The way to other processes: connections to runners, and the calls, sends and submits that go over them."""
