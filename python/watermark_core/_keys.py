"""Derives a layer's PRF key as 32 bytes, for words that are computed on a device.

Classes of the library show no secret, so this repeats their derivation (HKDF, RFC 5869, SHA-256) in Python; `torch.Sampler`
compares what comes of it with what the library does before it marks anything.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import pathlib
import re
from os import PathLike

from ._lib import KeyFileError, NodeKey, ParameterError

_LABEL = b"watermark-key-v1\0"


def _expand(key: bytes, info: bytes) -> bytes:
    return hmac.digest(key, info + b"\1", "sha256")  # one block: 32 bytes


def node_bytes(key: str | PathLike[str]) -> tuple[str, bytes]:
    """Path and secret of a key file (not a sealed one), or of 64 hexadecimal digits at the root."""
    if isinstance(key, NodeKey):
        raise ParameterError("marking on a device takes the key as a file or 64 hexadecimal digits: a NodeKey shows no secret")
    if isinstance(key, str) and re.fullmatch(r"[0-9a-fA-F]{64}", key):
        return "", bytes.fromhex(key)
    file = json.loads(pathlib.Path(key).read_text())
    if file.get("key") != "watermark-key/1":
        raise KeyFileError(f"{key}: marking on a device needs a key file without a passphrase (watermark-key/1)")
    NodeKey.from_file(key)  # its checks: owner, form, version
    return file["path"], bytes.fromhex(file["node"])


def layer_path(profile_path: str, layer: str, account: str | None) -> str:
    """Path of the layer's node, below which nothing is derived."""
    path = "/".join(part for part in (profile_path, "layer", layer) if part)
    return path if account is None else f"{path}/account/{hashlib.sha256(account.encode()).hexdigest()}"


def prf_key(node: tuple[str, bytes], path: str, scheme: str, width: int) -> bytes:
    """The PRF key at `path`, which the library has found to be at or below the node."""
    at, secret = node
    for segment in path[len(at) :].strip("/").split("/"):
        secret = _expand(secret, _LABEL + b"child\0" + segment.encode())
    return _expand(secret, _LABEL + b"prf\0" + scheme.encode() + b"\0" + bytes([width]))


def context_key(key: bytes) -> bytes:
    """The HMAC key of contexts wider than four tokens."""
    return _expand(key, _LABEL + b"context\0")
