"""The unit, started by a real systemd: DynamicUser, LoadCredential and the hardening at work, to the alert in Alertmanager.

A part of walk.py.  systemd is the first process of a namespace, on this machine's own files with a layer above them that takes what is
written.  Its controllers may be missing there (a machine with cgroups of the first version), so that MemoryMax is not shown.
"""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from image import TRY, confined, status, weak
from run import DEPLOY, run
from scenario import http, wait_until

UNIT = DEPLOY / "systemd/scopewatch.service"
# Users that systemd gives out for the life of a service.
DYNAMIC = range(61184, 65520)
URL, ALERTS = "http://127.0.0.1:10847", "http://127.0.0.1:9093"
BOOT = """\
set -e
mkdir -p {cgroups}/scopewatch-walk
echo $$ > {cgroups}/scopewatch-walk/cgroup.procs
exec unshare --mount --propagation private --pid --fork --kill-child --uts --ipc --cgroup sh -e {folder}/init.sh
"""
INIT = """\
mount -t tmpfs tmpfs {folder}/layer
mkdir {folder}/layer/upper {folder}/layer/work {folder}/layer/root
cd {folder}/layer
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for place in run tmp dev; do mount -t tmpfs tmpfs $place; done
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm dev/mqueue dev/hugepages
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t mqueue mqueue dev/mqueue
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
install -m 0755 {binary} usr/local/bin/scopewatch
install -D -m 0644 {folder}/scopewatch.yaml etc/scopewatch/scopewatch.yaml
install -d -m 0700 etc/scopewatch/tokens
install -m 0600 {tokens}/* etc/scopewatch/tokens
install -m 0644 {unit} etc/systemd/system/scopewatch.service
printf '[Unit]\\nWants=scopewatch.service\\n' > etc/systemd/system/walk.target
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=walk.target --log-target=null
"""


class Machine:
    """One boot."""

    def __init__(self, folder):
        config = (TRY / "scopewatch.yaml").read_text()
        for theirs, ours in {"/run/secrets/scopewatch": "/run/credentials/scopewatch.service", "0.0.0.0:10847": "127.0.0.1:10847",
                             "http://alertmanager-operated.monitoring.svc:9093": ALERTS}.items():
            if theirs not in config:
                raise SystemExit(f"the config does not name {theirs}")
            config = config.replace(theirs, ours)
        (folder / "scopewatch.yaml").write_text(config)
        cgroups = next(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2")
        known = {"folder": folder, "cgroups": cgroups, "binary": os.environ["SCOPEWATCH_BIN"], "tokens": TRY / "tokens", "unit": UNIT}
        (folder / "layer").mkdir()
        for name, text in {"boot.sh": BOOT, "init.sh": INIT}.items():
            (folder / name).write_text(re.sub(r"\{(\w+)\}", lambda found: str(known[found[1]]), text))
        self.cgroup = Path(cgroups) / "scopewatch-walk"
        self.process = subprocess.Popen(["sh", folder / "boot.sh"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until(self._booted, "systemd runs", 30)

    def _booted(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.init = children[0] if children else None
        return self.init and Path(f"/proc/{self.init}/comm").read_text() == "systemd\n" and self.run("systemctl", "is-system-running").stdout.strip()

    def run(self, *argv):
        return run("nsenter", "--target", self.init, "--mount", "--pid", *argv)

    def show(self, what):
        return self.run("systemctl", "show", "--property", what, "--value", "scopewatch").stdout.strip()

    def pid(self):
        """Of the service, as it is seen from here."""
        inner, namespace = self.show("MainPID"), os.readlink(f"/proc/{self.init}/ns/pid")
        for place in Path("/proc").glob("[0-9]*"):
            words = status(place.name)["NSpid"].split()
            if words[-1] == inner and os.readlink(place / "ns/pid") == namespace:
                return int(place.name)
        raise SystemExit(f"the service does not run\n{self.run('systemctl', 'status', 'scopewatch').stdout}")

    def end(self):
        self.process.kill()
        self.process.wait(30)
        # Deepest first; one that still empties itself goes with the next.
        for _ in range(50):
            if not self.cgroup.exists():
                return
            for place, _, _ in os.walk(self.cgroup, topdown=False):
                try:
                    os.rmdir(place)
                except OSError:
                    time.sleep(0.02)


def open_to(pid):
    """What of the service is not as the unit promises."""
    now = status(pid)
    problems = [one for one in confined(pid) if not one.startswith("user and group")]
    return problems + ([] if set(map(int, now["Uid"].split() + now["Gid"].split())) <= set(DYNAMIC) else ["a user of its own"])


def credentials(pid):
    """Files of the tokens that somebody else might read."""
    uid = int(status(pid)["Uid"].split()[0])
    files = [Path(f"/proc/{pid}/root/run/credentials/scopewatch.service") / name for name in ("janitor", "ci-bot")]
    return [one.name for one in files if (one.stat().st_mode & 0o777, one.stat().st_uid) not in ((0o400, uid), (0o440, uid), (0o440, 0))]


def ready():
    return http(f"{URL}/-/ready")[0] == 200


def told():
    alerts = json.loads(http(f"{ALERTS}/api/v2/alerts")[1])
    return any(one["labels"].get("alertname") == "ScopewatchUnexpectedGrant" for one in alerts)


def story(tally, machine):
    began = time.monotonic()
    try:
        wait_until(ready, "the service is ready", 30)
        wait_until(told, "the alert is in Alertmanager", 60)
    except AssertionError as error:
        raise SystemExit(f"{error}\n{machine.run('systemctl', 'status', '--no-pager', '-l', 'scopewatch').stdout}") from error
    pid = machine.pid()
    print(f"systemd: the alert in Alertmanager {time.monotonic() - began:.1f} s after its boot; user {status(pid)['Uid'].split()[0]}")
    tally.check("systemd, started", "as the unit promises", open_to(pid))
    tally.check("systemd, started", "tokens", credentials(pid))
    tally.check("systemd, started", "as it reports itself", weak(http(f"{URL}/metrics")[1]))
    reloaded = machine.run("systemctl", "reload", "scopewatch")
    tally.check("systemd, started", "reload", [] if reloaded.returncode == 0 and machine.pid() == pid else [reloaded.stderr])
    machine.run("systemctl", "stop", "scopewatch")
    ended = (machine.show("Result"), machine.show("ExecMainStatus"))
    tally.check("systemd, started", "stop", [] if ended == ("success", "0") else [str(ended)])


def planted(tally, machine):
    path = "/etc/systemd/system/scopewatch.service"
    careless = "^(DynamicUser|NoNewPrivileges|SystemCall|Restrict|ProtectSystem|CapabilityBoundingSet|Lock|Memory|Private|ProtectK|ProtectC|ProtectH)"
    machine.run("sh", "-ec", f"sed -iE -E '/{careless}/d' {path}; systemctl daemon-reload; systemctl start scopewatch")
    wait_until(ready, "the careless service is ready", 30)
    found = open_to(machine.pid())
    tally.check("systemd, started", "a careless unit", found if len(found) >= 3 else [], planted=True)
    machine.run("sh", "-ec", "systemctl stop scopewatch; rm /etc/scopewatch/tokens/janitor")
    started = machine.run("systemctl", "start", "scopewatch")
    tally.check("systemd, started", "a token that is not there", [started.stderr] if started.returncode else [], planted=True)


def part(tally, _, folder):
    (folder / "am.yml").write_text("route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")
    commands = [
        [os.environ["SCOPEWATCH_BIN"], "hub", "--listen", "127.0.0.1:8099", "--world", str(TRY / "world.yaml")],
        [shutil.which("prometheus-alertmanager"), f"--config.file={folder}/am.yml", f"--storage.path={folder}/am", "--cluster.listen-address=",
         "--web.listen-address=127.0.0.1:9093"],
    ]
    beside = [subprocess.Popen(one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for one in commands]
    try:
        wait_until(lambda: http(f"{ALERTS}/-/ready")[0] == 200, "Alertmanager is ready", 20)
        machine = Machine(folder)
        try:
            story(tally, machine)
            planted(tally, machine)
        finally:
            machine.end()
    finally:
        for process in beside:
            process.terminate()
            process.wait(30)
