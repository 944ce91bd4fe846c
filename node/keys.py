"""The private keys of one node: made once, kept outside the database, loaded at start, rotated one by one.

`file:FOLDER` keeps one PEM file a key, mode 0600, in a folder of mode 0700; a key that others may
read is refused. `env:PREFIX` reads the same PEM texts from environment variables. While a key is being
rotated the one before stands beside it, as `NAME.old.pem` or `PREFIXNAME_OLD`, and both are in use.
No key appears in a `repr`, a log line or an error.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
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

from node.errors import Conflict, Damaged, NotFound

PrivateKey = (
    ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey
)


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """Ed25519 for checkpoints and requests, Ed25519 and ML-DSA-44 for cosignatures, P-256 for credentials
    and agreements, X25519 for sealing, and 32 bytes that wrap the record keys of the store.

    Of each the newest first, and behind it the one before while that is in use too.
    """

    log: tuple[ed25519.Ed25519PrivateKey, ...] = field(repr=False)
    cosign: tuple[ed25519.Ed25519PrivateKey, ...] = field(repr=False)
    cosign_pq: tuple[mldsa.MLDSA44PrivateKey, ...] = field(repr=False)
    credential: tuple[ec.EllipticCurvePrivateKey, ...] = field(repr=False)
    seal: tuple[x25519.X25519PrivateKey, ...] = field(repr=False)
    store: tuple[bytes, ...] = field(repr=False)

    @property
    def known_to_peers(self) -> ed25519.Ed25519PrivateKey:
        """The log key that signs requests: the older one, which every peer has heard of."""
        return self.log[-1]


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
    for name in MAKERS:
        _write_new(folder / f"{name}.pem", name)


def rotate(folder: Path, name: str) -> None:
    """Put a new key beside one in use, which goes on being used; `Conflict` while an older one is.

    Whenever this is cut short, what is there works, and the same call completes it.
    """
    current, old, new = (folder / f"{name}{end}" for end in (".pem", ".old.pem", ".new.pem"))
    load_one("file:.", folder, name)
    if old.exists() and not old.samefile(current):
        do = f"`aeo keys retire {name}` first, once every partner knows the newer one"
        raise Conflict("this key is being rotated already", where=str(old), do=do)
    new.unlink(missing_ok=True)
    _write_new(new, name)
    if not old.exists():
        os.link(current, old)
    new.replace(current)
    _sync(folder)


def retire(folder: Path, name: str) -> None:
    """Delete the older one of two keys in use; `NotFound` when there is only one."""
    check_older(folder, name).unlink()
    _sync(folder)


def check_older(folder: Path, name: str) -> Path:
    """The file of the older one of two keys in use; `NotFound` when there is only one."""
    old = folder / f"{name}.old.pem"
    if not old.exists():
        do = f"`aeo keys rotate {name}` begins a rotation"
        raise NotFound("there is no older key to retire", where=str(old), do=do)
    return old


def load(uri: str, home: Path) -> NodeKeys:
    """Load the keys from a `file:` or `env:` URI; `NotFound` or `Damaged` says which one and where."""
    found: dict[str, Any] = {name: load_one(uri, home, name) for name in MAKERS}
    return NodeKeys(**found)


def load_one(uri: str, home: Path, name: str) -> tuple[Any, ...]:
    """One of them, for a process that needs no other: the newest, and the one before while it is in use."""
    scheme, _, place = uri.partition(":")
    read = partial(_from_file, home / place) if scheme == "file" else partial(_from_env, place)
    current, old = read(name), read(name, old=True)
    if current is None:
        where = str(home / place / f"{name}.pem") if scheme == "file" else f"variable {place}{name.upper()}"
        raise NotFound("a private key is missing", where=where, do="restore it from your key backup")
    pems = (current,) if old in (None, current) else (current, old)
    return tuple(_usable(name, pem) for pem in pems)


def folder_of(uri: str, home: Path) -> Path:
    """The folder of a `file:` URI; `Conflict` for keys that are kept elsewhere."""
    scheme, _, place = uri.partition(":")
    if scheme != "file":
        do = f"put the older PEM text into {place}NAME_OLD and a new one into {place}NAME, and start again"
        raise Conflict("these keys are not kept in files", where=f"keys = {uri}", do=do)
    return home / place


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


def _sync(folder: Path) -> None:
    """Make the names in a folder durable, where the system has a way to."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_new(path: Path, name: str) -> None:
    _, generate = MAKERS[name]
    pem = generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def _from_file(folder: Path, name: str, *, old: bool = False) -> bytes | None:
    path = folder / f"{name}{'.old' if old else ''}.pem"
    if not path.is_file():
        return None
    if path.stat().st_mode & 0o077:
        do = f"chmod 600 {path}, and rotate the key: `aeo keys rotate {name}`"
        raise Damaged("a private key may be read by others", where=str(path), do=do)
    return path.read_bytes()


def _from_env(prefix: str, name: str, *, old: bool = False) -> bytes | None:
    told = os.environ.get(f"{prefix}{name.upper()}{'_OLD' if old else ''}")
    return None if told is None else told.encode()
