"""Something spoilt for every check, which must find it: in rules, texts and files, and weaker rules for promtool.

Knows what a careless change would look like.  Serves run.py.
"""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import shipped
from bench import DEPLOY, Broken
from played import cases, check_rules, empty_panels, tools, wrong_commands

RULES, BLIND, GRANT = "prometheus/scopewatch.rules.yml", "ScopewatchBlind", "ScopewatchUnexpectedGrant"
CHECK = "by (organization, token, permission, target)"
OUT = "unless on () scopewatch:hub_outage == "
ASKED = "scopewatch_hub_request_duration_seconds_count[5m])) > "
DEAD = "and on () absent_over_time(scopewatch_build_info[5m])"
RECORD = "last_over_time(scopewatch_evidence_records_total[5m])"
# Weaker rules, each still good PromQL, that the cases for promtool must tell from the shipped ones.
WEAKENED = [
    ("a missed scrape resolves", "[5m]", "[30s]"),
    ("nothing is held", "keep_firing_for: 10m", "keep_firing_for: 0s"),
    ("replicas make two alerts", f"max {CHECK}", f"max {CHECK.replace('(', '(instance, ')}"),
    ("two owners of a token", "topk by (organization, token) (1,", "topk by (organization, token) (2,"),
    ("an old config counts", "topk by", "bottomk by"),
    ("the severity is lost", "(token_owner, severity) scopewatch:", "(token_owner) scopewatch:"),
    ("a grant needs its info", "or on (organization, token)\n", "and on (organization, token)\n"),
    ("a lost request is an outage", "[5m]) - 120\n", "[5m]) + 1e12\n"),
    ("a hanging round is none", f"{ASKED}0", f"{ASKED}1e9"),
    ("an outage leaves canaries", f"{OUT}1\n          )", f"{OUT}2\n          )"),
    ("an outage ends canaries", 'ALERTS{alertname="ScopewatchCanaryLeft"', 'ALERTS{alertname="Nobody"'),
    ("an outage skips rounds", "(scopewatch:hub_outage[1h]) == 1", "(scopewatch:hub_outage[1h]) == 2"),
    ("an outage uses up the quota", f"{OUT}1\n        for: 30m", f"{OUT}2\n        for: 30m"),
    ("death is evidence", DEAD, f"{DEAD} > 1"),
    ("a new pod has no past", f"max by (job) ({RECORD})", RECORD),
    ("everything wakes", "severity: warning", "severity: critical"),
    ("a creation is blind too soon", "scopewatch:check_age_seconds > 10800", "scopewatch:check_age_seconds > 2700"),
]
TWICE = "      - alert: ScopewatchDown\n"
SPOILT = [
    ("a rule twice", RULES, TWICE, f"{TWICE}        expr: up\n        labels: {{ severity: warning }}\n{TWICE}"),
    ("no PromQL", RULES, "expr: scopewatch:hub_outage == 1", "expr: scopewatch:hub_outage = 1"),
    ("a file that is not there", "prometheus/prometheus.yml", "rule_files: [scopewatch.rules.yml]", "rule_files: [x.yml]"),
    ("a receiver that is not there", "alertmanager/alertmanager.yml", "receiver: deadman", "receiver: nobody"),
]


def in_rules(rules, known):
    """What the rules name."""
    def spoilt(name, old, new):
        if not any(rule[0] == name and old in rule[2] for rule in rules):
            raise Broken(f"{name} says no more: {old!r}")
        changed = [(one, kind, query.replace(old, new) if one == name else query, *rest) for one, kind, query, *rest in rules]
        return shipped.wrong_in_rules(changed, known)
    yield "a rule names another metric", spoilt(BLIND, "check_undetermined", "check_undecided")
    yield "a rule names what no rule records", spoilt(BLIND, "scopewatch:check_age", "scopewatch:age")
    yield "a rule groups by another label", spoilt("ScopewatchTokenUnusable", "organization, token)", "organization, tokens)")
    yield "a rule matches another label", spoilt(GRANT, "kind=", "sort=")
    yield "a rule matches another value", spoilt(GRANT, '"unexpected_grant"', '"unexpected_grants"')


def in_alerts(rules, runbooks, tests):
    """Alerts, their runbooks and their cases."""
    def found(rules=rules, runbooks=runbooks, tests=tests):
        return shipped.wrong_in_alerts(rules, runbooks, tests)

    def blind(labels=None, **annotations):
        return found([(name, kind, query, {**told, **(labels or {})}, {**words, **annotations}) if name == BLIND
                      else (name, kind, query, told, words) for name, kind, query, told, words in rules])
    yield "an alert is missing", found(rules=[rule for rule in rules if rule[0] != BLIND])
    yield "an alert is critical", blind({"severity": "critical"})
    yield "an alert has a label more", blind({"team": "x"})
    yield "an alert has no summary", blind(summary="")
    yield "an annotation says instance", blind(summary="{{ $labels.instance }}")
    yield "a link leads elsewhere", blind(runbook_url=f"{shipped.RUNBOOKS}{GRANT}.md")
    yield "a runbook is missing", found(runbooks={name: text for name, text in runbooks.items() if name != BLIND})
    yield "a runbook too many", found(runbooks={**runbooks, "ScopewatchNobody": ""})
    yield "no case in which it fires", found(tests=tests.replace(f"alertname: {BLIND}\n", "alertname: X\n"))
    yield "no case in which it does not", found(tests=tests.replace(f"alertname: {BLIND}, exp", "alertname: X, exp"))


def in_texts(runbooks, known):
    def book(old, new):
        text = re.sub(old, new, runbooks[BLIND], flags=re.S)
        return shipped.wrong_in_runbooks({**runbooks, BLIND: text})
    yield "another heading", book("## Impact", "## Consequences")
    yield "nothing under a heading", book(r"## Impact\n.*?\n## ", "## Impact\n\n## ")
    yield "a runbook names another alert", book("`ScopewatchQuotaLow`", "`ScopewatchQuota`")
    yield "a page names another metric", shipped.wrong_in_text("x", "see scopewatch_check_drifts", known)
    yield "a command looks for nothing", shipped.wrong_in_text("x", "grep '^scopewatch_canary_total'", known)


def in_dashboard(bench, text, known):
    def named(old, new):
        return shipped.wrong_in_dashboard(replaced("the dashboard", text, old, new), known)

    def asked(old, new):
        return empty_panels(bench, json.loads(replaced("the dashboard", text, old, new)), known)
    yield "a panel asks another metric", named("scopewatch_canaries_total", "scopewatch_canary_total")
    yield "a panel groups by another label", named("by (event)", "by (events)")
    yield "a panel asks another source", named('"uid": "${datasource}"', '"uid": "mine"')
    yield "a variable is not there", named("$organization", "$org")
    yield "a variable asks another label", named("(scopewatch_token_info, organization)", "(scopewatch_token_info, org)")
    yield "a panel lies over another", named('"x": 12', '"x": 11')
    yield "a panel without data", asked("min(scopewatch_hub_reachable)", "min(scopewatch_hub_reachable) > 2")
    yield "a panel's query is none", asked("histogram_quantile(0.95", "quantile_of(0.95")
    yield "a legend has another label", asked("{{endpoint}}", "{{route}}")


def in_commands(bench):
    def line(command):
        return wrong_commands(bench, {BLIND: f"```sh\n{command}\n```\n"})
    config = "/etc/scopewatch/scopewatch.yaml"
    yield "an option is another", line(f"scopewatch explain --conf {config} TOKEN PERMISSION TARGET")
    yield "a command is no more", line(f"scopewatch canaries --config {config} clear ID")
    yield "a route is no more", line("curl -s http://127.0.0.1:10847/api/v2/report")


def replaced(what, text, old, new):
    if old not in text:
        raise Broken(f"{what} says no more: {old!r}")
    return text.replace(old, new)


def copy_of(bench, name, file, change):
    """A copy of what is shipped, one file changed."""
    folder = bench.dir / f"copy-{name.replace(' ', '-')}"
    shutil.copytree(DEPLOY, folder)
    (folder / file).write_text(change((folder / file).read_text()))
    return folder


def in_files(bench, page):
    """What the tools must find."""
    for name, file, old, new in SPOILT:
        yield name, tools(copy_of(bench, name, file, lambda text, o=old, n=new: replaced(name, text, o, n)), page)
    yield "a metric without HELP", tools(DEPLOY, re.sub(r"# HELP scopewatch_hub_reachable.*\n", "", page))


def weaker_rules(bench):
    """What the cases for promtool must find."""
    def play(row):
        name, old, new = row
        folder = copy_of(bench, name, RULES, lambda text: replaced("the rules", text, old, new))
        if list(check_rules(folder)):
            raise Broken(f"{name}: these are no rules, so the cases would see anything")
        return name, list(cases(folder))
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(play, WEAKENED)


def turned_rules(bench):
    """Every alert that never fires, and that always does."""
    alert = re.compile(r"(  - alert: \w+\n +expr:)(?: \|\n(?: {10}.*\n)+| .*\n)")
    for name, expression in (("never fires", "vector(0) > 1"), ("always fires", "vector(1)")):
        folder = copy_of(bench, name, RULES, lambda text, e=expression: alert.sub(rf"\1 {e}\n", text))
        said = " ".join(cases(folder, 10**6))
        for one in re.findall(r"alert: (\w+)", (folder / RULES).read_text()):
            yield f"{one} {name}", [said] if f"alertname: {one}," in said else []
