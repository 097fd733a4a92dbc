"""What is shipped, read, and what must hold of it: functions from texts to sentences about what is wrong.

Knows the shapes of PromQL, of a dashboard and of a runbook; starts nothing.  Serves run.py, which gives the files as
they are and expects silence, and the same spoilt and expects a sentence.
"""

import json
import re

HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
RUNBOOKS = "https://github.com/scopewatch/scopewatch/blob/main/deploy/runbooks/"
# What the daemon itself sends, and the labels that its alerts may have; those of the rules alone may say where they are.
SENT = {"UnexpectedGrant", "UnexpectedDenial", "DeclaredDrift", "TokenUnusable", "CanaryLeft", "Blind", "HubUnreachable",
        "StateReset", "Watchdog"}
IDENTITY = {"alertname", "organization", "token", "permission", "target", "severity", "token_owner"}
TARGET = {"job", "instance"}
# Set by Prometheus itself.
BUILT_IN = {"ALERTS": {"alertname", "alertstate"} | IDENTITY, "up": set()}
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}
CLAUSE = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*(\{[^{}]*\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


def read_catalogue(text):
    """{metric: (labels, whether later work fills it)}"""
    rows = (line.split(None, 3) for line in text.splitlines() if line and not line.startswith("#"))
    return {row[0]: (set() if row[2] == "-" else set(row[2].split(",")), len(row) > 3) for row in rows}


def read_query(query):
    """([(metric, [(label, operator, value)])], labels of grouping clauses)"""
    grouped = {label.strip() for _, inside in CLAUSE.findall(query) for label in inside.split(",") if label.strip()}
    bare = CLAUSE.sub(" ", query)
    bare = re.sub(r"\[\d+[smhd](?::(?:\d+[smhd])?)?\]", " ", bare)
    found = []
    for match in SELECTOR.finditer(outside_of_strings(bare)):
        name, end = match[1], match.end(1)
        if name in WORDS or bare[end:].lstrip().startswith("(") or bare[:match.start()].endswith(tuple("0123456789.$")):
            continue
        matchers = MATCHER.findall(bare[match.start(2):match.end(2)]) if match[2] else []
        found.append((name, matchers))
    return found, grouped


def outside_of_strings(query):
    """The same length, with nothing in the strings that could be read as something else."""
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda match: '"' + " " * (len(match[0]) - 2) + '"', query)


# Shown only where several replicas share a database, as tests/replicas has it.
OF_REPLICAS = {"scopewatch_leader", "scopewatch_replicas_waiting", "scopewatch_errands_total"}


class Known:
    """What a query may name: what the page shows, what rules record, what Prometheus makes."""

    def __init__(self, page, recorded, catalogue):
        self.page, self.recorded, self.catalogue, self.later = page, recorded, catalogue, set()

    def labels(self, name):
        """{label: values, or None where they are not known}; None for a metric that nobody makes."""
        if name in BUILT_IN:
            return dict.fromkeys(BUILT_IN[name])
        if name in self.recorded:
            return dict.fromkeys(self.recorded[name])
        family = self.page.family(name)
        if family:
            extra = {"le": None} if name.endswith("_bucket") else {}
            return {**self.page.labels[family], **extra}
        labels, later = self.catalogue.get(name, (set(), False))
        if name in OF_REPLICAS:
            return dict.fromkeys(labels)
        if later:
            self.later.add(name)
            return dict.fromkeys(labels)
        return None

    def filled_later(self, name):
        """Whether nothing fills it yet, by the catalogue and by the page."""
        return self.catalogue.get(name, ((), False))[1] and not self.page.family(name)


def recorded_labels(rules):
    """Labels of what rules record: whatever their expression groups by."""
    return {name: read_query(query)[1] | TARGET for name, kind, query, *_ in rules if kind == "recording"}


def wrong_in_query(query, known):
    """Metrics, labels and values of labels that do not exist."""
    selectors, grouped = read_query(query)
    usable, strict = set(TARGET), True
    if not selectors and "vector(" not in query:
        yield f"no metric in: {query}"
    for name, matchers in selectors:
        labels = known.labels(name)
        if labels is None:
            strict = False
            yield f"no such metric: {name}"
            continue
        usable |= set(labels)
        for label, operator, value in matchers:
            if label in TARGET:
                continue
            if label not in labels:
                yield f"{name} has no label {label}"
            elif labels[label] is not None and "$" not in value:
                pattern = value if "~" in operator else re.escape(value)
                if not any(re.fullmatch(pattern, one) for one in labels[label]):
                    yield f"{name} has no {label} like {value!r}, only {sorted(labels[label])}"
    for label in sorted(grouped - usable) if strict else ():
        yield f"no metric there has a label {label}: {' '.join(query.split())}"


def wrong_in_rules(rules, known):
    for name, _, query, *_ in rules:
        yield from (f"rule {name}: {wrong}" for wrong in wrong_in_query(query, known))


def wrong_in_alerts(rules, runbooks, tests):
    """Names, severities, annotations, a runbook for each and a case for each way."""
    alerts = {name: (query, labels, annotations) for name, kind, query, labels, annotations in rules if kind == "alerting"}
    for name in sorted(f"Scopewatch{short}" for short in SENT):
        if name not in alerts:
            yield f"no alert {name}, which the daemon sends"
    for name, (query, labels, annotations) in alerts.items():
        severity = labels.get("severity")
        wanted = {None} if name == "ScopewatchUnexpectedGrant" else {"warning"} if name[10:] in SENT else {"warning", "info"}
        if severity not in wanted:
            yield f"{name}: severity {severity}"
        if extra := set(labels) - {"severity"}:
            yield f"{name}: labels that its twin from the daemon does not have: {sorted(extra)}"
        for key in ("summary", "description", "runbook_url"):
            if not annotations.get(key, "").strip():
                yield f"{name}: no annotation {key}"
        allowed = IDENTITY if name[10:] in SENT else IDENTITY | TARGET | {"sink", "operation"}
        for label in re.findall(r"\$labels\.(\w+)", " ".join(annotations.values())):
            if label not in allowed:
                yield f"{name}: an annotation uses the label {label}, which the alert must not have"
        if annotations.get("runbook_url") != f"{RUNBOOKS}{name}.md":
            yield f"{name}: its runbook_url is {annotations.get('runbook_url')}"
        if name not in runbooks:
            yield f"{name}: no runbook"
        if not re.search(rf"alertname: {name},? *(\n +)?exp_alerts: \[\]", tests):
            yield f"{name}: no case in which it does not fire"
        if not re.search(rf"alertname: {name}\n +exp_alerts:( &\w+)?\n +- exp_labels", tests):
            yield f"{name}: no case in which it fires"
    for name in sorted(set(runbooks) - set(alerts)):
        yield f"runbooks/{name}.md: no such alert"


def wrong_in_runbooks(runbooks):
    for name, text in runbooks.items():
        if not text.startswith(f"# {name}\n"):
            yield f"runbooks/{name}.md: does not begin with its name"
        headings = re.findall(r"^## (.*)$", text, re.M)
        if headings != HEADINGS:
            yield f"runbooks/{name}.md: headings {headings}"
        for heading, body in zip(headings, re.split(r"^## .*$", text, flags=re.M)[1:]):
            if len(body.split()) < 5:
                yield f"runbooks/{name}.md: nothing under {heading}"
        for other in re.findall(r"`(Scopewatch\w+)`", text):
            if other not in runbooks:
                yield f"runbooks/{name}.md: names {other}, which is no alert"


def wrong_in_text(where, text, known):
    """Metrics that a page or a config names, and patterns by which a command looks for some."""
    for pattern in re.findall(r"grep (?:-E )?'(\^[^']+)'", text):
        if not any(re.match(pattern, metric) for metric in known.catalogue):
            yield f"{where}: no metric is like {pattern}"
        text = text.replace(pattern, "")
    for name in sorted(set(re.findall(r"\bscopewatch_[a-z0-9_]*[a-z0-9]\b", text))):
        if known.labels(name) is None:
            yield f"{where}: no such metric: {name}"


def queries(dashboard):
    """[(panel, query, legend)] of everything that asks Prometheus; variables stand for everything."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], plain(target["expr"]), target.get("legendFormat", "")
    for note in dashboard["annotations"]["list"]:
        if "expr" in note:
            yield f"annotation {note['name']}", plain(note["expr"]), note["textFormat"]


def plain(query):
    return query.replace("$__rate_interval", "20s").replace("$organization", ".*").replace("$token", ".*")


def wrong_in_dashboard(text, known):
    dashboard = json.loads(text)
    if dashboard.get("schemaVersion", 0) < 39:
        yield "dashboard: its schema is an old one"
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    for name in ("datasource", "organization", "token"):
        if name not in variables:
            yield f"dashboard: no variable {name}"
    for name in set(re.findall(r"\$\{?(\w+)\}?", text)) - set(variables) - {"__rate_interval", "__all"}:
        yield f"dashboard: uses ${name}, which is no variable of it"
    for one in variables.values():
        if one["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", one["query"]["query"]).groups()
            if label not in (known.labels(metric) or {}):
                yield f"dashboard: the variable {one['name']} asks for {label} of {metric}, which is not there"
    ids, taken = set(), {}
    for panel in dashboard["panels"]:
        title, at = panel["title"], panel["gridPos"]
        if panel["id"] in ids:
            yield f"panel {title}: its number is another's"
        ids.add(panel["id"])
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken or cell[0] > 23:
                yield f"panel {title}: lies over {taken.get(cell, 'the edge')}"
                break
            taken[cell] = title
        if panel["type"] == "row":
            continue
        if not panel.get("description"):
            yield f"panel {title}: says nothing of what it shows"
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        if any(source["uid"] != "${datasource}" for source in sources):
            yield f"panel {title}: asks another data source than the variable's"
    for title, query, _ in queries(dashboard):
        yield from (f"panel {title}: {wrong}" for wrong in wrong_in_query(query, known))


def commands(runbooks):
    """[(runbook, command)] of what stands in fences, a line each."""
    for name, text in runbooks.items():
        for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.M | re.S):
            yield from ((name, line.strip()) for line in block.splitlines() if line.strip())
