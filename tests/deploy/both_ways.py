"""A grant by both ways: the daemon tells Alertmanager itself, and so do the rules, and it is one alert.

Real Alertmanagers: one hears both, one only the rules, two only the daemon.  Of these one is lied to and one loses its
memory, and they must be told again.  Knows Alertmanager's API; how it is started is bench.py's.  Serves run.py.
"""

import datetime
import json
import shutil
import threading
import time

from bench import WIDE, Broken, http, until

RESEND = 60.0                           # seconds after which the daemon says again what stands
PERIOD, SCRAPE, RULES = 2.0, 1.0, 1.0   # seconds, as bench.py sets them


def shown(url, name="ScopewatchUnexpectedGrant"):
    """The active alerts of this name in an Alertmanager: [(labels, annotations)]."""
    status, text = http(f'{url}/api/v2/alerts?active=true&filter=alertname%3D"{name}"')
    if status != 200:
        raise ValueError(f"Alertmanager answers {status}")
    return [(alert["labels"], alert["annotations"]) for alert in json.loads(text)]


def arrives(bench, wanted, tell):
    """Widens the token.  Yields what is wrong with the alerts that come of it."""
    ways = {"the daemon": bench.direct, "the rules": bench.by_rules, "both": bench.alertmanager}
    bench.steer("PATCH", "world", {"tokens": {"limited": {"scopes": WIDE}}})
    began, took, end = time.monotonic(), {}, time.monotonic() + 60
    while len(took) < len(ways) and time.monotonic() < end:
        for way, url in ways.items():
            if way not in took and len(shown(url)) >= len(wanted):
                took[way] = time.monotonic() - began
        time.sleep(0.02)
    bounds = {"the daemon": PERIOD + 2, "the rules": PERIOD + 2 + 2 * (SCRAPE + RULES)}
    for way, bound in bounds.items():
        tell(f"widened: firing in Alertmanager by {way} after {took.get(way, 999):.2f} s (one period and what is allowed: {bound:.0f} s)")
    yield from (f"not within a minute by {way}" for way in ways if way not in took)
    # By then each way has told of it again, and Alertmanager has made of it what it makes.
    time.sleep(2 * PERIOD)
    for way, url in ways.items():
        found = [labels for labels, _ in shown(url)]
        yield from (f"by {way}, and should not be, or not so: {labels}" for labels in found if labels not in wanted)
        yield from (f"by {way} not there: {labels}" for labels in wanted if labels not in found)
        if len(found) != len(wanted):
            yield f"by {way} {len(found)} alerts instead of {len(wanted)}"
    for labels, annotations in shown(bench.direct):
        missing = {"summary", "description", "runbook_url", "evidence"} - {name for name, text in annotations.items() if text}
        if missing:
            yield f"sent by the daemon without {sorted(missing)}: {labels}"


class Ordeal(threading.Thread):
    """Meanwhile something happens to an Alertmanager that only the daemon tells, and it must be told again."""

    def __init__(self, what, url, happen, wanted, tell):
        super().__init__(daemon=True)
        self.what, self.url, self.happen, self.wanted, self.tell = what, url, happen, wanted, tell
        self.wrong = []
        self.start()

    def run(self):
        try:
            self.happen(self.url, self.wanted)
            _, took = until(lambda: len(shown(self.url)) == len(self.wanted), f"firing again after {self.what}", 2 * RESEND)
            self.tell(f"{self.what}: firing again after {took:.0f} s (told again every {RESEND:.0f} s)")
        except Exception as error:  # whatever it is, it must not be silent
            self.wrong.append(f"{self.what}: {error!r}")

    def over(self):
        """Waits for the end.  Yields what was wrong."""
        self.join(300)
        yield from ([f"{self.what}: it did not end"] if self.is_alive() else self.wrong)


def ordeals(bench, wanted, tell):
    def forge(url, wanted):
        past = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)).isoformat()
        status, text = http(f"{url}/api/v2/alerts", "POST", [{"labels": labels, "endsAt": past} for labels in wanted])
        if status != 200 or shown(url):
            raise Broken(f"the forged end was not taken: {status} {text}")

    def kill(_url, _wanted):
        bench.mortal_process.kill()
        bench.mortal_process.wait()
        shutil.rmtree(bench.dir / "mortal-alerts")
        # For so long that the daemon notices, and has to try again.
        time.sleep(RESEND / 4)
        bench.start_mortal()

    return [Ordeal("a forged end", bench.direct, forge, wanted, tell),
            Ordeal("an Alertmanager that was killed and remembers nothing", bench.mortal, kill, wanted, tell)]
