"""Damage to bytes and to trees of plain values."""

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

Random = np.random.Generator
_PNG = b"\x89PNG\r\n\x1a\n"
EDGES = (0, 1, 2, 3, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_HEAD = 120
"""Bytes at the start that are hit more often, because formats have their sizes there."""


def damaged(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return bytes with one to four kinds of damage; checksums of a PNG are often right again."""
    content = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if not content:
            break
        _DAMAGES[rng.integers(len(_DAMAGES))](content, rng, others)
    result = bytes(content)
    return _with_png_checksums(result) if rng.random() < 0.7 else result


def _place(content: bytearray, rng: Random) -> int:
    limit = min(_HEAD, len(content)) if rng.random() < 0.5 else len(content)
    return int(rng.integers(limit))


def _flip(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    for _ in range(rng.integers(1, 9)):
        content[_place(content, rng)] ^= 1 << int(rng.integers(8))


def _overwrite(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at, length = _place(content, rng), int(rng.integers(1, 17))
    fill = (b"\0" * length, b"\xff" * length, rng.bytes(length))[rng.integers(3)]
    content[at : at + length] = fill[: len(content) - at]


def _number(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at, edge = _place(content, rng), EDGES[rng.integers(len(EDGES))]
    form = (">I", "<I", ">H", "<H", "B")[rng.integers(5)]
    packed = struct.pack(form, edge % (1 << 8 * struct.calcsize(form)))
    content[at : at + len(packed)] = packed[: len(content) - at]


def _cut(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    del content[int(rng.integers(len(content))) :]


def _remove(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at = _place(content, rng)
    del content[at : at + int(rng.integers(1, 65))]


def _repeat(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at = _place(content, rng)
    piece = content[at : at + int(rng.integers(1, 257))]
    content[at:at] = piece * int(rng.integers(1, 4))


def _insert(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at = _place(content, rng)
    content[at:at] = rng.bytes(int(rng.integers(1, 33)))


def _splice(content: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    if others:
        other = others[rng.integers(len(others))]
        at = _place(content, rng)
        content[at:] = other[min(at, len(other)) :]


_DAMAGES = (
    _flip,
    _flip,
    _flip,
    _overwrite,
    _number,
    _number,
    _cut,
    _remove,
    _repeat,
    _insert,
    _splice,
)


def _with_png_checksums(data: bytes) -> bytes:
    if not data.startswith(_PNG):
        return data
    parts, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunk = data[at + 4 : at + 8 + length]
        if at + 12 + length > len(data):
            break
        parts.append(data[at : at + 4] + chunk + struct.pack(">I", zlib.crc32(chunk)))
        at += 12 + length
    return b"".join(parts) + data[at:]


# --- plain values ---

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 10**30, -(2**63), 0.0, -0.5, 1e308),
    *(float("nan"), float("inf"), "", " ", "0", "-1", "null", "true", "../../x", "/etc/passwd"),
    *("a\nb", "\0", "ä∞\u202e", "x" * 5000, "${oc.env:HOME}", "???", "%s%n", "os.system"),
    *([], {}, [[]], [{}], {"": None}, [1, 2], [0.5, "a"], {"_target_": "os.system"}),
)
"""Values that are seldom what was wanted."""


def changed(tree: Any, rng: Random) -> Any:
    """Return a tree of lists and mappings of which one or a few nodes are others."""
    for _ in range(rng.integers(1, 4)):
        tree = _changed_once(tree, rng)
    return tree


def _changed_once(node: Any, rng: Random) -> Any:
    if isinstance(node, dict) and node and rng.random() < 0.9:
        key = list(node)[rng.integers(len(node))]
        draw = rng.random()
        if draw < 0.1:
            return {k: v for k, v in node.items() if k != key}
        if draw < 0.15:
            return {**node, str(odd(rng)): node[key]}
        return {**node, key: _changed_once(node[key], rng)}
    if isinstance(node, list) and node and rng.random() < 0.9:
        at = int(rng.integers(len(node)))
        draw = rng.random()
        if draw < 0.1:
            return node[:at] + node[at + 1 :]
        if draw < 0.2:
            return [*node[:at], node[at], *node[at:]]
        return [*node[:at], _changed_once(node[at], rng), *node[at + 1 :]]
    if isinstance(node, int | float) and not isinstance(node, bool) and rng.random() < 0.5:
        return node * (0, -1, 2, 1000, 0.5)[rng.integers(5)] + (0, 1, -1)[rng.integers(3)]
    return odd(rng)


def odd(rng: Random) -> Any:
    """Return one of `ODD`."""
    return ODD[rng.integers(len(ODD))]
