"""Changes an input so that it stays nearly right: bytes alone would be no JSON most of the time."""

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any, Final

MutateBytes = Callable[[bytes], bytes]

_RAW: Final = re.compile(r'"@@(\d{1,9})@@"')
# Written as they stand: what Python's own JSON would not write.
_TOKENS: Final = (
    *("1e400", "-0", "-0.0", "1e-400", "9223372036854775807", "-9223372036854775809", "0.1e1"),
    *("9" * 40, "9" * 5000, "0." + "3" * 60, "1E5", "00", "NaN", "Infinity", '"\\ud800"'),
    *('"\\u0000"', '"\\ud83d\\ude00"', '"\\u202e"', "[[[[[[[[[[[[[[[[[[[[", "{}", "1 2", "tru"),
)
_VALUES: Final[tuple[object, ...]] = (
    *(None, True, False, 0, 1, -1, 8.5, "", " ", "8", "8.0", "1_0", "٣", "1e3", "-5", ".5", "5."),
    *("a/b", "..", ".", "%2e%2e", "\n", "\t x ", "\x7f", "\u200b", "x" * 256, "é" * 130, [], {}),
    *("2026-11-23", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00", "0001-01-01T00:00:00+14:00"),
    *("9999-12-31T23:59:59-14:00", "2026-02-30", "24:00", "failure", "exempt", "mine", "graded"),
)
_SCALARS: Final = (
    *("", "null", "~", "yes", "no", "0", "-1", "1.5", ".inf", ".nan", "1e999", "0x1f", "1:20"),
    *("2026-11-23", "2026-02-30", '"22:00"', "22:00", '"24:00"', "[]", "{}", "[a, [b]]", "*c"),
    *("&c x", "!!int 3", "!x", "hold", "exempt", "America/Chicago", "Asia/Kathmandu", "sms2"),
    *("https://d.example", "http://[::1]/", "https://d.example:0/", "https://d.example:65536/"),
    *("https://a b/", "https://é.example/x", "https://xn--/", "https://a..b/", "https://u:p@h/"),
    *(
        "https://d.example/%zz",
        "https://%41/",
        "https:///x",
        "HTTPS://D/",
        "https://d/x?y",
        "'a/b'",
    ),
    *(f"https://{'a' * 70}.example/", "https://-a-/", "https://d_e/", "https://1.2.3.4.5/"),
    *(
        "https://[fe80::1%25eth0]/",
        "https://d.example\\x",
        '"\\ud800"',
        '"\\0"',
        "|\n  x",
        '"\\u2028"',
    ),
)


def mutated(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """``data`` changed in one place or a few."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        way = random.random()
        if way < 0.6:
            data = _json_mutated(data, random, mutate_bytes)
        elif way < 0.75:
            data = _line_mutated(data, random)
        else:
            data = mutate_bytes(data)
    return data


def flip(random: Random) -> MutateBytes:
    """A plain mutation of bytes, where no fuzzer gives a better one."""

    def mutate(data: bytes) -> bytes:
        at = random.randint(0, len(data))
        new = bytes(random.choices(range(256), k=random.randint(0, 4)))
        return data[:at] + new + data[at + random.randint(0, 4) :]

    return mutate


def _json_mutated(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """The JSON that the input ends with, changed at one of its nodes."""
    start = min((at for at in (data.find(b"{"), data.find(b"[")) if at >= 0), default=-1)
    try:
        document = json.loads(data[start:]) if start >= 0 else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict | list):
        return _line_mutated(data, random)
    places = list(_places(document))
    if not places:
        return mutate_bytes(data)
    parent, name = random.choice(places)
    _change(parent, name, random, places, mutate_bytes)
    text = json.dumps(document, ensure_ascii=random.random() < 0.5)
    body = _RAW.sub(lambda found: _TOKENS[int(found[1]) % len(_TOKENS)], text)
    return data[:start] + body.encode("utf-8", "surrogatepass")


def _places(node: Any) -> list[tuple[Any, Any]]:
    names = node.keys() if isinstance(node, dict) else range(len(node))
    found = []
    for name in names:
        found.append((node, name))
        if isinstance(node[name], dict | list):
            found += _places(node[name])
    return found


def _change(
    parent: Any,
    name: Any,
    random: Random,
    places: list[tuple[Any, Any]],
    mutate_bytes: MutateBytes,
) -> None:
    match random.randrange(7):
        case 0:
            del parent[name]
        case 1:
            parent[name] = f"@@{random.randrange(len(_TOKENS))}@@"
        case 2 if isinstance(parent[name], str):
            changed = mutate_bytes(parent[name].encode("utf-8", "surrogatepass"))
            parent[name] = changed.decode(errors="replace")
        case 3:
            other, key = random.choice(places)
            parent[name] = json.loads(json.dumps(other[key]))
        case 4 if isinstance(parent, dict):
            parent[random.choice([key for _, key in places if isinstance(key, str)])] = parent[name]
        case 5:
            parent[name] = [parent[name]]
        case _:
            parent[name] = random.choice(_VALUES)


def _line_mutated(data: bytes, random: Random) -> bytes:
    """A line of a head or of YAML left out, doubled, moved, or with another value."""
    lines = data.split(b"\n")
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(8):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = lines[at].partition(b":")[0] + b":" + lines[other].partition(b":")[2]
        case _:
            scalar = random.choice(_SCALARS).encode("utf-8", "surrogatepass")
            lines[at] = lines[at].partition(b":")[0] + b": " + scalar
    return b"\n".join(lines)
