"""That no release has failpoints or planted defects: their names are in no ordinary binary, and the compiler refuses
the feature without debug assertions.

Knows the source's tables and the compiler's command line.  Serves run.py.  SCOPEWATCH_RELEASE_BIN names a release
binary that is to be looked through as well (`tests/run --long` builds one).
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from bench import ARMED, BIN, NEVER, ROOT, environment
from points import names

REFUSED = "the feature `failpoints` is for crash tests"
MARKS = ("SCOPEWATCH_FAILPOINT", "SCOPEWATCH_PLANTED", "failpoint::armed")
DEFECTS = re.findall(r'^        \w+ = "([^"]+)",$', (ROOT / "src/planted.rs").read_text(), re.MULTILINE)


def found_in(path):
    data = Path(path).read_bytes()
    # A point with kinds is put together where it is reached: its first part is what the binary would hold.
    points = {name for point in names() for name in (point, ".".join(point.split(".")[:2]))}
    return sorted(word for word in points | {*MARKS, *DEFECTS} if word.encode() in data)


def refused(assertions):
    """Whether the compiler refuses the feature, with debug assertions on or off."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            ["rustc", "--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir", directory,
             "--cfg", 'feature="failpoints"', "-C", f"debug-assertions={assertions}", str(ROOT / "src/failpoint.rs")],
            capture_output=True, text=True, check=False)
    return REFUSED in done.stderr


def misspelt():
    """What becomes of a process that is to die where there is no point."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "scopewatch.yaml"
        path.write_text(json.dumps({
            "hub": {"endpoint": "http://127.0.0.1:9"}, "schedule": {"probe": NEVER}, "organizations": [{"name": "o"}],
            "tokens": [{"name": "t", "organization": "o", "secret": {"env": "NONE"}}],
            "store": {"url": f"sqlite://{directory}/state.db"}}))
        done = subprocess.run([ARMED, "audit", "--config", str(path)], capture_output=True, text=True, check=False,
                              env=environment({"SCOPEWATCH_FAILPOINT": "no.such:kill"}))
    return done.stderr


def checks():
    """(what is wrong or "", whether it was meant to be)."""
    for binary in [BIN, *filter(None, [os.environ.get("SCOPEWATCH_RELEASE_BIN")])]:
        there = found_in(binary)
        yield (f"{binary} holds {', '.join(there)}" if there else ""), False
    yield ("" if refused("off") else "a build without debug assertions may have the feature"), False
    yield ("the feature is refused everywhere" if refused("on") else ""), False
    told = misspelt()
    yield ("" if "names no point" in told else f"a point that does not exist is passed over: {told[-300:]}"), False
    # The control: what is looked for is found where it is.
    missing = {*MARKS[:2], *DEFECTS[:1], names()[0]} - set(found_in(ARMED))
    yield ("" if missing or not DEFECTS else f"{ARMED} holds what is looked for"), True
