"""A careless cousin of the program, for controls: it does what the program promises never to do.

Knows just enough of the Hub to create and delete; keeps its intents in a store that looks like the program's.  Each
DEFECT is one planted weakness; the test that runs it must go red.  Serves nobody in earnest.
"""

import argparse
import json
import secrets
import sqlite3
import sys
import time
import urllib.error
import urllib.request

PREFIX = "scopewatch-canary"
SCHEMA = """
CREATE TABLE IF NOT EXISTS canaries (id INTEGER PRIMARY KEY, namespace TEXT, name TEXT, state TEXT, planned_at INTEGER,
                                     repo_id TEXT);
CREATE TABLE IF NOT EXISTS attempts (canary INTEGER, seq INTEGER);
"""


class Cousin:
    def __init__(self, chosen):
        self.hub, self.org, self.token, self.db = chosen.hub, chosen.organization, chosen.token, chosen.db

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.hub + path, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, None

    def open(self, synchronous="FULL", timeout=0.2):
        store = sqlite3.connect(self.db, isolation_level=None, timeout=timeout)
        store.execute("PRAGMA journal_mode = WAL")
        store.execute(f"PRAGMA synchronous = {synchronous}")
        store.executescript(SCHEMA)
        return store

    def fresh(self):
        return f"{PREFIX}-{secrets.token_hex(13)}"

    def intend(self, store, name):
        store.execute("INSERT INTO canaries (namespace, name, state, planned_at) VALUES (?, ?, 'planned', ?)",
                      (self.org, name, int(time.time() * 1000)))

    def create(self, name):
        return self.ask("POST", "/api/repos/create", {"name": name, "organization": self.org, "private": True})

    def delete(self, name, organization=None):
        return self.ask("DELETE", "/api/repos/delete", {"name": name, "organization": organization or self.org})

    # -- the defects ---------------------------------------------------------------------------------------------
    def unwritten(self):
        """Takes no notice when its intent cannot be stored."""
        name = self.fresh()
        try:
            self.intend(self.open(), name)
        except sqlite3.Error:
            pass
        self.create(name)
        self.delete(name)

    def forgetful(self):
        """Ends without cleaning up."""
        name = self.fresh()
        self.intend(self.open(), name)
        self.create(name)

    def resync(self):
        """Tries a commit again when its fsync failed."""
        store = None
        for _ in range(6):
            try:
                store = store or self.open()
                self.intend(store, self.fresh())
            except sqlite3.Error:
                continue

    def trusting(self):
        """Deletes what its journal names, without looking."""
        store = sqlite3.connect(self.db)
        for namespace, name in store.execute("SELECT namespace, name FROM canaries WHERE state <> 'refused'").fetchall():
            self.delete(name, namespace)

    def believing(self):
        """Looks only whether the id is the one in its journal."""
        store = sqlite3.connect(self.db)
        for namespace, name, bound in store.execute("SELECT namespace, name, repo_id FROM canaries").fetchall():
            status, seen = self.ask("GET", f"/api/models/{namespace}/{name}")
            if status == 200 and seen.get("_id") == bound:
                self.delete(name, namespace)

    def grasping(self):
        """Deletes whatever bears the prefix."""
        _, listed = self.ask("GET", f"/api/models?author={self.org}&limit=1000")
        for repo in listed or []:
            name = repo["id"].split("/")[-1]
            if name.startswith(PREFIX):
                self.delete(name)

    def resigned(self):
        """Gives up silently when its journal is not what it was."""
        try:
            sqlite3.connect(self.db).execute("SELECT count(*) FROM canaries").fetchall()
        except sqlite3.Error:
            pass


def main():
    defects = [name for name, made in vars(Cousin).items() if made.__doc__]
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("defect", choices=defects)
    for name in ("hub", "organization", "token", "db"):
        options.add_argument(f"--{name}", required=True)
    chosen = options.parse_args()
    getattr(Cousin(chosen), chosen.defect)()
    return 0


if __name__ == "__main__":
    sys.exit(main())
