"""The supply chain of a release, tried: `python3 tests/ship/supply.py`

Builds twice by deploy/build, from other paths with another home of cargo, and wants the same bytes; holds the bill of materials to its
schema, to what cargo resolves, to Cargo.lock, and to what a scanner reads out of the program; signs and verifies as the README tells, with
minisign for the keyless signature that only the release's workflow can make.  Each check must find what is planted for it.  Exit 77
where a tool is missing.  Takes three compilations.
"""

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

try:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
except ImportError as missing:
    print(f"missing: {missing.name}; tests/run --long --only tools installs it")
    sys.exit(77)

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
HERE = Path(sys.executable).parent
# What deploy/Dockerfile copies into the stage that compiles.
CONTEXT = ("Cargo.toml", "Cargo.lock", "README.md", "config", "src", "deploy/build", "deploy/sbom")
# Linked, and no crate.
BESIDE = {"rust-std", "sqlite", "glibc"}
PROGRAM, BILL, SUMS = "scopewatch", "scopewatch.cdx.json", "SHA256SUMS"


class Tally:
    """What was run and found, as the table of tests/run has it."""

    def __init__(self):
        self.run = self.wrong = self.planted = self.caught = 0

    def check(self, what, problems):
        self.run += 1
        self.wrong += bool(problems)
        print(f"{'WRONG' if problems else 'right'}  {what}  {'; '.join(problems[:5])}", flush=True)

    def plant(self, what, problems):
        self.planted += 1
        self.caught += bool(problems)
        print(f"{'planted' if problems else 'MISSED'}: {what}: {'; '.join(problems[:2])[:200]}", flush=True)

    def end(self):
        row = f"ship/supply\t{self.run}\t{self.run}\t{self.wrong}\t{self.planted}\t{self.caught}\n"
        print(row, end="")
        if place := os.environ.get("SCOPEWATCH_TALLY"):
            with open(place, "a") as file:
                file.write(row)
        return int(self.wrong > 0 or self.caught < self.planted)


def run(*argv, timeout=300, **more):
    return subprocess.run([str(one) for one in argv], capture_output=True, text=True, timeout=timeout, check=False, **more)


def said(*argv, **more):
    done = run(*argv, **more)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ── Twice the same ───────────────────────────────────────────────────────────────────────────────────────────────

def build(source, out, **environment):
    said(source / "deploy/build", out, timeout=5400, env={**os.environ, "SCOPEWATCH_REVISION": "0" * 40, **environment})
    return out


def elsewhere(folder):
    """The source under another path, and a home of cargo of its own, with the configuration of this one."""
    source, home = folder / "a-longer-path/source", folder / "home"
    for name in CONTEXT:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
    home.mkdir()
    ours = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    for config in ours.glob("config.toml"):
        shutil.copy(config, home)
    return source, {"CARGO_HOME": str(home), "CARGO_TARGET_DIR": str(folder / "between")}


def differing(one, other):
    return [f"{name} differs" for name in (PROGRAM, BILL, SUMS) if digest(one / name) != digest(other / name)]


def paths(file):
    """Which paths of this machine stand in it."""
    text = file.read_bytes()
    homes = [ROOT, Path.home(), os.environ.get("CARGO_HOME", Path.home() / ".cargo"), said("rustc", "--print", "sysroot").strip()]
    return sorted({str(one) for one in homes if f"{one}/".encode() in text})


def twice(tally, folder):
    first = build(ROOT, folder / "first", CARGO_TARGET_DIR=str(TARGET / "static"))
    source, environment = elsewhere(folder)
    second = build(source, folder / "second", **environment)
    print(f"built twice: {digest(first / PROGRAM)}")
    tally.check("two builds, from other paths, are the same", differing(first, second))
    tally.check("no path of this machine", paths(first / PROGRAM) + paths(first / BILL))
    host = said("rustc", "--print", "host-tuple").strip()
    tally.plant("paths, in what cargo keeps for itself", paths(TARGET / "static" / host / "image/scopewatch.d"))
    other = build(source, folder / "other", **environment, SCOPEWATCH_REVISION="1" * 40)
    tally.plant("a build of another revision", differing(first, other))
    return first


# ── The bill of materials ────────────────────────────────────────────────────────────────────────────────────────

def resolved(edges, host):
    """What cargo resolves: {(name, version)}; it knows nothing of what was compiled."""
    lines = said("cargo", "tree", "--locked", "--edges", edges, "--target", host, "--prefix", "none", "--no-dedupe", "--format", "{p}",
                 cwd=ROOT).splitlines()
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in lines} - {("scopewatch", version())}


def version():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]


def schema(bill):
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))
    return [str(error)[:300]] if error else []


def materials(bill, linked, all_):
    """What the bill says otherwise than cargo, and than Cargo.lock."""
    crates = [one for one in bill["components"] if one["name"] not in BESIDE]
    named = {(one["name"], one["version"]) for one in crates}
    required = {(one["name"], one["version"]) for one in crates if one["scope"] == "required"}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(one["name"], one["version"]): one.get("checksum") for one in lock}
    problems = [f"{name} {which}: linked?" for name, which in sorted(required ^ linked)]
    problems += [f"{name} {which}: listed?" for name, which in sorted(named ^ all_)]
    problems += [f"{one['name']}: another sum than Cargo.lock's" for one in crates
                 if one.get("hashes", [{}])[0].get("content") != sums.get((one["name"], one["version"]))]
    problems += [f"{name}: not there" for name in sorted(BESIDE - {one["name"] for one in bill["components"]})]
    refs = {one["bom-ref"] for one in [*bill["components"], bill["metadata"]["component"]]}
    return problems + [f"{one}: an edge to nothing" for edge in bill["dependencies"] for one in edge["dependsOn"] if one not in refs]


def scanned(program, linked):
    """What a scanner reads out of the program, beside what is linked."""
    found = json.loads(said(HERE / "syft", "scan", "--quiet", f"file:{program}", "--output", "json",
                            env={**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"}))["artifacts"]
    crates = {(one["name"], one["version"]) for one in found if one["type"] == "rust-crate"} - {("scopewatch", version())}
    return [f"{name} {which}" for name, which in sorted(crates ^ linked)]


def bill_of_materials(tally, built, folder):
    host = said("rustc", "--print", "host-tuple").strip()
    linked, all_ = resolved("normal,no-proc-macro", host), resolved("normal,build", host)
    bill = json.loads((built / BILL).read_text())
    print(f"{len(linked)} crates linked, {len(all_ - linked)} more for building, {len(BESIDE)} libraries beside them")
    tally.check("the schema of CycloneDX", schema(bill))
    tally.check("the bill is what cargo resolves", materials(bill, linked, all_))
    tally.check("a scanner reads the same out of the program", scanned(built / PROGRAM, linked))

    def spoil(what, change, look=lambda bill: materials(bill, linked, all_)):
        spoilt = copy.deepcopy(bill)
        change(spoilt)
        tally.plant(what, look(spoilt))
    spoil("a component left out", lambda one: one["components"].pop(7))
    spoil("a component too much", lambda one: one["components"].append({**one["components"][7], "name": "left-pad"}))
    spoil("another version", lambda one: one["components"][7].update(version="0.0.1"))
    spoil("another sum", lambda one: one["components"][7]["hashes"][0].update(content="0" * 64))
    spoil("said not to be linked", lambda one: next(each for each in one["components"] if each["name"] == "ring").update(scope="excluded"))
    spoil("an edge to nothing", lambda one: one["dependencies"][0]["dependsOn"].append("pkg:cargo/left-pad@1.0.0"))
    spoil("a key that is misspelled", lambda one: one["components"][7].update(licences=[]), schema)
    bare = folder / "bare"
    said("objcopy", "--remove-section=.dep-v0", built / PROGRAM, bare)
    tally.plant("a program without its list", scanned(bare, linked))


# ── Signed and verified ──────────────────────────────────────────────────────────────────────────────────────────

def verified(place, key):
    """What of a release somebody who follows the README would refuse."""
    signed = run("minisign", "-V", "-q", "-p", key, "-m", SUMS, cwd=place)
    same = run("sha256sum", "--check", "--strict", "--quiet", SUMS, cwd=place)
    return ["the signature"] * bool(signed.returncode) + ["the sums"] * bool(same.returncode)


def flip(path, at):
    """One bit of one byte; negative: from the end."""
    text = bytearray(path.read_bytes())
    text[at] ^= 1
    path.write_bytes(text)


def signed(tally, built, folder):
    for name in ("ours", "theirs"):
        said("minisign", "-G", "-W", "-p", folder / f"{name}.pub", "-s", folder / f"{name}.key")
    said("minisign", "-S", "-s", folder / "ours.key", "-m", SUMS, cwd=built)
    tally.check("what is signed is verified", verified(built, folder / "ours.pub"))
    tally.plant("the key of another", verified(built, folder / "theirs.pub"))

    def spoil(what, change):
        place = folder / "spoilt"
        shutil.copytree(built, place)
        change(place)
        tally.plant(what, verified(place, folder / "ours.pub"))
        shutil.rmtree(place)

    def exchanged(place):
        flip(place / PROGRAM, 4096)
        (place / SUMS).write_text("".join(f"{digest(place / name)}  {name}\n" for name in (PROGRAM, BILL)))
    spoil("a byte of the program", lambda place: flip(place / PROGRAM, 4096))
    spoil("the last byte of the bill", lambda place: flip(place / BILL, -2))
    spoil("a byte of the sums", lambda place: flip(place / SUMS, 3))
    spoil("a byte of the signature", lambda place: flip(place / f"{SUMS}.minisig", -10))
    spoil("another program with fitting sums", exchanged)


def main():
    lacking = [tool for tool in ("minisign", "objcopy", "sha256sum") if not shutil.which(tool)]
    lacking += [] if (HERE / "syft").exists() else ["syft"]
    if lacking:
        print(f"missing: {', '.join(lacking)}")
        return 77
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="scopewatch-supply-") as place:
        folder = Path(place)
        built = twice(tally, folder)
        bill_of_materials(tally, built, folder)
        signed(tally, built, folder)
    return tally.end()


if __name__ == "__main__":
    sys.exit(main())
