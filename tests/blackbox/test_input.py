"""Bad input and secrets: config errors, secret files, the store, a full disk, and no token in any output.

Knows what a person does wrong, and that each mistake gets a sentence with the way out.  Serves whoever
touches config, secrets, logging or the store.
"""

import os
import re
import resource
import sqlite3
import subprocess
import unittest

from scenario import BIN, Case, create, fresh_secret, wait_until

FULL = 4096                                                  # bytes: less than one frame of the journal
PLANTED = "hf_PlantedSecretThatMustNeverBePrinted0"

BROKEN = f"""\
hub:
  endpoint: http://example.com
  request_timeout: ten
schedule:
  probe: "every minute"
organisations:
  - name: acme
organizations:
  - name: acme
    janitr: janitor
tokens:
  - name: limited
    organization: acme
    secret: {PLANTED}
    expect: [raed-only]
  - name: limited
    organization: acme
    secret: {{ env: SOME_TOKEN }}
    expect:
      - {{ permission: repo.creat, access: denied }}
      - {{ permission: repo.create, access: deny }}
      - {{ permission: repo.create, type: modle, access: denied }}
expectations:
  read-only:
    - {{ permission: repo.create, access: denied }}
store:
  url: sqlite:///tmp/x/state.db
"""


class Check(Case):
    def bad(self, text, *wanted):
        """`check` exits 2 and its output has all of `wanted`; nothing is asked, nothing leaks."""
        path = self.write_config(text, "bad.yaml")
        done = self.run_binary("check", "--config", path, expect=2)
        told = done.out + done.err
        for pattern in wanted:
            self.assertRegex(told, pattern, f"expected {pattern!r}\n{done}")
        self.assertNotIn(PLANTED[3:], told, "a secret written into the config is not printed")
        self.assertNotIn("panicked", told)
        self.assertEqual(self.hub.requests, [], "`check` touches no network")
        return told

    def at(self, line):
        return rf"bad\.yaml:{line}:\d+"

    def test_good_file(self):
        self.add_member("limited")
        self.with_config("check", expect=0)
        self.assertEqual(self.hub.requests, [], "`check` touches no network")

    def test_every_mistake_at_once(self):
        lines = {n + 1: text for n, text in enumerate(BROKEN.splitlines())}
        mistaken = [n for n, text in lines.items() if re.search(
            "example.com|ten$|every minute|organisations|janitr|hf_Planted|raed|repo.creat,|access: deny |modle", text)]
        self.assertEqual(len(mistaken), 10)
        self.bad(BROKEN, *[self.at(n) for n in mistaken])

    def test_near_misses_get_a_suggestion(self):
        told = self.bad(BROKEN)
        for word in ("organizations", "janitor", "read-only", "repo.create", "denied", "model"):
            self.assertRegex(told, rf"(?i)(did you mean|meant|similar|instead|expected|one of)[^\n]*\b{re.escape(word)}\b")

    def test_two_tokens_of_one_name_and_a_check_twice(self):
        self.add_member("limited", expect=[create(), create()])
        self.config["tokens"].append(dict(self.config["tokens"][-1], expect=[create()]))
        path = self.write_config()
        done = self.run_binary("check", "--config", path, expect=2)
        told = done.out + done.err
        self.assertGreaterEqual(len(set(re.findall(r"scopewatch\.yaml:\d+:\d+", told))), 2, told)
        self.assertIn("limited", told)

    def test_horizon_and_http_need_loopback(self):
        self.bad(f"""\
hub:
  endpoint: https://hub.example
  in_flight_horizon: 1s
organizations:
  - {{ name: acme, janitor: nobody-there }}
tokens:
  - {{ name: t, organization: acmee, secret: {{ file: /x }}, expect: [{{ permission: repo.read, access: denied }}] }}
store: {{ url: "sqlite://{self.dir}/s/state.db" }}
""", self.at(3), self.at(5), self.at(7))

    def test_broken_yaml(self):
        self.bad("hub: {\n  endpoint: [\n", r"bad\.yaml:\d+:\d+")

    def test_empty_file_and_binary_file(self):
        for text in ("", "\x00\x01\x02", "[]", "just words"):
            self.bad(text, r"bad\.yaml")

    def test_missing_and_unreadable_config(self):
        for command in ("check", "audit", "serve"):
            for path in (str(self.dir / "none.yaml"), str(self.dir)):
                done = self.run_binary(command, "--config", path, timeout=20, expect=2)
                self.assertIn(path, done.err, f"the sentence names the file\n{done}")
                self.assertNotIn("panicked", done.err)

    def test_usage_errors(self):
        self.add_member("limited")
        path = self.write_config()
        for argv in ((), ("no-such-command",), ("audit",), ("audit", "--config", path, "--format", "xml"),
                     ("audit", "--config", path, "--token", "nobody"), ("check", "--config", path, "--nonsense")):
            done = self.run_binary(*argv, timeout=20)
            self.assertEqual(done.code, 2, f"usage errors exit 2\n{done}")
        done = self.run_binary("audit", "--config", path, "--token", PLANTED, expect=2)
        self.assertNotIn(PLANTED[3:], done.out + done.err, "what looks like a secret is not echoed")
        for argv in ((PLANTED, "repo.create"), ("limited", PLANTED), ("limited", "repo.write", PLANTED)):
            done = self.run_binary("explain", "--config", path, *argv, expect=2)
            self.assertNotIn(PLANTED[3:], done.out + done.err, f"what looks like a secret is not echoed: {argv}")
        self.assertEqual(self.hub.requests, [])


class Secrets(Case):
    def test_every_kind_of_secret_file(self):
        """One line end is stripped; anything else is `token_invalid` for that token alone."""
        good = {"plain": b"%s", "newline": b"%s\n", "crlf": b"%s\r\n"}
        bad = {"bom": b"\xef\xbb\xbf%s\n", "empty": b"", "blank": b"\n", "two-lines": b"%s\nmore\n", "two-ends": b"%s\n\n",
               "space": b"%s \n", "nul": b"%s\0", "missing": None, "directory": "dir",
               "pipe": "pipe"}
        for name, content in {**good, **bad}.items():
            self.add_member(name)
            path = self.dir / f"secret-{name}"
            path.unlink()
            if content == "dir":
                path.mkdir()
            elif content == "pipe":
                os.mkfifo(path)    # nobody ever writes to it: who waited for that would hang
            elif content is not None:
                path.write_bytes(content % self.secrets[name].encode() if b"%s" in content else content)
        report = self.audit(expect=3)
        for name in good:
            self.assertEqual(self.result(report, name)["verdict"], "ok", f"{name}\n{self.last}")
        for name in bad:
            with self.subTest(secret=name):
                r = self.result(report, name)
                self.assertEqual((r["verdict"], r["reason"]), ("unknown", "token_invalid"), str(r))
        known = {f"Bearer {s}" for s in self.secrets.values()}
        for q in self.hub.requests:
            self.assertIn(q["authorization"], known | {None}, "nothing but a clean token goes over the wire")

    def test_secret_from_the_environment(self):
        self.add_member("from-env")
        self.config["tokens"][-1]["secret"] = {"env": "PROBED_TOKEN"}
        self.audit(expect=0, env={"PROBED_TOKEN": self.secrets["from-env"]})
        r = self.result(self.audit(expect=3), "from-env")
        self.assertEqual(r["reason"], "token_invalid", "the variable is not set")

    def test_daemon_starts_though_a_secret_is_unreadable(self):
        self.add_member("limited")
        (self.dir / "secret-limited").unlink()
        daemon = self.serve()
        wait_until(lambda: daemon.metrics().one("scopewatch_token_usable", token="limited") == 0, "not usable", 20)
        (self.dir / "secret-limited").write_text(self.secrets["limited"] + "\n")
        wait_until(lambda: daemon.metrics().one("scopewatch_check_allowed", token="limited") == 0, "read again", 20)
        daemon.stop()

    def test_tokens_from_a_directory(self):
        mounted = self.dir / "mounted"
        mounted.mkdir()
        for name in ("svc-a", "svc-b"):
            self.add_member(name)
            self.config["tokens"].pop()
            (mounted / name).write_text(self.secrets[name] + "\n")
        self.config["tokens"].append({"from_directory": str(mounted), "organization": "acme", "expect": [create()]})
        report = self.audit(expect=0)
        self.assertEqual({r["token"] for r in report["results"]}, {"svc-a", "svc-b"}, str(self.last))

    def no_secret_in(self, where, data):
        for name, secret in self.secrets.items():
            body = secret[3:].encode()
            for start in range(len(body) - 7):
                self.assertNotIn(body[start:start + 8], data, f"a part of {name}'s secret is in {where}")

    def test_no_token_in_any_output_at_trace_level(self):
        self.widened()
        self.add_member("limited", expect=[create(), {"permission": "repo.write", "repo": "acme/token-test-model",
                                                      "access": "denied"}])
        self.add_member("dead", alive=False)
        self.add_member("reset")
        self.add_member("echoed")
        self.add_member("two-lines")
        with open(self.dir / "secret-two-lines", "a") as file:
            file.write("second\n")
        self.hub.fault("POST", "create", token="reset", apply=True, reset=True)
        echo = self.secrets["echoed"]                        # a Hub or a proxy that sends the token back
        self.hub.fault("POST", "create", token="echoed", answer=(
            500, {"error": f"bad token {echo}"}, {"X-Error-Message": f"bad token {echo}", "X-Request-Id": echo}))
        self.audit("--log-level", "trace", "--log-format", "json")
        self.sweep_clean()
        logs = [line for line in self.last.err.splitlines() if line.startswith("{")]
        self.assertTrue(logs, f"--log-format json writes JSON lines on stderr\n{self.last}")
        self.no_secret_in("stdout", self.last.out.encode())
        self.no_secret_in("stderr", self.last.err.encode())
        self.look_into_files()

    def look_into_files(self):
        files = [p for p in (self.dir / "state").rglob("*") if p.is_file()]
        self.assertTrue(files, "there is a database to look into")
        for path in files:
            self.no_secret_in(path.name, path.read_bytes())

    def test_no_token_in_the_daemon_or_its_database(self):
        self.widened()
        self.add_member("limited")
        daemon = self.serve("--log-level", "trace", "--log-format", "json")
        wait_until(lambda: len(self.hub.deleted) >= 2, "two rounds with a canary", 20)
        self.look_into_files()                               # with -wal and -shm as they are now
        for path in ("/", "/metrics", "/api/v1/report", "/api/v1/findings", "/api/v1/canaries"):
            self.no_secret_in(path, daemon.get(path)[1].encode())
        with open(f"/proc/{daemon.process.pid}/cmdline", "rb") as argv:
            self.no_secret_in("argv", argv.read())
        daemon.stop()
        daemon.log.flush()
        with open(daemon.log.name, "rb") as log:
            self.no_secret_in("the log", log.read())
        self.look_into_files()

    def test_negative_control_of_the_search(self):
        self.secrets = {"planted": fresh_secret()}
        with self.assertRaises(AssertionError):
            self.no_secret_in("a text that has it", b"x" + self.secrets["planted"][9:19].encode() + b"y")


class Store(Case):
    def setUp(self):
        super().setUp()
        self.add_member("limited")

    def refused(self, *words, code=(2,)):
        done = self.with_config("audit", timeout=30)
        self.assertIn(done.code, code, f"expected exit {code} and a sentence\n{done}")
        self.assertTrue(done.err.strip(), "a sentence on stderr")
        self.assertNotIn("panicked", done.err)
        for word in words:
            self.assertIn(word, done.err, f"expected {word!r}\n{done}")
        self.assertEqual(self.hub.posts(), [], "without a journal nothing is created")
        return done

    def test_missing_directory(self):
        """Made when it can be, otherwise a sentence; never a creation without a journal."""
        self.config["store"]["url"] = f"sqlite://{self.dir}/not/there/state.db"
        done = self.with_config("audit", timeout=30)
        if done.code == 0:
            self.assertTrue((self.dir / "not/there/state.db").exists(), str(done))
        else:
            self.assertEqual(done.code, 2, str(done))
            self.assertIn(f"{self.dir}/not/there", done.err)
            self.assertEqual(self.hub.posts(), [])

    def test_directory_below_a_file(self):
        (self.dir / "plain").write_text("a file, not a directory")
        self.config["store"]["url"] = f"sqlite://{self.dir}/plain/state.db"
        self.refused("plain")

    def test_database_is_a_directory(self):
        (self.dir / "state/state.db").mkdir()
        self.refused("state.db")

    def test_database_is_no_database(self):
        (self.dir / "state/state.db").write_bytes(b"this is certainly no database " * 200)
        self.refused("state.db")

    def test_unwritable_directory(self):
        if os.geteuid() == 0:
            self.skipTest("running as root: file modes hold nobody back (the cases beside this one cover it)")
        (self.dir / "state").chmod(0o500)
        self.addCleanup((self.dir / "state").chmod, 0o700)
        self.refused("state")

    def test_store_of_a_newer_version(self):
        self.audit(expect=0)
        posts = len(self.hub.posts())
        path = self.dir / "state/state.db"
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 999999")
        tables = [t for (t,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in (t for t in tables if "migration" in t):
            columns = db.execute(f"PRAGMA table_info({table})").fetchall()
            if "version" in [c[1] for c in columns]:
                row = db.execute(f"SELECT * FROM {table} ORDER BY version DESC LIMIT 1").fetchone()
                new = [99990101000000 if c[1] == "version" else v for c, v in zip(columns, row)]
                db.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(new))})", new)
        db.commit()
        db.close()
        done = self.with_config("audit", timeout=30)
        self.assertEqual(done.code, 2, f"a newer store is refused\n{done}")
        self.assertRegex(done.err.lower(), "newer|later|version", str(done))
        self.assertEqual(len(self.hub.posts()), posts, "and nothing is created")
        db = sqlite3.connect(path)
        self.assertEqual(db.execute("PRAGMA user_version").fetchone()[0], 999999, "and nothing is lost")
        db.close()

    def test_full_disk_at_start(self):
        """A file size limit stands in for a full disk: the journal cannot grow, so nothing is created."""
        self.audit(expect=0)                                 # the store exists and is sound
        posts = len(self.hub.posts())
        done = subprocess.run([BIN, "audit", "--config", self.write_config(), "--format", "json"], capture_output=True,
                              text=True, timeout=60, env=self.environment(), stdin=subprocess.DEVNULL, restore_signals=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, FULL)))
        self.assertIn(done.returncode, (2, 3, 4), f"a full disk is neither ok nor drift\n{done}")
        self.assertNotIn("panicked", done.stderr)
        self.assertEqual(len(self.hub.posts()), posts, "no intent stored, no POST")
        self.audit(expect=0)                                 # it recovers by itself

    def test_full_disk_under_the_daemon(self):
        """Creations stop, the reason says why, other probes go on; it recovers by itself."""
        self.config["tokens"][-1]["expect"].append({"permission": "repo.read", "repo": "acme/known-private",
                                                    "access": "denied"})
        daemon = self.serve()

        def probes(**labels):
            return sum(v for _, v in daemon.metrics().all("scopewatch_probes_total", **labels))

        wait_until(self.hub.posts, "a first creation while there is room", 20)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (FULL, resource.RLIM_INFINITY))
        wait_until(lambda: probes(permission="repo.create", reason="intent_not_stored"), "reason intent_not_stored", 20)
        posts, reads = len(self.hub.posts()), probes(permission="repo.read", access="denied")
        wait_until(lambda: probes(permission="repo.read", access="denied") > reads + 1, "reading probes go on", 20)
        self.assertEqual(len(self.hub.posts()), posts, "no intent stored, no POST")
        self.assertEqual(daemon.get("/-/healthy")[0], 200)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_until(lambda: len(self.hub.posts()) > posts, "room again: creations go on", 25)
        daemon.stop()


if __name__ == "__main__":
    unittest.main()
