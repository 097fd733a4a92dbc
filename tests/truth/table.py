"""The truth table: one audit against the simulated Hub asks every question of every kind of token.

Knows how a cell is judged by the oracle, printed and counted, and that a comparison which cannot fail proves
nothing: with any rule of the oracle turned round, or the answers swapped, it must be red.  Serves run.py.
"""

import sys
from collections import Counter
from dataclasses import dataclass, replace

from bench import REASONS, Bench, verdict_of
from oracle import ALLOWED, DENIED, RULES, UNDETERMINED, Oracle, undetermined
from worlds import COLUMNS, CREATE, FAULTS, REPOS, WHOLE, config_of, fault_orders, rows, world_of

# As many cells as the table must have where the documents say exactly what is right.
AT_LEAST = 500
SHORT = {None: "", "token_policy": "policy", "token_revoked": "revokd", "ip_restriction": "ip", "billing": "money",
         "token_invalid": "invald", "rate_limited": "rate", "creation_cap": "cap", "no_control": "noctrl",
         "target_missing": "missng", "conflict": "confl", "hub_error": "huberr", "timeout": "timout", "network": "netwrk",
         "unrecognized": "unrec", "intent_not_stored": "intent", "read_only": "ronly"}
LETTER = {ALLOWED: "A", DENIED: "D", UNDETERMINED: "U"}
LEGEND = """
Each cell: what the documents say, then what the audit found, and why.  A allowed, D denied, U undetermined;
. the documents are silent, and nothing is claimed; ~ they only say what it must not be; ! wrong; blank: not asked.
A row is a token of a user of his own: kind of token (fg: fine-grained, with the permissions it was given), role in
the organization, role in the group `team`, and what else is special.  `new` creates (* on a sentinel), rd reads, wr writes.
"""


@dataclass(frozen=True)
class Cell:
    row: object
    column: object
    hoped: str                  # what the config expects
    result: dict                # of the report


def hoped(row_at, column_at):
    """Alternately, so that every verdict comes up with every access."""
    return (ALLOWED, DENIED)[(row_at + column_at) % 2]


def truth_of(cell, oracle):
    row, column = cell.row, cell.column
    honest = oracle.ask(row.subject, column.permission, column.what)
    if row.fault is None or FAULTS[row.fault][1] is None:
        return honest
    return struck(honest, column, FAULTS[row.fault])


def struck(honest, column, fault):
    """A question whose answer was spoilt has none, whatever is right."""
    return undetermined(*fault[1])


def wrong(cell, oracle, records=None):
    """What is wrong with this cell; None when nothing is."""
    r, truth = cell.result, truth_of(cell, oracle)
    access, reason = r["access"], r["reason"]
    if reason not in REASONS.get(access, ()):
        return f"{reason!r} is no reason of {access!r}"
    if not truth.fits(access, reason):
        return f"{access} ({reason}), but the documents say {say(truth)}"
    if r["expected"] != cell.hoped or r["verdict"] != verdict_of(cell.hoped, access):
        return f"{r['verdict']} where {cell.hoped} is expected and {access} was found"
    if records is not None:
        return unfounded(cell, records)
    return None


def unfounded(cell, records):
    """A conclusive answer rests on requests that the Hub remembers as they are told."""
    r = cell.result
    own = False
    for entry in r["evidence"]:
        if entry["status"] is None:
            continue
        known = records.get(entry["request_id"])
        if known is None or any(known[what] != entry[what] for what in ("method", "path", "status")):
            return f"evidence that the Hub does not know: {entry}"
        own |= known["token"] == cell.row.name
    if r["access"] != UNDETERMINED and not own:
        return "a conclusive answer without an exchange of this very token"
    made = cell.column.permission == "repo.create" and not cell.column.what.endswith("*")
    if made and r["access"] == ALLOWED and (r["canary"] or {}).get("state") != "deleted":
        return f"granted, but its canary is {r['canary']}"
    return None


def say(truth):
    if truth.exact:
        why = f" ({' or '.join(sorted(truth.reasons))})" if truth.reasons else ""
        return truth.access + why
    return "anything but " + " or ".join(sorted(truth.never))


def audited():
    """All cells, the Hub's record of requests, and what harm was done."""
    table = rows()
    at = {row.name: number for number, row in enumerate(table)}
    places = {column.name: number for number, column in enumerate(COLUMNS)}
    wish = lambda row, column: hoped(at[row.name], places[column.name])
    with Bench(world_of(table)) as bench:
        bench.faults(fault_orders(table))
        organizations, tokens = config_of(table, wish)
        report = bench.audit(bench.config(organizations, tokens, request_timeout="5s", max_in_flight=6))
        harm, made = bench.harm()
        records = {q["request_id"]: q for q in bench.requests()}
        cells = []
        for row in table:
            for column in row.columns:
                key = (row.configured, row.name, column.permission, column.reported(row.configured))
                cells.append(Cell(row, column, wish(row, column), report["by_key"].pop(key)))
        harm += [f"a result that nobody asked for: {key}" for key in report["by_key"]]
    return cells, records, harm, made


# -- on paper ----------------------------------------------------------------------------------------------------

def text_of(cell, oracle, records):
    truth, r = truth_of(cell, oracle), cell.result
    right = LETTER[truth.access] if truth.exact else "." if truth.silent else "~"
    found = f"{LETTER.get(r['access'], '?')} {SHORT.get(r['reason'], r['reason'])}".rstrip()
    return right + ("!" if wrong(cell, oracle, records) else " ") + found


def render(cells, oracle, records):
    by_row = {}
    for cell in cells:
        by_row.setdefault(cell.row, {})[cell.column] = cell
    lines = [LEGEND.strip()]
    width = max(len(row.label) for row in by_row) + 1
    for columns in (CREATE + REPOS, WHOLE):
        lines += ["", " " * width + "".join(f"{column.name:<13}" for column in columns), "-" * (width + 13 * len(columns))]
        for row, row_cells in by_row.items():
            texts = [text_of(row_cells[c], oracle, records) if c in row_cells else "" for c in columns]
            lines.append((f"{row.label:<{width}}" + "".join(f"{text:<13}" for text in texts)).rstrip())
    return "\n".join(lines)


def totals(cells, oracle, problems):
    truths = [truth_of(cell, oracle) for cell in cells]
    exact = [(cell, truth) for cell, truth in zip(cells, truths) if truth.exact]
    count = Counter(truth.access for _, truth in exact)
    bounded = sum(1 for truth in truths if truth.never)
    verdicts = Counter(cell.result["verdict"] for cell in cells)
    reasons = Counter(f"{cell.result['access']}/{cell.result['reason'] or '-'}" for cell, _ in exact)
    return [
        f"{len(exact) + bounded} cells, {len(problems)} wrong, {count[UNDETERMINED]} undetermined as they must be",
        f"  of them {count[ALLOWED]} allowed, {count[DENIED]} denied, {bounded} where the documents only say what it must not be",
        f"  beside them {sum(truth.silent for truth in truths)} cells of which the documents say nothing, and nothing is claimed",
        "  verdicts: " + ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items())),
        "  found: " + ", ".join(f"{number} {what}" for what, number in sorted(reasons.items())),
    ]


# -- whether the comparison could fail ---------------------------------------------------------------------------

def controls(cells, records):
    """Ways in which the comparison ought to have been red and was not; and how often it was."""
    silent, red = [], []
    for rule in RULES:
        flipped = sum(1 for cell in cells if wrong(cell, Oracle(rule)))
        red.append((rule, flipped))
        if not flipped:
            silent.append(f"with the rule {rule!r} turned round nothing is wrong: no cell depends on it")
    oracle = Oracle()

    def swapped(r):
        other = {ALLOWED: (DENIED, "scope"), DENIED: (ALLOWED, None)}.get(r["access"])
        return {"access": other[0], "reason": other[1]} if other else {}

    def taken_for(access, reason):
        return lambda r: {"access": access, "reason": reason} if r["access"] == UNDETERMINED else {}

    for name, change in (
        ("allowed and denied swapped", swapped),
        ("undetermined taken for denied", taken_for(DENIED, "other")),
        ("undetermined taken for allowed", taken_for(ALLOWED, None)),
        ("another reason", lambda r: {"reason": "billing"} if r["access"] == DENIED else {}),
        ("ok said of everything", lambda r: {"verdict": "ok"}),
        ("evidence made up", lambda r: {"evidence": [{**e, "status": 299} for e in r["evidence"]]}),
    ):
        caught = missed = 0
        for cell in cells:
            changed = {**cell.result, **change(cell.result)}
            if changed == cell.result or not truth_of(cell, oracle).exact or not cell.result["evidence"]:
                continue
            if "access" in change(cell.result):
                changed["verdict"] = verdict_of(cell.hoped, changed["access"])
            if wrong(replace(cell, result=changed), oracle, records):
                caught += 1
            elif any(entry["status"] is not None for entry in cell.result["evidence"]) or "made up" not in name:
                missed += 1
        red.append((name, caught))
        if missed or not caught:
            silent.append(f"{name}: {missed} cells did not turn red, {caught} did")
    return silent, red


def main():
    cells, records, harm, made = audited()
    oracle = Oracle()
    problems = [(cell, what) for cell in cells if (what := wrong(cell, oracle, records))]
    print(render(cells, oracle, records))
    print()
    for line in totals(cells, oracle, problems):
        print(line)
    silent, red = controls(cells, records)
    print(f"  canaries: {made} made, all of them deleted; nothing else was touched" if not harm else f"  harm: {len(harm)}")
    turned = [number for _, number in red[:len(RULES)]]
    print(f"  the comparison can fail: {len(RULES)} rules turned round one by one, wrong in {min(turned)} to {max(turned)} "
          "cells each; " + ", ".join(f"{name}: {number} caught" for name, number in red[len(RULES):]))
    failures = [f"{cell.row.name} {cell.row.label}: {cell.column.permission} {cell.column.reported(cell.row.configured)}: {what}"
                for cell, what in problems] + harm + silent
    exact = sum(1 for cell in cells if truth_of(cell, oracle).exact)
    if exact < AT_LEAST:
        failures.append(f"only {exact} cells of which the documents say what is right; {AT_LEAST} are wanted")
    for want in ("ok", "unexpected_grant", "unexpected_denial", "unknown"):
        if not any(cell.result["verdict"] == want for cell in cells):
            failures.append(f"no cell came to the verdict {want}")
    for line in failures[:60]:
        print("WRONG", line)
    if len(failures) > 60:
        print(f"… and {len(failures) - 60} more")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
