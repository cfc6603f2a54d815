"""Damage to valid documents and files, by choices that somebody else draws: hypothesis in the tests, atheris in the fuzzer."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

Choose = Callable[[int], int]
"""A whole number from 0 to below the given one."""

MOST = 4
"""Changes of one file."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 0.5, -0.0, 2**31, 2**63, 2**70, -(2**63), 1e8, 1e300, -1e300, 10**400),
    *(float("nan"), float("inf"), -float("inf")),
    *(
        "",
        "0",
        "person",
        "../x",
        "/x",
        "C:\\x",
        "a\0",
        "\ud800",
        "x" * 300,
        "<b>",
        "a;b",
        "\u202e",
        "💥",
        "..",
        ".",
        "~",
    ),
    *([], {}, [[]], [None], ["a"], [0], [1, 2], [1, 2, 3, 4], [0] * 51, [0] * 42, [1e300] * 51, [True] * 4, [0.5] * 78),
    *({"id": 1}, {"": {}}, {"a": [{}]}),
)
BYTES = (
    b"\0",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x01\0\0\0",
    b'"',
    b"[",
    b"}",
    b"NaN",
    b"\xff\xfe",
    b"1" * 40,
)


def spots(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values inside a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from spots(child, (*path, key))


def damaged(document: Any, choose: Choose) -> Any:
    """A copy with one to MOST values dropped, replaced, repeated, renamed or put into another's place."""
    document = copy.deepcopy(document)
    for _ in range(1 + choose(MOST)):
        places = list(spots(document))
        if not places:
            break
        path = places[choose(len(places))]
        *above, key = path
        parent = document
        for step in above:
            parent = parent[step]
        action = choose(5)
        if action == 0:
            del parent[key]
        elif action == 1:
            parent[key] = copy.deepcopy(VALUES[choose(len(VALUES))])
        elif action == 2:
            parent[key] = copy.deepcopy(value_at(document, places[choose(len(places))]))
        elif isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            parent[f"{key}_" if action == 3 else str(VALUES[choose(len(VALUES))])[:40]] = parent.pop(key)
    return document


def value_at(document: Any, path: tuple[Any, ...]) -> Any:
    """The value there."""
    for step in path:
        document = document[step]
    return document


def damaged_bytes(data: bytes, choose: Choose) -> bytes:
    """A copy with one to MOST bits flipped, bytes replaced, put in, left out or repeated, or with its end lost."""
    changed = bytearray(data)
    for _ in range(1 + choose(MOST)):
        if not changed:
            break
        at, action = choose(len(changed)), choose(7)
        if action < 3:
            changed[at] ^= 1 << choose(8)
        elif action == 3:
            some = BYTES[choose(len(BYTES))]
            changed[at : at + len(some)] = some
        elif action == 4:
            changed[at:at] = BYTES[choose(len(BYTES))]
        elif action == 5:
            del changed[at : at + 1 + choose(16)]
        else:
            del changed[at:]
    return bytes(changed)
