"""What a store's URL says, without opening anything."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from holdfast.errors import ConfigurationError

_SECRET = re.compile(r"([?&](?:password|sslpassword)=)[^&#]*", re.IGNORECASE)
_POSTGRES = frozenset({"postgres", "postgresql"})


def sqlite_path(url: str) -> str:
    """The absolute path of the file that an `sqlite:` URL names. Raises ConfigurationError for any other URL."""
    parts = urlsplit(url)
    if scheme(url) != "sqlite" or parts.netloc or len(parts.path) < 2 or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{masked(url)!r} is no store: use sqlite:///relative.db, sqlite:////absolute.db, "
            "postgresql://user@host/database or memory:"
        )
    return str(Path.cwd() / unquote(parts.path[1:]))


def masked(url: str) -> str:
    """The URL without its password, for messages and logs."""
    parts = urlsplit(url)
    url = _SECRET.sub(r"\1***", url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL database. Raises ConfigurationError where it does and there is no driver."""
    if scheme(url) not in _POSTGRES:
        return False
    _require_driver()
    return True


def scheme(url: str) -> str:
    """`sqlite`, `memory`, `postgresql`..."""
    return url.partition(":")[0].lower()


def _require_driver() -> None:
    """Raises ConfigurationError where PostgreSQL's driver is not installed; only who has such a store imports it."""
    if find_spec("asyncpg") is None:
        raise ConfigurationError("a PostgreSQL store needs its driver: pip install 'holdfast[postgres]'")
