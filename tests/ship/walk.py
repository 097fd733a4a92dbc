"""What is shipped, walked: `python3 tests/ship/walk.py [--binary FILE] [--part NAME]`

The overlay to try as a pod of podman, the compose file by podman-compose, the unit by a systemd, each up to the alert in an
Alertmanager; manifests and Dockerfile before checkov; what the daemon writes, by strace.  Knows the order of things and builds the
images; each part stands in a file of its own.  All of it runs in namespaces of its own (network, processes, mounts), which end with
it.  Needs root, buildah, podman, runc, netavark, iptables, strace, kubectl, systemd and Debian's Prometheus; exit 77 where one is missing.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from run import Tally, run  # isort: skip  (before image, which makes another run.py the first to be found)

import booted
import composed
import kube
import scanned
import writes
from image import ROOT, Engine, build, linked_binary

PUBLIC = "ghcr.io/scopewatch/scopewatch:0.1.0"
# Names of the compose file: (program of Debian, what it is started with, where it keeps its data).
STAND_INS = {
    "docker.io/prom/prometheus:v3.5.0": (
        "prometheus", ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"], "/prometheus"),
    "docker.io/prom/alertmanager:v0.28.1": (
        "prometheus-alertmanager", ["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"], "/alertmanager"),
}
# Limits may only be lowered where a machine withholds the right to raise them, so that each is named.
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
PARTS = {"scanned": scanned.part, "writes": writes.part, "systemd": booted.part, "kube": kube.part, "compose": composed.part}
NEEDED = ("buildah", "podman", "runc", "iptables", "ip", "unshare", "strace", "kubectl", "/lib/systemd/systemd", "prometheus", "prometheus-alertmanager")


def stand_in(engine, name, program, arguments, data):
    """An image with the program of this machine and the libraries that it names."""
    context = engine.folder / program
    real = shutil.which(program)
    # Debian's Alertmanager has its templates beside it.
    beside = [str(path) for path in Path("/usr/share/prometheus/alertmanager").glob("*.tmpl")]
    for source in [real, *beside, *re.findall(r"(/\S+) \(0x", run("ldd", real).stdout)]:
        place = context / "root" / source.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    (context / "Dockerfile").write_text(
        f"FROM scratch\nCOPY root /\nWORKDIR {data}\nENTRYPOINT {json.dumps([real])}\nCMD {json.dumps(arguments)}\n")
    engine.buildah("bud", "--isolation", "chroot", "--format", "docker", "-t", name, context)


def inside(chosen):
    """In the namespaces: images, then the parts."""
    # What an engine keeps for the machine it keeps here: no socket of systemd, no name of a network.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    tally, folder = Tally(), Path(tempfile.mkdtemp(prefix="scopewatch-walk-"))
    (folder / "containers.conf").write_text(CONTAINERS)
    os.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
    os.environ["SCOPEWATCH_BIN"] = str(chosen.binary)
    engine = Engine(folder)
    engine.store += ["--network-config-dir", folder / "networks"]
    buildah = Engine(folder)
    try:
        if not chosen.part or {"kube", "compose"} & set(chosen.part):
            build(buildah, chosen.binary, PUBLIC)
            for name, (program, arguments, data) in STAND_INS.items():
                stand_in(buildah, name, program, arguments, data)
        for name, part in PARTS.items():
            if not chosen.part or name in chosen.part:
                began = time.monotonic()
                place = folder / f"part-{name}"
                place.mkdir()
                part(tally, engine, place)
                print(f"part {name}: {time.monotonic() - began:.0f} s", flush=True)
    finally:
        engine.podman("pod", "rm", "-af", check=False)
        engine.podman("rm", "-af", check=False)
        for place in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
            with contextlib.suppress(OSError):
                place.rmdir()
        shutil.rmtree(folder, ignore_errors=True)
    return tally.end()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--binary", type=Path, help="a static binary, instead of building one")
    options.add_argument("--part", action="append", choices=list(PARTS))
    options.add_argument("--sudo", action="store_true", help="become root by sudo")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.inside:
        return inside(chosen)
    root = [] if os.geteuid() == 0 else ["sudo"]
    lacking = [tool for tool in NEEDED if not shutil.which(tool)] + (["root"] if root and not chosen.sudo else [])
    lacking += [tool for tool in ("podman-compose", "checkov") if not (Path(sys.executable).parent / tool).exists()]
    lacking += [] if Path("/usr/lib/podman/netavark").exists() else ["netavark"]
    if lacking:
        print(f"missing: {', '.join(lacking)}")
        return 77
    known = [f"{name}={os.environ[name]}" for name in ("PATH", "SCOPEWATCH_TALLY") if name in os.environ]
    with tempfile.TemporaryDirectory(prefix="scopewatch-walk-") as folder:
        binary = (chosen.binary or linked_binary(Path(folder))).resolve()
        parts = [word for one in chosen.part or [] for word in ("--part", one)]
        # `--kill-child`: whatever an engine leaves running ends with the first process in there.
        return subprocess.run([*root, "env", "PYTHONDONTWRITEBYTECODE=1", *known, "unshare", "--net", "--mount", "--propagation", "private", "--pid",
                               "--fork", "--kill-child", "--mount-proc", sys.executable, __file__, "--inside", "--binary", binary, *parts],
                              check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
