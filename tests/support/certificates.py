"""Certificate authorities for a test, made by the `openssl` command when the test runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from holdfast.runtime.tls import TlsFiles

OPENSSL = shutil.which("openssl")


class Authority:
    """Signs certificates; its files lie in a folder of the test's."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self.path = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _openssl(
            *("req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.path, "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def certificate(self, name: str, *, names: str, trusts: Authority | None = None) -> TlsFiles:
        """A key and its certificate. `names`: whom it is for, such as `DNS:localhost,IP:127.0.0.1`."""
        key, request, signed = (self._folder / f"{self._name}-{name}.{end}" for end in ("key", "csr", "pem"))
        extension = self._folder / f"{self._name}-{name}.ext"
        extension.write_text(f"subjectAltName={names}\n{_OF_A_LEAF}")
        _openssl("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        signing = ("-CA", self.path, "-CAkey", self._key, "-CAcreateserial", "-days", "2", "-extfile", extension)
        _openssl("x509", "-req", "-in", request, "-out", signed, *signing)
        return TlsFiles(str(signed), str(key), str((trusts or self).path))


_OF_A_LEAF = """\
basicConstraints=CA:FALSE
keyUsage=digitalSignature
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""
"""What Python 3.13 looks for, where earlier ones did not."""
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True, timeout=60)
