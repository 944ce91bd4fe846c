"""The private keys of one node: made once, kept outside the database, loaded at start.

`file:FOLDER` keeps one PEM file a key, mode 0600, in a folder of mode 0700; a key that others may
read is refused. `env:PREFIX` reads the same PEM texts from environment variables. No key appears in
a `repr`, a log line or an error.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from node.errors import Damaged, NotFound

PrivateKey = (
    ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey
)


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """Ed25519 for checkpoints and requests, Ed25519 and ML-DSA-44 for cosignatures, P-256 for credentials
    and agreements, X25519 for sealing, and 32 bytes that wrap the record keys of the store."""

    log: ed25519.Ed25519PrivateKey = field(repr=False)
    cosign: ed25519.Ed25519PrivateKey = field(repr=False)
    cosign_pq: mldsa.MLDSA44PrivateKey = field(repr=False)
    credential: ec.EllipticCurvePrivateKey = field(repr=False)
    seal: x25519.X25519PrivateKey = field(repr=False)
    store: bytes = field(repr=False)


MAKERS: dict[str, tuple[type, Callable[[], PrivateKey]]] = {
    "log": (ed25519.Ed25519PrivateKey, ed25519.Ed25519PrivateKey.generate),
    "cosign": (ed25519.Ed25519PrivateKey, ed25519.Ed25519PrivateKey.generate),
    "cosign_pq": (mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PrivateKey.generate),
    "credential": (ec.EllipticCurvePrivateKey, lambda: ec.generate_private_key(ec.SECP256R1())),
    "seal": (x25519.X25519PrivateKey, x25519.X25519PrivateKey.generate),
    "store": (x25519.X25519PrivateKey, x25519.X25519PrivateKey.generate),
}


def make(folder: Path) -> None:
    """Make all keys as new files in `folder`; refuses to replace one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, (_, generate) in MAKERS.items():
        pem = generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        handle = os.open(folder / f"{name}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)


def load(uri: str, home: Path) -> NodeKeys:
    """Load the keys from a `file:` or `env:` URI; `NotFound` or `Damaged` says which one and where."""
    found: dict[str, Any] = {name: load_one(uri, home, name) for name in MAKERS}
    return NodeKeys(**found)


def load_one(uri: str, home: Path, name: str) -> Any:
    """One of them, for a process that needs no other."""
    scheme, _, place = uri.partition(":")
    return _usable(name, _from_file(home / place, name) if scheme == "file" else _from_env(place, name))


def public_raw(
    key: ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey | x25519.X25519PrivateKey,
) -> bytes:
    """The public half: 32 bytes, of ML-DSA-44 1,312."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _usable(name: str, pem: bytes) -> PrivateKey | bytes:
    kind, _ = MAKERS[name]
    try:
        key = load_pem_private_key(pem, password=None)
    except ValueError:
        raise Damaged(
            "a private key cannot be read", where=name, do="restore it from your key backup"
        ) from None
    if not isinstance(key, kind):
        raise Damaged(
            "a private key is of another kind than its name says", where=name, do="restore the right file"
        )
    if name == "store":
        return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return key  # type: ignore[return-value]  # isinstance above holds it to this name's kind


def _from_file(folder: Path, name: str) -> bytes:
    path = folder / f"{name}.pem"
    if not path.is_file():
        raise NotFound("a private key is missing", where=str(path), do="restore it from your key backup")
    if path.stat().st_mode & 0o077:
        raise Damaged(
            "a private key may be read by others", where=str(path), do=f"chmod 600 {path}, and rotate the key"
        )
    return path.read_bytes()


def _from_env(prefix: str, name: str) -> bytes:
    variable = f"{prefix}{name.upper()}"
    if variable not in os.environ:
        raise NotFound(
            "a private key is missing", where=f"environment variable {variable}", do="set it to the PEM text"
        )
    return os.environ[variable].encode()
