"""The image, really built and run: `python3 tests/ship/image.py [--stages]`

Makes the last stage of deploy/Dockerfile with a static binary that is built on this machine, runs it as deploy/kubernetes does
(nobody, no capabilities, read-only root, bounded memory) and looks at it from outside, through /proc.  The binary is an
unoptimised one, of the build that the other tests use; --stages makes every stage of the Dockerfile, the one that compiles too (bases.py),
which takes minutes, and holds the image to its size.  Needs root, buildah, podman and runc, for --stages also debootstrap; exit 77
where one is missing.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "blackbox"))
import bases  # noqa: E402
from scenario import Metrics, free_port, http, wait_until  # noqa: E402

IMAGE = "localhost/scopewatch:test"
SIZE_MAX, MEMORY, STOP_MAX = 20_000_000, "32m", 30
ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")
CONTENTS = ["etc/ssl/certs/ca-certificates.crt", "scopewatch"]
TRY = ROOT / "deploy/kubernetes/overlays/try"
# The limits may only be lowered where a machine withholds the right to raise them, so that each is named.
AS_SHIPPED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit", "64",
              "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
# What a container gives; swap is the host's.
PROMISED = {"dumpable", "core", "root", "seccomp", "new_privileges", "capabilities"}


def run(*argv, check=True, timeout=900, **more):
    done = subprocess.run([str(one) for one in argv], capture_output=True, text=True, timeout=timeout, check=False, **more)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()


def linked_binary(folder):
    """The binary of the other tests, linked anew: seconds, because what it is made of is the same."""
    run("cargo", "rustc", "--locked", "--bin", "scopewatch", "--", "-C", "target-feature=+crt-static", cwd=ROOT)
    binary = folder / "scopewatch"
    run("strip", "-o", binary, TARGET / "debug/scopewatch")
    run("cargo", "build", "--locked", cwd=ROOT)
    return binary


class Engine:
    """buildah and podman with a store of their own, which goes when this ends."""

    def __init__(self, folder):
        self.folder = folder
        self.store = ["--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "vfs"]

    # Where they stand, what watches a container leaves a file when it ran out of memory.
    def buildah(self, *argv, **more):
        return run("buildah", *self.store, *argv, cwd=self.folder, **more)

    def podman(self, *argv, **more):
        return run("podman", *self.store, "--runtime", "runc", "--cgroup-manager", "cgroupfs", *argv, cwd=self.folder, **more)

    def start(self, name, *argv, flags=()):
        self.podman("run", "--detach", "--name", name, "--network", "host", *AS_SHIPPED, *flags, IMAGE, *argv)
        return int(self.podman("inspect", "--format", "{{.State.Pid}}", name).stdout)

    def log(self, name):
        done = self.podman("logs", name, check=False)
        return (done.stdout + done.stderr)[-2000:]


def build(engine, binary, tag):
    """The last stage of the Dockerfile on what its first leaves, owners included; those a directory would lose. Returns its size in bytes."""
    context = engine.folder / "context"
    context.mkdir()
    with tarfile.open(context / "image.tar", "w") as archive:
        def add(name, mode, owner, source=None):
            entry = archive.gettarinfo(source, name) if source else tarfile.TarInfo(name)
            entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = mode, owner, owner, "", ""
            entry.type = tarfile.REGTYPE if source else tarfile.DIRTYPE
            archive.addfile(entry, open(source, "rb") if source else None)
        for place in ("etc", "etc/ssl", "etc/ssl/certs", "etc/scopewatch", "var", "var/lib"):
            add(place, 0o755, 0)
        add("var/lib/scopewatch", 0o700, 65532)
        add("scopewatch", 0o755, 0, binary)
        add("etc/ssl/certs/ca-certificates.crt", 0o644, 0, ROOTS.resolve())
    text = (ROOT / "deploy/Dockerfile").read_text()
    last = text[text.rindex("\nFROM scratch"):]
    (context / "Dockerfile").write_text(f"FROM scratch AS build\nADD image.tar /image/\n{last}")
    engine.buildah("bud", "--isolation", "chroot", "--format", "docker", "-t", tag, context)
    return int(engine.podman("image", "inspect", "--format", "{{.Size}}", tag).stdout)


def status(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.M))


def confined(pid):
    """What of the process is not as shipped."""
    now = status(pid)
    root = [line for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if line.split()[4] == "/"]
    wanted = {
        "user and group 65532": now["Uid"].split() == ["65532"] * 4 and now["Gid"].split() == ["65532"] * 4,
        "no capability": all(int(now[key], 16) == 0 for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")),
        "no new privileges": now["NoNewPrivs"] == "1",
        "system calls are filtered": now["Seccomp"] == "2",
        "root is read-only": bool(root) and "ro" in root[0].split()[5].split(","),
    }
    return [what for what, holds in wanted.items() if not holds]


def memory(pid):
    """What it takes: its own memory, and with the pages of the program, which the system may drop."""
    now = status(pid)
    own, peak = (int(now[key].split()[0]) / 1024 for key in ("RssAnon", "VmHWM"))
    return f"{own:.0f} MiB of its own, {peak:.0f} MiB resident at most"


def contents(engine):
    """Every file of the image, and what is wrong with the place for the journal."""
    container = engine.buildah("from", "--pull-never", IMAGE).stdout.strip()
    root = Path(engine.buildah("mount", container).stdout.strip())
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())
    state = (root / "var/lib/scopewatch").stat()
    engine.buildah("rm", container)
    own = (state.st_uid, state.st_gid, state.st_mode & 0o777) == (65532, 65532, 0o700)
    return found, [] if own else ["the place for the journal is not the daemon's alone"]


def weak(page):
    """What the daemon itself reports as open."""
    found = {labels["check"]: value for name, labels, value in Metrics(page).samples if name == "scopewatch_hardening"}
    return [check for check in sorted(PROMISED) if found.get(check) != 1]


def demo(engine, tell):
    port = free_port()
    began = time.monotonic()
    pid = engine.start("demo", "demo", "--listen", f"127.0.0.1:{port}", flags=["--tmpfs", "/tmp:rw,noexec,mode=1777", "--memory", "64m"])
    wait_until(lambda: http(f"http://127.0.0.1:{port}/-/ready")[0] == 200, "the demo in the container is ready", 30)
    tell("demo", [], f"ready after {time.monotonic() - began:.1f} s")
    tell("demo, confined", confined(pid))
    tell("demo, the page", [] if http(f"http://127.0.0.1:{port}/")[0] == 200 else ["no page"])
    engine.podman("rm", "-f", "demo")


def service(engine, tell):
    """The daemon with a config like the example's, in little memory, from its start to its end."""
    hub, port = free_port(), free_port()
    config, state = engine.folder / "config", engine.folder / "state"
    config.mkdir()
    state.mkdir(mode=0o700)
    os.chown(state, 65532, 65532)
    text = (TRY / "scopewatch.yaml").read_text().replace("127.0.0.1:8099", f"127.0.0.1:{hub}").replace("0.0.0.0:10847", f"127.0.0.1:{port}")
    (config / "scopewatch.yaml").write_text(text)
    shutil.copy(TRY / "world.yaml", config)
    mounts = ["-v", f"{config}:/etc/scopewatch:ro", "-v", f"{TRY}/tokens:/run/secrets/scopewatch:ro"]
    engine.start("hub", "hub", "--listen", f"127.0.0.1:{hub}", "--world", "/etc/scopewatch/world.yaml", flags=mounts)
    wait_until(lambda: http(f"http://127.0.0.1:{hub}/_sim/routes")[0] == 200, "the simulated Hub answers", 30)
    began, url = time.monotonic(), f"http://127.0.0.1:{port}"
    pid = engine.start("serve", flags=[*mounts, "-v", f"{state}:/var/lib/scopewatch", "--memory", MEMORY])
    try:
        wait_until(lambda: http(f"{url}/-/ready")[0] == 200, "the daemon is ready", 30)
        ready = time.monotonic() - began
        wait_until(lambda: "unexpected_grant" in http(f"{url}/api/v1/findings")[1], "the finding is there", 60)
    except Exception as error:
        raise SystemExit(f"{error}\n{engine.log('serve')}") from error
    tell(f"serve within {MEMORY}", [], f"ready after {ready:.1f} s; {memory(pid)}")
    tell("serve, confined", confined(pid))
    tell("serve, as it reports itself", weak(http(f"{url}/metrics")[1]))
    tell("serve, the healthcheck", [] if engine.podman("exec", "serve", "/scopewatch", "healthcheck", "--config", "/etc/scopewatch/scopewatch.yaml",
                                                      check=False).returncode == 0 else ["it says no"])
    began = time.monotonic()
    engine.podman("stop", "-t", str(STOP_MAX + 20), "serve")
    took = time.monotonic() - began
    code = engine.podman("inspect", "--format", "{{.State.ExitCode}}", "serve").stdout.strip()
    tell("serve, SIGTERM", [] if took < STOP_MAX and code == "0" else [f"exit {code}"], f"ended after {took:.1f} s with {code}")
    engine.podman("rm", "-f", "hub", "serve")


def planted(engine, tell):
    """A container that is run carelessly is seen as such."""
    port = free_port()
    engine.podman("run", "--detach", "--name", "careless", "--network", "host", "--user", "0:0", "--privileged", "--tmpfs", "/tmp",
                  "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", IMAGE, "demo", "--listen", f"127.0.0.1:{port}")
    pid = int(engine.podman("inspect", "--format", "{{.State.Pid}}", "careless").stdout)
    wait_until(lambda: http(f"http://127.0.0.1:{port}/-/ready")[0] == 200, "the demo is ready", 30)
    tell("careless", confined(pid), planted=3)
    tell("careless, as it reports itself", weak(http(f"http://127.0.0.1:{port}/metrics")[1]), planted=2)
    engine.podman("rm", "-f", "careless")
    starved = engine.podman("run", "--rm", "--name", "starved", "--network", "host", *AS_SHIPPED, "--tmpfs", "/tmp", "--memory", "4m", IMAGE,
                            "demo", "--once", "--listen", f"127.0.0.1:{port}", check=False)
    tell("too little memory", ["it is killed"] if starved.returncode == 137 else [], planted=1)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--stages", action="store_true", help="every stage of the Dockerfile, which takes minutes")
    chosen = options.parse_args()
    lacking = [tool for tool in ("buildah", "podman", "runc", *(["debootstrap"] if chosen.stages else [])) if not shutil.which(tool)]
    lacking += [] if os.geteuid() == 0 else ["root"]
    if lacking or not ROOTS.exists():
        print(f"missing: {', '.join(lacking) or ROOTS}")
        return 77
    count = {"run": 0, "wrong": 0, "planted": 0, "caught": 0}

    def tell(what, problems, figure="", planted=0):
        if planted:
            count["planted"] += planted
            count["caught"] += min(planted, len(problems))
            print(f"planted: {what}: {', '.join(problems)}")
            return
        count["run"] += 1
        count["wrong"] += bool(problems)
        print(f"{'WRONG' if problems else 'right'}  {what}  {figure}{'; '.join(problems)}")

    folder = Path(tempfile.mkdtemp(prefix="scopewatch-image-"))
    engine = Engine(folder)
    try:
        if chosen.stages:
            binary, size = bases.build(engine, IMAGE)
        else:
            binary = linked_binary(folder)
            size = build(engine, binary, IMAGE)
        linked = run("ldd", binary, check=False)
        tell("static", [] if "statically linked" in linked.stdout + linked.stderr or linked.returncode else [linked.stdout])
        tell("size", ["too large"] if chosen.stages and size > SIZE_MAX else [], f"{size / 1e6:.1f} MB" + ("" if chosen.stages else ", unoptimised"))
        found, open_ = contents(engine)
        tell("contents", ([] if found == CONTENTS else found) + open_)
        demo(engine, tell)
        service(engine, tell)
        planted(engine, tell)
    finally:
        engine.podman("rm", "-af", check=False)
        run("umount", folder / "root" / "overlay", check=False)
        shutil.rmtree(folder, ignore_errors=True)
    row = f"ship/image\t{count['run']}\t{count['run']}\t{count['wrong']}\t{count['planted']}\t{count['caught']}\n"
    print(row, end="")
    if place := os.environ.get("SCOPEWATCH_TALLY"):
        with open(place, "a") as file:
            file.write(row)
    return int(count["wrong"] > 0 or count["caught"] < count["planted"])


if __name__ == "__main__":
    sys.exit(main())
