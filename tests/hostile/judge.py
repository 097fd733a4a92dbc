"""The judgements that need no table: late connections, memory, open files, complaints in a log.

Pure functions of what was measured, so that controls.py can plant each defect and see it found.  Serves pairs.py,
memory.py, whole.py, limits.py and controls.py.
"""

import re

SLACK = 1.0                             # seconds beyond the deadline until a connection must be closed
# The design's own figure (hostile servers): for every connection in flight.
PER_CONNECTION = 2048                   # KiB
PER_ROUND = 4096                        # KiB that a round costs whoever answers; an honest one, too
# What may stay of a whole pass over the zoo, when the passes before it have warmed everything up.
LEFT = 6144                             # KiB
FILES_LEFT = 8                          # idle connections are kept for half a minute
# What a panic or a broken invariant looks like in a log.
BROKEN = re.compile(rb"panicked at|failed unexpectedly|assertion|stack overflow|SIGSEGV|RUST_BACKTRACE", re.I)


def late(spans, timeout, lag=0.0):
    """Struck requests whose connection was kept too long. `lag`: by how much the Hub itself ran late."""
    return [f"{span.call} × {span.behaviour}: a connection was kept for {span.seconds:.1f} s ({span.sent} bytes)"
            for span in spans if span.seconds > timeout + SLACK + 2 * lag]


def grown(kib, in_flight):
    """Whether memory grew by more than its connections may cost."""
    return kib > PER_ROUND + PER_CONNECTION * max(1, in_flight)


def flat(samples):
    """Whether memory stays where it was once everything had been seen."""
    return max(samples[1:], default=0) <= samples[0] + LEFT


def files_back(before, after):
    return after <= before + FILES_LEFT


def complaints(log):
    """Lines of a log that no behaviour of anybody may cause."""
    return [line.decode("utf-8", "replace") for line in log.splitlines() if BROKEN.search(line)]
