"""What the daemon writes, as the kernel sees it: nothing outside of its data directory.

A part of walk.py.  `serve` under strace from its start through rounds, a scrape and a reload to SIGTERM, on the config of the overlay to try.
"""

import os
import re
import signal
import subprocess
import time

from image import TRY
from scenario import http, wait_until

NAME = "alertmanager-operated.monitoring.svc:9093"
CALLS = "%file,fchmod,fchown,ftruncate,fallocate,fsetxattr,fremovexattr"
# Opened to be written, made, moved, removed or changed.
OPENED = re.compile(r'\bopen(?:at2?)?\((?:\w+(?:<[^>]*>)?, )?"([^"]+)", [^)]*\b(?:O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE)\b')
CHANGED = re.compile(r'\b(?:creat|mkdir|mkdirat|mknod|mknodat|unlink|unlinkat|rmdir|rename\w*|link|linkat|symlink\w*|f?ch(?:mod|own)\w*'
                     r'|lchown|f?truncate|fallocate|utime\w*|\w*setxattr|\w*removexattr|mount|chroot|pivot_root)\(([^)]*)')
# Memory that the kernel shows as a file, and where a file may be opened for writing without a byte to be kept.
NOWHERE = ("/dev/null",)


def outside(trace, data):
    """Paths that were to be written though they are not below `data`; calls that failed count: a write is a write."""
    found = set()
    for line in trace.splitlines():
        paths = [match[1] for match in [OPENED.search(line)] if match]
        if match := CHANGED.search(line):
            paths += re.findall(r'"([^"]*)"', match[1]) or re.findall(r"<([^>]*)>", match[1]) or [match[0]]
        found |= {path for path in map(os.path.normpath, paths) if path not in NOWHERE and not f"{path}/".startswith(f"{data}/")}
    return sorted(found)


def traced(folder, hub, port, state):
    """A life of the daemon with its state at `state`; what strace wrote."""
    config = (TRY / "scopewatch.yaml").read_text()
    for theirs, ours in {"127.0.0.1:8099": f"127.0.0.1:{hub}", "0.0.0.0:10847": f"127.0.0.1:{port}", "/run/secrets/scopewatch": f"{TRY}/tokens",
                         "*/15 * * * * *": "*/2 * * * * *", "/var/lib/scopewatch": str(state), NAME: f"127.0.0.1:{hub}"}.items():
        assert theirs in config, theirs
        config = config.replace(theirs, ours)
    (folder / "scopewatch.yaml").write_text(config)
    trace = folder / "trace"
    argv = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", trace, os.environ["SCOPEWATCH_BIN"],
            "serve", "--config", folder / "scopewatch.yaml"]
    process = subprocess.Popen([str(one) for one in argv], cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: "unexpected_grant" in http(f"{url}/api/v1/findings")[1], "the finding is there", 90)
        served = int(next(line.split()[0] for line in trace.read_text().splitlines() if "execve(" in line))
        for path in ("/", "/metrics", "/api/v1/report"):
            http(f"{url}{path}")
        os.kill(served, signal.SIGHUP)
        time.sleep(5)
        os.kill(served, signal.SIGTERM)
        code = process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
    return trace.read_text(), code


def part(tally, _, folder):
    hub, port, state, other = 8099, 10847, folder / "state", folder / "elsewhere"
    for place in (state, other):
        place.mkdir(mode=0o700)
    simulated = subprocess.Popen([os.environ["SCOPEWATCH_BIN"], "hub", "--listen", f"127.0.0.1:{hub}", "--world", str(TRY / "world.yaml")],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        trace, code = traced(folder, hub, port, state)
    finally:
        simulated.terminate()
        simulated.wait(30)
    made = sorted({match[1] for match in map(OPENED.search, trace.splitlines()) if match})
    print(f"writes: {len(trace.splitlines())} calls, opened for writing: {', '.join(path.replace(str(state), 'DATA') for path in made)}")
    tally.check("writes", "its end", [] if code == 0 else [f"exit {code}"])
    tally.check("writes", "outside of the data directory", outside(trace, state))
    tally.check("writes", "something is written at all", [] if any(path.startswith(str(state)) for path in made) else ["no store"])
    tally.check("writes", "the same with another directory as its own", outside(trace, other), planted=True)
    for line in ('1 openat(AT_FDCWD, "/tmp/x", O_WRONLY|O_CREAT, 0600) = 3', '1 mkdir("/var/x", 0700) = -1 EROFS', '1 rename("/a/b", "/a/c") = 0',
                 f'1 openat(AT_FDCWD, "{state}x", O_RDWR) = 3', f'1 unlink("{state}/../x") = 0'):
        tally.check("writes", line, outside(f"{trace}{line}\n", state), planted=True)
