"""`baseline`: what would make today ok, pasted back; and drift that somebody accepted for a while.

Knows the command, its exit codes and that its output is `expect` entries in the config's own words.
"""

import re
import unittest

import scenario
from scenario import Case, create, wait_until

ENTRY = re.compile(r"^ {6}- (\{ permission: .* \}) +# captured, not approved: ", re.M)


class Baseline(Case):
    def baseline(self, *argv, expect=0):
        done = self.with_config("baseline", *argv, expect=expect)
        self.last = done
        return done.out

    def captured(self, text):
        """The entries of each token, as they stand."""
        blocks = re.split(r"^  - name: (.+)$", text, flags=re.M)[1:]
        return {name: ENTRY.findall(block) for name, block in zip(blocks[::2], blocks[1::2])}

    def paste(self, text):
        """The config as YAML text, with the captured entries in the place of the tokens' own."""
        captured = self.captured(text)
        config = {**self.config, "tokens": [{k: v for k, v in t.items() if k != "expect"} for t in self.config["tokens"]]}
        out = []
        for line in scenario.yaml(config).splitlines():
            out.append(line)
            name = re.match(r'^( *)- name: "(.+)"$', line)
            if name and captured.get(name[2]):
                out.append(f"{name[1]}  expect:")
                out += [f"{name[1]}    - {entry}" for entry in captured[name[2]]]
        return "\n".join(out) + "\n"

    def test_pasted_back_it_is_ok(self):
        self.widened(expect=[create(), create(type="dataset")])
        self.add_member("bare", listed=None)
        text = self.baseline("--token", "wide", "--token", "bare")
        self.assertEqual(text.count("; expected denied until now"), 2, text)
        self.assertEqual(len(self.captured(text)["wide"]), 2, text)
        # Of a token without expectations all is asked that changes nothing.
        self.assertGreater(len(self.captured(text)["bare"]) + text.count("      # - "), 10, text)
        self.assertNotIn("repo.create", "".join(self.captured(text)["bare"]))
        self.assertNotIn("janitor", self.captured(text))
        report = self.audit(config=self.write_config(self.paste(text), "pasted.yaml"))
        self.assertEqual(report["summary"]["ok"], report["summary"]["checks"], str(self.last))
        self.assertEqual(self.last.code, 0, str(self.last))

    def test_it_leaves_the_state_of_the_checks_alone(self):
        self.widened()
        self.baseline(expect=None)
        daemon = self.serve(config={"schedule": {"probe": "0 0 0 1 1 *", "declared": "0 0 0 1 1 *", "on_start": False}})
        findings = daemon.json("/api/v1/findings")
        listed = findings["findings"] if isinstance(findings, dict) else findings
        self.assertEqual([f for f in listed if f["kind"] == "unexpected_grant"], [])
        daemon.stop()

    def test_what_nobody_can_tell_is_a_comment_and_three(self):
        self.add_member("limited", expect=[create(), {"permission": "repo.read", "repo": "acme/known-private", "access": "denied"}])
        text = self.baseline("--token", "limited", "--read-only", expect=3)
        self.assertEqual(len(self.captured(text)["limited"]), 1, text)
        self.assertRegex(text, r"(?m)^      # - \{ permission: repo\.create, access: denied \}  # unknown \(read_only\)")
        self.assertEqual(self.hub.posts(), [])
        # An undetermined answer is never an expectation, so that the text as it stands asks one check less.
        report = self.audit(config=self.write_config(self.paste(text), "pasted.yaml"))
        self.assertEqual(report["summary"]["checks"], 1)

    def test_usage(self):
        self.with_config("baseline", "--token", "nobody", expect=2)


class Ignored(Case):
    def ignore(self, until):
        self.config["ignores"] = [{"token": "wide", "permission": "repo.create", "target": "model",
                                   "kind": "unexpected_grant", "owner": "ml-platform", "reason": "TICKET-1",
                                   "until": until}]

    def findings(self, daemon):
        found = daemon.json("/api/v1/findings")
        return [f for f in (found["findings"] if isinstance(found, dict) else found) if not f["resolved_at"]]

    def test_an_accepted_drift_is_no_finding_and_an_expired_ignore_is_one(self):
        self.widened()
        for until, kinds, drift in (("2999-12-31", set(), 0), ("2026-01-31", {"unexpected_grant", "ignore_expired"}, 1)):
            self.ignore(until)
            daemon = self.serve()
            wait_until(lambda: daemon.metrics().one("scopewatch_round_last_completed_timestamp_seconds"), "a round is over")
            got = {f["kind"] for f in self.findings(daemon)} & {"unexpected_grant", "ignore_expired"}
            self.assertEqual(got, kinds, until)
            self.assertEqual(daemon.metrics().one("scopewatch_check_drift", token="wide"), drift, until)
            daemon.stop()

    def test_check_and_audit_say_so(self):
        self.widened()
        self.ignore("2026-01-31")
        done = self.with_config("check", expect=0)
        for word in ("ml-platform", "TICKET-1", "2026-01-31", "renew"):
            self.assertIn(word, done.err)
        self.ignore("2999-12-31")
        self.assertNotIn("TICKET-1", self.with_config("check", expect=0).err)
        # Accepting it makes it no less true: it counts in `summary`, and so in the exit code.
        report = self.audit(expect=1)
        self.assertEqual(report["summary"]["unexpected_grant"], 1)
        text = self.with_config("audit", expect=1).out
        self.assertIn("accepted by ml-platform until 2999-12-31 (TICKET-1)", text)


if __name__ == "__main__":
    unittest.main()
