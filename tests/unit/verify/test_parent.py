"""Processes that end with the one that has started them, also where that one is gone before they could ask for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux ends processes with the one that started them"
)

LIVES_ON = "import sys; from holdfast.verify.parent import end_with_parent; end_with_parent(int(sys.argv[1]))"


@pytest.mark.parametrize(("parent", "status"), [(None, 0), (1, 1)], ids=["is there", "is gone"])
def test_a_process_goes_on_only_while_the_one_that_started_it_is_there(parent: int | None, status: int) -> None:
    assert (
        subprocess.run([sys.executable, "-c", LIVES_ON, str(parent or os.getpid())], check=False).returncode == status
    )
