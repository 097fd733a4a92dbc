"""Holds an answer against a shape of shapes.py and tells every difference, each with its place.

Knows the notation and nothing of the Hub.  Serves test_shapes.py, which tests it as well.
"""

import re

KINDS = {
    "any": lambda value: True,
    "null": lambda value: value is None,
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "hex24": lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{24}", value) is not None,
    "uri": lambda value: isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", value) is not None,
    "date": lambda value: isinstance(value, str)
    and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value) is not None,
}


def differences(value, shape, place="$"):
    """What is wrong with a value, as one line each; nothing when it fits."""
    if isinstance(shape, dict):
        return list(_object(value, shape, place))
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{place}: expected a list, found {value!r:.80}"]
        return [line for at, item in enumerate(value) for line in differences(item, shape[0], f"{place}[{at}]")]
    if isinstance(shape, tuple):
        tries = [differences(value, one, place) for one in shape]
        if all(tries):
            return [f"{place}: fits none of {len(shape)} shapes; nearest: {min(tries, key=len)[0]}"]
        return []
    if isinstance(shape, bool):
        return [] if value is shape else [f"{place}: expected {shape}, found {value!r:.80}"]
    if shape.startswith("="):
        words = shape[1:].split("|")
        return [] if isinstance(value, str) and value in words else [f"{place}: {value!r:.80} is none of {shape[1:]}"]
    return [] if KINDS[shape](value) else [f"{place}: expected {shape}, found {value!r:.80}"]


def _object(value, shape, place):
    if not isinstance(value, dict):
        yield f"{place}: expected an object, found {value!r:.80}"
        return
    known = {key.removesuffix("?"): (key.endswith("?"), inner) for key, inner in shape.items() if key != "..."}
    for key, (optional, inner) in known.items():
        if key in value:
            yield from differences(value[key], inner, f"{place}.{key}")
        elif not optional:
            yield f"{place}: {key} is missing"
    for key in value.keys() - known.keys():
        if "..." in shape:
            yield from differences(value[key], shape["..."], f"{place}.{key}")
        else:
            yield f"{place}: {key} should not be there"
