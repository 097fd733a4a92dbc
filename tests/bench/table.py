"""Figures beside their goals: what every measurement prints with `--table`, and what `tests/bench/run` makes one table of.

A line is NAME, VALUE, GOAL and UNIT with tabs in between. A goal is `<=NUMBER` (a bare number means the same), `>=NUMBER`, or
nothing; without a VALUE the figure was not to be had, and UNIT says why.
"""

import sys
from dataclasses import asdict, dataclass

SIGNS = {"<=": "≤", ">=": "≥"}


@dataclass
class Row:
    name: str
    value: float | None
    goal: str = ""
    unit: str = ""
    note: str = ""

    def bound(self):
        """Sign and number of the goal; None where there is none."""
        if not self.goal:
            return None
        sign = self.goal[:2] if self.goal[:2] in SIGNS else "<="
        return sign, float(self.goal.removeprefix(sign))

    def verdict(self):
        bound = self.bound()
        if bound is None:
            return ""
        if self.value is None or self.value != self.value:
            return "not measured"
        held = self.value <= bound[1] if bound[0] == "<=" else self.value >= bound[1]
        return "met" if held else "MISSED"

    def line(self):
        value = "" if self.value is None else f"{self.value:.6g}"
        return "\t".join([self.name, value, self.goal, self.unit] + ([self.note] if self.note else []))

    def told(self):
        return {**asdict(self), "verdict": self.verdict()}


def parse(text):
    """The rows among lines of any kind."""
    rows = []
    for line in text.splitlines():
        fields = line.split("\t")
        if not 4 <= len(fields) <= 5:
            continue
        try:
            row = Row(fields[0], float(fields[1]) if fields[1] else None, *fields[2:])
            row.bound()
        except ValueError:
            print(f"not a figure: {line}", file=sys.stderr)
            continue
        rows.append(row)
    return rows


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def show(groups):
    """The whole table; `groups` is name → rows."""
    cells = [["figure", "value", "goal", "unit", ""]]
    for group, rows in groups.items():
        cells.append([group])
        for row in rows:
            bound = row.bound()
            goal = f"{SIGNS[bound[0]]} {number(bound[1])}" if bound else ""
            cells.append(["  " + row.name, number(row.value), goal, row.unit, row.verdict(), row.note])
    widths = [max(len(line[at]) for line in cells if len(line) > 1) for at in range(5)]
    for line in cells:
        if len(line) == 1:
            print(f"\n{line[0]}")
            continue
        name, value, goal, unit, *rest = line
        words = [name.ljust(widths[0]), value.rjust(widths[1]), goal.rjust(widths[2]), unit.ljust(widths[3])]
        print("  ".join(words + [rest[0].ljust(12)] + rest[1:]).rstrip())
