"""`explain`: why a check comes out as it does, and what to do about it.

Knows the command, its exit codes and the four things that it holds against each other.  Serves whoever
changes what people are told about a check.
"""

import os
import pty
import re
import subprocess
import unicodedata
import unittest

from scenario import BIN, NEVER, Case, create, wait_until

WRITE = {"permission": "repo.write", "repo": "acme/known-private"}
ESCAPES = "\x1b[31mred\x1b]0;title\x07\r\b\u202e\u2066\u200b\x9b\n  observed   allowed\x00" + "A" * 10_000


class Explain(Case):
    def explain(self, *argv, expect=None, **kw):
        self.last = self.with_config("explain", *argv, expect=expect, **kw)
        for name, secret in self.secrets.items():
            self.assertNotIn(secret, self.last.out + self.last.err, f"the token {name}")
        return self.last

    def line(self, word):
        """The line of the answer's head that begins so."""
        found = [l for l in self.last.out.splitlines() if re.match(rf"\s*{word}\s", l)]
        self.assertTrue(found, f"a line for {word!r}\n{self.last}")
        return found[0]

    def safe(self, text):
        """Nothing in it moves a cursor, turns the writing round or fills the screen."""
        odd = sorted({hex(ord(c)) for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs")})
        self.assertEqual(odd, [], f"control and format characters\n{text[:2000]!r}")
        self.assertLess(max(map(len, text.splitlines())), 500, "a line for people")
        self.assertLess(len(text), 12_000, "an answer for people")


class Exits(Explain):
    def test_as_expected(self):
        self.add_member("limited")
        self.explain("limited", "repo.create", expect=0)
        self.assertIn("denied", self.line("expected"))
        self.assertIn("denied", self.line("predicted"))
        self.assertIn("denied (scope)", self.line("observed"))
        self.assertIn("user-limited", self.line("declared"))
        self.assertIn(self.hub.posts()[0]["id"], self.last.out, "the request id, for the Hub's support")
        for part in ("token's scope", "organization role", "group role", "organization rules", "as expected", "acme"):
            self.assertIn(part, self.last.out)
        self.assertRegex(self.line("expected"), r"scopewatch\.yaml:\d+", "where that is said")

    def test_a_grant(self):
        self.widened()
        self.explain("wide", "repo.create", "model", expect=1)
        self.assertIn("allowed", self.line("observed"))
        self.assertIn("allowed", self.line("predicted"))
        self.assertIn("UNEXPECTED GRANT", self.last.out)
        self.assertIn("'repo.write' on the org 'acme'", self.last.out, "what to take away")
        self.assertIn(self.hub.posts()[0]["id"], self.last.out)
        self.assertEqual(self.hub.leftovers(), [])

    def test_a_denial_comes_with_the_page_that_mends_it(self):
        self.add_member("limited", expect=[create("allowed"), {"permission": "job.write", "access": "allowed"}])
        self.explain("limited", "job.write", expect=1)
        self.assertIn(f"{self.hub.url}/settings/tokens/new?tokenType=fineGrained&orgs=acme&orgPermissions=job.write",
                      self.last.out)
        self.assertIn(self.hub.seen("POST", "auth-check")[0]["id"], self.last.out)
        self.explain("limited", "repo.create", expect=1)
        self.assertIn("orgs=acme&orgPermissions=repo.write", self.last.out)
        self.assertIn("user-limited", self.last.out.split("What to do")[1], "who has to do it")

    def test_a_page_that_cannot_be_filled_in_is_not_called_so(self):
        """The Hub's page takes an organization's scopes; those of one repository are ticked by hand."""
        self.add_member("limited", expect=[{**WRITE, "access": "allowed"}])
        self.explain("limited", "repo.write", expect=1)
        advice = self.last.out.split("What to do")[1]
        self.assertIn("'repo.write'", advice)
        if "orgPermissions=" not in advice:
            self.assertNotIn("already filled in", advice, str(self.last))

    def test_a_role_is_no_matter_of_scope(self):
        """The token names it all; its user may only read."""
        self.add_member("reader", "read", [("org", "acme", ["repo.write"])], expect=[create("allowed")])
        self.explain("reader", "repo.create", expect=1)
        self.assertNotIn("tokens/new", self.last.out, "another token would not help")
        self.assertIn("role", self.last.out.split("What to do")[1])

    def test_unknown(self):
        self.add_member("limited")
        self.hub.fault("POST", "^/api/repos/create$", answer=(402, {"error": "Payment required"}, {}))
        self.explain("limited", "repo.create", expect=3)
        self.assertIn("undetermined (billing)", self.line("observed"))

    def test_what_no_check_asks_is_tried_only_if_it_changes_nothing(self):
        self.add_member("limited")
        self.explain("limited", "org.billing", expect=0)
        self.assertIn("denied", self.line("observed"))
        self.assertIn("permission: org.billing, access: denied", self.last.out)
        self.explain("limited", "repo.create", "dataset", expect=3)
        self.assertEqual({q["method"] for q in self.hub.requests}, {"GET"})
        self.assertIn("denied", self.line("predicted"), "the model speaks all the same")

    def test_usage(self):
        self.add_member("limited")
        for argv, word in ((("nobody", "repo.create"), "nobody"), (("limited", "repo.crate"), "repo.crate"),
                           (("limited", "job.write", "acme/x"), "acme/x"), (("limited", "repo.write", "x"), "x"),
                           (("limited", "repo.create", "bucket"), "bucket"), (("limited", "repo.read"), "repo.read"),
                           (("limited", "repo.write", "widget:acme/x"), "widget")):
            with self.subTest(argv):
                self.explain(*argv, expect=2)
                said = [l for l in self.last.err.splitlines() if l.strip()]
                self.assertEqual(self.last.out, "", "nothing for a pipe")
                self.assertIn(word, said[0])
                self.assertLessEqual(len([l for l in said if "--help" not in l]), 1, f"one sentence\n{self.last}")
                self.assertNotIn("--token", said[0], "an option that nobody gave")
        self.assertEqual(self.hub.requests, [], "the Hub was asked")

    def test_two_checks_of_one_permission_need_a_target(self):
        self.hub.repo("acme/other")
        self.add_member("limited", expect=[{**WRITE, "access": "denied"}, {**WRITE, "repo": "acme/other", "access": "denied"}])
        self.explain("limited", "repo.write", expect=2)
        for target in ("acme/known-private", "acme/other"):
            self.assertIn(target, self.last.err)


class Beside(Explain):
    def test_a_running_daemon_is_believed(self):
        self.config["schedule"] = {"probe": NEVER, "canary": NEVER, "declared": NEVER, "on_start": True}
        self.widened(expect=[create(), {**WRITE, "access": "allowed"}])
        daemon = self.serve()
        wait_until(lambda: daemon.metrics().one("scopewatch_check_drift", permission="repo.create") == 1, "drift")
        before = list(self.hub.requests)
        self.explain("wide", "repo.create", expect=1)
        self.assertIn("recorded at", self.line("observed"))
        self.assertIn(self.hub.posts()[0]["id"], self.last.out)
        self.explain("wide", "repo.write", expect=0)
        self.explain("wide", "repo.write", "acme/never-asked", expect=3)
        self.assertEqual(self.hub.requests, before, "the record answers, the Hub is left alone")
        daemon.stop()


class Hostile(Explain):
    """Names and words of the Hub that want to be more than words."""

    def build(self):
        super().build()
        self.add_member("limited", "write", [("org", "acme", ["job.write" + ESCAPES, "repo.read" + ESCAPES]),
                                             ("model", "acme/" + ESCAPES, ["repo.write"])],
                        [create(), {**WRITE, "access": "allowed"}, {"permission": "job.write", "access": "denied"}],
                        label=ESCAPES)
        self.hub.names = {"user-limited": ESCAPES, "acme": ESCAPES}
        self.hub.group("acme", "group" + ESCAPES, **{"user-limited": "write" + ESCAPES})

    def test_explain(self):
        for permission in ("repo.create", "repo.write", "job.write"):
            with self.subTest(permission):
                self.explain("limited", permission)
                self.safe(self.last.out)
                self.safe(self.last.err or "\n")
                self.assertEqual(len(re.findall(r"(?m)^\s*observed\s", self.last.out)), 1, "no line of the Hub's making")

    def test_every_other_report(self):
        for argv in (("audit",), ("audit", "--format", "markdown"), ("baseline", "--all", "--read-only"), ("plan",)):
            with self.subTest(argv):
                self.safe(self.with_config(*argv).out)

    def test_names_that_are_secrets(self):
        """A Hub that has lost its mind calls things by our tokens."""
        secret, token = self.secrets["janitor"], self.hub.tokens["limited"]
        token.label, token.scopes = f"x{secret}", [("org", "acme", ["repo.write", f"perm.{secret}"])]
        self.hub.names = {"user-limited": secret}
        self.hub.group("acme", secret, **{"user-limited": "write"})
        self.explain("limited", "repo.write")
        for argv in (("audit",), ("audit", "--format", "json"), ("audit", "--format", "sarif"), ("baseline",), ("plan",)):
            done = self.with_config(*argv)
            self.assertNotIn(secret, done.out + done.err, argv)
        daemon = self.serve("-vv")
        wait_until(lambda: daemon.metrics().one("scopewatch_round_duration_seconds_count"), "a round")
        for path in ("/api/v1/report", "/api/v1/findings", "/metrics", "/"):
            self.assertNotIn(secret, daemon.get(path)[1], path)
        self.assertNotIn(secret, daemon.output())
        for file in (self.dir / "state").iterdir():
            self.assertNotIn(secret.encode(), file.read_bytes(), file.name)

    def test_refusals(self):
        self.hub.fault("POST", "auth-check", answer=(403, {"error": "missing permissions: " + ESCAPES}, {}))
        self.hub.fault("GET", "auth-check/write", answer=(500, ESCAPES, {}))
        for argv in (("explain", "limited", "job.write"), ("explain", "limited", "repo.write"), ("audit",)):
            self.safe(self.with_config(*argv).out)

    def test_on_a_terminal(self):
        """Colour at most; what comes from the Hub adds no other sequence."""
        path, (ours, theirs) = self.write_config(), pty.openpty()
        env = {**self.environment(), "TERM": "xterm-256color"}
        env.pop("NO_COLOR")
        process = subprocess.Popen([BIN, "explain", "--config", path, "limited", "repo.write"], stdout=theirs,
                                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=env, cwd=self.dir)
        self.processes.append(process)
        os.close(theirs)
        seen = b""
        try:
            while block := os.read(ours, 65536):
                seen += block
        except OSError:
            pass                                        # how a terminal says that nobody writes any more
        os.close(ours)
        self.assertEqual(process.wait(20), 1)
        text = re.sub(r"\x1b\[[\d;]*m", "", seen.decode()).replace("\r\n", "\n")
        self.safe(text)
        self.assertNotIn("\x1b[31mred", seen.decode(), "the colour is ours")

    def test_the_daemons_pages(self):
        daemon = self.serve()
        wait_until(lambda: daemon.metrics().one("scopewatch_round_duration_seconds_count"), "a round")
        for path in ("/api/v1/report", "/api/v1/findings", "/metrics", "/"):
            _, text, _ = daemon.get(path)
            odd = sorted({hex(ord(c)) for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf")})
            self.assertEqual(odd, [], path)
            self.assertFalse(re.search(r"\\u00(1b|07|00|9b)|\\u202e|\\u2066|A{300}", text), path)


if __name__ == "__main__":
    unittest.main()
