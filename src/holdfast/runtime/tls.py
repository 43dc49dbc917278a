"""TLS between runners, and between clients and runners: one certificate each, and one authority that signed them all.

With an authority (`ca`) both sides prove themselves: a runner takes no connection without a certificate of it. Without
one, clients check the runner's certificate against the system's authorities. A certificate must name the host that was
connected to, or, where addresses come and go, the one name that all runners share.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files: this process's certificate (with its chain) and key, and the cluster's authority.

    `name` is what every runner's certificate names, where that is not the host in its address.
    """

    certificate: str | None = None
    key: str | None = None
    authority: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("TLS needs the certificate and its key: set both HOLDFAST_TLS_CERT and _KEY")
        for path in (self.certificate, self.key, self.authority):
            if path is not None and not Path(path).is_file():
                raise ConfigurationError(f"TLS: there is no file {path}")

    def server(self) -> ssl.SSLContext | None:
        """For who listens; None without a certificate. Raises ConfigurationError for files that are no such thing."""
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._load(context)
        if self.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def web_server(self) -> ssl.SSLContext | None:
        """For who listens to programs outside of the cluster, which have a token and no certificate of ours."""
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(f"TLS: {self.certificate} can't be used: {error}") from error
        return context

    def client(self) -> ssl.SSLContext | None:
        """For who connects; None where nothing was configured."""
        if self.certificate is None and self.authority is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
            if self.authority is not None:
                context.load_verify_locations(self.authority)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(f"TLS: {self.certificate or self.authority} can't be used: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_3
