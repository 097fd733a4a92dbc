"""The compose file, brought up by podman-compose: to the alert in Alertmanager by both ways.

A part of walk.py.  Two images are stand-ins of Debian's programs under the public names; Grafana is left out, Debian has none.
podman-compose knows no `configs`, so that they become mounts of files here, which is what Compose itself makes of them.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import yaml
from image import confined, weak
from run import DEPLOY, run
from scenario import http, wait_until

LEFT_OUT = ("grafana",)


def understood(folder, change):
    """The file as podman-compose takes it, beside a copy of what it names."""
    place = folder / "deploy"
    shutil.copytree(DEPLOY, place)
    whole = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    configs = whole.pop("configs")
    for name in LEFT_OUT:
        del whole["services"][name]
    for service in whole["services"].values():
        service.pop("build", None)
        for one in service.pop("configs", []):
            config = configs[one["source"]]
            if "content" in config:
                config["file"] = f"./{one['source']}.yaml"
                (place / config["file"]).write_text(config["content"])
            service.setdefault("volumes", []).append(f"{config['file']}:{one['target']}:ro")
    change(whole["services"])
    (place / "compose.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    return place / "compose.yaml"


class Stack:
    def __init__(self, engine, folder, change=lambda _: None):
        self.engine, self.file, wrapper = engine, understood(folder, change), folder / "podman"
        wrapper.write_text(f'#!/bin/sh\nexec podman {" ".join(map(str, engine.store))} "$@"\n')
        wrapper.chmod(0o755)
        self.argv = [Path(sys.executable).parent / "podman-compose", "--podman-path", wrapper, "-f", self.file]

    def compose(self, *argv):
        done = run(*self.argv, *argv, cwd=self.file.parent)
        if done.returncode:
            raise SystemExit(f"podman-compose {' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")

    def seen(self, service, what):
        return self.engine.podman("inspect", "--format", f"{{{{{what}}}}}", f"scopewatch_{service}_1").stdout.strip()

    def wait(self, condition, what, seconds):
        try:
            wait_until(condition, what, seconds)
        except AssertionError as error:
            logs = "".join(f"── {one}\n{self.engine.log(f'scopewatch_{one}_1')}" for one in ("scopewatch", "prometheus", "alertmanager"))
            raise SystemExit(f"{error}\n{logs}") from error


def fires(alertname):
    alerts = json.loads(http("http://127.0.0.1:9093/api/v2/alerts")[1])
    return any(one["labels"].get("alertname") == alertname for one in alerts)


def by_sink():
    """The daemon's own word: labels are the same by both ways, so that Alertmanager cannot tell."""
    return "scopewatch_notifications_pending{sink=\"am-0\"} 0" in http("http://127.0.0.1:10847/metrics")[1]


def by_rule():
    alerts = json.loads(http("http://127.0.0.1:9090/api/v1/alerts")[1])["data"]["alerts"]
    return any(one["labels"]["alertname"] == "ScopewatchUnexpectedGrant" and one["state"] == "firing" for one in alerts)


def walked(tally, stack):
    began = time.monotonic()
    stack.compose("up", "-d", "--no-build")
    stack.wait(lambda: http("http://127.0.0.1:10847/-/ready")[0] == 200, "the daemon is ready", 60)
    stack.wait(lambda: fires("ScopewatchUnexpectedGrant") and by_sink(), "the alert of the daemon's sink", 90)
    direct = time.monotonic() - began
    # The watchdog comes by the rules alone: whoever has it has what Prometheus sends.
    stack.wait(lambda: by_rule() and fires("ScopewatchWatchdog"), "the alert of the rule", 120)
    print(f"compose: from `up` to the alert {direct:.1f} s by the daemon's sink, {time.monotonic() - began:.1f} s by the rule; "
          f"left out: {', '.join(LEFT_OUT)}")
    tally.check("compose", "the page", [] if "unexpected grant" in http("http://127.0.0.1:10847/")[1] else ["it does not tell"])
    for service in ("scopewatch", "hub"):
        tally.check("compose", f"{service}, confined", confined(int(stack.seen(service, ".State.Pid"))))
    tally.check("compose", "as it reports itself", weak(http("http://127.0.0.1:10847/metrics")[1]))
    tally.check("compose", "its memory", [] if stack.seen("scopewatch", ".HostConfig.Memory") == str(64 << 20) else ["unbounded"])
    stack.compose("stop")
    code = stack.seen("scopewatch", ".State.ExitCode")
    tally.check("compose", "its end", [] if code == "0" else [f"exit {code}"])


def part(tally, engine, folder):
    for name, change in {"shipped": None, "spoilt": lambda services: services["hub"].pop("network_mode")}.items():
        place = folder / name
        place.mkdir()
        stack = Stack(engine, place, *([change] if change else []))
        try:
            if not change:
                walked(tally, stack)
                continue
            stack.compose("up", "-d", "--no-build")
            stack.wait(lambda: http("http://127.0.0.1:10847/-/ready")[0] == 200, "the daemon is ready", 60)
            try:
                wait_until(lambda: fires("ScopewatchUnexpectedGrant"), "the alert", 20)
                missed = []
            except AssertionError as error:
                missed = [str(error)]
            tally.check("compose", "a Hub that is not beside the daemon", missed, planted=True)
        finally:
            stack.compose("down", "-v")
