"""`serve`: metrics, health, API, reload, stop, and a drift from its first sight to its resolution.

Knows the metric names, labels and routes of the contract.  Serves whoever changes the daemon, its
exposition or its alerts.
"""

import json
import re
import shutil
import signal
import socket
import subprocess
import unittest

from scenario import CI, NEVER, Case, create, wait_until

CHECK = {"organization", "token", "permission", "target"}
TOKEN = {"organization", "token"}
# name: (type, labels or None where they are not fixed, must be there in a quiet daemon from the start)
METRICS = {
    "scopewatch_build_info": ("gauge", {"version", "revision"}, True),
    "scopewatch_check_expected_allowed": ("gauge", CHECK, True),
    "scopewatch_check_allowed": ("gauge", CHECK, False),
    "scopewatch_check_undetermined": ("gauge", CHECK, False),
    "scopewatch_check_drift": ("gauge", CHECK | {"kind"}, False),
    "scopewatch_token_info": ("gauge", TOKEN | {"token_owner", "severity"}, True),
    "scopewatch_check_last_conclusive_timestamp_seconds": ("gauge", CHECK, False),
    "scopewatch_token_usable": ("gauge", TOKEN, False),
    "scopewatch_token_declared_drift": ("gauge", TOKEN, False),
    "scopewatch_token_expiry_timestamp_seconds": ("gauge", TOKEN, False),
    "scopewatch_token_unchecked_permissions": ("gauge", TOKEN, False),
    "scopewatch_prediction_mismatch": ("gauge", CHECK, False),
    "scopewatch_probes_total": ("counter", {"permission", "access", "reason"}, True),
    "scopewatch_probe_duration_seconds": ("histogram", {"permission"}, False),
    "scopewatch_hub_requests_total": ("counter", {"endpoint", "code"}, False),
    "scopewatch_hub_request_duration_seconds": ("histogram", {"endpoint"}, False),
    "scopewatch_hub_quota_remaining_ratio": ("gauge", {"organization"}, False),
    "scopewatch_canaries_total": ("counter", {"organization", "event"}, True),
    "scopewatch_canaries_unfinished": ("gauge", {"organization"}, True),
    "scopewatch_canary_oldest_unfinished_age_seconds": ("gauge", {"organization"}, False),
    "scopewatch_round_duration_seconds": ("histogram", set(), False),
    "scopewatch_round_last_completed_timestamp_seconds": ("gauge", set(), False),
    "scopewatch_rounds_skipped_total": ("counter", set(), True),
    "scopewatch_notifications_total": ("counter", {"sink", "event", "outcome"}, False),
    "scopewatch_notifications_pending": ("gauge", {"sink"}, False),
    "scopewatch_notification_oldest_pending_age_seconds": ("gauge", {"sink"}, False),
    "scopewatch_config_last_reload_successful": ("gauge", set(), True),
    "scopewatch_config_last_reload_success_timestamp_seconds": ("gauge", set(), True),
    "scopewatch_store_errors_total": ("counter", {"operation"}, False),
    "scopewatch_evidence_records_total": ("counter", set(), False),
    "scopewatch_evidence_head_info": ("gauge", {"head"}, False),
    "scopewatch_hub_reachable": ("gauge", set(), False),
    "scopewatch_leader": ("gauge", set(), False),
    "scopewatch_replicas_waiting": ("gauge", {"config"}, False),
    "scopewatch_errands_total": ("counter", {"outcome"}, False),
}


def findings(value, kind):
    """Open findings of that kind, wherever the document keeps them."""
    if isinstance(value, list):
        return [f for v in value for f in findings(v, kind)]
    if not isinstance(value, dict):
        return []
    nested = [f for v in value.values() for f in findings(v, kind)]
    if value.get("kind") != kind:
        return nested
    resolved = value.get("state") == "resolved" or any("resolved" in k and v for k, v in value.items())
    return nested + ([] if resolved else [value])


class Served(Case):
    """A daemon with one narrow and one widened token; rounds every two seconds."""

    def quiet(self):
        self.config["schedule"] = {"probe": NEVER, "canary": NEVER, "declared": NEVER, "on_start": False}

    def rounds(self, daemon, more=1):
        """Wait for that many further rounds."""
        def count():
            return daemon.metrics().one("scopewatch_round_duration_seconds_count") or 0
        before = count()
        wait_until(lambda: count() >= before + more, f"{more} more round(s)", 25)


class Exposition(Served):
    def lint(self, m):
        """What `promtool check metrics` would say, as far as that is rules for names and types."""
        families = {}
        for name, labels, value in m.samples:
            base = re.sub("_(bucket|sum|count)$", "", name)
            family = base if m.types.get(base) == "histogram" else name
            families.setdefault(family, []).append((name, labels))
            self.assertIn(family, m.types, f"{name} has no # TYPE")
            self.assertTrue(m.help.get(family), f"{name} has no # HELP")
            self.assertEqual(family.endswith("_total"), m.types[family] == "counter", f"_total and counter: {family}")
            self.assertEqual(value, value, f"{name}{labels} is NaN")
        for family, samples in families.items():
            keys = [(n, tuple(sorted(labels.items()))) for n, labels in samples]
            self.assertEqual(len(keys), len(set(keys)), f"a series of {family} stands twice")
            if family in METRICS:
                kind, wanted, _ = METRICS[family]
                self.assertEqual(m.types[family], kind, family)
                for name, labels in samples:
                    self.assertEqual(set(labels) - {"le"}, wanted, f"labels of {name}")

    def test_counters_are_there_at_zero_from_the_start(self):
        self.quiet()
        self.add_member("limited")
        self.config["tokens"][-1].update(owner="ml-platform")
        m = self.serve().metrics()
        self.lint(m)
        self.assertTrue(m.content_type.startswith("text/plain"), m.content_type)
        for name, (_, _, at_start) in METRICS.items():
            if at_start:
                self.assertTrue(m.all(name), f"expected {name} from the start")
        for event in ("created", "deleted", "abandoned", "foreign"):
            self.assertEqual(m.one("scopewatch_canaries_total", organization="acme", event=event), 0, event)
        for access, reason in (("denied", "scope"), ("undetermined", "timeout"), ("undetermined", "no_control")):
            self.assertEqual(m.one("scopewatch_probes_total", permission="repo.create", access=access, reason=reason), 0)
        self.assertEqual(m.one("scopewatch_rounds_skipped_total"), 0)
        self.assertEqual(m.one("scopewatch_config_last_reload_successful"), 1)
        self.assertEqual(m.one("scopewatch_check_expected_allowed", token="limited", permission="repo.create",
                               target="model", organization="acme"), 0)
        self.assertEqual(m.one("scopewatch_token_info", token="limited", organization="acme",
                               token_owner="ml-platform", severity="critical"), 1)
        self.assertEqual(m.all("scopewatch_check_allowed", token="limited"), [], "absent before the first answer")
        self.assertTrue(any(n.startswith("process_") for n, _, _ in m.samples), "process_* are there")
        self.assertEqual(self.hub.posts(), [], "no round was due")

    def test_values_after_a_round(self):
        repo = "acme/known-private"
        self.add_member("limited", expect=[create(), {"permission": "repo.read", "repo": repo, "access": "denied"}])
        self.widened(expect=[create("allowed", type="dataset")])
        self.add_member("dead", alive=False)
        daemon = self.serve()
        m = wait_until(lambda: (lambda s: s if s.one("scopewatch_round_duration_seconds_count") else None)(
            daemon.metrics()), "a first round", 20)
        self.lint(m)

        def check(name, token, permission="repo.create", target="model", **more):
            return m.one("scopewatch_" + name, organization="acme", token=token, permission=permission, target=target, **more)

        self.assertEqual(check("check_allowed", "limited"), 0)
        self.assertEqual(check("check_allowed", "limited", "repo.read", repo), 0)
        self.assertEqual(check("check_allowed", "wide", target="dataset"), 1)
        self.assertEqual(check("check_expected_allowed", "wide", target="dataset"), 1)
        self.assertEqual(check("check_undetermined", "limited"), 0)
        self.assertEqual(check("check_undetermined", "dead"), 1)
        self.assertIsNone(check("check_allowed", "dead"), "no conclusive answer yet")
        self.assertEqual(check("check_drift", "limited", kind="unexpected_grant"), 0)
        self.assertEqual(check("check_drift", "wide", target="dataset", kind="unexpected_denial"), 0)
        self.assertGreater(check("check_last_conclusive_timestamp_seconds", "limited"), 1.7e9)
        self.assertEqual(m.one("scopewatch_token_usable", organization="acme", token="limited"), 1)
        self.assertEqual(m.one("scopewatch_token_usable", organization="acme", token="dead"), 0)
        self.assertGreaterEqual(m.one("scopewatch_canaries_total", organization="acme", event="created"), 1)
        self.assertGreaterEqual(m.one("scopewatch_probes_total", permission="repo.create", access="denied", reason="scope"), 1)
        self.assertEqual(m.one("scopewatch_hub_reachable"), 1)
        self.assertGreater(m.one("scopewatch_hub_quota_remaining_ratio", organization="acme"), 0.5)
        for labels, _ in m.all("scopewatch_hub_requests_total"):
            self.assertNotRegex(labels["endpoint"], "acme|scopewatch-canary", "the route's template, no names")
            self.assertRegex(labels["code"], r"^([1235]xx|4\d\d|4xx|error|none|timeout|network)$")
        daemon.stop()

    def test_promtool_has_nothing_to_say(self):
        promtool = shutil.which("promtool")
        if not promtool:
            self.fail("promtool is not on PATH") if CI else self.skipTest("promtool is not on PATH")
        self.add_member("limited")
        daemon = self.serve()
        self.rounds(daemon)
        done = subprocess.run([promtool, "check", "metrics"], input=daemon.metrics().text, text=True,
                              capture_output=True, timeout=20)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class Http(Served):
    def test_health_page_and_api(self):
        self.widened()
        daemon = self.serve()
        self.rounds(daemon)
        for path in ("/-/healthy", "/-/ready", "/livez", "/readyz"):
            self.assertEqual(daemon.get(path)[0], 200, path)
        status, page, headers = daemon.get("/")
        self.assertEqual(status, 200)
        self.assertIn("html", headers.get("Content-Type", ""))
        self.assertIn("/metrics", page, "the landing page links to the metrics")
        report = daemon.json("/api/v1/report")
        self.check_report(report)
        self.assertEqual([r["token"] for r in report["results"]], ["wide"])
        self.assertTrue(findings(daemon.json("/api/v1/findings"), "unexpected_grant"))
        self.assertIn("scopewatch-canary-", json.dumps(daemon.json("/api/v1/canaries")))
        self.assertEqual(daemon.get("/-/reload", "POST")[0], 403, "reload without server.lifecycle")
        self.assertEqual(daemon.get("/-/probe?token=wide", "POST")[0], 403, "probe without server.lifecycle")
        self.assertEqual(daemon.get("/no-such-page")[0], 404)
        for text in (page, json.dumps(report), daemon.metrics().text):
            for secret in self.secrets.values():
                self.assertNotIn(secret, text)
        daemon.stop()

    def test_lifecycle(self):
        self.quiet()
        self.widened()
        self.config["server"] = {"lifecycle": True}
        daemon = self.serve()
        self.assertIn(daemon.get("/-/reload", "POST")[0], (200, 202, 204))
        self.assertEqual(daemon.get("/-/reload")[0], 405, "GET changes nothing")
        self.assertIn(daemon.get("/-/probe?token=wide", "POST")[0], (200, 202, 204))
        wait_until(lambda: self.hub.deleted, "the probe on demand runs the token's checks", 15)
        self.assertIn(daemon.get("/-/probe?token=nobody", "POST")[0], (400, 404))
        daemon.stop()

    def test_hub_outage_harms_neither_liveness_nor_readiness(self):
        self.add_member("limited")
        self.hub.fault(answer=(500, {"error": "Internal Error"}))
        daemon = self.serve()
        self.rounds(daemon)
        self.assertEqual([daemon.get(p)[0] for p in ("/-/healthy", "/-/ready")], [200, 200])
        m = daemon.metrics()
        self.assertEqual(m.one("scopewatch_check_undetermined", token="limited"), 1)
        self.assertEqual([v for _, v in m.all("scopewatch_check_drift", token="limited") if v], [])
        self.assertEqual(m.one("scopewatch_hub_reachable"), 0)
        self.hub.heal()
        wait_until(lambda: daemon.metrics().one("scopewatch_check_allowed", token="limited") == 0, "recovery", 25)
        daemon.stop()

    def test_sigterm_in_the_middle_of_a_creation(self):
        """Stops within 25 s with exit 0; what was under way is deleted or in the journal."""
        self.widened()
        self.hub.create_seconds = 1.0
        daemon = self.serve()
        wait_until(self.hub.posts, "a creation under way", 15)
        daemon.stop()
        if self.hub.leftovers():
            self.sweep_clean()

    def test_read_only(self):
        self.widened()
        daemon = self.serve("--read-only")
        self.rounds(daemon, 2)
        self.assertEqual({q["method"] for q in self.hub.requests} - {"GET", "HEAD"}, set())
        self.assertEqual(daemon.metrics().one("scopewatch_check_undetermined", token="wide"), 1)
        daemon.stop()


class Reload(Served):
    def test_good_file_then_bad_file(self):
        self.quiet()
        self.add_member("limited")
        daemon = self.serve()
        self.add_member("second")
        daemon.settings["tokens"] = self.config["tokens"]
        self.write_config(daemon.settings, "serve.yaml")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.metrics().all("scopewatch_token_info", token="second"), "the new token after SIGHUP", 10)
        self.assertEqual(daemon.metrics().one("scopewatch_config_last_reload_successful"), 1)
        self.write_config("tokens: [\n  - nonsense: {\n", "serve.yaml")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.metrics().one("scopewatch_config_last_reload_successful") == 0, "a failed reload shows", 10)
        m = daemon.metrics()
        self.assertTrue(m.all("scopewatch_token_info", token="second"), "a bad file changes nothing")
        self.assertEqual(daemon.get("/-/ready")[0], 200)
        self.assertIn("serve.yaml", daemon.output(), "the log names the file")
        self.write_config(daemon.settings, "serve.yaml")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.metrics().one("scopewatch_config_last_reload_successful") == 1, "a good file again", 10)
        daemon.stop()

    def test_removed_token_leaves_the_metrics(self):
        self.quiet()
        self.add_member("limited")
        self.add_member("second")
        daemon = self.serve()
        daemon.settings["tokens"] = [t for t in self.config["tokens"] if t["name"] != "second"]
        self.write_config(daemon.settings, "serve.yaml")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: not daemon.metrics().all("scopewatch_token_info", token="second"), "its series are gone", 10)
        self.assertEqual(daemon.metrics().all("scopewatch_check_expected_allowed", token="second"), [])
        daemon.stop()

    def test_secret_is_read_again_for_every_round(self):
        self.add_member("limited", alive=False)
        daemon = self.serve()
        wait_until(lambda: daemon.metrics().one("scopewatch_token_usable", token="limited") == 0, "a dead token", 20)
        self.hub.token("fresh", "hf_fresh0000000000000000000000000000", "user-limited")
        (self.dir / "secret-limited").write_text("hf_fresh0000000000000000000000000000\n")
        wait_until(lambda: daemon.metrics().one("scopewatch_check_allowed", token="limited") == 0, "the new secret is used", 20)
        daemon.stop()


class Drift(Served):
    def test_widened_then_narrowed(self):
        """Metric and finding; first sight fires, two good answers resolve."""
        token = self.add_member("watched")
        self.config["tokens"][-1].update(owner="ml-platform")
        daemon = self.serve()

        def drift():
            return daemon.metrics().one("scopewatch_check_drift", organization="acme", token="watched",
                                        permission="repo.create", target="model", kind="unexpected_grant")

        wait_until(lambda: drift() == 0, "drift is 0 while the token is narrow", 20)
        self.assertEqual(findings(daemon.json("/api/v1/findings"), "unexpected_grant"), [])
        token.scopes = [("org", "acme", ["repo.write"])]
        wait_until(lambda: drift() == 1, "drift is 1 after widening", 20)
        found = wait_until(lambda: findings(daemon.json("/api/v1/findings"), "unexpected_grant"), "a finding", 10)
        self.assertIn("watched", json.dumps(found))
        token.scopes = []
        wait_until(lambda: drift() == 0, "drift is 0 after narrowing", 20)
        wait_until(lambda: not findings(daemon.json("/api/v1/findings"), "unexpected_grant"), "the finding is resolved", 20)
        daemon.stop()

    def test_unexpected_denial_is_confirmed_first(self):
        self.config["alerts"] = {"confirm_denials": 3}
        token = self.widened("watched", [{"permission": "repo.write", "repo": "acme/known-private", "access": "allowed"}])
        daemon = self.serve()
        name, kind = "scopewatch_check_drift", "unexpected_denial"
        wait_until(lambda: daemon.metrics().one("scopewatch_check_allowed", token="watched") == 1, "allowed at first", 20)
        token.scopes = [("org", "acme", ["repo.content.read"])]
        wait_until(lambda: daemon.metrics().one("scopewatch_check_allowed", token="watched") == 0, "the first denial", 20)
        denials = len([q for q in self.hub.seen("GET", "auth-check/write", "watched") if q["status"] == 403])
        if denials < 3:
            self.assertEqual(daemon.metrics().one(name, token="watched", kind=kind), 0, "one denial is not yet drift")
        wait_until(lambda: daemon.metrics().one(name, token="watched", kind=kind) == 1, "drift after three denials", 25)
        denials = len([q for q in self.hub.seen("GET", "auth-check/write", "watched") if q["status"] == 403])
        self.assertGreaterEqual(denials, 3)
        daemon.stop()


class Refusals(Served):
    def test_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.add_member("limited")
            self.config["server"] = {"listen": f"127.0.0.1:{taken.getsockname()[1]}"}
            done = self.with_config("serve", timeout=20)
        self.assertEqual(done.code, 2, f"expected exit 2 and a sentence\n{done}")
        self.assertIn(str(taken and self.config["server"]["listen"].split(":")[1]), done.err)
        self.assertNotIn("panicked", done.err)
        self.assertEqual(self.hub.posts(), [], "no creation before the port is ours")

    def test_second_writer_is_refused_and_readers_are_not(self):
        self.quiet()
        self.add_member("limited")
        daemon = self.serve()
        for argv in (("audit",), ("canaries", "sweep"), ("canaries", "unlatch")):
            done = self.with_config(argv[0], *argv[1:], timeout=20)
            self.assertEqual(done.code, 2, f"beside a running serve: exit 2\n{done}")
            self.assertRegex(done.err.lower(), "serve|running|lock", f"a sentence that says why\n{done}")
        self.with_config("canaries", "list", expect=0)
        self.assertEqual(self.hub.posts(), [])
        daemon.stop()
        self.audit(expect=0)


if __name__ == "__main__":
    unittest.main()
