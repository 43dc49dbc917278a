"""What a store's URL says, without opening anything."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from holdfast.errors import ConfigurationError

_SECRET = re.compile(r"([?&](?:password|sslpassword)=)[^&]*", re.IGNORECASE)
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\]]*)(:[0-9]{1,5})?")
_BAD_URL = "write postgresql://user:password@host:port/database, with special characters as %XX"
_POSTGRES = frozenset({"postgres", "postgresql"})


def sqlite_path(url: str) -> str:
    """The absolute path of the file that an `sqlite:` URL names. Raises ConfigurationError for any other URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _no_store(url) from None
    path = unquote(parts.path[1:])
    if scheme(url) != "sqlite" or parts.netloc or not path or "\x00" in path or parts.query or parts.fragment:
        raise _no_store(url)
    return str(Path.cwd() / path)


def _no_store(url: str) -> ConfigurationError:
    return ConfigurationError(
        f"{masked(url)!r} is no store: use sqlite:///relative.db, sqlite:////absolute.db, "
        "postgresql://user@host/database or memory:"
    )


def masked(url: str) -> str:
    """The URL without its password, for messages and logs.

    Also of one that is wrong, since a password whose special characters nobody escaped is what makes it wrong: all
    between the first colon and the last `@` may belong to it.
    """
    kind, authority, rest = url.partition("://") if "://" in url else ("", "", url)
    before, at, after = rest.rpartition("@")
    user, colon, _ = before.partition(":")
    if at and colon and not rest.startswith("/"):
        url = f"{kind}{authority}{user}:***@{after}"
    return _SECRET.sub(r"\1***", url)


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL database.

    Raises ConfigurationError where it does but can't be read, or there is no driver.
    """
    if scheme(url) not in _POSTGRES:
        return False
    if not _readable(url):
        raise ConfigurationError(f"{masked(url)!r} can't be read: {_BAD_URL}")
    _require_driver()
    return True


def _readable(url: str) -> bool:
    """Whether the driver will read in it what was meant; its own complaint could quote half a password."""
    try:
        parts = urlsplit(url)
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return False
    places = parts.netloc.rpartition("@")[2].split(",")
    return not parts.fragment and "@" not in parts.path and all(map(_PLACE.fullmatch, places))


def scheme(url: str) -> str:
    """`sqlite`, `memory`, `postgresql`..."""
    return url.partition(":")[0].lower()


def _require_driver() -> None:
    """Raises ConfigurationError where PostgreSQL's driver is not installed; only who has such a store imports it."""
    if find_spec("asyncpg") is None:
        raise ConfigurationError("a PostgreSQL store needs its driver: pip install 'holdfast[postgres]'")
