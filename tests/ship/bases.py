"""Every stage of deploy/Dockerfile, without an image that is pulled.

The base that it names is made here and given its public name: the same release of Debian by debootstrap, and in it the Rust toolchain of
this machine.  So the stage that compiles is really carried out, and what it lacks is found; that the published image has what the stage
needs beyond a C compiler, binutils and Python is not shown.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy/Dockerfile"
ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")
# What the published base has of Debian and the stage uses.
PACKAGES = "gcc,libc6-dev,ca-certificates,python3-minimal,libpython3-stdlib"
HOME = "/usr/local/cargo"
COMPILES_MAX = 5400  # seconds


def said(*argv):
    return subprocess.run([str(one) for one in argv], capture_output=True, text=True, timeout=900, check=True).stdout


def mirror(suite):
    """Where this machine's own packages of the suite come from; nothing if it is of another one, which is debootstrap's default."""
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"],
                          capture_output=True, text=True, timeout=60, check=False)
    return [line.split()[1] for line in done.stdout.splitlines() if line.split()[0] == suite][:1]


def make(engine, name):
    """The stand-in for a base, under its public name: …/rust:VERSION-SUITE."""
    suite = name.rsplit("-", 1)[1]
    root = engine.folder / "base"
    said("debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, root, *mirror(suite))
    sysroot = Path(said("rustc", "--print", "sysroot").strip())
    for part in ("bin", "lib", "libexec"):
        shutil.copytree(sysroot / part, root / "usr/local/rust" / part, symlinks=True, ignore=shutil.ignore_patterns("src", "etc"))
    archive = engine.folder / "base.tar"
    said("tar", "-C", root, "-cf", archive, ".")
    shutil.rmtree(root)
    engine.podman("import", "--change", f"ENV PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME={HOME}", archive, name)
    archive.unlink()


def cargo_config():
    """Where crates come from may be said in a file of cargo's home; then the build needs it, too."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    return ["-v", f"{home / 'config.toml'}:{HOME}/config.toml:ro"] if (home / "config.toml").exists() else []


def build(engine, tag):
    """Makes all stages. Returns (the program as the image has it, the size of the image in bytes)."""
    name = re.search(r"^ARG RUST_IMAGE=(\S+)", DOCKERFILE.read_text(), re.M)[1]
    make(engine, name)
    engine.buildah("bud", "--pull-never", "--isolation", "chroot", "--format", "docker", "--network", "host", "-v", f"{ROOTS}:{ROOTS}:ro",
                   *cargo_config(), "--build-arg", f"SCOPEWATCH_REVISION={os.environ.get('SCOPEWATCH_REVISION', 'unknown')}",
                   "-f", DOCKERFILE, "-t", tag, ROOT, timeout=COMPILES_MAX)
    container = engine.buildah("from", "--pull-never", tag).stdout.strip()
    binary = engine.folder / "scopewatch"
    shutil.copy(Path(engine.buildah("mount", container).stdout.strip()) / "scopewatch", binary)
    engine.buildah("rm", container)
    return binary, int(engine.podman("image", "inspect", "--format", "{{.Size}}", tag).stdout)
