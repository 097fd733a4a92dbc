"""A network of this test's own, in which connections can be cut without a word, as a broken switch cuts them.

Where the process is root it enters a network namespace that has nothing but loopback; nftables there drops what goes to
an address, and what comes from it.  Where it is not, nothing is cut, and the reason is told.
"""

import os
import shutil
import subprocess
import sys

INSIDE = "SCOPEWATCH_REPLICAS_APART"
RULES = """
table inet strikes {
    set cut { type ipv4_addr; }
    chain heard { type filter hook input priority 0; ip daddr @cut drop; ip saddr @cut drop; }
}
"""


def why_not():
    """Why no connection can be cut, or nothing."""
    if os.environ.get(INSIDE):
        return None
    if os.geteuid() != 0:
        return "not root"
    missing = [name for name in ("unshare", "ip", "nft") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)}: missing"
    probe = subprocess.run(["unshare", "--net", "sh", "-c", "ip link set lo up && nft add table inet probe"], capture_output=True, text=True)
    return probe.stderr.strip().replace("\n", "; ") or f"exit code {probe.returncode}" if probe.returncode else None


def enter():
    """This program goes on in a network of its own, as the same process."""
    os.environ[INSIDE] = "1"
    program = [sys.executable, *sys.argv]
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *program])


def is_apart():
    return bool(os.environ.get(INSIDE))


def nft(text):
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)


def prepare():
    if is_apart():
        nft(RULES)


def cut(address):
    nft(f"add element inet strikes cut {{ {address} }}")


def mend(address):
    nft(f"delete element inet strikes cut {{ {address} }}")
