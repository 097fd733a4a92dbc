"""The bench: a private PostgreSQL server, a simulated Hub, and several replicas of the daemon that share both.

Knows how replicas are started, stopped, frozen and killed, and what the journal in the database says; knows nothing of
which record is right (that is tests/crash/record.py, which judges every journal alike, and judge.py).  The server comes
from tests/postgres/cluster.py.  SCOPEWATCH_BIN names the binary, SCOPEWATCH_FAILPOINTS_BIN the one with failpoints.
"""

import atexit
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/crash"), str(ROOT / "tests/postgres")]
sys.dont_write_bytecode = True

import cluster  # noqa: E402
import record  # noqa: E402
from bench import ARMED, BIN, DIRECTORIES, NEVER, STARTED, Broken, Home, Hub, environment, standing, wait_until  # noqa: E402

__all__ = ["Broken", "Hub", "Database", "Shared", "Replica", "SharedRecord", "SharedJournal", "SharedAsleep", "TTL", "FAILOVER", "OFTEN", "PERIOD",
           "first_request", "in_threads", "wait_until"]

TTL = 15                            # of a lease
FAILOVER = TTL + 5                  # within so much the next one leads
CLEAN_WITHIN = 60
OFTEN, PERIOD = "*/2 * * * * *", 2
READ = "repo.read"                  # a check that creates nothing, and is answered whatever the budget

# What tests/crash asks of a journal, as one JSON document.
JOURNAL = """
SELECT json_build_object(
    'canaries', (SELECT coalesce(json_agg(c), '[]') FROM canaries c),
    'attempts', (SELECT coalesce(json_agg(a ORDER BY canary, seq), '[]') FROM attempts a),
    'alerts', (SELECT coalesce(json_agg(kind), '[]') FROM findings WHERE resolved_at IS NULL),
    'steps', (SELECT coalesce(json_agg(t ORDER BY canary, seq), '[]') FROM transitions t),
    'creations', (SELECT coalesce(json_agg(o), '[]') FROM creations o),
    'answered', (SELECT coalesce(json_object_agg(token, conclusive_at), '{}') FROM checks WHERE permission = 'repo.read'),
    'openings', (SELECT coalesce(json_agg(json_build_object('at', at, 'body', body) ORDER BY seq), '[]')
                 FROM evidence WHERE kind = 'opened'))
"""


class Database:
    """A private server. It has an address for each replica of which the connections may be cut."""

    def __init__(self, addresses=()):
        self.where = Path(tempfile.mkdtemp(prefix="scopewatch-replicas-"))
        os.chmod(self.where, 0o755)
        DIRECTORIES.add(self.where)
        who = cluster.user()
        if os.geteuid() == 0:
            os.chown(self.where, who.pw_uid, who.pw_gid)
        listens = ",".join(["127.0.0.1", *addresses])
        self.server = cluster.Server(self.where / "one", who, more=[f"listen_addresses='{listens}'"])
        self.up, self.lock = True, threading.Lock()
        END.add(self)

    def stop(self):
        if self.up:
            self.server.stop()
            self.up = False

    def start(self):
        self.server.start()
        self.up = True

    def make(self, name):
        with self.lock:             # two at a time would copy the template at a time, which it refuses
            cluster.ask(self.server, f"CREATE DATABASE {name}")
        return self.server.url(name)

    def read(self, name):
        return read(self.server, name)

    def close(self):
        END.discard(self)
        self.stop()
        shutil.rmtree(self.where, ignore_errors=True)


END = set()


@atexit.register
def end_servers():
    for database in list(END):
        database.close()


def asked(server, name, sql):
    """The answer to one question, as text."""
    command = [cluster.program("psql"), "-h", "127.0.0.1", "-p", str(server.port), "-U", "scopewatch", "-d", name, "-XAtq",
               "-v", "ON_ERROR_STOP=1", "-c", sql]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, timeout=30)
    if done.returncode:
        raise Broken(f"the journal cannot be read: {done.stderr}")
    return done.stdout.strip()


def read(server, name):
    return json.loads(asked(server, name, JOURNAL))


NUMBERS = itertools.count()


class SharedJournal(record.Journal):
    """The journal in the database."""

    def __init__(self, home, said=None):  # the base reads a file
        said = said or home.database.read(home.name)
        self.sound = True
        self.canaries = {f"{c['namespace']}/{c['name']}": c for c in said["canaries"]}
        self.attempts, self.alerts, self.steps = said["attempts"], said["alerts"], said["steps"]
        self.openings = [dict(json.loads(o["body"]), at=o["at"] / 1000) for o in said["openings"]]
        self.answered = {token: at / 1000 for token, at in said["answered"].items() if at}

    def unsettled(self):
        return [c["name"] for c in self.canaries.values() if c["state"] not in ("gone", "refused")]


class SharedAsleep(record.Asleep):
    """What was known when a process was stopped, and nobody else had taken over yet."""

    def __init__(self, home):
        self.journal = SharedJournal(home)
        self.last_request = max((q["seq"] for q in home.requests()), default=0)


class SharedRecord(record.Record):
    """Everything that is known of a case whose journal is shared."""

    def __init__(self, home):
        self.home, self.journal = home, SharedJournal(home)
        self.requests, self.changes, self.left = home.requests(), home.changes(), home.repos()
        self.posts = [q for q in self.requests if q["route"] == "create"]
        self.deletes = [q for q in self.requests if q["route"] == "delete" and q["token"] != home.stranger]
        self.ours = {c["id"]: c for c in self.changes if c["kind"] == "created" and c["token"] in home.probed}


class Shared(Home):
    """A home whose journal is in a database of its own; each replica has `room` requests at once, and the Hub takes `slow` milliseconds for
    what only reads."""

    def __init__(self, hub, database, budget=10**6, adopts=False, room=None, slow=0, **how):
        self.database, self.budget, self.adopts = database, budget, adopts
        super().__init__(hub, **how)
        self.name = f"home{next(NUMBERS)}"
        self.replicas = []
        url = database.make(self.name)
        self.write("store-url", url)
        self.write("canary-key", "k" * 40)
        config = json.loads(self.config.read_text())
        config["store"] = {"url": {"file": str(self.dir / "store-url")}}
        config["canary_key"] = {"file": str(self.dir / "canary-key")}
        config["organizations"][0] |= {"max_creations_per_day": budget, "adopt_authentic": adopts}
        config["server"]["open_page"] = True
        config["hub"] |= {"max_in_flight": room} if room else {}
        for token in config["tokens"]:
            for repo in ["ordinary"] * (token["name"] in self.probed):
                token["expect"].append({"permission": READ, "repo": f"{self.org}/{repo}", "access": "allowed"})
        self.config.write_text(json.dumps(config))
        if slow:
            hub.faults([{"route": "*", "contains": f"/{self.org}/ordinary", "kind": "delay", "delay_ms": slow, "apply": "after"}])

    def write(self, name, text):
        path = self.dir / name
        path.touch(0o600)
        path.write_text(text + "\n")
        return path

    def config_for(self, number, url):
        """That of one replica, which may reach the database under an address of its own."""
        config = json.loads(self.config.read_text())
        config["store"] = {"url": {"file": str(self.write(f"store-url-{number}", url))}}
        path = self.dir / f"replica-{number}.yaml"
        path.write_text(json.dumps(config))
        return path

    def settle(self, seconds=CLEAN_WITHIN):
        """What is left when nobody probes any more, and whoever lives has had so long to clean up."""
        for path in {self.config, *(one.config for one in self.replicas)}:
            config = json.loads(path.read_text())
            config["schedule"] |= {"probe": NEVER, "canary": NEVER}
            path.write_text(json.dumps(config))
        for one in self.replicas:
            one.send(signal.SIGHUP)
        end = time.monotonic() + seconds
        while (left := SharedJournal(self).unsettled()) and time.monotonic() < end:
            time.sleep(0.2)
        return [f"after {seconds} s it is not at rest: {', '.join(left)}"] if left else []

    def replica(self, url=None, **how):
        one = Replica(self, len(self.replicas), url, **how)
        self.replicas.append(one)
        return one

    def leader(self, seconds=30):
        return wait_until(lambda: next((one for one in self.replicas if one.leads()), None), seconds, "somebody leads")

    def stop_all(self):
        """What is wrong with how they ended."""
        wrong = []
        for one in self.replicas:
            if one.process.poll() is None:
                code, took = one.stop()
                if code:
                    wrong.append(f"replica {one.number} ended with {code}: {one.told()}")
        return wrong

    def close(self):
        for one in self.replicas:
            one.kill()
        super().close()


class Replica:
    """One process, which is started again when it was killed."""

    def __init__(self, home, number, url=None, at=None, planted=None):
        self.home, self.number, self.process, self.url, self.ended = home, number, None, None, []
        self.config = home.config_for(number, url) if url else home.config
        self.log = home.dir / f"replica-{number}.log"
        self.start(at, planted)

    def start(self, at=None, planted=None):
        """`at`: what it does at which failpoint; `planted`: a defect."""
        extra = {k: v for k, v in (("SCOPEWATCH_FAILPOINT", at), ("SCOPEWATCH_PLANTED", planted)) if v}
        with open(self.log, "ab") as log:
            self.began_at = log.tell()
            self.process = subprocess.Popen([ARMED if extra else BIN, "serve", "--config", str(self.config), "--log-format", "json"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(extra), cwd=self.home.dir)
        STARTED.add(self.process)
        self.url = None

    def said(self):
        """What this process wrote."""
        with open(self.log, "rb") as log:
            log.seek(self.began_at)
            return log.read().decode("utf-8", "replace")

    def address(self, seconds=20):
        """Where it listens, as its log says."""
        def found():
            if self.process.poll() is not None:
                raise Broken(f"replica {self.number} ended with {self.process.returncode}: {self.told()}")
            addresses = re.findall(r'"address":"([^"]+)"', self.said())
            return addresses and f"http://{addresses[-1]}"
        if not self.url:
            self.url = wait_until(found, seconds, f"replica {self.number} listens")
        return self.url

    def get(self, path, seconds=2):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.address() + path, timeout=seconds) as answer:
            return answer.read().decode()

    def leads(self):
        """Whether it says that it leads; `None` where it says nothing."""
        if self.process.poll() is not None:
            return None
        try:
            found = re.search(r"^scopewatch_leader (\d)", self.get("/metrics"), re.MULTILINE)
        except OSError:
            return None
        return bool(found) and found[1] == "1"

    def led_last(self):
        """Whether its log says that it leads, also while it is stopped."""
        said = self.said()
        return said.rfind("this replica leads") > said.rfind("the lease of the journal was lost")

    def is_stopped(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "T"

    def send(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self):
        self.send(signal.SIGKILL)
        self.process.wait()
        STARTED.discard(self.process)

    def stop(self, seconds=30):
        """As an operator would. Its exit code, and how long it took."""
        began = time.monotonic()
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            where = standing(self.process.pid)
            self.kill()
            raise Broken(f"replica {self.number} did not end within {seconds} s:\n{where}\n{self.told()}") from None
        STARTED.discard(self.process)
        return code, time.monotonic() - began

    def told(self):
        return self.log.read_text("utf-8", "replace")[-2000:]


def first_request(home, after, seconds):
    """When the Hub first heard somebody after that moment (wall clock)."""
    def heard():
        return min((at for at in (record.moment(q["at"]) for q in home.requests()) if at >= after), default=None)
    return wait_until(heard, seconds, "somebody asks the Hub")


def in_threads(jobs):
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
