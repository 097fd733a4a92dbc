"""The other commands: schema, completions, man, demo, hub; and what a config may hold besides.

Knows what each promises on its line of the command table.  Serves whoever touches the command line.
"""

import json
import re
import unittest
import urllib.error
import urllib.request
from pathlib import Path
from subprocess import DEVNULL, Popen

import scenario
from scenario import Case, create, http, wait_until

WORLD = """\
organizations:
  acme:
    plan: enterprise
    token_policy: allow
    members: { alice: admin, bob: no_access }
    resource_groups: { token-test-group: { bob: write } }
    service_accounts: [svc-ci]
repos:
  acme/token-test-model: { type: model, private: true, resource_group: token-test-group }
tokens:
  limited-test-token: { secret: hf_demo_limited, user: bob, role: fineGrained, scopes: [] }
  janitor: { secret: hf_demo_janitor, user: alice, role: fineGrained,
             scopes: [ { entity: "org:acme", permissions: [repo.write, org.read] } ] }
"""


class Config(Case):
    def test_ignores_are_valid(self):
        self.widened()
        self.config["ignores"] = [{"token": "wide", "permission": "repo.create", "target": "model",
                                   "kind": "unexpected_grant", "owner": "ml-platform", "reason": "TICKET-1",
                                   "until": "2999-12-31"}]
        self.with_config("check", expect=0)

    def test_expectations_and_includes(self):
        self.add_member("limited", expect=["read-only"])
        self.config["expectations"] = {"read-only": [create(), create(type="dataset")]}
        entry = self.config["tokens"].pop()
        (self.dir / "tokens.d").mkdir()
        (self.dir / "tokens.d/limited.yaml").write_text(scenario.yaml({"tokens": [entry]}))
        self.config["include"] = ["tokens.d/*.yaml"]
        report = self.audit(expect=0)
        self.assertEqual(report["summary"]["ok"], 2, str(self.last))


class Alone(Case):
    """Commands that need neither a config nor a Hub."""

    def build(self):
        pass

    def test_schema(self):
        schema = json.loads(self.run_binary("schema", expect=0).out)
        self.assertIn("$schema", schema)
        text = json.dumps(schema)
        for key in ("organizations", "tokens", "canary_prefix", "in_flight_horizon", "max_creations_per_day"):
            self.assertIn(key, text)

    def test_completions_man_version_help(self):
        for shell in ("bash", "zsh", "fish"):
            self.assertIn("scopewatch", self.run_binary("completions", shell, expect=0).out)
        self.assertIn(".TH", self.run_binary("man", expect=0).out)
        self.assertRegex(self.run_binary("--version", expect=0).out, r"^scopewatch \d+\.\d+")
        text = self.run_binary("--help", expect=0).out
        for command in ("serve", "audit", "check", "canaries", "demo", "hub", "schema", "completions", "man"):
            self.assertIn(command, text)
        self.assertNotIn("--secret", text, "secrets are never arguments")

    def test_every_command_has_a_manual_page(self):
        pages = self.dir / "man" / "man1"
        self.run_binary("man", "--output", str(pages), expect=0)
        named = {page.name for page in pages.iterdir()}
        for command in ("", "-serve", "-audit", "-explain", "-canaries-close", "-evidence-verify", "-man"):
            self.assertIn(f"scopewatch{command}.1", named)
            self.assertIn(".SH SYNOPSIS", (pages / f"scopewatch{command}.1").read_text())
        failed = self.run_binary("man", "--output", str(pages / "scopewatch.1"), expect=2)
        self.assertRegex(failed.err, "cannot be written.*name a directory")

    def test_demo_once(self):
        done = self.run_binary("demo", "--once", "--listen", "127.0.0.1:0", timeout=180, expect=0)
        for step in "1234":
            self.assertRegex(done.out + done.err, rf"(?m)\b{step}\b", "the four steps are told")
        told = (done.out + done.err).lower()
        for word in ("denied", "grant", "resolve", "canary"):
            self.assertIn(word, told)
        self.assertLess(told.index("denied"), told.rindex("resolve"))


class SimulatedHub(Case):
    """The product's own Hub must agree with what the documents say, too."""

    def build(self):
        pass

    def call(self, method, path, secret=None, body=None):
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        if secret:
            request.add_header("Authorization", f"Bearer {secret}")
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers

    def start(self):
        world = self.dir / "world.yaml"
        world.write_text(WORLD)
        out = open(self.dir / "hub.log", "w+b")
        self.addCleanup(out.close)
        process = Popen([scenario.BIN, "hub", "--listen", "127.0.0.1:0", "--world", str(world)], stdin=DEVNULL,
                        stdout=out, stderr=out, env=self.environment())
        self.processes.append(process)

        def address():
            if process.poll() is not None:
                raise AssertionError(f"hub ended with {process.returncode}: {Path(out.name).read_text()}")
            return re.search(r"127\.0\.0\.1:([1-9]\d*)", Path(out.name).read_text())

        self.url = "http://" + wait_until(address, "the simulated Hub prints its address", 15)[0]

    def test_answers(self):
        self.start()
        self.assertEqual(http(self.url + "/api/whoami-v2")[0], 401)
        status, text, headers = self.call("GET", "/api/whoami-v2", "hf_demo_limited")
        self.assertEqual((status, json.loads(text)["name"]), (200, "bob"))
        self.assertRegex(headers["RateLimit"], r'^"api";r=\d+;t=\d+$')
        body = {"name": "x", "organization": "acme", "private": True}
        status, text, headers = self.call("POST", "/api/repos/create", "hf_demo_limited", body)
        no = 'You don\'t have the rights to create a model under the namespace "acme"'
        self.assertEqual((status, json.loads(text)["error"], headers["X-Error-Message"]), (403, no, no))
        self.assertEqual(self.call("POST", "/api/repos/create", "hf_demo_janitor", {**body, "organization": "Acme"})[0], 403)
        status, text, _ = self.call("POST", "/api/repos/create", "hf_demo_janitor", body)
        self.assertEqual(status, 200, text)
        self.assertRegex(json.loads(text)["id"], "^[0-9a-f]{24}$")
        self.assertEqual(self.call("POST", "/api/repos/create", "hf_demo_janitor", body)[0], 409)
        status, _, headers = self.call("GET", "/api/models/acme/x", "hf_demo_limited")
        self.assertEqual((status, headers["X-Error-Code"]), (404, "RepoNotFound"))
        self.assertEqual(self.call("GET", "/api/models/ACME/X", "hf_demo_janitor")[0], 200, "reading ignores case")
        self.assertEqual(self.call("DELETE", "/api/repos/delete", "hf_demo_janitor", {"name": "x", "organization": "acme"})[0], 200)
        self.assertEqual(self.call("GET", "/_sim/requests")[0], 200)
        self.assertEqual(self.call("GET", "/_sim/world")[0], 200)

    def test_world_that_is_no_world(self):
        path = self.dir / "bad-world.yaml"
        path.write_text("organizatons: {}\n")
        self.run_binary("hub", "--listen", "127.0.0.1:0", "--world", str(path), timeout=15, expect=2)


if __name__ == "__main__":
    unittest.main()
