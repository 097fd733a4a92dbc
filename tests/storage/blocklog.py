"""A disk that remembers every write: ext4 on a loop device over FUSE over QEMU's write log, and its replay.

Knows the format of the log (the Linux kernel's dm-log-writes), how to mount such a disk, and how to make of the log the
disk as it would be found after a power cut: every prefix of it, and what is left when writes that were not yet flushed are
lost, kept in part, or torn.  Knows nothing of stores.  Serves powercut.py.  Needs root, /dev/fuse and a loop device.
"""

import os
import random
import shutil
import struct
import subprocess
import time
from bisect import bisect_right
from dataclasses import dataclass

from bench import Broken, wait_until

NEEDED = ("qemu-storage-daemon", "mkfs.ext4", "losetup", "mount", "umount")
MAGIC, ENTRY, SUPER = 0x6A736677736872, struct.Struct("<QQQQ"), struct.Struct("<QQQI")
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
SIZE = 32 << 20
SECTOR = 512


def missing():
    """Why such a disk cannot be had here; nothing when it can."""
    if os.geteuid() != 0:
        return "not root"
    lacking = [name for name in NEEDED if not shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")]
    if lacking:
        return f"lacking: {', '.join(lacking)} (Debian: qemu-utils, e2fsprogs, mount)"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(device):
            return f"there is no {device}"
    return None


def command(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"})
    if done.returncode:
        raise Broken(f"{' '.join(words)}: {done.stdout.strip()}")
    return done.stdout.strip()


class LoggedDisk:
    """A mounted ext4 whose every write lands in a log. `mark()` says how much of the log there is by now."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.folder, self.mnt, self.log = folder, folder / "mnt", folder / "log"
        self.mnt.mkdir()
        for name, size in (("image", SIZE), ("log", 0), ("exported", 0)):
            with open(folder / name, "wb") as file:
                file.truncate(size)
        self.errors = open(folder / "qemu.log", "wb")
        self.qemu = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=image,filename={folder}/image",
             "--blockdev", f"driver=file,node-name=log,filename={folder}/log",
             "--blockdev", f"driver=blklogwrites,node-name=both,file=image,log=log,log-sector-size={SECTOR}",
             "--export", f"type=fuse,id=export,node-name=both,mountpoint={folder}/exported,writable=on"],
            stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors)
        self.loop = None
        try:
            wait_until(self.exported, "qemu-storage-daemon exports the disk over FUSE", 10)
            self.loop = command("losetup", "--find", "--show", str(folder / "exported"))
            command("mkfs.ext4", "-q", "-b", str(4096), "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.loop)
            command("mount", self.loop, str(self.mnt))
            command("sync", "-f", str(self.mnt))
        except BaseException:
            self.end()
            raise
        self.ready = self.mark()

    def exported(self):
        if self.qemu.poll() is not None:
            raise Broken("qemu-storage-daemon ended: " + (self.folder / "qemu.log").read_text()[-500:])
        return (self.folder / "exported").stat().st_size == SIZE

    def mark(self):
        """Every write that anybody has been told of by now begins before this place of the log."""
        return self.log.stat().st_size

    def cut(self):
        """The power goes: what was not written by now never will be. The log is closed afterwards."""
        end = self.mark()
        self.end()
        return BlockLog(self.log, end)

    def end(self):
        if os.path.ismount(self.mnt):
            subprocess.run(["umount", str(self.mnt)], check=False, stderr=subprocess.DEVNULL)
        if self.loop:
            subprocess.run(["losetup", "-d", self.loop], check=False, env={**os.environ, "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
        self.qemu.terminate()
        self.qemu.wait()
        self.errors.close()


@dataclass
class Entry:
    place: int          # in the log
    sector: int
    sectors: int
    flags: int

    @property
    def data(self):
        return self.place + SECTOR


class BlockLog:
    """The log, read."""

    def __init__(self, path, end):
        self.bytes = path.read_bytes()
        magic, version, _, sector = SUPER.unpack_from(self.bytes)
        if magic != MAGIC or version != 1 or sector != SECTOR:
            raise Broken(f"the log begins with {magic:#x}, version {version}, sectors of {sector}")
        self.entries, place = [], SECTOR
        while place < min(end, len(self.bytes)):
            at, sectors, flags, _ = ENTRY.unpack_from(self.bytes, place)
            self.entries.append(Entry(place, at, sectors, flags))
            place += SECTOR + (0 if flags & DISCARD else sectors * SECTOR)
        self.places = [entry.place for entry in self.entries]

    def index(self, mark):
        """How many entries begin before this mark."""
        return bisect_right(self.places, mark - 1)

    def apply(self, disk, entry, keep=None):
        """`keep`: which of its sectors survive; all of them by default."""
        start = entry.sector * SECTOR
        if entry.flags & DISCARD:
            disk[start:start + entry.sectors * SECTOR] = bytes(entry.sectors * SECTOR)
            return
        for run in [(0, entry.sectors)] if keep is None else keep:
            low, high = run[0] * SECTOR, run[1] * SECTOR
            disk[start + low:start + high] = self.bytes[entry.data + low:entry.data + high]

    def durable(self, cut):
        """How many of the first `cut` entries a flush has made certain."""
        while cut and not self.entries[cut - 1].flags & FLUSH:
            cut -= 1
        return cut


class Replay:
    """Disks after power cuts, for cuts in ascending order."""

    def __init__(self, log):
        self.log, self.disk, self.applied = log, bytearray(SIZE), 0

    def advance(self, to):
        for entry in self.log.entries[self.applied:to]:
            self.log.apply(self.disk, entry)
        self.applied = max(self.applied, to)

    def prefix(self, cut):
        """All that was written before the cut, in its order."""
        self.advance(cut)
        return self.disk

    def subset(self, cut, dice):
        """What was flushed before the cut; of the rest each write is there, or not, or in part."""
        certain = self.log.durable(cut)
        self.advance(certain)
        disk = bytearray(self.disk)
        for entry in self.log.entries[certain:cut]:
            fate = dice.random()
            if entry.flags & FUA or fate < 0.45:
                self.log.apply(disk, entry)
            elif fate < 0.6 and entry.sectors > 1:
                kept = [(n, n + 1) for n in range(entry.sectors) if dice.random() < 0.5]
                self.log.apply(disk, entry, kept)
        return disk


def take_out(disk, folder, wanted):
    """Mounts this disk, as a machine does when its power is back, and copies a directory of it out."""
    image, mnt = folder / "image", folder / "mnt"
    mnt.mkdir(exist_ok=True)
    image.write_bytes(disk)
    try:
        patiently("mount", "-o", "loop", str(image), str(mnt))
    except Broken as broken:
        return str(broken)
    out = folder / "store"
    shutil.rmtree(out, ignore_errors=True)
    try:
        if (mnt / wanted).is_dir():
            shutil.copytree(mnt / wanted, out)
        else:
            out.mkdir()
    except OSError as error:
        return f"cannot be read: {error}"
    finally:
        patiently("umount", str(mnt))
    return None


def patiently(*words):
    """A loop device may be taken for a moment, and a mount be held by a process that is just being started."""
    for attempt in range(30):
        try:
            return command(*words)
        except Broken as broken:
            if not any(word in str(broken) for word in ("loop", "busy")) or attempt == 29:
                raise
            time.sleep(0.05 + random.random() / 10)
