"""Finds marked secrets in any bytes, in every spelling in which they could have been written.

Knows the secrets and nothing else.  Ten characters of a secret in a row count, raw or reversed, in base64 (at each of
its three offsets, both alphabets) or hexadecimal; percent-encoding, JSON and HTML escapes and UTF-16 are undone first.
Serves run.py.
"""

import base64
import html
import json
import random
import re
import string
import urllib.parse
from dataclasses import dataclass

ALPHABET = string.ascii_letters + string.digits
WINDOW = 10


@dataclass(frozen=True)
class Mark:
    """One secret, unlike any other."""

    name: str
    text: str  # as it is used
    cores: tuple  # its parts of letters and digits that are like no other text

    def __repr__(self):
        return f"Mark({self.name})"


class Mint:
    """Makes marks; the same seed makes the same ones."""

    def __init__(self, seed):
        self.dice, self.marks = random.Random(seed), []

    def _run(self, length):
        return "".join(self.dice.choice(ALPHABET) for _ in range(length))

    def make(self, name, shape="hf_"):
        if shape in ("hf_jwt_", "hf_oauth_"):
            cores = (self._run(24), self._run(40), self._run(30))
            text = shape + ".".join(cores)
        elif shape == "odd":  # whatever a header may hold, as the credential of a gateway might
            cores = (self._run(14), self._run(14), self._run(14))
            text = "{}\"\\<&>{}%41'=;${}".format(*cores)
        else:
            cores = (self._run(34),)
            text = (shape if shape != "plain" else "") + cores[0]
        mark = Mark(name, text, cores)
        self.marks.append(mark)
        return mark


def _base64(data, offset):
    """What of an encoding is the same whatever stands before and after, where the data begins at this offset."""
    whole = base64.b64encode(b"\0" * offset + data).decode()
    return whole[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]


def _each(text, spell):
    return "".join(spell(ord(c)) for c in text)


# How a text may be written. The controls plant each of them.
FORMS = {
    "raw": lambda s: s,
    "base64+0": lambda s: base64.b64encode(s.encode()).decode(),
    "base64+1": lambda s: base64.b64encode(b"." + s.encode()).decode(),
    "base64+2": lambda s: base64.b64encode(b".." + s.encode()).decode(),
    "base64url": lambda s: base64.urlsafe_b64encode(("\u00ff\u00fe" + s).encode()).decode().rstrip("="),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "percent": lambda s: _each(s, lambda c: f"%{c:02x}"),
    "PERCENT": lambda s: _each(s, lambda c: f"%{c:02X}"),
    "json": lambda s: _each(s, lambda c: f"\\u{c:04x}"),
    "JSON": lambda s: _each(s, lambda c: f"\\u{c:04X}"),
    "html": lambda s: _each(s, lambda c: f"&#{c};"),
    "utf16le": lambda s: s.encode("utf-16-le").decode("latin-1"),
    "utf16be": lambda s: s.encode("utf-16-be").decode("latin-1"),
    "reversed": lambda s: s[::-1],
    "split": lambda s: "\u200b".join(s),
    "window": lambda s: s[-WINDOW - 2 : -2],  # ten characters from the middle of it, nothing else
}


def spelled(text, form):
    return FORMS[form](text).encode("utf-8" if form in ("base64url", "split") else "latin-1")


def everything(text):
    """The text in every form, one a line."""
    return b"\n".join(spelled(text, form) for form in FORMS) + b"\n"


RUNS = re.compile(rb"[A-Za-z0-9+/_=-]{%d,}" % WINDOW)
UNDONE = (
    (re.compile(rb"(?:%[0-9A-Fa-f]{2}){4,}"), lambda m: urllib.parse.unquote_to_bytes(m)),
    (re.compile(rb"(?:\\+u00[0-9A-Fa-f]{2}){4,}"), lambda m: bytes(int(c, 16) for c in re.findall(rb"u00(..)", m))),
    (re.compile(rb"(?:&#x?[0-9A-Fa-f]{2,3};){4,}"), lambda m: html.unescape(m.decode()).encode("utf-8", "replace")),
    (re.compile(rb"(?:[!-~]\0){%d,}" % WINDOW), lambda m: m[::2]),
    (re.compile(rb"(?:\0[!-~]){%d,}" % WINDOW), lambda m: m[1::2]),
    (
        re.compile(rb"(?:[!-~](?:\xe2\x80[\x8b-\x8f]|\\u200[b-fB-F]|\xef\xbb\xbf|\xc2\xad)+){%d,}" % WINDOW),
        lambda m: re.sub(rb"\\u200.|[^!-~]", b"", m),
    ),
)
DEEP = 3


class Sieve:
    """All windows of all marks, ready to be looked for."""

    def __init__(self, marks):
        self.windows = {}  # length -> {window: (mark, form)}
        for mark in marks:
            for core in mark.cores:
                data = core.encode()
                self._add(mark, "raw", core, WINDOW)
                self._add(mark, "reversed", core[::-1], WINDOW)
                self._add(mark, "hex", data.hex(), 2 * WINDOW)
                self._add(mark, "HEX", data.hex().upper(), 2 * WINDOW)
                for offset in range(3):
                    text = _base64(data, offset)
                    self._add(mark, f"base64+{offset}", text, 14)
                    self._add(mark, "base64url", text.translate(str.maketrans("+/", "-_")), 14)

    def _add(self, mark, form, spelling, size):
        windows = self.windows.setdefault(size, {})
        for at in range(len(spelling) - size + 1):
            windows.setdefault(spelling[at : at + size].encode(), (mark, form))

    def scan(self, data, deep=DEEP):
        """The (mark, form) that are in there."""
        found = set()
        for run in set(RUNS.findall(data)):
            for size, windows in self.windows.items():
                found.update(
                    windows[run[at : at + size]] for at in range(len(run) - size + 1) if run[at : at + size] in windows
                )
        if deep:
            for pattern, undo in UNDONE:
                undone = {undo(match) for match in pattern.findall(data)}
                for mark, form in self.scan(b"\n".join(undone), deep - 1) if undone else ():
                    found.add((mark, form + ", wrapped"))
        return found


def json_text(text):
    """As it stands within the quotes of a JSON string."""
    return json.dumps(text)[1:-1]
