"""A suite of its own, of minutes: `HOLDFAST_NEMESIS=1 pytest tests/nemesis`, or `./check nemesis`."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("HOLDFAST_NEMESIS") == "1" else ["test_*.py"]
