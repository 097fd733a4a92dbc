"""The bench: a simulated Hub, a daemon, a real Prometheus and Alertmanager with what is shipped, all on loopback.

Knows the command line, the steering routes under /_sim and Prometheus' API; knows nothing of which answer is right.
Serves run.py.  SCOPEWATCH_BIN names the binary; `hastened` serves whoever else plays the rules in seconds.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target/debug/scopewatch"))
WIDE = [{"entity": "org:acme", "permissions": ["repo.write"]}]
WORLD = {
    "organizations": {"acme": {"plan": "enterprise", "token_policy": "allow",
                               "members": {"alice": "admin", "bob": "no_access", "carol": "write"},
                               "resource_groups": {"group": {"bob": "write"}}}},
    "repos": {"acme/model": {"type": "model", "private": True, "resource_group": "group"}},
    "tokens": {
        "limited": {"secret": "hf_deploy_limited", "user": "bob", "role": "fineGrained", "scopes": []},
        # One of which the Hub says when it expires.
        "wide": {"secret": "hf_deploy_wide", "user": "carol", "role": "write", "expires_at": "2099-01-01T00:00:00Z"},
        "janitor": {"secret": "hf_deploy_janitor", "user": "alice", "role": "fineGrained",
                    "scopes": [{"entity": "org:acme", "permissions": ["repo.write", "org.read"]}]}}}


class Broken(Exception):
    """The bench itself failed."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http(url, method="GET", body=None, timeout=20):
    """(status, text), whatever the status is; no proxy is asked."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def until(condition, what, seconds=60):
    """(the condition's first true value, seconds it took); Broken with `what`, or what it says then, when there is none."""
    began, last = time.monotonic(), None
    while True:
        try:
            value = condition()
            if value:
                return value, time.monotonic() - began
        except (OSError, ValueError, KeyError) as error:
            last = error
        if time.monotonic() - began > seconds:
            raise Broken(f"within {seconds} s expected: {what() if callable(what) else what}" + (f" (last error: {last})" if last else ""))
        time.sleep(0.1)


def changed(path, places):
    """A shipped file with what is not the same here; each place must be in it."""
    text = path.read_text()
    for ours, here in places:
        if ours not in text:
            raise Broken(f"{path.name} says no more: {ours}")
        text = text.replace(ours, here)
    return text


def hastened(rules):
    """The same rules with their times in seconds; what they say of labels and joins stays as it is."""
    for slow, fast in (("[5m:30s]", "[6s:1s]"), ("[5m]", "[6s]"), ("[15m]", "[15s]"), ("firing_for: 10m", "firing_for: 3s"),
                       ("for: 1m", "for: 1s"), ("for: 2m", "for: 2s"), ("for: 5m", "for: 5s"), ("- 120\n", "- 3\n")):
        if slow not in rules:
            raise Broken(f"the rules say {slow!r} no more, which is to be hastened")
        rules = rules.replace(slow, fast)
    return rules


class Ears:
    """Whoever is told of alerts: takes every POST, remembers where to and what."""

    def __init__(self):
        heard = self.heard = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                heard.append((self.path, json.loads(body or b"{}")))
                self.send_response(202 if self.path == "/pager" else 200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def at(self, path):
        return [body for where, body in list(self.heard) if where == path]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Bench:
    """Everything runs from the beginning to the end of a `with`."""

    def __init__(self):
        self.dir, self.started = Path(tempfile.mkdtemp(prefix="scopewatch-deploy-")), []
        self.hub, self.page, self.api = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
        # One hears the daemon and the rules, one only the rules, two only the daemon.
        self.alertmanager, self.by_rules, self.direct, self.mortal = (f"http://127.0.0.1:{free_port()}" for _ in range(4))
        self.ears = Ears()
        self.config = self.dir / "scopewatch.yaml"

    def __enter__(self):
        try:
            (self.dir / "world.yaml").write_text(json.dumps(WORLD))  # JSON is YAML
            self.config.write_text(json.dumps(self._config()))
            world = str(self.dir / "world.yaml")
            self.hub_process = self.start("hub", [BIN, "hub", "--listen", self.hub[7:], "--world", world])
            until(lambda: http(f"{self.hub}/_sim/world")[0] == 200, "the simulated Hub answers")
            self._alertmanagers()
            self.serve()
            self._prometheus()
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for process in reversed(self.started):
            self.end(process)
        self.ears.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _config(self):
        for name, token in WORLD["tokens"].items():
            (self.dir / name).write_text(token["secret"])
            (self.dir / name).chmod(0o600)

        def secret(name):
            return {"name": name, "organization": "acme", "secret": {"file": str(self.dir / name)}}
        model = {"repo": "acme/model"}
        # One that asks for nothing, so that what it adds to /metrics is there.
        web = self.dir / "web.yml"
        web.write_text('http_server_config: { headers: { X-Frame-Options: deny } }\n')
        return {
            "hub": {"endpoint": self.hub, "in_flight_horizon": "1s", "quota_share": 1, "request_timeout": "2s"},
            "schedule": {"probe": "*/2 * * * * *", "declared": "*/30 * * * * *"},
            "organizations": [{"name": "acme", "janitor": "janitor", "max_creations_per_day": 1000000}],
            "tokens": [
                {**secret("limited"), "owner": "ml-platform", "expect": [
                    {"permission": "repo.create", "access": "denied"},
                    {"permission": "repo.read", **model, "access": "denied"},
                    {"permission": "repo.write", **model, "access": "denied"}]},
                {**secret("wide"), "severity": "warning",
                 "expect": [{"permission": "repo.create", "access": "allowed"},
                            {"permission": "org.billing", "access": "denied"}]},
                secret("janitor")],
            "alerts": {"sinks": [{"name": "ears", "type": "webhook", "url": f"{self.ears.url}/direct"},
                                 {"name": "both", "type": "alertmanager", "url": self.alertmanager},
                                 {"name": "direct", "type": "alertmanager", "url": self.direct},
                                 {"name": "mortal", "type": "alertmanager", "url": self.mortal}]},
            "server": {"listen": self.page[7:], "web_config": str(web)},
            "store": {"url": f"sqlite://{self.dir}/state/state.db"}}

    def serve(self):
        (self.dir / "state").mkdir(exist_ok=True)
        self.daemon = self.start("serve", [BIN, "serve", "--config", str(self.config)])
        until(lambda: "scopewatch_round_last_completed" in self.metrics(), "the daemon completed a round")

    def _alertmanagers(self):
        """The shipped config, with our ears in place of its receivers; and some that tell nobody."""
        key = self.dir / "pagerduty-key"
        key.write_text("0" * 32)
        text = changed(DEPLOY / "alertmanager/alertmanager.yml", [
            ("routing_key_file: /etc/alertmanager/pagerduty-key",
             f"{{ routing_key_file: {key}, url: '{self.ears.url}/pager' }}"),
            ("http://tickets.example.com/alertmanager", f"{self.ears.url}/ticket"),
            ("https://deadman.example.com/ping", f"{self.ears.url}/deadman"),
            ("group_wait: 30s", "group_wait: 1s"), ("group_interval: 5m", "group_interval: 2s"),
            ("group_interval: 1m", "group_interval: 2s"), ("repeat_interval: 1m", "repeat_interval: 2s")])
        (self.dir / "alertmanager.yml").write_text(text)
        (self.dir / "silent.yml").write_text("route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")
        self._alertmanager("alerts", "alertmanager.yml", self.alertmanager)
        self._alertmanager("rules-alerts", "silent.yml", self.by_rules)
        self._alertmanager("direct-alerts", "silent.yml", self.direct)
        self.start_mortal()

    def start_mortal(self):
        self.mortal_process = self._alertmanager("mortal-alerts", "silent.yml", self.mortal)

    def _alertmanager(self, name, config, url):
        process = self.start(name, [
            "prometheus-alertmanager", f"--config.file={self.dir}/{config}", f"--storage.path={self.dir}/{name}",
            f"--web.listen-address={url[7:]}", "--cluster.listen-address=", "--log.level=warn"])
        until(lambda: http(f"{url}/-/ready")[0] == 200, f"the Alertmanager of {name} is ready")
        return process

    def _prometheus(self):
        """The shipped config with this daemon as two targets, as if there were two replicas, in seconds."""
        port = self.page.rsplit(":", 1)[1]
        text = changed(DEPLOY / "prometheus/prometheus.yml", [
            ('"127.0.0.1:10847"', f'"127.0.0.1:{port}", "localhost:{port}"'), 
            ('"127.0.0.1:9093"', f'"{self.alertmanager[7:]}", "{self.by_rules[7:]}"'),
            ("interval: 30s", "interval: 1s")])
        (self.dir / "prometheus.yml").write_text(text)
        rules = (DEPLOY / "prometheus/scopewatch.rules.yml").read_text()
        (self.dir / "scopewatch.rules.yml").write_text(hastened(rules))
        self.start("prometheus", ["prometheus", f"--config.file={self.dir}/prometheus.yml", "--log.level=warn",
                                  f"--storage.tsdb.path={self.dir}/data", f"--web.listen-address={self.api[7:]}"])
        until(lambda: http(f"{self.api}/-/ready")[0] == 200, "Prometheus is ready")
        until(lambda: len(self.query("up == 1")) == 2, "Prometheus scrapes both targets")

    def start(self, name, argv):
        with open(self.dir / f"{name}.log", "ab") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir)
        self.started.append(process)
        return process

    def end(self, process, seconds=15):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self, name):
        return (self.dir / f"{name}.log").read_text(errors="replace")

    def metrics(self):
        return http(f"{self.page}/metrics")[1]

    def steer(self, method, what, body):
        status, text = http(f"{self.hub}/_sim/{what}", method, body)
        if status != 200:
            raise Broken(f"the simulated Hub refused {body}: {text}")

    def query(self, expression):
        status, text = http(f"{self.api}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        answer = json.loads(text)
        if status != 200 or answer["status"] != "success":
            raise ValueError(f"{answer.get('error', text)} in: {expression}")
        return answer["data"]["result"]

    def rules(self):
        """[(name, alert or record, expression, labels, annotations)] as Prometheus read them."""
        groups = json.loads(http(f"{self.api}/api/v1/rules")[1])["data"]["groups"]
        return [(rule["name"], rule["type"], rule["query"], rule.get("labels", {}), rule.get("annotations", {}))
                for group in groups for rule in group["rules"]]

    def sick_rules(self):
        groups = json.loads(http(f"{self.api}/api/v1/rules")[1])["data"]["groups"]
        return [f"{rule['name']}: {rule.get('lastError', rule['health'])}"
                for group in groups for rule in group["rules"] if rule["health"] != "ok"]

    def firing(self):
        """Label sets of what fires in Prometheus, without the watchdog's."""
        alerts = json.loads(http(f"{self.api}/api/v1/alerts")[1])["data"]["alerts"]
        return [alert["labels"] for alert in alerts
                if alert["state"] == "firing" and alert["labels"]["alertname"] != "ScopewatchWatchdog"]


LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')


class Page:
    """One /metrics: each metric's type, and the values of each of its labels."""

    def __init__(self, text):
        self.types, self.labels = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ", 3)
                self.types[name] = kind
                self.labels[name] = {}
            elif line and not line.startswith("#"):
                name, inside = line.split("{", 1) if "{" in line else (line.split(" ", 1)[0], "")
                labels = self.labels.setdefault(self.family(name) or name, {})
                for label, value in LABEL.findall(inside):
                    labels.setdefault(label, set()).add(value)

    def family(self, name):
        """The declared metric of a series' name: itself, or the histogram that it is a part of."""
        if name in self.types:
            return name
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        return base if self.types.get(base) == "histogram" else None
