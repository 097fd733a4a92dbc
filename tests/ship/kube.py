"""The overlay to try as a pod: what kubectl renders, played by podman.

A part of walk.py.  podman plays pods, claims and ConfigMaps.  What a cluster does beyond that is done here, and said: the StatefulSet's
template becomes its pod, the projected Secret files as the kubelet lays them out, the volume is given to the group of `fsGroup`, and the
probes are asked as the kubelet would (podman turns them into `curl` in the container, where there is none).
"""

import base64
import copy
import json
import os
import subprocess
import time

from image import PROMISED, confined, weak
from run import rendered, run
from scenario import http, wait_until

GROUP, ALERTMANAGER = 65532, "10.96.1.9"
NAME = "alertmanager-operated.monitoring.svc"
PLAYED = {"ConfigMap", "PersistentVolumeClaim", "Pod"}


def pod_of(documents, tokens):
    """(what podman can play, the kinds that it cannot)."""
    whole = next(one for one in documents if one["kind"] == "StatefulSet")
    template, name = whole["spec"]["template"], f"{whole['metadata']['name']}-0"
    spec = copy.deepcopy(template["spec"])
    played = [copy.deepcopy(one) for one in documents if one["kind"] == "ConfigMap"]
    for claim in whole["spec"]["volumeClaimTemplates"]:
        claimed = f"{claim['metadata']['name']}-{name}"
        played.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claimed}, "spec": claim["spec"]})
        spec["volumes"].append({"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claimed}})
    for volume in spec["volumes"]:
        if projected := volume.pop("projected", None):
            project(documents, projected, tokens)
            volume["hostPath"] = {"path": str(tokens), "type": "Directory"}
    spec["hostAliases"] = [{"ip": ALERTMANAGER, "hostnames": [NAME]}]
    played.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": spec})
    return played, sorted({one["kind"] for one in documents} - PLAYED)


def project(documents, projected, folder):
    """A Secret as the kubelet shows it: files behind one link that is swapped, readable by the group."""
    data = folder / "..2026_01_01"
    data.mkdir(parents=True)
    os.symlink(data.name, folder / "..data")
    for source in projected["sources"]:
        secret = next(one for one in documents if one["kind"] == "Secret" and one["metadata"]["name"] == source["secret"]["name"])
        for key, value in secret["data"].items():
            (data / key).write_bytes(base64.b64decode(value))
            os.chmod(data / key, projected["defaultMode"])
            os.chown(data / key, 0, GROUP)
            os.symlink(f"..data/{key}", folder / key)


class Pod:
    """One play of the pod, from the manifest to its end."""

    def __init__(self, engine, folder, documents):
        self.engine, self.path = engine, folder / "play.yaml"
        played, self.left = pod_of(documents, folder / "tokens")
        self.path.write_text("---\n".join(json.dumps(one) + "\n" for one in played))
        self.claim = next(one["metadata"]["name"] for one in played if one["kind"] == "PersistentVolumeClaim")
        engine.podman("kube", "play", "--start=false", self.path)

    def own(self, group, mode):
        """Whose the volume is from now on: with the group of `fsGroup` and 2775 as the kubelet leaves it."""
        place = self.engine.podman("volume", "inspect", "--format", "{{.Mountpoint}}", self.claim).stdout.strip()
        os.chown(place, 0, group)
        os.chmod(place, mode)

    def start(self):
        self.engine.podman("pod", "start", "scopewatch-0")
        infra = self.engine.podman("pod", "inspect", "--format", "{{.InfraContainerID}}", "scopewatch-0").stdout.strip()
        networks = json.loads(self.engine.podman("inspect", "--format", "json", infra).stdout)[0]["NetworkSettings"]["Networks"]
        self.url = f"http://{next(iter(networks.values()))['IPAddress']}:10847"

    def seen(self, container, what):
        return self.engine.podman("inspect", "--format", f"{{{{{what}}}}}", f"scopewatch-0-{container}").stdout.strip()

    def ready(self):
        return http(f"{self.url}/-/ready")[0] == 200

    def log(self):
        return self.engine.log("scopewatch-0-scopewatch")

    def end(self):
        self.engine.podman("kube", "down", self.path)
        self.engine.podman("volume", "rm", "--all")


def alertmanager(folder):
    """A real one, at the address that stands for it."""
    run("ip", "addr", "add", ALERTMANAGER, "dev", "lo")
    (folder / "am.yml").write_text("route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")
    process = subprocess.Popen(["prometheus-alertmanager", f"--config.file={folder}/am.yml", f"--storage.path={folder}/am", "--cluster.listen-address=",
                                f"--web.listen-address={ALERTMANAGER}:9093"], stderr=subprocess.DEVNULL)
    wait_until(lambda: http(f"http://{ALERTMANAGER}:9093/-/ready")[0] == 200, "Alertmanager is ready", 20)
    return process


def told():
    alerts = json.loads(http(f"http://{ALERTMANAGER}:9093/api/v2/alerts")[1])
    return any(one["labels"].get("alertname") == "ScopewatchUnexpectedGrant" for one in alerts)


def walked(tally, pod):
    began = time.monotonic()
    pod.start()
    try:
        wait_until(pod.ready, "the pod is ready", 60)
        ready = time.monotonic() - began
        wait_until(told, "the alert is in Alertmanager", 60)
    except AssertionError as error:
        raise SystemExit(f"{error}\n{pod.log()}") from error
    print(f"kube: ready after {ready:.1f} s, the alert in Alertmanager after {time.monotonic() - began:.1f} s; not played: {', '.join(pod.left)}")
    tally.check("kube", "the page", [] if "unexpected grant" in http(f"{pod.url}/")[1] else ["it does not tell"])
    for container in ("scopewatch", "hub"):
        tally.check("kube", f"{container}, confined", confined(int(pod.seen(container, ".State.Pid"))))
        tally.check("kube", f"{container}, its memory", [] if pod.seen(container, ".HostConfig.Memory") == str(64 << 20) else ["unbounded"])
    tally.check("kube", "as it reports itself", weak(http(f"{pod.url}/metrics")[1]))
    first = pod.seen("scopewatch", ".State.Pid")
    pod.engine.podman("kill", "scopewatch-0-hub")
    wait_until(lambda: "scopewatch_hub_reachable 0" in http(f"{pod.url}/metrics")[1], "the daemon misses its Hub", 60)
    probes = [path for path in ("/-/healthy", "/-/ready") if http(f"{pod.url}{path}")[0] != 200]
    tally.check("kube", "without its Hub", probes + ([] if pod.seen("scopewatch", ".State.Pid") == first else ["it was restarted"]))
    began = time.monotonic()
    pod.engine.podman("pod", "stop", "-t", "60", "scopewatch-0")
    code = pod.seen("scopewatch", ".State.ExitCode")
    print(f"kube: ended {time.monotonic() - began:.1f} s after SIGTERM")
    tally.check("kube", "SIGTERM", [] if code == "0" else [f"exit {code}"])
    # podman gives a new volume to the image's user; only from here on it is as the kubelet gives it.
    pod.own(GROUP, 0o2775)
    pod.start()
    wait_until(pod.ready, "the pod is ready again", 60)
    wait_until(lambda: "unexpected_grant" in http(f"{pod.url}/api/v1/findings")[1], "the finding is back", 60)


def never_ready(pod):
    try:
        wait_until(pod.ready, "the pod is ready", 5)
    except AssertionError as error:
        return [str(error)]
    return []


def part(tally, engine, folder):
    process = alertmanager(folder)
    try:
        for name in ("shipped", "careless", "not owned"):
            documents, place = rendered("try"), folder / name.replace(" ", "-")
            place.mkdir()
            spec = next(one for one in documents if one["kind"] == "StatefulSet")["spec"]["template"]["spec"]
            if name == "careless":
                spec["securityContext"] = {}
                spec["containers"][0]["securityContext"] = {"runAsUser": 0, "privileged": True}
            pod = Pod(engine, place, documents)
            if name == "shipped":
                walked(tally, pod)
            elif name == "careless":
                pod.start()
                wait_until(pod.ready, "the careless pod is ready", 60)
                found = confined(int(pod.seen("scopewatch", ".State.Pid")))
                tally.check("kube", name, found if len(found) >= 3 else [], planted=True)
                reported = weak(http(f"{pod.url}/metrics")[1])
                tally.check("kube", "careless, as it reports itself", reported if set(reported) <= PROMISED else [], planted=True)
            else:
                pod.start()
                wait_until(pod.ready, "the pod is ready", 60)
                pod.engine.podman("pod", "stop", "-t", "60", "scopewatch-0")
                pod.own(0, 0o755)
                pod.start()
                tally.check("kube", "a volume that is another's", never_ready(pod), planted=True)
            pod.end()
    finally:
        process.terminate()
        process.wait(30)
