"""Where the machine itself is short, or TLS is not what it should be: few file descriptors, a log that nobody reads, a
parser that never pauses, deletions that stay ambiguous, certificates of every wrong kind.

Each scenario is a daemon of its own before the hostile Hub, and says what went wrong.  Serves run.py.
"""

import fcntl
import json
import os
import resource
import socket
import ssl
import struct
import subprocess
import termios
import threading
import time
import warnings
from dataclasses import replace

from bench import BIN, BUSY, EVERY_SECOND, NEVER, TIMEOUT, Broken, Daemon, Files, environment, free_port, resident
from judge import flat, files_back
from server import CHUNKS_BEGIN, Hub, Strike
from world import UNDETERMINED, Organization, says
from zoo import EVERY, Behaviour, written

HEALTHY_WITHIN = 2.0                    # seconds
# Idle connections are dropped after ten.
HEALTHY_AT_LAST = 15.0
ROUND_WITHIN = 45
FEW_FILES, IDLE = 64, 100
LANES = 3
PATIENCE = 4 if BUSY else 1             # on a machine that does much else


def doing(name, act):
    return Behaviour(name, "limits", act, EVERY, frozenset())


class Scene:
    """A Hub, a small world and a daemon that serves it."""

    def __init__(self, kinds="rm", schedule=EVERY_SECOND, hub=None, argv=(), **popen):
        self.hub, self.files, self.port = hub or Hub(), Files(), free_port()
        self.organizations = [Organization(f"{kind}{number:04d}") for number, kind in enumerate(kinds)]
        self.schedule, self.argv, self.popen, self.wrong = schedule, argv, popen, []

    def __enter__(self):
        self.hub.__enter__()
        for organization in self.organizations:
            self.hub.add(organization)
        config = self.files.config(self.organizations, self.hub.url, port=self.port, schedule=self.schedule, max_in_flight=8)
        self.daemon = Daemon(self.files, config, self.port, *self.argv, **self.popen)
        self.daemon.__enter__()
        return self

    def __exit__(self, *_):
        self.wrong += [f"on the Hub: {what}" for what in self.hub.violations]
        self.wrong += [f"on the Hub: {what}" for organization in self.organizations for what in organization.wrong]
        self.wrong += self.daemon.complaints()
        self.daemon.__exit__()
        self.files.__exit__()
        self.hub.__exit__()

    def strike(self, call, behaviour, organization=0, lost=False):
        strike = Strike(call, behaviour, lost)
        self.hub.do(lambda: self.hub.strikes.__setitem__(self.organizations[organization].name, strike))
        return strike

    def spare(self):
        self.hub.do(self.hub.strikes.clear)

    def rounds(self):
        return self.daemon.metric("scopewatch_round_duration_seconds_count") or 0

    def results(self):
        report = self.daemon.finished()
        return {(r["token"], r["permission"], r["target"]): r for r in report["results"]} if report else {}

    def right(self):
        """Whether everything is answered, and right; a wrong answer is told for good."""
        results, well = self.results(), True
        for organization in self.organizations:
            for key in organization.checks:
                access = results.get(key, {"access": UNDETERMINED})["access"]
                well &= access == organization.truth(key)
                if access not in (organization.truth(key), UNDETERMINED):
                    self.wrong.append(f"{key}: {access}")
        return well and not any(o.canaries for o in self.organizations)

    def well_within(self, seconds, what):
        try:
            self.daemon.until(self.right, seconds * PATIENCE, f"is well {what}")
        except Broken as late:
            self.wrong.append(str(late)[:300])

    def healthy(self, timeout):
        """Seconds until a new connection is told that the daemon lives; None when it is not."""
        begun = time.monotonic()
        try:
            return time.monotonic() - begun if self.daemon.get("/-/healthy", timeout=timeout)[0] == 200 else None
        except OSError:
            return None

    def rounds_go_on(self, more, seconds, what):
        before, end = self.rounds(), time.monotonic() + seconds * PATIENCE
        while time.monotonic() < end:
            if self.rounds() >= before + more:
                return
            time.sleep(0.1)
        self.wrong.append(f"no {more} rounds within {seconds} s {what}")


# -- what the machine lacks --------------------------------------------------------------------------------------------

def few_files():
    """64 descriptors, and a hundred idle connections on our own port."""
    limit = (FEW_FILES, FEW_FILES)
    with Scene(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit)) as scene:
        scene.well_within(30, "with few descriptors")
        before = scene.daemon.metric("process_open_fds")
        idle, worst, answered, end = [], 0.0, 0, time.monotonic() + 14
        for _ in range(IDLE):
            idle.append(socket.create_connection(("127.0.0.1", scene.port), timeout=5))
        while time.monotonic() < end:
            seconds = scene.healthy(HEALTHY_AT_LAST)
            if seconds is None:
                scene.wrong.append(f"/-/healthy did not answer within {HEALTHY_AT_LAST} s beside {IDLE} idle connections")
                break
            answered, worst = answered + 1, max(worst, seconds)
            time.sleep(0.2)
        for link in idle:
            link.close()
        if not answered:
            scene.wrong.append("/-/healthy never answered")
        scene.well_within(30, "again once the idle connections are gone")
        scene.daemon.until(lambda: files_back(before, scene.daemon.metric("process_open_fds")), 45, "closes what it opened")
    return scene.wrong


def log_closed():
    """Nobody reads the log any more."""
    read, write = os.pipe()
    with Scene(stderr=write) as scene:
        os.close(write)
        scene.well_within(20, "before")
        os.close(read)
        scene.rounds_go_on(3, 20, "after the log's reader went away")
        scene.well_within(20, "without a log")
        if scene.daemon.stop() != 0:
            scene.wrong.append("it did not stop cleanly without a log")
    return scene.wrong


def log_blocked():
    """Somebody holds the log's pipe and does not read it."""
    read, write = os.pipe()
    fcntl.fcntl(write, 1031, 4096)       # F_SETPIPE_SZ
    with Scene(stderr=write, argv=("--log-level", "trace")) as scene:
        os.close(write)
        try:
            end, before, still = time.monotonic() + 20 * PATIENCE, 0, 0
            while still < 20 and time.monotonic() < end:
                time.sleep(0.1)
                # How much the pipe takes depends on how much is written at a time.
                now = waiting(read)
                still, before = still + 1 if now == before > 0 else 0, now
            if still < 20:
                scene.wrong.append("the log never filled its pipe, so that nothing was shown")
            scene.rounds_go_on(3, 20, "while nobody reads the log")
            if scene.healthy(5) is None:
                scene.wrong.append("/-/healthy does not answer while nobody reads the log")
        except (OSError, Broken) as error:
            scene.wrong.append(f"while nobody reads the log: {error}")
        finally:
            os.close(read)
    return scene.wrong


def waiting(pipe):
    """Bytes in a pipe that nobody read yet."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def parser_without_pause():
    """A chunk's size of a million zeros, at full speed, in every answer at once."""
    async def act(link, said, _place):
        await link.send(CHUNKS_BEGIN + b"0" * (1 << 20))
        await link.gone()
    with Scene("r") as scene:
        scene.well_within(20, "before")
        strike, worst, end = scene.strike("*", doing("zeros", act)), 0.0, time.monotonic() + 6
        while time.monotonic() < end:
            seconds = scene.healthy(20)
            worst = max(worst, 20.0 if seconds is None else seconds)
            time.sleep(0.05)
        scene.spare()
        if not strike.hits:
            scene.wrong.append("never struck")
        if worst > HEALTHY_WITHIN + 2 * scene.hub.lag:
            scene.wrong.append(f"/-/healthy took {worst:.1f} s")
        scene.well_within(60, "afterwards")
    return scene.wrong


def deletion_stays_ambiguous():
    """One organization's canary cannot be deleted; the others' rounds go on."""
    async def act(link, said, _place):
        await link.send(written(replace(said, status=500, body=b"{}")))
        return True
    with Scene() as scene:
        scene.well_within(20, "before")
        strike = scene.strike("delete", doing("500 to every deletion", act), 1, lost=True)
        scene.daemon.until(lambda: strike.hits, 20, "deletes")
        scene.rounds_go_on(2, ROUND_WITHIN, "while a deletion stays ambiguous")
        scene.spare()
        scene.well_within(90, "once deletions work again")
    return scene.wrong


# -- what grows --------------------------------------------------------------------------------------------------------

def growing(name, act, call, kinds):
    """Memory over many rounds in which the Hub never says the same twice."""
    with Scene(kinds) as scene:
        scene.well_within(20, "before")
        scene.strike(call, doing(name, act))
        scene.rounds_go_on(8, 40, f"with {name}")
        samples = [resident(scene.daemon.pid)]
        scene.rounds_go_on(15, 90, f"with {name}")
        samples.append(resident(scene.daemon.pid))
        if not flat(samples):
            scene.wrong.append(f"memory is not flat with {name}: {samples} KiB")
    return scene.wrong


def another_user_each_time():
    async def act(link, said, place):
        await link.send(written(says({**said.data, "name": f"{place.turn:04d}" + "n" * 900_000})))
        return True
    return growing("another endless user each time", act, "whoami.token", "r")


def other_tokens_each_time():
    """An inventory of a thousand tokens that nobody configured, others each time."""
    async def act(link, said, place):
        shown = [{"_id": f"{place.turn:012x}{n:012x}", "displayName": f"t{n}", "role": "write", "last4": "abcd",
                  "status": "authorized", "owner": {"user": "u" * 60}} for n in range(1000)]
        await link.send(written(says(shown)))
        return True
    return growing("other tokens each time", act, "inventory.tokens", "i")


# -- TLS ---------------------------------------------------------------------------------------------------------------

def openssl(directory, *argv):
    done = subprocess.run(["openssl", *argv], cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise Broken(f"openssl {argv[0]}: {done.stderr.decode()[-500:]}")


def certificates(directory):
    """An authority, and certificates of it: a good one, one that is over, one of another name; and one of nobody."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(directory, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority",
            "-addext", "basicConstraints=critical,CA:TRUE")
    for name, host, days in (("good", "localhost", 1), ("over", "localhost", 0), ("another", "elsewhere.invalid", 1)):
        openssl(directory, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
        (directory / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE\n")
        openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", str(days), "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    openssl(directory, "req", "-x509", *key, "-keyout", "nobody.key", "-out", "nobody.pem", "-days", "1", "-subj",
            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    time.sleep(1.1)                     # for the one that is over


def audited(files, hub, endpoint):
    """One audit; the exit code and the accesses."""
    organization = Organization("r0000")
    hub.add(organization)
    config = files.config([organization], endpoint, name=f"audit-{hub.port}.yaml", schedule=NEVER,
                          ca_files=[str(files.dir / "ca.pem")], tls_roots="bundled")
    done = subprocess.run([BIN, "audit", "--config", str(config), "--format", "json"], stdin=subprocess.DEVNULL,
                          capture_output=True, env=environment(), cwd=files.dir, timeout=60 + 10 * TIMEOUT, check=False)
    (files.dir / "state.db").unlink(missing_ok=True)
    results = json.loads(done.stdout)["results"]
    return done, {r["reason"] if r["access"] == UNDETERMINED else
                  "right" if r["access"] == organization.truth((r["token"], r["permission"], r["target"])) else "wrong"
                  for r in results}


def tls():
    """Of all who could answer, only the one that a trusted authority vouches for under the right name is heard."""
    wrong = []
    with Files() as files:
        certificates(files.dir)
        for name in ("good", "over", "another", "nobody", "no TLS at all", "silence", "TLS 1.1"):
            context = None
            if name not in ("no TLS at all", "silence"):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(files.dir / f"{'good' if name == 'TLS 1.1' else name}.pem",
                                        files.dir / f"{'good' if name == 'TLS 1.1' else name}.key")
            if name == "TLS 1.1":
                context.set_ciphers("ALL:@SECLEVEL=0")
                with warnings.catch_warnings(action="ignore"):      # that is the point of it
                    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
            with Hub(ssl=context) as hub:
                hub.host = f"localhost:{hub.port}"
                if name == "silence":
                    hub.whole = lambda link: link.transport.pause_reading()
                begun = time.monotonic()
                done, found = audited(files, hub, f"https://localhost:{hub.port}")
                took = time.monotonic() - begun
                expected = ({1}, {"right"}) if name == "good" else ({3}, {"network", "timeout"})
                if name == "good" and BUSY:     # where nothing is in time, it still must have been asked
                    expected = ({1, 3} if hub.requests else {1}, {"right", "network", "timeout", "no_control"})
                if done.returncode not in expected[0] or not found <= expected[1]:
                    wrong.append(f"TLS, {name}: exit {done.returncode}, {sorted(map(str, found))}")
                if name != "good" and hub.requests:
                    wrong.append(f"TLS, {name}: {hub.requests} requests were sent")
                if took > 20 * TIMEOUT:
                    wrong.append(f"TLS, {name}: took {took:.0f} s")
                wrong += [f"TLS, {name}, on the Hub: {what}" for what in hub.violations]
    return wrong


SCENES = [few_files, log_closed, log_blocked, parser_without_pause, deletion_stays_ambiguous, another_user_each_time,
          other_tokens_each_time, tls]


class Limits:
    """All scenarios; they mostly wait, so that three of them run at a time."""

    def __init__(self, say=print):
        self.say, self.planned, self.run, self.violations = say, len(SCENES), 0, []

    def go(self, scenes=SCENES):
        lanes = [scenes[lane::LANES] for lane in range(LANES)]
        threads = [threading.Thread(target=self.lane, args=(lane,)) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def lane(self, scenes):
        for scene in scenes:
            begun = time.monotonic()
            try:
                wrong = scene()
                self.run += 1
            except Exception as error:      # whatever it is, the other scenarios are still to be seen
                wrong = [f"broke: {error!r}"[:600]]
            self.violations += [f"{scene.__name__}: {what}" for what in wrong]
            self.say(f"  {scene.__name__:<28}{time.monotonic() - begun:>6.0f} s  {'; '.join(wrong)[:300] or 'well'}")


if __name__ == "__main__":
    import sys
    limits = Limits()
    limits.go([scene for scene in SCENES if not sys.argv[1:] or scene.__name__ in sys.argv[1:]])
    print(limits.planned, limits.run, *limits.violations, sep="\n")
