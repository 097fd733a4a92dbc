"""A pod and the world as two network namespaces with one wire between them, for policy.py.

Knows who listens where and which addresses stand for which namespace of a cluster.  Knows nothing of policies: it takes rules of
nftables.  Needs root, nft, ip, nsenter, unshare, openssl and prometheus-alertmanager.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from run import DEPLOY, run
from world import HUB_PORT, NAMES

sys.path.insert(0, str(DEPLOY.parent / "tests" / "blackbox"))
from scenario import BIN, wait_until  # noqa: E402

HERE = Path(__file__).parent
TRY = DEPLOY / "kubernetes/overlays/try"
POD, POD6, HUB, HUB6, OTHER = "10.244.0.7", "fd00:10:244::7", NAMES["hub.example"], "2001:db8:1::10", "198.51.100.20"
# Whose addresses they are in the cluster.
NAMESPACES = {"monitoring": ["10.96.1.9", "fd00:96:1::9"], "kube-system": ["10.96.0.10"], "default": ["10.96.7.7"]}
SCRAPER, STRANGER, RESOLVER = "10.96.1.9", "10.96.7.7", "10.96.0.10"
NETWORK = f"""
ip link set lo up
ip link set pod up
ip addr add {POD}/24 dev pod
ip addr add {POD6}/64 dev pod nodad
ip route add default via 10.244.0.1
ip -6 route add default via fd00:10:244::1
"""
WORLD = """
ip link set lo up
ip link set world up
ip addr add 10.244.0.1/24 dev world
ip addr add fd00:10:244::1/64 dev world nodad
"""


class Bench:
    """Both namespaces, by the process that holds each; what is started in them ends with this."""

    def __init__(self, folder):
        self.folder, self.started = folder, []

    def wire(self):
        self.pod, self.world = (self.start("unshare", "--net", "--mount", "--propagation", "private", "sleep", "600").pid for _ in range(2))
        # unshare becomes sleep when both namespaces are its own.
        wait_until(lambda: all(Path(f"/proc/{one}/comm").read_text() == "sleep\n" for one in (self.pod, self.world)), "two namespaces", 5)
        self.shell(self.pod, f"ip link add pod type veth peer name world netns {self.world}")
        self.shell(self.world, WORLD)
        (self.folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\n")
        (self.folder / "nsswitch.conf").write_text("hosts: dns\n")
        mounts = (f"mount --bind {self.folder}/{name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf"))
        self.shell(self.pod, NETWORK + "\n".join(mounts))

    def start(self, *argv, **more):
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([str(one) for one in argv], cwd=self.folder, **{**quiet, **more})
        self.started.append(process)
        return process

    def inside(self, namespace, *argv):
        return ["nsenter", "--target", str(namespace), "--net", "--mount", *argv]

    def shell(self, namespace, script):
        done = run(*self.inside(namespace, "sh", "-ec", script))
        if done.returncode:
            raise SystemExit(f"{script}\n{done.stderr}")

    def serve(self, listening):
        """What the world has. `listening`: [address, port, kind], as world.py has them; Alertmanager is a real one."""
        addresses = {one[0] for one in listening} | {one for all_ in NAMESPACES.values() for one in all_}
        self.shell(self.world, "\n".join(f"ip addr add {one} dev lo {'nodad' if ':' in one else ''}" for one in sorted(addresses)))
        certificate(self.folder)
        (self.folder / "am.yml").write_text("route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")
        self.hub = self.start(*self.inside(self.world, BIN, "hub", "--listen", f"127.0.0.1:{HUB_PORT}", "--world", TRY / "world.yaml"))
        self.start(*self.inside(self.world, "prometheus-alertmanager", f"--config.file={self.folder}/am.yml", f"--storage.path={self.folder}/am",
                                f"--web.listen-address={SCRAPER}:9093", "--cluster.listen-address="))
        up = self.start(*self.inside(self.world, sys.executable, HERE / "world.py", "serve", self.folder / "hub.pem"),
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        up.stdin.write(json.dumps([one for one in listening if one[2] != "alertmanager"]).encode())
        up.stdin.close()
        if up.stdout.readline() != b"up\n":
            raise SystemExit("the world does not listen")
        wait_until(lambda: self.get(self.world, SCRAPER, 9093, "/-/ready") is not None, "Alertmanager is ready", 20)

    def dial(self, namespace, calls):
        """Whether each call of [source, address, port, kind] passes: answered, or refused by a machine that got it."""
        done = run(*self.inside(namespace, sys.executable, HERE / "world.py", "dial"), input=json.dumps(calls))
        return [one in ("open", "refused") for one in json.loads(done.stdout)]

    def get(self, namespace, address, port, path, source=""):
        """The answer's body; None without an answer of 200."""
        done = run(*self.inside(namespace, sys.executable, HERE / "world.py", "get", source, address, str(port), path))
        return None if done.returncode else done.stdout

    def enforce(self, rules):
        done = run(*self.inside(self.pod, "nft", "-f", "-"), input=rules)
        if done.returncode:
            raise SystemExit(f"{rules}\n{done.stderr}")

    def end(self):
        for process in reversed(self.started):
            process.terminate()
            process.wait(30)


def certificate(folder):
    """An authority of its own, and the Hub's certificate from it."""
    for argv in (["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"],
                 ["-subj", "/CN=hub.example", "-addext", "subjectAltName=DNS:hub.example", "-addext", "basicConstraints=critical,CA:FALSE",
                  "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "hub.key", "-out", "hub.crt"]):
        done = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2", *argv, cwd=folder)
        if done.returncode:
            raise SystemExit(done.stderr)
    (folder / "hub.pem").write_text((folder / "hub.crt").read_text() + (folder / "hub.key").read_text())
