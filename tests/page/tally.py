"""What was to be looked at, what was, what was wrong, and whether planted defects were seen.  Serves every part."""

import time


class Tally:
    """The rows of the table, each of a test."""

    def __init__(self):
        self.rows, self.began = {}, time.monotonic()

    def _row(self, test):
        return self.rows.setdefault(test, {"planned": 0, "run": 0, "violations": 0, "planted": 0, "caught": 0})

    def plan(self, test, count=1):
        self._row(test)["planned"] += count

    def ran(self, test, problems, what="", count=1):
        """So many that were planned, and all that is wrong with them."""
        row, problems = self._row(test), list(problems)
        row["run"] += count
        row["violations"] += len(problems)
        for problem in problems[:12]:
            print(f"WRONG  {test}  {what}: {problem}", flush=True)
        if len(problems) > 12:
            print(f"WRONG  {test}  {what}: and {len(problems) - 12} more", flush=True)

    def check(self, test, what, problems):
        """One that is planned and run at once."""
        self.plan(test)
        self.ran(test, problems, what)

    def plant(self, test, what, problems, by=""):
        """A defect; it must be seen, and by a problem that begins with `by`."""
        row = self._row(test)
        row["planted"] += 1
        if [problem for problem in problems if problem.startswith(by)]:
            row["caught"] += 1
        else:
            print(f"NOT SEEN  {test}  {what}" + (f" by {by!r}" if by else ""), flush=True)

    def tell(self, text):
        print(f"{time.monotonic() - self.began:5.1f} s  {text}", flush=True)

    def lines(self):
        return ["\t".join(map(str, (f"page/{test}", *row.values()))) for test, row in self.rows.items()]

    def right(self):
        return all(row["run"] == row["planned"] and not row["violations"] and row["caught"] == row["planted"]
                   for row in self.rows.values())
