"""Holds what is deployed next to the daemon to the daemon itself: `python3 tests/deploy/run.py`

A real daemon on the simulated Hub, scraped twice by a real Prometheus with the shipped config and rules (their times in
seconds), which tells a real Alertmanager with the shipped routes.  A token is widened and narrowed, the Hub dies, the
store is lost; and every metric, label, query, command and link in rules, dashboard, runbooks, README and config is held
to what is there.  Knows the order of things; what is right stands in shipped.py.  Every check is also given something
spoilt, and must find it.  Needs Debian's prometheus and prometheus-alertmanager.  Exit 0 when nothing is wrong and every
defect was found.
"""

import json
import os
import shutil
import signal
import sys
import time

import both_ways
import planted
import shipped
from bench import DEPLOY, ROOT, Bench, Broken, Page, until
from played import cases, empty_panels, tools, wrong_commands

GRANT = {"alertname": "ScopewatchUnexpectedGrant", "organization": "acme", "token": "limited", "target": "acme/model",
         "severity": "critical", "token_owner": "ml-platform"}
DRIFT = {"alertname": "ScopewatchDeclaredDrift", "organization": "acme", "token": "limited", "severity": "warning",
         "token_owner": "ml-platform"}
GRANTS = [{**GRANT, "permission": permission} for permission in ("repo.read", "repo.write")]


def story(bench, tell):
    """A grant, its end, an outage and a lost store, as Prometheus sees them.  Yields what is wrong."""
    began = time.monotonic()
    yield from both_ways.arrives(bench, GRANTS, tell)
    wanted = GRANTS
    yield from (f"firing, and should not, or not so: {labels}" for labels in bench.firing() if labels not in wanted)
    yield from (f"not firing: {labels}" for labels in wanted if labels not in bench.firing())
    until(lambda: bench.ears.at("/pager"), "somebody is woken")
    tell(f"somebody was woken after {time.monotonic() - began:.1f} s")
    until(lambda: len({page["dedup_key"] for page in bench.ears.at("/pager")}) == 2, "each grant wakes for itself")
    until(lambda: len(bench.ears.at("/deadman")) > 2, "the dead man's switch is kept quiet")
    # The daemon tells also that the token declares more than before; nobody is woken by that.
    for ticket in bench.ears.at("/ticket"):
        yield from (f"a ticket, for nothing: {alert['labels']}" for alert in ticket["alerts"] if alert["labels"] != DRIFT)
    if woken := [page for page in bench.ears.at("/pager") if "ScopewatchUnexpectedGrant" not in json.dumps(page)]:
        yield f"somebody was woken, and not by a grant: {woken}"
    watchdogs = bench.query('ALERTS{alertname="ScopewatchWatchdog", alertstate="firing"}')
    if [one["metric"].get("severity") for one in watchdogs] != ["warning"]:
        yield f"the watchdog: {watchdogs}"
    yield from bench.sick_rules()


def story_ends(bench, tell):
    began = time.monotonic()
    bench.steer("PATCH", "world", {"tokens": {"limited": {"scopes": []}}})
    until(lambda: not bench.firing(), lambda: f"the grants are resolved; these fire: {bench.firing()}")
    by_prometheus = time.monotonic() - began
    for url in (bench.direct, bench.mortal, bench.by_rules, bench.alertmanager):
        until(lambda url=url: not both_ways.shown(url), "the grants are resolved in every Alertmanager")
    tell(f"narrowed: resolved in Prometheus after {by_prometheus:.1f} s (held for 9 s), in every Alertmanager after "
         f"{time.monotonic() - began:.1f} s")
    bench.end(bench.hub_process)
    until(lambda: bench.firing(), "the outage in Prometheus")
    seen, end = [], time.monotonic() + 12
    while time.monotonic() < end:
        seen += [labels for labels in bench.firing() if labels not in seen]
        time.sleep(0.3)
    outage = {"alertname": "ScopewatchHubUnreachable", "severity": "warning"}
    tell(f"the Hub died: {', '.join(sorted(labels['alertname'] for labels in seen))}")
    yield from (f"an outage fires {labels}" for labels in seen if labels != outage)
    until(lambda: any(alert["labels"] == outage for ticket in bench.ears.at("/ticket") for alert in ticket["alerts"]),
          "a ticket for the outage")
    bench.end(bench.daemon)
    for file in (bench.dir / "state").glob("state.db*"):
        file.unlink()
    bench.serve()
    reset = {"alertname": "ScopewatchStateReset", "severity": "warning"}
    until(lambda: reset in bench.firing(), "the lost store in Prometheus")
    tell("the store was lost: ScopewatchStateReset")
    bench.config.write_text("tokens: nothing\n")
    bench.daemon.send_signal(signal.SIGHUP)
    until(lambda: [labels["alertname"] for labels in bench.firing()].count("ScopewatchConfigReloadFailed") == 1,
          "the failed reload, of both targets one alert")
    tell("a bad config was reloaded: ScopewatchConfigReloadFailed")
    yield from bench.sick_rules()


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────────

class Tally:
    def __init__(self):
        self.planned = self.ran = self.violations = self.planted = self.caught = 0

    def check(self, name, problems):
        """Counts a check, and prints what it found."""
        self.planned += 1
        began = time.monotonic()
        try:
            found = list(problems)
            self.ran += 1
        except Broken as error:
            found = [f"not run: {error}"]
        self.violations += len(found)
        print(f"{'WRONG' if found else 'right'} {time.monotonic() - began:5.1f} s  {name}", flush=True)
        for problem in found:
            print(f"    {problem}", flush=True)

    def plant(self, name, problems):
        """Counts a planted defect; silence is what is wrong."""
        self.planted += 1
        found = list(problems)
        self.caught += bool(found)
        if not found:
            print(f"NOT SEEN: {name}", flush=True)

    def line(self):
        return f"deploy\t{self.planned}\t{self.ran}\t{self.violations}\t{self.planted}\t{self.caught}"


def plant(tally, what):
    for name, problems in what:
        tally.plant(name, problems)


def main():
    for program in ("prometheus", "promtool", "prometheus-alertmanager", "amtool"):
        if not shutil.which(program):
            print(f"{program} is missing; it is in Debian's prometheus and prometheus-alertmanager", file=sys.stderr)
            return 1
    tally = Tally()
    runbooks = {path.stem: path.read_text() for path in sorted((DEPLOY / "runbooks").glob("*.md"))}
    tests = (DEPLOY / "prometheus/scopewatch.rules_test.yml").read_text()
    dashboard = (DEPLOY / "grafana/dashboards/scopewatch.json").read_text()
    catalogue = shipped.read_catalogue((ROOT / "tests/metrics.catalogue").read_text())
    with Bench() as bench:
        tally.check("a grant is one alert of two replicas, labels to the letter", story(bench, print))
        ordeals = both_ways.ordeals(bench, GRANTS, print)
        page, rules = bench.metrics(), bench.rules()
        known = shipped.Known(Page(page), shipped.recorded_labels(rules), catalogue)
        tally.check("what rules name is in /metrics", shipped.wrong_in_rules(rules, known))
        tally.check("alerts, runbooks and cases belong together", shipped.wrong_in_alerts(rules, runbooks, tests))
        tally.check("runbooks are whole", shipped.wrong_in_runbooks(runbooks))
        tally.check("what pages and configs name is in /metrics", wrong_in_pages(known))
        tally.check("what the dashboard names is in /metrics", shipped.wrong_in_dashboard(dashboard, known))
        tally.check("every panel has data", empty_panels(bench, json.loads(dashboard), known))
        tally.check("the commands of the runbooks are the real ones", wrong_commands(bench, runbooks))
        tally.check("promtool and amtool are silent", tools(DEPLOY, page))
        tally.check("the cases of the rules", cases(DEPLOY))
        plant(tally, planted.in_rules(rules, known))
        plant(tally, planted.in_alerts(rules, runbooks, tests))
        plant(tally, planted.in_texts(runbooks, known))
        plant(tally, planted.in_dashboard(bench, dashboard, known))
        plant(tally, planted.in_commands(bench))
        for ordeal in ordeals:
            tally.check(f"told again: {ordeal.what}", ordeal.over())
        tally.check("the grant ends; an outage is one alert; a lost store shows", story_ends(bench, print))
        plant(tally, planted.in_files(bench, page))
        plant(tally, planted.weaker_rules(bench))
        plant(tally, planted.turned_rules(bench))
    if known.later:
        print(f"not in /metrics yet, as tests/metrics.catalogue says: {', '.join(sorted(known.later))}")
    print(tally.line())
    if path := os.environ.get("SCOPEWATCH_TALLY"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(tally.line() + "\n")
    return 0 if tally.ran == tally.planned and not tally.violations and tally.caught == tally.planted else 1


def wrong_in_pages(known):
    """README, configs and what is shipped, but for what rules record, and for names in the cases."""
    shipped_files = sorted(path for path in DEPLOY.rglob("*") if path.suffix in (".md", ".yml"))
    for path in [ROOT / "README.md", *sorted((ROOT / "config").iterdir()), *shipped_files]:
        text = path.read_text()
        for name in known.recorded:
            text = text.replace(name, "")
        if path.name != "scopewatch.rules_test.yml":
            yield from shipped.wrong_in_text(path.relative_to(ROOT), text, known)


if __name__ == "__main__":
    sys.exit(main())
