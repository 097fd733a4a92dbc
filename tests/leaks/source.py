"""What can be told without running the daemon: tests of the library, what was compiled in, what is in the repository.

Knows cargo and git.  Keeps what was said, by channel.  Serves run.py and controls.py.
"""

import os
import re
import subprocess
from pathlib import Path

from bench import BIN, ROOT, Broken


def cargo(*argv, env=None):
    """(exit code, what it said)."""
    done = subprocess.run(
        ["cargo", *argv],
        cwd=ROOT,
        env={**os.environ, "CARGO_TERM_COLOR": "never", **(env or {})},
        timeout=900,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout


def built(out):
    """A test of the library that could not be started shows nothing."""
    if b"\nrunning " not in out:
        raise Broken("cargo test could not run the tests of the library:\n" + out[-1500:].decode(errors="replace"))


def panics(bench, people):
    """Panics of every kind: a test of the library, run with a secret of ours. Gives what its control showed."""
    mark = people.mint.make("panic")
    code, out = cargo(
        "test",
        "--locked",
        "--lib",
        "--",
        "--nocapture",
        "no_panic_shows_what_it_says",
        env={"SCOPEWATCH_TEST_SECRET": mark.text},
    )
    built(out)
    hidden, _, shown = out.partition(b"\nshown\n")
    bench.captures.add("L4", "panics of 21 kinds in threads and tasks", hidden)
    driven = re.search(rb"panics driven: (\d+)", hidden)
    bench.captures.expect("L4", "at least 50 panics", code == 0 and driven is not None and int(driven[1]) >= 50)
    return shown


def audience(long):
    """(pairs, sent, violations, planted, caught) of the test of the library that knows where a token may go."""
    code, out = cargo(
        "test",
        "--locked",
        "--lib",
        "--",
        "--nocapture",
        "a_token_is_sent_exactly_where",
        env={"SCOPEWATCH_TEST_PAIRS": "2000000"} if long else None,
    )
    built(out)
    said = re.search(rb"audience: (\d+) pairs, (\d+) sent, (\d+) violations, (\d+) planted, (\d+) caught", out)
    if not said:
        return 0, 0, 1, 7, 0
    pairs, sent, violations, planted, caught = map(int, said.groups())
    return pairs, sent, violations or int(code != 0), planted, caught


FORBIDDEN = (
    b"/api/credentials/revoke",
    b"credentials/revoke",
    b"/debug/pprof",
    b"tokio-console",
    b"console_subscriber",
    b"jemalloc",
    b"sentry",
)
CRATES = (
    "console-subscriber",
    "pprof",
    "dhat",
    "sentry",
    "tikv-jemalloc-ctl",
    "opentelemetry",
    "tracing-chrome",
    "backtrace-ext",
    "rustls-native-certs-keylog",
    "native-tls",
    "openssl",
)


def compiled(bench, people):
    """What is not in the binary, because nobody compiled it in."""
    captures = bench.captures
    binary = Path(BIN).read_bytes()
    captures.expect(
        "L21",
        "the call that revokes tokens, and debug servers, are not in the binary",
        not any(word in binary for word in FORBIDDEN),
    )
    # What only tests link is in no binary of ours.
    linked = cargo("tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}")[1]
    linked = {line.split()[0] for line in linked.splitlines() if line.strip()}
    captures.expect("L21", "no crate that profiles, traces away or reports crashes", bool(linked) and not linked & set(CRATES))
    features = set(
        re.findall(
            rb'^(\S+) feature "([^"]+)"',
            cargo("tree", "--locked", "--edges", "normal,features", "--prefix", "none")[1],
            re.M,
        )
    )
    bad = {
        (b"reqwest", b"system-proxy"),
        (b"reqwest", b"cookies"),
        (b"reqwest", b"gzip"),
        (b"tokio", b"process"),
        (b"tokio", b"tracing"),
    }
    captures.expect(
        "L21",
        "no feature that reads proxies, keeps cookies, unpacks or starts programs",
        bool(features) and not features & bad,
    )
    starts = [
        path
        for path in (ROOT / "src").rglob("*.rs")
        if re.search(r"process::Command|Command::new", without_tests(path))
    ]
    captures.expect("L19", "no file of the source starts a program", not starts)
    for path in ("src/lib.rs", "src/main.rs"):
        captures.expect("L21", "unsafe code is forbidden", "#![forbid(unsafe_code)]" in (ROOT / path).read_text())


def without_tests(path):
    if "tests" in path.name or "tests" in path.parts:
        return ""
    return path.read_text().split("#[cfg(test)]\nmod tests {")[0]


SHAPE = re.compile(rb"(?:hf_(?:oauth_|jwt_|refresh_)?|api_org_)[A-Za-z0-9]{20,}")
# Words and runs that no random token has: who plants a secret in a test writes one of them into it.
FIXTURE = re.compile(rb"(?i)abcd|aaaabbbb|qwer|0000|0123|planted|token|secret|panic|example|test")


def real_tokens(data):
    return [found for found in SHAPE.findall(data) if not FIXTURE.search(found)]


def repository(bench, people, tree=ROOT):
    """Every tracked file: nothing that could be somebody's token."""
    listed = subprocess.run(["git", "-C", str(tree), "ls-files", "-z"], stdout=subprocess.PIPE, check=True).stdout
    names = [name for name in listed.split(b"\0") if name]
    found = []
    for name in names:
        path = Path(os.fsdecode(os.path.join(os.fsencode(tree), name)))
        data = path.read_bytes() if path.is_file() else b""
        if tree == ROOT:
            bench.captures.add("L22", "tracked files", data)
        found += [(name, token) for token in real_tokens(data)]
    return found
