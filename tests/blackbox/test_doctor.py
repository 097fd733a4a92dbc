"""`doctor`: what a first round stands on, each well or with what to do, and nothing changed on the way.

Knows the command, its exit codes, that its JSON is versioned and its states.  Serves whoever changes the first minute.
"""

import json
import os
import pty
import select
import time
import unittest

import scenario
from hub import Listener
from scenario import NEVER, Case

STAY = {"probe": NEVER, "canary": NEVER, "declared": NEVER, "on_start": False}
ALL = ("org", "acme", ["repo.write", "org.read", "org.serviceAccounts.read"])


class Doctor(Case):
    def build(self):
        super().build()
        self.hub.tokens["janitor"].scopes[:] = [ALL]

    def doctor(self, *argv, expect=0, **kw):
        done = self.with_config("doctor", "--format", "json", *argv, expect=expect, **kw)
        self.last = done
        told = json.loads(done.out)
        self.assertEqual(set(told), {"schema", "config", "endpoint", "summary", "items"}, str(done))
        self.assertEqual(told["schema"], 1)
        for item in told["items"]:
            self.assertEqual(set(item), {"part", "subject", "state", "seen", "remedy"})
            self.assertIn(item["state"], ("ok", "warn", "fail"))
            self.assertEqual(item["remedy"] is None, item["state"] == "ok", item)
        for state in ("ok", "warn", "fail"):
            self.assertEqual(told["summary"][state], sum(i["state"] == state for i in told["items"]))
        self.assertEqual(expect, 1 if told["summary"]["fail"] else 0, str(done))
        self.unsaid(done)
        return told["items"]

    def unsaid(self, done):
        """No secret, and no eight characters of one."""
        for name, secret in self.secrets.items():
            for at in range(len(secret) - 7):
                self.assertNotIn(secret[at:at + 8], done.out + done.err, f"of {name}")

    def item(self, items, part, subject, state, *words):
        found = [i for i in items if i["part"] == part and i["subject"] == subject and i["state"] == state]
        for word in words:
            found = [i for i in found if word in f"{i['seen']} → {i['remedy']}"]
        self.assertTrue(found, f"no {part} {subject} {state} {words} in\n{self.last}")
        return found[0]

    def listener(self, *args, **kw):
        made = Listener(*args, **kw)
        self.addCleanup(made.stop)
        return made

    def sink(self, name, kind, url, **kw):
        sinks = self.config.setdefault("alerts", {}).setdefault("sinks", [])
        sinks.append({"name": name, "type": kind, "url": url, **kw})

    def test_all_is_well(self):
        self.add_member("limited")
        items = self.doctor()
        parts = list(dict.fromkeys(i["part"] for i in items))
        order = ["config", "secrets", "machine", "hub", "clock", "organizations", "tokens", "own_tokens", "store", "server", "sinks", "leaks"]
        self.assertEqual(parts, [p for p in order if p in parts], "in this order")
        self.assertEqual(set(order) - set(parts) - {"machine"}, set())
        self.item(items, "tokens", "limited", "ok", "user 'user-limited'", "in acme write")
        self.item(items, "own_tokens", "janitor", "ok", "has what it needs")
        self.item(items, "own_tokens", "janitor", "ok", "acme/")
        self.item(items, "store", "journal", "ok", "not there yet")
        self.item(items, "leaks", "all", "ok", "3 secrets")
        self.assertEqual({r["method"] for r in self.hub.requests}, {"GET"}, "only reads are asked")
        whoamis = self.hub.seen("GET", "^/api/whoami-v2$")
        self.assertEqual(sorted(r["token"] for r in whoamis), ["janitor", "limited"], "each once")
        self.assertLessEqual(len(self.hub.requests), 4)
        self.assertEqual(list((self.dir / "state").iterdir()), [], "something was left beside the store")

    def test_the_table(self):
        self.add_member("limited")
        done = self.with_config("doctor", expect=0)
        self.unsaid(done)
        self.assertNotIn("\x1b", done.out + done.err, "colour only on a terminal")
        self.assertRegex(done.out, r"(?m)^  ok    limited +file ")
        self.assertRegex(done.out, r"\d+ ok, \d+ warn, 0 FAIL\nNext: scopewatch audit --config ")
        self.hub.stop()
        self.hub = scenario.Hub().start()  # another one, for the questions at the end
        done = self.with_config("doctor", expect=1)
        self.assertRegex(done.out, r"(?m)^  FAIL  connection +127\.0\.0\.1:\d+ refuses.*\n +→ correct the port of hub\.endpoint")

    def test_a_broken_config_is_usage(self):
        self.config["tokens"][0]["nonsense"] = 1
        self.config["organizations"][0]["janitor"] = "nobody"
        done = self.with_config("doctor", expect=2)
        self.assertIn("2 mistakes", done.err)
        self.run_binary("doctor", "--config", "none.yaml", expect=2)
        self.config["tokens"][0].pop("nonsense")
        self.config["organizations"][0]["janitor"] = "janitor"
        self.with_config("doctor", "--token", "nobody", expect=2)
        self.assertEqual(self.hub.requests, [])

    def test_secrets(self):
        self.add_member("absent")
        (self.dir / "secret-absent").unlink()
        self.add_member("open")
        (self.dir / "secret-open").chmod(0o644)
        self.add_member("twin")
        (self.dir / "secret-twin").write_text(self.secrets["open"])
        self.add_member("odd")
        (self.dir / "secret-odd").write_text("two words")
        items = self.doctor(expect=1)
        self.item(items, "secrets", "absent", "fail", "does not exist → create it")
        self.item(items, "secrets", "open", "warn", "chmod o-rwx")
        self.item(items, "secrets", "twin", "warn", "same secret as that of 'open'")
        self.item(items, "secrets", "odd", "fail", "white space")
        self.assertEqual([i for i in items if i["part"] == "tokens" and i["subject"] in ("absent", "odd")], [])

    def test_tokens(self):
        self.add_member("dead")
        (self.dir / "secret-dead").write_text(scenario.fresh_secret())
        self.add_token("stranger", "user-stranger")
        self.add_member("swapped")
        self.config["tokens"][-1]["declared"] = {"user": "somebody"}
        items = self.doctor(expect=1)
        self.item(items, "tokens", "dead", "fail", "does not accept it", "issue a new one", "secret-dead")
        self.item(items, "tokens", "stranger", "warn", "no place in acme")
        self.item(items, "tokens", "swapped", "fail", "of user 'somebody'")
        before = len(self.hub.seen("GET", "whoami"))
        items = self.doctor("--token", "stranger")
        self.assertEqual({i["subject"] for i in items if i["part"] == "tokens"}, {"janitor", "stranger"})
        self.assertEqual(len(self.hub.seen("GET", "whoami")), before + 2)

    def test_a_limit_of_the_hub_proves_nothing_and_ends_the_asking(self):
        for name in ("a", "b", "c"):
            self.add_member(name)
        self.hub.fault("GET", "whoami", token="a", answer=(429, {"error": "slow down"}, {"Retry-After": "60"}))
        items = self.doctor()
        for name in ("a", "b", "c"):
            self.item(items, "tokens", name, "warn", f"--token {name}")
        self.assertEqual([r["token"] for r in self.hub.seen("GET", "whoami")], ["janitor", "a"])

    def test_a_janitor_without_scopes(self):
        for token in self.config["tokens"]:
            self.assertEqual(token["name"], "janitor")
        self.config["tokens"].clear()
        self.add_token("janitor", "admin-acme", [("org", "acme", ["org.read"])], listed=None)
        self.add_member("limited")
        items = self.doctor(expect=1)
        self.item(items, "own_tokens", "janitor", "fail", "lacks repo.write on org:acme", "orgPermissions=repo.write")

    def test_a_janitor_whose_user_may_not(self):
        self.config["tokens"].clear()
        self.hub.member("acme", "reader", "read")
        self.add_token("janitor", "reader", [ALL], listed=None)
        self.add_member("limited")
        items = self.doctor(expect=1)
        self.item(items, "own_tokens", "janitor", "fail", "role there is read")

    def test_a_sentinel_that_is_not_seen(self):
        self.add_member("limited")
        self.config["organizations"][0]["sentinel"] = "acme/known-private"
        self.item(self.doctor(), "own_tokens", "janitor", "ok", "acme/known-private")
        self.config["organizations"][0]["sentinel"] = "acme/nothing"
        self.item(self.doctor(expect=1), "own_tokens", "janitor", "fail", "does not see acme/nothing", "correct sentinel")

    def test_names_of_organizations(self):
        self.add_member("limited")
        self.config["organizations"][0]["name"] = "ACME"
        for token in self.config["tokens"]:
            token["organization"] = "ACME"
        self.item(self.doctor(expect=1), "organizations", "ACME", "fail", "spells it 'acme'", "name: 'acme'")
        self.config["organizations"][0]["name"] = "nobody-at-all"
        for token in self.config["tokens"]:
            token["organization"] = "nobody-at-all"
        self.item(self.doctor(expect=1), "organizations", "nobody-at-all", "fail", "knows no organization")

    def test_wrong_endpoints(self):
        self.add_member("limited")
        self.config["hub"]["endpoint"] = f"http://127.0.0.1:{scenario.free_port()}"
        items = self.doctor(expect=1)
        self.item(items, "hub", "connection", "fail", "refuses", "hub.endpoint")
        self.item(items, "tokens", "all", "warn", "cannot be reached")
        self.config["hub"]["endpoint"] = self.hub.url.replace("http:", "https:")
        self.item(self.doctor(expect=1), "hub", "TLS", "fail", "does not speak TLS", "the port of hub.endpoint")
        self.config["hub"]["endpoint"] = "https://hub.invalid"
        self.config["hub"]["in_flight_horizon"] = "60s"
        self.item(self.doctor(expect=1), "hub", "name", "fail", "no address")
        self.config["hub"]["proxy"] = f"http://127.0.0.1:{scenario.free_port()}"
        self.item(self.doctor(expect=1), "hub", "connection", "fail", "the proxy", "hub.proxy")
        self.config["hub"]["ca_files"] = [str(self.dir / "none.pem")]
        items = self.doctor(expect=1)
        self.item(items, "hub", "client", "fail", "none.pem", "correct the path")
        self.item(items, "store", "writing", "ok")
        self.assertEqual(self.hub.requests, [])

    def test_a_hub_in_trouble(self):
        self.add_member("limited")
        self.hub.fault(answer=(503, {"error": "later"}, {}))
        items = self.doctor(expect=1)
        self.item(items, "hub", "answer", "fail", "503", "later")
        self.item(items, "tokens", "limited", "fail", "hub_error")
        self.hub.heal()
        self.hub.fault(answer=(302, "", {"Location": "https://elsewhere.invalid/"}))
        self.item(self.doctor(expect=1), "hub", "answer", "fail", "leads elsewhere")

    def test_clocks(self):
        self.add_member("limited")
        for by, state in ((0, "ok"), (30, "warn"), (-30, "warn"), (3600, "fail"), (-3600, "fail")):
            self.hub.skew = by
            items = self.doctor(expect=1 if state == "fail" else 0)
            self.item(items, "clock", "difference", state)

    def test_the_store(self):
        self.add_member("limited")
        for place, words in (("/sys/scopewatch.db", ("cannot be written",)), (f"{self.dir}/no/state.db", ("create the directory",)),
                             (f"{self.dir}/secret-limited", ("not a store of scopewatch",))):
            self.config["store"]["url"] = f"sqlite://{place}"
            items = self.doctor(expect=1)
            self.assertTrue(any(i["part"] == "store" and i["state"] == "fail"
                                and all(w in f"{i['seen']} {i['remedy']}" for w in words) for i in items), f"{place}\n{self.last}")
        self.config["store"]["url"] = "postgres://scopewatch@127.0.0.1:1/state"
        items = self.doctor(expect=1)
        self.item(items, "store", "journal", "fail", "the database 127.0.0.1:1/state cannot be reached")
        self.item(items, "store", "key", "fail", "canary_key is needed with PostgreSQL")
        self.config["store"]["url"] = f"sqlite://{self.dir}/state/state.db"
        (self.dir / "state/state.key").write_bytes(b"short")
        self.item(self.doctor(expect=1), "store", "key", "fail", "shorter than 32 bytes")

    def test_beside_a_running_daemon(self):
        self.add_member("limited")
        self.config["schedule"] = STAY
        daemon = self.serve()
        head = self.with_config("evidence", "verify", expect=0).out
        files = sorted(p.name for p in (self.dir / "state").iterdir())
        items = self.doctor()
        self.item(items, "store", "writing", "ok", "a running scopewatch holds it")
        self.item(items, "store", "journal", "ok", "opens")
        self.assertEqual(self.with_config("evidence", "verify", expect=0).out, head, "the record went on")
        self.assertEqual(sorted(p.name for p in (self.dir / "state").iterdir()), files)
        daemon.stop()
        self.item(self.doctor(), "store", "writing", "ok", "takes what is written")

    def test_sinks(self):
        self.add_member("limited")
        taking, refusing, odd = self.listener(), self.listener(status=403), self.listener(b"no_service")
        self.sink("siem", "webhook", taking.url + "/hook-secret-path")
        self.item(self.doctor(), "sinks", "siem", "ok", "took a test alert")
        heard = [json.loads(request["raw"]) for request in taking.requests]
        self.assertEqual([message["event"] for message in heard], ["firing", "resolved"])
        for message in heard:
            self.assertIn("TEST", message["annotations"]["summary"])
            self.assertEqual((message["labels"]["alertname"], message["labels"]["target"], message["labels"]["severity"]),
                             ("ScopewatchWatchdog", "test", "info"))
        taking.requests.clear()
        self.item(self.doctor("--no-alerts"), "sinks", "siem", "ok", "nothing was sent")
        self.assertEqual(taking.requests, [])
        secret = self.dir / "slack-url"
        secret.write_text(odd.url + "/hook-secret-path")
        self.sink("am", "alertmanager", refusing.url)
        self.sink("chat", "slack", {"file": str(secret)})
        self.sink("gone", "webhook", {"file": str(self.dir / "none")})
        self.sink("closed", "webhook", f"http://127.0.0.1:{scenario.free_port()}/")
        items = self.doctor("--yes", expect=1)
        self.item(items, "sinks", "siem", "ok")
        self.item(items, "sinks", "am", "fail", "403", "log")
        self.item(items, "sinks", "chat", "fail", "not that of such a sink")
        self.item(items, "sinks", "gone", "fail", "does not exist → create it")
        self.item(items, "sinks", "closed", "fail", "runs and can be reached")
        self.assertNotIn("hook-secret-path", self.last.out + self.last.err)
        secret.unlink()
        self.item(self.doctor("--no-alerts", expect=1), "sinks", "chat", "fail", "does not exist")

    def test_a_hub_that_repeats_the_token(self):
        self.add_member("limited")
        self.hub.fault("GET", "whoami", token="limited",
                       answer=lambda *_: (200, {"name": self.secrets["limited"], "type": "user", "orgs": [],
                                                "auth": {"accessToken": {"role": self.secrets["limited"]}}}, {}))
        self.doctor()
        self.unsaid(self.with_config("doctor", "-vv"))

    def test_at_a_terminal_it_asks_before_it_sends(self):
        self.add_member("limited")
        sink = self.listener()
        self.sink("siem", "webhook", sink.url)
        path = self.write_config()
        for answer, sent in (("no\n", 0), ("\n", 2)):
            sink.requests.clear()
            code, seen = self.at_a_terminal(["doctor", "--config", path], "(yes/no)", answer)
            self.assertEqual((code, len(sink.requests)), (0, sent), seen)
        self.assertIn("took a test alert", seen)
        sink.requests.clear()
        code, seen = self.at_a_terminal(["doctor", "--config", path], "(yes/no)", "\x03")
        self.assertEqual((code, len(sink.requests)), (130, 0), "Ctrl-C is heard while it waits")
        code, seen = self.at_a_terminal(["doctor", "--config", path], "(yes/no)", "\n", {"NO_COLOR": ""})
        self.assertIn("\x1b[32mok", seen, "colour on a terminal")

    def at_a_terminal(self, argv, question, answer, extra=None):
        pid, terminal = pty.fork()
        if pid == 0:
            environment = {**self.environment(), "TERM": "xterm-256color", **(extra or {})}
            os.execvpe(scenario.BIN, [scenario.BIN, *argv], {k: v for k, v in environment.items() if v})
        seen, answered, end = "", False, time.monotonic() + 30
        try:
            while time.monotonic() < end:
                if not select.select([terminal], [], [], 0.2)[0]:
                    continue
                try:
                    more = os.read(terminal, 65536)
                except OSError:
                    break
                if not more:
                    break
                seen += more.decode("utf-8", "replace")
                if question in seen and not answered:
                    answered = True
                    os.write(terminal, answer.encode())
        finally:
            os.close(terminal)
        self.assertTrue(answered, seen)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


if __name__ == "__main__":
    unittest.main()
