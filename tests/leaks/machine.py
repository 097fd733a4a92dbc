"""The machine around the daemon: what its neighbours see of it, its wires, and what happens when it dies.

Knows /proc, TLS, mount namespaces and limits of Linux.  Keeps what was seen, by channel.  Serves run.py and drives.py.
"""

import os
import re
import socket
import ssl
import subprocess
from pathlib import Path

from bench import NEVER, ROOT, Daemon, keep_log
from liar import Ear, Server

# What the user of a process may look at from another one; prints what can be opened.
LOOK = """for name in environ mem maps auxv cmdline comm status stat statm limits cgroup io stack syscall pagemap smaps; do
  if (: <"/proc/$1/$name"); then echo "opened $name"; case $name in mem|pagemap) ;; *) cat "/proc/$1/$name" ;; esac; echo; fi
done
for name in cwd exe root; do readlink "/proc/$1/$name" && echo "opened $name"; done
for name in fd map_files task; do ls -l "/proc/$1/$name" && echo "opened $name"; done"""


def looked(bench, pid):
    return bench.run(["sh", "-c", LOOK, "sh", pid], bench.dir)[1]


def closed(daemon, captures, bench):
    """What another process of the same user sees of it."""
    pid = daemon.process.pid
    seen = looked(bench, pid)
    captures.add("L17", "/proc of the daemon, as its own user", seen)
    opened = set(re.findall(rb"^opened (\w+)$", seen, re.M))
    for name in (b"environ", b"mem", b"maps", b"auxv", b"smaps", b"pagemap"):
        captures.expect("L17", f"/proc/PID/{name.decode()} is closed", name not in opened)
    captures.expect("L17", "cmdline is open, so that the rest means something", b"cmdline" in opened)
    captures.add(
        "L18",
        "cmdline of the daemon",
        Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/comm").read_bytes(),
    )
    captures.expect(
        "L16",
        "no core file may be written",
        bool(re.search(r"Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text())),
    )
    captures.expect("L16", "not dumpable", undumpable(pid))
    captures.add("L19", "children of the daemon", children(pid))
    captures.expect("L19", "no child", not child_pids(pid))


def undumpable(pid):
    """What is not dumpable belongs to root in /proc, whoever runs it."""
    return os.stat(f"/proc/{pid}/environ").st_uid == 0


def child_pids(pid):
    listed = b" ".join(path.read_bytes() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for child in listed.split()]


def children(pid):
    """The environment of each child."""
    return b"".join(Path(f"/proc/{child}/environ").read_bytes() for child in child_pids(pid))


class Dead(Server):
    """Takes the request and breaks off."""

    def converse(self, stream, memory):
        memory.extend(stream.recv(65536))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def broken_networks(bench, people):
    """No name, no port, no tunnel, no answer: what the client's errors hold stays in them."""
    captures, home = bench.captures, bench.folder("networks")
    mark = people.mint.make("proxy password", "plain")
    dead, proxy = Dead(), Ear()
    few = re.compile(r"right-00[0-5]")
    cases = {
        "nobody listens": {"endpoint": "http://127.0.0.1:1"},
        "no such name": {"endpoint": "http://hub.invalid", "allow_insecure": True},
        "reset": {"endpoint": dead.url},
        "no TLS there": {"endpoint": dead.url.replace("http:", "https:")},
        "no proxy there": {"proxy": "http://127.0.0.1:1"},
        "a proxy that says no tunnel": {"endpoint": "https://hub.invalid", "proxy": dead.url},
        "a password of the proxy": {"proxy": f"http://user:{mark.text}@127.0.0.1:1"},
    }
    for name, hub in cases.items():
        case = home / re.sub(r"\W", "-", name)
        case.mkdir(mode=0o700)
        bench.own(case)
        config = people.config(case, few.match, **{"tls_roots": "bundled", "in_flight_horizon": "60s", **hub})
        for log in ("text", "json"):
            code, out, err = bench.run(
                [
                    bench.bin,
                    "audit",
                    "--config",
                    people.written(case, config),
                    "--format",
                    "json",
                    "--log-level",
                    "trace",
                    "--log-format",
                    log,
                ],
                case / "cwd",
                people.environment,
            )
            captures.add("L5", name, out + err)
            # A proxy's password has no place in a config, and is refused there.
            captures.expect("L5", "everything is unknown", code == (2 if "password" in name else 3))
            keep_log(captures, "a broken network", err)
        captures.add("L14", "database after a broken network", bench.swallow(case / "data"))
    captures.expect("L5", "requests came as far as the one who resets", b"authorization: Bearer " in dead.everything())
    # That the settings' own proxy is used shows that the one of the environment could have been.
    case = home / "proxied"
    case.mkdir(mode=0o700)
    bench.own(case)
    config = people.config(
        case, few.match, endpoint="http://hub.invalid", allow_insecure=True, proxy=proxy.url, in_flight_horizon="60s"
    )
    bench.run([bench.bin, "audit", "--config", people.written(case, config)], case / "cwd", people.environment)
    captures.expect("L10", "the one proxy of the config is used", proxy.connections > 0)
    dead.close()
    proxy.close()


class Tee(Server):
    """Before a TLS server: sees the wire, and what is said inside."""

    def __init__(self, context, plain=False):
        self.context, self.plain, self.inside = context, plain, []
        super().__init__()

    def converse(self, stream, memory):
        if self.plain:  # a server that speaks no TLS, where TLS is expected
            memory.extend(stream.recv(65536))
            stream.sendall(b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
            return
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inner = self.context.wrap_bio(incoming, outgoing, server_side=True)
        request, shaken = b"", False
        while True:
            try:
                if not shaken:
                    inner.do_handshake()
                    shaken = True
                request += inner.read(65536)
                if b"\r\n\r\n" in request:
                    self.inside.append(request)
                    inner.write(
                        b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % self.port
                    )
                    request = b""
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                stream.sendall(outgoing.read())
                return
            stream.sendall(outgoing.read())
            data = stream.recv(65536)
            if not data:
                return
            memory.extend(data)
            incoming.write(data)


def wires(bench, people):
    """TLS or nothing: what can be seen of a token between here and there."""
    captures, home = bench.captures, bench.folder("wires")
    tests = ROOT / "src/probe/tests"
    ca = bench.file(home / "ca.pem", (tests / "ca.pem").read_bytes())

    def context(most=None):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(tests / "localhost.pem")
        if most:
            made.set_ciphers("ALL:@SECLEVEL=0")
            made.minimum_version = ssl.TLSVersion.TLSv1
            made.maximum_version = most
        return made

    few = re.compile(r"right-00[0-3]")
    cases = {
        "TLS": (Tee(context()), "localhost", [str(ca)]),
        "an authority that nobody vouches for": (Tee(context()), "localhost", []),
        "another name": (Tee(context()), "127.0.0.1", [str(ca)]),
        "TLS 1.1": (Tee(context(ssl.TLSVersion.TLSv1_1)), "localhost", [str(ca)]),
        "no TLS at all": (Tee(None, plain=True), "localhost", [str(ca)]),
    }
    for name, (tee, host, files) in cases.items():
        case = home / re.sub(r"\W", "-", name)
        case.mkdir(mode=0o700)
        bench.own(case)
        config = people.config(
            case, few.match, endpoint=f"https://{host}:{tee.port}", ca_files=files, tls_roots="bundled"
        )
        code, out, err = bench.run(
            [bench.bin, "audit", "--config", people.written(case, config), "--log-level", "trace"],
            case / "cwd",
            {**people.environment, "SSLKEYLOGFILE": str(case / "keys.log")},
        )
        captures.add("L11", f"the wire: {name}", tee.everything())
        captures.add("L5", f"the wire: {name}", out + err)
        keep_log(captures, "TLS", err)
        captures.expect("L11", "SSLKEYLOGFILE is not written", not (case / "keys.log").exists())
        captures.expect(
            "L11", "a token is sent only inside of TLS that was verified", bool(tee.inside) == (name == "TLS")
        )
        captures.expect("L11", "somebody came, and learned nothing", tee.connections > 0 and code == 3)
        tee.close()
    for endpoint in ("http://hub.example", "http://10.0.0.7:8080", "http://[2001:db8::1]", "http://localhost.example"):
        config = people.config(home, few.match, endpoint=endpoint)
        code, out, err = bench.run([bench.bin, "check", "--config", people.written(home, config)], home)
        captures.add("L11", "plain http beyond loopback", out + err)
        captures.expect("L11", "plain http beyond loopback is refused", code == 2)


def own_mounts(bench):
    """What starts a process with mounts of its own, and what then makes it the user of this run; None where that is forbidden."""
    for unshare, become in (
        (["unshare", "--mount"], f"setpriv --reuid {(bench.user or (os.geteuid(), 0))[0]} --clear-groups"),
        (["unshare", "--map-root-user", "--mount"], ""),
    ):
        tried = [*unshare, "sh", "-c", f"mount --bind /proc/swaps /proc/swaps && {become} true"]
        if not subprocess.run(tried, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
            return unshare, become
    return None


def swaps(bench, people):
    """With and without swap, as mounts of its own make the machine look to it. Where there can be none, the machine as it is."""
    captures, home, mounts = bench.captures, bench.folder("swaps"), own_mounts(bench)
    config = people.config(home, lambda name: False)
    config["schedule"]["on_start"] = False
    heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    partition = "/dev/sda9                               partition\t1048572\t\t0\t\t-2\n"
    shown = {"swap on": heading + partition, "no swap": heading} if mounts else {"swap of this machine": None}
    for name, text in shown.items():
        prefix, user = [], bench.user
        if text is not None:
            fake, (unshare, become) = bench.file(home / name.replace(" ", "-"), text, 0o644), mounts
            prefix = [*unshare, "sh", "-c", f'mount --bind "{fake}" /proc/swaps && exec {become} "$@"', "sh"]
            bench.user = None  # the mounts are root's; the daemon is not
            for path in (home, home / "data", home / "cwd"):
                path.chmod(0o777)
        try:
            daemon = Daemon(bench, home, config, prefix=prefix, env=people.environment, mode=0o644)
        finally:
            bench.user = user
        daemon.ready()
        warned = (text or Path("/proc/swaps").read_text()).count("\n") > 1
        metrics, findings = daemon.ask("GET", "/metrics"), daemon.ask("GET", "/api/v1/findings")
        code = daemon.end()
        captures.add("L20", name, daemon.output())
        said = [line for line in daemon.output().splitlines() if b"swap" in line]
        captures.expect("L20", f"{name}: {'warned of once' if warned else 'not a word'}", len(said) == int(warned))
        told = [line for line in metrics.splitlines() if b"swap" in line]
        captures.expect(
            "L20",
            "a warning wakes nobody, and a gauge tells the same",
            code == 0
            and all(b" WARN " in line for line in said)
            and b"swap" not in findings
            and told == [b'scopewatch_hardening{check="swap"} %d' % (not warned)],
        )


def census(bench, people):
    """How often each token lies in the memory of a daemon, live and after it was replaced. Told, not judged."""
    captures, home = bench.captures, bench.folder("census")
    if os.geteuid() != 0:
        captures.add("L17", "(no census of memory: only root may look)", b"")
        return
    config = people.config(home, re.compile(r"right-").match, probe="*/10 * * * * *")
    config["schedule"]["canary"] = NEVER
    live = {mark.name: mark.text.encode() for mark in people.live if mark.name.startswith("right-")}
    new = {}
    daemon = Daemon(bench, home, config, env=people.environment).ready()
    first = daemon.round_after()
    before = memory(daemon.process.pid)
    for entry in config["tokens"]:
        path = Path(entry["secret"].get("file", "/"))
        if entry["name"] in live and path.is_file():
            new[entry["name"]] = path.read_bytes()
            bench.file(path, people.mint.make(f"instead of {entry['name']}").text, 0o400)
    second = daemon.round_after(first["finished_at"])
    daemon.round_after(second["finished_at"])
    after = memory(daemon.process.pid)
    for name, path in ((e["name"], e["secret"].get("file")) for e in config["tokens"]):
        if name in new:
            bench.file(Path(path), new[name], 0o400)
    daemon.end()
    counts = sorted(before.count(text) for text in live.values())
    gone = sorted(after.count(live[name]) for name in new)
    captures.add(
        "L17",
        f"census of {len(before) >> 20} MiB of memory: copies of a live token {counts[0]} to {counts[-1]}, median "
        f"{counts[len(counts) // 2]}; of one that was replaced {gone[0]} to {gone[-1]}, median {gone[len(gone) // 2]}",
        b"",
    )


def memory(pid):
    """All that the process may write to."""
    found = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            place, rights = line.split()[:2]
            begin, end = (int(part, 16) for part in place.split("-"))
            if rights.startswith("rw"):
                try:
                    mem.seek(begin)
                    found.append(mem.read(end - begin))
                except OSError:
                    pass  # a region that has no pages
    return b"".join(found)


def exhausted(bench, people):
    """A real panic of the real binary: the runtime finds no room for a thread."""
    captures, home = bench.captures, bench.folder("exhausted")
    path = people.written(home, people.config(home, lambda name: False))
    for shape in ("text", "json"):
        code, out, err = bench.run(
            [bench.bin, "plan", "--config", path, "--log-format", shape],
            home / "cwd",
            people.environment,
            limits=("--nproc=0",),
        )
        captures.add("L4", "a panic of the binary itself", out + err)
        captures.expect(
            "L4",
            "the place of a panic, and not its words",
            code not in (0, 2, 3)
            and b"failed unexpectedly" in err
            and b"spawn" not in err
            and b"panicked at" not in err,
        )
