"""A running `serve` under a test, and what it says of itself: metrics, readiness, and its share of the Hub's record.

Knows the routes and metrics of the public contract.  Serves the tests in which a daemon lives through trouble.
"""

import signal
import sqlite3
import subprocess
import time

from bench import PREFIX, Broken, get, wait_until


class Daemon:
    """`serve`, and what it says of itself."""

    def __init__(self, case, port, hub, org):
        self.case, self.port, self.hub, self.org, self.process = case, port, hub, org, None
        self.log = case.home.dir / "serve.log"

    def start(self, refusal_allowed=False, **popen):
        with open(self.log, "ab") as log:
            self.process = self.case.home.start("serve", stdout=log, stderr=log, **popen)

        def up():
            if self.process.poll() is not None:
                if refusal_allowed and self.process.returncode == 2:
                    return True
                raise Broken(f"serve ended with {self.process.returncode}: {self.log.read_text()[-500:]}")
            return get(f"http://127.0.0.1:{self.port}/-/healthy")[0] == 200
        wait_until(up, "serve answers")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            return "none within 30 s"

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def read(self):
        """Somebody reads the store, and so keeps its log from being begun anew."""
        reader = sqlite3.connect(f"file:{self.case.home.db}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM canaries").fetchone()
        return reader

    def mine(self):
        return [call for call in self.hub.sim("GET", "requests") if f"-{self.org}" in (call["token"] or "")]

    def count(self, route):
        return sum(call["route"] == route for call in self.mine())

    def gone(self):
        """How many canaries of ours were deleted."""
        changes = self.hub.sim("GET", "changes")
        return sum(c["kind"] == "deleted" and c["repo"].startswith(f"{self.org}/{PREFIX}") for c in changes)

    def await_canaries(self, more):
        """So many more canaries are made and deleted."""
        before = self.gone()
        wait_until(lambda: self.gone() >= before + more, f"{more} canaries made and deleted by {self.org}", 30)

    def metric(self, name, *labels):
        text = get(f"http://127.0.0.1:{self.port}/metrics")[1]
        found = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                 if line.startswith(name) and all(label in line for label in labels)]
        return sum(found)

    def ready(self):
        return get(f"http://127.0.0.1:{self.port}/-/ready")[0]

    def stuck(self, case, strict):
        """While nothing can be stored: no POST, errors counted, not ready after a while, looking goes on."""
        errors = self.metric("scopewatch_store_errors_total", 'operation="write"')
        wait_until(lambda: self.metric("scopewatch_store_errors_total", 'operation="write"') > errors,
                   "scopewatch_store_errors_total grows while nothing can be stored", 15)
        posts, looks = self.count("create"), self.count("auth-check")
        if strict:
            wait_until(lambda: self.ready() == 503, "readiness says that nothing can be stored", 40)
            if get(f"http://127.0.0.1:{self.port}/-/healthy")[0] != 200:
                case.notes.append("not healthy while nothing can be stored")
        time.sleep(2.5)
        wait_until(lambda: self.count("auth-check") > looks, "read-only probes go on while nothing can be stored", 10)
        if strict and self.count("create") != posts:
            case.notes.append(f"{self.count('create') - posts} POSTs left while nothing could be stored")
        if strict:
            wait_until(lambda: self.metric("scopewatch_check_undetermined", 'permission="repo.create"'),
                       "the metrics show that creating is undetermined", 20)

    def recovers(self):
        """By itself: ready, and the next canary is made; unless one is open still, which could not be deleted meanwhile and
        waits for its next look. That may be minutes away: that nothing is left is seen at the end."""
        before = self.gone()

        def well():
            states = [row["state"] for row in self.case.home.journal().canaries.values()]
            return self.gone() > before or any(state not in ("gone", "refused") for state in states)
        wait_until(well, f"{self.org} goes on once it can be stored", 30)
        wait_until(lambda: self.ready() == 200, "ready again once it can be stored", 15)
