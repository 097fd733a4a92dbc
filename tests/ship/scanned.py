"""Manifests and Dockerfile before checkov, offline.

A part of walk.py.  Whatever it finds is mended, or stands here with the reason why it stays.
"""

import json
import sys
from pathlib import Path

import yaml
from run import DEPLOY, OVERLAYS, rendered, run

STAYS = {
    "CKV_K8S_11": "no CPU limit: a daemon that is throttled looks like a Hub that is slow; requests and memory are bounded",
    "CKV_K8S_15": "no pull at each start: the tag is a version, and a registry that is down shall not keep the watch from starting",
    "CKV_K8S_43": "no digest: which one is yours says your registry; overlays/example shows where an image is named",
    "CKV_DOCKER_7": "the last stage is `scratch`, the first one has its version in an argument",
}
# Of the simulated Hub beside the daemon: it listens on loopback, where no probe reaches it.
STAYS_IN_TRY = {"CKV_K8S_8": "the Hub has no liveness probe", "CKV_K8S_9": "nor a readiness probe"}


def found(folder, **texts):
    """(how many checks passed, the checks that failed) of files by their names."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / {"dockerfile": "Dockerfile"}.get(name, f"{name}.yaml")).write_text(text)
    done = run(sys.executable, Path(sys.executable).parent / "checkov", "--skip-download", "--compact", "--quiet", "-o", "json", "-d", folder)
    reports = json.loads(done.stdout)
    reports = reports if isinstance(reports, list) else [reports]
    failed = {one["check_id"] for report in reports for one in report.get("results", {}).get("failed_checks", [])}
    return sum(report.get("summary", report).get("passed", 0) for report in reports), failed


def part(tally, _, folder):
    for overlay in OVERLAYS:
        stays = {**STAYS, **(STAYS_IN_TRY if overlay == "try" else {})}
        passed, failed = found(folder / overlay, manifests=yaml.safe_dump_all(rendered(overlay)), dockerfile=(DEPLOY / "Dockerfile").read_text())
        print(f"checkov: {overlay}: {passed} checks passed, {len(failed)} stay")
        tally.check("checkov", overlay, sorted(failed - set(stays)) + ([] if passed > 80 else ["hardly anything was checked"]))
        tally.check("checkov", f"{overlay}: what stays is still found", sorted(set(stays) - failed))
    documents = rendered("example")
    spec = next(one for one in documents if one["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    spec["containers"][0]["securityContext"]["privileged"] = True
    spec["hostNetwork"] = True
    _, failed = found(folder / "spoilt", manifests=yaml.safe_dump_all(documents), dockerfile="FROM debian:12\nRUN apt-get update\n")
    for check, what in {"CKV_K8S_16": "a privileged container", "CKV_K8S_19": "the host's network", "CKV_DOCKER_3": "an image without a user"}.items():
        tally.check("checkov", what, sorted(failed & {check}), planted=True)
