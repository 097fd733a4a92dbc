"""What is shipped to those who run it, held to its rules without a cluster and without the network: `python3 tests/ship/run.py [--write]`

Manifests are rendered by kubectl and held against the schemas of Kubernetes and the restricted standard; configs in them against
`scopewatch check`; the overlay to try is played by the real binary; the unit is judged by systemd; Dockerfile, compose file and
workflows are held against what reads them.  Each check must find a defect that is planted for it.  Exit 77 where a tool is missing.
"""

import argparse
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import kubernetes_validate
    import yaml
except ImportError as missing:
    print(f"missing: {missing.name}; tests/run --only tools installs it")
    sys.exit(77)

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(ROOT / "tests" / "blackbox"))
from scenario import BIN, free_port, http, wait_until  # noqa: E402

KUBERNETES = "1.34"
OVERLAYS = ("example", "try", "replicas")
RULES = DEPLOY / "prometheus/scopewatch.rules.yml"
OBJECT = DEPLOY / "kubernetes/components/prometheus-operator/prometheusrule.yaml"
OBJECT_HEAD = """\
# The rules of ../../../prometheus/scopewatch.rules.yml as an object of the Prometheus operator. Written by tests/ship/run.py --write, which
# otherwise sees that the two say the same.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: scopewatch
  labels: { app.kubernetes.io/name: scopewatch }
spec:
"""
# How far open systemd may find the unit, of 10.
EXPOSURE = 1.5


class Tally:
    """What was planned, run and found, as the table of tests/run has it."""

    def __init__(self):
        self.rows = {}

    def check(self, row, what, problems, planted=False):
        one = self.rows.setdefault(row, [0, 0, 0, 0])
        if planted:
            one[2] += 1
            one[3] += bool(problems)
            if not problems:
                print(f"MISSED {row}: {what}")
            return
        one[0] += 1
        one[1] += bool(problems)
        for problem in problems:
            print(f"WRONG  {row}: {what}: {problem}")

    def end(self):
        lines = [f"ship/{row}\t{run}\t{run}\t{wrong}\t{planted}\t{caught}\n" for row, (run, wrong, planted, caught) in self.rows.items()]
        print("".join(lines), end="")
        if place := os.environ.get("SCOPEWATCH_TALLY"):
            with open(place, "a") as file:
                file.writelines(lines)
        return int(any(wrong or caught < planted for _, wrong, planted, caught in self.rows.values()))


def run(*argv, **more):
    return subprocess.run([str(one) for one in argv], capture_output=True, text=True, timeout=120, check=False, **more)


# ── Kubernetes ───────────────────────────────────────────────────────────────────────────────────────────────────

def rendered(overlay):
    done = run("kubectl", "kustomize", DEPLOY / "kubernetes/overlays" / overlay)
    if done.returncode:
        raise SystemExit(f"{overlay}: {done.stderr}")
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def schema_of(documents):
    """What the schemas of Kubernetes say, unknown keys included; objects of operators have none here."""
    problems = []
    for one in documents:
        if "monitoring.coreos.com" in one["apiVersion"]:
            continue
        try:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{one['kind']}: {error.message}")
    return problems


def restricted(documents):
    """The restricted Pod Security Standard, and what we promise beyond it."""
    problems = []
    pods = [one["spec"]["template"]["spec"] for one in documents if one["kind"] in ("StatefulSet", "Deployment")]
    for pod in pods:
        outer = pod.get("securityContext", {})
        wanted = {
            "runs as nobody": outer.get("runAsNonRoot") is True and outer.get("runAsUser") == 65532,
            "seccomp": outer.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "no token of the cluster": pod.get("automountServiceAccountToken") is False,
            "no service links": pod.get("enableServiceLinks") is False,
            "time to stop": pod.get("terminationGracePeriodSeconds", 30) >= 60,
            "no host": not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
            "volumes": all(set(volume) - {"name"} <= {"configMap", "projected", "emptyDir", "secret"} for volume in pod["volumes"]),
        }
        for container in pod["containers"]:
            inner, name = container.get("securityContext", {}), container["name"]
            wanted |= {
                f"{name}: no escalation": inner.get("allowPrivilegeEscalation") is False,
                f"{name}: no capabilities": inner.get("capabilities") == {"drop": ["ALL"]},
                f"{name}: root is read-only": inner.get("readOnlyRootFilesystem") is True,
                f"{name}: memory is bounded": "memory" in container.get("resources", {}).get("limits", {}),
                f"{name}: a version": re.search(r":\d+\.\d+\.\d+$", container["image"]) is not None,
                f"{name}: nothing by subPath": not any("subPath" in mount for mount in container["volumeMounts"]),
                f"{name}: no secret in the environment": "env" not in container and "envFrom" not in container,
            }
        daemon = pod["containers"][0]
        probes = {key: daemon.get(key, {}).get("httpGet", {}).get("path") for key in ("startupProbe", "readinessProbe", "livenessProbe")}
        wanted["probes"] = probes == {"startupProbe": "/-/ready", "readinessProbe": "/-/ready", "livenessProbe": "/-/healthy"}
        problems += [what for what, holds in wanted.items() if not holds]
    kinds = {one["kind"]: one for one in documents}
    labels = kinds["Namespace"]["metadata"]["labels"]
    policy = kinds["NetworkPolicy"]["spec"]
    whole = {
        "one pod on a volume, or several on none": len(pods) == 1
        and (kinds["StatefulSet"]["spec"]["replicas"] == 1) == ("volumeClaimTemplates" in kinds["StatefulSet"]["spec"]),
        "the namespace enforces": labels.get("pod-security.kubernetes.io/enforce") == "restricted",
        "both ways are closed": sorted(policy["policyTypes"]) == ["Egress", "Ingress"] and policy["egress"] and policy["ingress"],
        "a disruption budget": "PodDisruptionBudget" in kinds,
        "metadata is out of reach": "169.254.0.0/16" in json.dumps(policy["egress"]),
    }
    return problems + [what for what, holds in whole.items() if not holds]


def configs(documents, folder):
    """The configs that the manifests carry are valid."""
    problems, seen = [], 0
    for one in documents:
        for name, text in (one.get("data", {}) if one["kind"] == "ConfigMap" else {}).items():
            if name == "scopewatch.yaml":
                problems += invalid(text, folder)
                seen += 1
    return problems + ([] if seen == 1 else [f"{seen} configs"])


def invalid(text, folder):
    path = folder / "checked.yaml"
    path.write_text(text)
    done = run(BIN, "check", "--config", path)
    return [done.stderr] if done.returncode else []


def object_of(rules):
    body = rules[rules.index("groups:"):]
    return OBJECT_HEAD + "".join(f"  {line}" if line.strip() else line for line in body.splitlines(True))


def kubernetes(tally, folder):
    rules = RULES.read_text()
    tally.check("manifests", "the rules as an object", [] if OBJECT.read_text() == object_of(rules) else ["it says something else"])
    tally.check("manifests", "other rules", ["found"] if OBJECT.read_text() != object_of(rules.replace("alert: ScopewatchUnexpectedGrant", "alert: Other", 1)) else [], planted=True)
    for overlay in OVERLAYS:
        documents = rendered(overlay)
        tally.check("manifests", f"{overlay}: schemas", schema_of(documents))
        tally.check("manifests", f"{overlay}: restricted", restricted(documents))
        tally.check("manifests", f"{overlay}: config", configs(documents, folder))

        def planted(what, judge, change):
            spoilt = copy.deepcopy(documents)
            change(next(one for one in spoilt if one["kind"] == "StatefulSet")["spec"]["template"]["spec"], spoilt)
            tally.check("manifests", f"{overlay}: {what}", judge(spoilt), planted=True)

        planted("a key that is misspelled", schema_of, lambda pod, _: pod["containers"][0].update(livenessProb={}))
        planted("a value of another type", schema_of, lambda pod, _: pod.update(terminationGracePeriodSeconds="60"))
        for what, change in {
            "root": lambda pod, _: pod["securityContext"].update(runAsUser=0),
            "a writable root": lambda pod, _: pod["containers"][-1]["securityContext"].update(readOnlyRootFilesystem=False),
            "a capability": lambda pod, _: pod["containers"][-1]["securityContext"].update(capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}),
            "a token of the cluster": lambda pod, _: pod.pop("automountServiceAccountToken"),
            "unbounded memory": lambda pod, _: pod["containers"][-1]["resources"].pop("limits"),
            "liveness by the Hub": lambda pod, _: pod["containers"][0]["livenessProbe"]["httpGet"].update(path="/-/ready"),
            "the latest image": lambda pod, _: pod["containers"][0].update(image="ghcr.io/scopewatch/scopewatch:latest"),
            "more or fewer pods": lambda _, all: next(one for one in all if one["kind"] == "StatefulSet")["spec"].update(
                replicas=4 - next(one for one in all if one["kind"] == "StatefulSet")["spec"]["replicas"]),
            "an open policy": lambda _, all: next(one for one in all if one["kind"] == "NetworkPolicy")["spec"].update(policyTypes=["Ingress"]),
        }.items():
            planted(what, restricted, change)
        planted("a wrong config", lambda all: configs(all, folder), lambda _, all: [
            one["data"].update({"scopewatch.yaml": "tokens: []"}) for one in all if one["kind"] == "ConfigMap"])


# ── The overlay to try, played ───────────────────────────────────────────────────────────────────────────────────

def play(tally, folder):
    """What the overlay promises: a grant that should not be, found with the first round, and told to Alertmanager."""
    place = DEPLOY / "kubernetes/overlays/try"
    hub, port, alertmanager = free_port(), free_port(), free_port()
    config = (place / "scopewatch.yaml").read_text()
    for theirs, ours in {
        "http://127.0.0.1:8099": f"http://127.0.0.1:{hub}",
        "0.0.0.0:10847": f"127.0.0.1:{port}",
        "http://alertmanager-operated.monitoring.svc:9093": f"http://127.0.0.1:{alertmanager}",
        "/run/secrets/scopewatch": str(place / "tokens"),
        "/var/lib/scopewatch": str(folder),
    }.items():
        if theirs not in config:
            return tally.check("try", "the config", [f"it does not name {theirs}"])
        config = config.replace(theirs, ours)
    (folder / "try.yaml").write_text(config)
    (folder / "am.yml").write_text("route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")
    commands = [
        [BIN, "hub", "--listen", f"127.0.0.1:{hub}", "--world", place / "world.yaml"],
        ["prometheus-alertmanager", f"--config.file={folder}/am.yml", f"--storage.path={folder}/am", f"--web.listen-address=127.0.0.1:{alertmanager}",
         "--cluster.listen-address="],
        [BIN, "serve", "--config", folder / "try.yaml"],
    ]
    started = []
    try:
        for argv in commands:
            started.append(subprocess.Popen([str(one) for one in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, cwd=folder))
        began, url = time.monotonic(), f"http://127.0.0.1:{port}"

        def told():
            alerts = json.loads(http(f"http://127.0.0.1:{alertmanager}/api/v2/alerts")[1])
            return [one for one in alerts if one["labels"]["alertname"] == "ScopewatchUnexpectedGrant"]
        wait_until(lambda: http(f"{url}/-/ready")[0] == 200, "the daemon is ready", 30)
        healthy = run(BIN, "healthcheck", "--config", folder / "try.yaml")
        wait_until(told, "the grant is in Alertmanager", 60)
        labels = told()[0]["labels"]
        took = time.monotonic() - began
        tally.check("try", "the alert", [] if (labels["token"], labels["severity"]) == ("ci-bot", "critical") else [str(labels)])
        tally.check("try", "the page", [] if "unexpected grant" in http(f"{url}/")[1] else ["it does not tell"])
        tally.check("try", "the healthcheck", [] if healthy.returncode == 0 else [healthy.stderr])
        print(f"the overlay to try: from its start to the alert in Alertmanager {took:.1f} s")
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)
    gone = run(BIN, "healthcheck", "--config", folder / "try.yaml")
    tally.check("try", "the healthcheck of a daemon that is gone", [gone.stderr] if gone.returncode == 1 else [], planted=True)


# ── systemd ──────────────────────────────────────────────────────────────────────────────────────────────────────

def exposure(text, folder):
    """(what systemd finds wrong with the unit, how far open it is)."""
    unit = folder / "scopewatch.service"
    unit.write_text(text.replace("/usr/local/bin/scopewatch", str(BIN)))
    wrong = run("systemd-analyze", "verify", unit)
    # Of other units of this machine it complains, too.
    problems = [line for line in wrong.stderr.splitlines() if "scopewatch.service" in line]
    said = run("systemd-analyze", "security", "--offline=true", unit).stdout
    level = re.search(r"exposure level for scopewatch.service: ([\d.]+)", said)
    return problems, float(level.group(1)) if level else 10.0


def systemd(tally, folder):
    text = (DEPLOY / "systemd/scopewatch.service").read_text()
    problems, level = exposure(text, folder)
    print(f"the unit: exposure {level} of 10")
    tally.check("systemd", "verify", problems)
    tally.check("systemd", "security", [] if level <= EXPOSURE else [f"exposure {level}"])
    for what in ("SystemCallFilter=@system-service", "CapabilityBoundingSet=", "RestrictNamespaces=yes"):
        _, open_ = exposure("".join(line for line in text.splitlines(True) if line.strip() != what), folder)
        tally.check("systemd", f"without {what}", ["found"] if open_ > level else [], planted=True)
    misspelled, _ = exposure(text.replace("ProtectHome=yes", "ProtectHouse=yes"), folder)
    tally.check("systemd", "a key that is misspelled", misspelled, planted=True)


# ── Files that others read ───────────────────────────────────────────────────────────────────────────────────────

def tools(folder, **texts):
    """What the tool says of each file: hadolint of a Dockerfile, check-jsonschema of the others."""
    problems = []
    for name, text in texts.items():
        path = folder / {"dockerfile": "Dockerfile"}.get(name, f"{name}.yaml")
        path.write_text(text)
        if name == "dockerfile":
            done = run(HERE / "hadolint", path)
        else:
            done = run(HERE / "check-jsonschema", "--builtin-schema", {"compose": "vendor.compose-spec"}.get(name, "vendor.github-workflows"), path)
        problems += [(done.stdout + done.stderr)[:800]] if done.returncode else []
    return problems


def unwritable(compose):
    """What Compose would have to write into a read-only root: it refuses whatever does not come as a file."""
    whole = yaml.safe_load(compose)
    return [f"{name}: {one['source']}" for name, service in whole["services"].items() if service.get("read_only") for kind in ("configs", "secrets")
            for one in service.get(kind, []) if "file" not in whole[kind][one["source"]]]


def files(tally, folder):
    dockerfile, compose = (DEPLOY / "Dockerfile").read_text(), (DEPLOY / "compose.yaml").read_text()
    tally.check("files", "Dockerfile", tools(folder, dockerfile=dockerfile))
    tally.check("files", "an image without a version", tools(folder, dockerfile="FROM debian\nRUN apt-get install curl\n"), planted=True)
    tally.check("files", "compose", tools(folder, compose=compose))
    tally.check("files", "compose, misspelled", tools(folder, compose=compose.replace("read_only:", "readonly:")), planted=True)
    tally.check("files", "compose, read-only", unwritable(compose))
    by_content = compose.replace("world: { file: ./kubernetes/overlays/try/world.yaml }", "world: { content: tokens }")
    tally.check("files", "compose, a config by content", unwritable(by_content), planted=True)
    carried = yaml.safe_load(compose)["configs"]
    tally.check("files", "the config in compose", invalid((DEPLOY / carried["scopewatch_config"]["file"]).read_text(), folder))
    (folder / "prometheus.yml").write_text(carried["prometheus_config"]["content"])
    shutil.copy(RULES, folder)
    done = run("promtool", "check", "config", folder / "prometheus.yml")
    tally.check("files", "the Prometheus in compose", [done.stderr] if done.returncode else [])
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        text = path.read_text()
        tally.check("files", path.name, tools(folder, workflow=text))
        loose = [line.strip() for line in text.splitlines() if "uses:" in line and not re.search(r"@[0-9a-f]{40} # v", line)]
        tally.check("files", f"{path.name}: actions by their commit", loose)
    tally.check("files", "a workflow, misspelled", tools(folder, workflow=text.replace("runs-on:", "run-on:")), planted=True)
    done = run(DEPLOY / "release-notes", "Unreleased")
    tally.check("files", "release notes", [] if done.returncode == 0 and "[FEATURE]" in done.stdout else [done.stderr])
    tally.check("files", "notes of no release", ["found"] if run(DEPLOY / "release-notes", "0.0.0").returncode == 1 else [], planted=True)


HERE = Path(sys.executable).parent


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true", help="write the object of the rules anew, and end")
    if options.parse_args().write:
        OBJECT.write_text(object_of(RULES.read_text()))
        return 0
    lacking = [tool for tool in ("kubectl", "systemd-analyze", "promtool", "prometheus-alertmanager") if not shutil.which(tool)]
    lacking += [tool for tool in ("hadolint", "check-jsonschema") if not (HERE / tool).exists()]
    if lacking:
        print(f"missing: {', '.join(lacking)}")
        return 77
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="scopewatch-ship-") as folder:
        for part in (kubernetes, play, systemd, files):
            place = Path(folder) / part.__name__
            place.mkdir()
            part(tally, place)
    return tally.end()


if __name__ == "__main__":
    sys.exit(main())
