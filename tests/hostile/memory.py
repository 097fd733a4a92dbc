"""What the heaviest behaviours cost: memory for every connection in flight, and whether any of it stays.

Knows which behaviours are heavy; strikes every probe of one organization with one of them at a time, and reads the
daemon's high-water mark from /proc.  Serves run.py.
"""

import time

import zoo_content  # noqa: F401  (registers)
import zoo_lies  # noqa: F401  (registers)
from bench import NEVER, Daemon, Files, forget_peak, free_port, resident
from judge import flat, grown
from server import Hub, Strike
from world import Organization
from zoo import ZOO

IN_FLIGHT = 8
HEAVY = (
    "endless chunks", "endless body without a length", "endless header lines", "one endless header line", "10 GB, as declared",
    "endless trailers", "gzip bomb", "gzip bomb that calls itself plain", "10 000 headers", "a header of 1 MiB",
    "a header of 300 KiB", "60 headers more", "2 MiB, truly", "a few bytes below 1 MiB",
    "over 1 MiB", "with 10 000 trailers", "of one byte each", "half a million zeros", "a million zeros", "100 000 empty lists",
    "100 000 keys", "100 000 times the same key", "100 000 levels", "100 000 levels of objects", "a million digits",
    "a text of 100 KB", "a million items", "HTML 200", "a second answer behind it", "closed in the body", "silence in the body",
)


class Memory:
    def __init__(self, say=print):
        self.say, self.violations, self.run, self.planned, self.worst = say, [], 0, 0, (0, "")
        self.after = []

    def go(self, passes):
        """Strikes with each behaviour of each pass. `run` counts the behaviours whose memory was measured."""
        behaviours = {b.name: b for b in ZOO}
        self.planned = sum(map(len, passes))
        with Hub() as hub, Files() as files:
            organization = Organization("s0000")
            hub.add(organization)
            port = free_port()
            config = files.config([organization], hub.url, port=port, schedule=NEVER, max_in_flight=IN_FLIGHT)
            with Daemon(files, config, port) as daemon:
                for _ in range(6):                  # warm: what one honest round leaves is no leak
                    self.round(hub, daemon, organization)
                for names in passes:
                    for name in names:
                        self.one(hub, daemon, organization, behaviours[name])
                    self.round(hub, daemon, organization)
                    self.after.append(resident(daemon.pid))
                self.violations += daemon.complaints()
            self.violations += [f"on the Hub: {what}" for what in hub.violations + organization.wrong]
        if not flat(self.after):
            self.violations.append(f"memory is not flat: {self.after} KiB after each pass")

    def round(self, hub, daemon, organization):
        """One round of a token, at once."""
        before = daemon.metric("scopewatch_round_duration_seconds_count") or 0
        daemon.get(f"/-/probe?token={organization.tokens['can']}", "POST")
        daemon.until(lambda: (daemon.metric("scopewatch_round_duration_seconds_count") or 0) > before, 60, "ends a round")

    def one(self, hub, daemon, organization, behaviour):
        strike = Strike("*", behaviour)
        begun = resident(daemon.pid)
        anew = forget_peak(daemon.pid)

        def strike_now():
            hub.peak = hub.open
            hub.strikes[organization.name] = strike
        hub.do(strike_now)
        for _ in range(3):              # the round that ends first may be the one before
            if not strike.hits:
                self.round(hub, daemon, organization)
        hub.do(lambda: hub.strikes.pop(organization.name))
        # An answer may be read to its end, its connection gone, and still be in work.
        in_flight = max(IN_FLIGHT, hub.peak)
        cost = (resident(daemon.pid, "VmHWM") if anew else resident(daemon.pid)) - begun
        self.run += 1
        if not strike.hits:
            self.violations.append(f"{behaviour.name}: never struck")
        self.worst = max(self.worst, (cost, behaviour.name))
        self.say(f"  {behaviour.name:<42}{cost:>8} KiB over {begun} with at most {in_flight} connections, {len(strike.hits)} struck")
        if grown(cost, in_flight):
            self.violations.append(f"{behaviour.name}: {cost} KiB with {in_flight} connections in flight")


if __name__ == "__main__":
    started, memory = time.monotonic(), Memory()
    memory.go([HEAVY, HEAVY])
    print(memory.after, memory.worst, memory.violations, f"{time.monotonic() - started:.0f} s")
