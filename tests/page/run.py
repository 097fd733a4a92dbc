"""The page, seen through a real browser: `python3 tests/page/run.py [--only PART]… [--long] [--shots DIR]`

A live demo without JavaScript and without a mouse; hostile names in every place that a name can come to; a thousand
tokens; axe-core, keyboard and screen reader in every state, light, dark and narrow.  Every kind of check is also given
something spoilt, and must find it.  Needs Debian's chromium, and playwright and axe-playwright-python of PyPI.  Serves
people and CI.  Exit 0 when nothing is wrong and every defect was found, 77 when something that it needs is missing.
"""

import argparse
import asyncio
import os
import sys
import time
import traceback

MISSING = []
try:
    import many
    import names
    import story
    from sight import CHROMIUM, Sight
    from tally import Tally
except ModuleNotFoundError as missing:
    if missing.name not in ("playwright", "axe_playwright_python"):
        raise
    MISSING.append(f"{missing.name} is missing; tests/run --only tools installs it")
else:
    if not os.access(CHROMIUM, os.X_OK):
        MISSING.append(f"{CHROMIUM} is missing; it is in Debian's chromium")
    PARTS = {"story": story.play, "names": names.play, "many": many.play}


async def part(name, play, sight, tally):
    began = time.monotonic()
    try:
        await play(sight, tally)
    except Exception:  # told, and counted: another part goes on
        tally.check(name, "goes on to its end", [traceback.format_exc()])
    tally.tell(f"{name} took {time.monotonic() - began:.1f} s")


async def look(chosen):
    tally = Tally()
    async with Sight(chosen.shots, chosen.long) as sight:
        await asyncio.gather(*(part(name, PARTS[name], sight, tally) for name in chosen.only or PARTS))
    for line in tally.lines():
        print(line)
    if path := os.environ.get("SCOPEWATCH_TALLY"):
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in tally.lines()))
    tally.tell("the end")
    return 0 if tally.right() else 1


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--only", action="append", choices=["story", "names", "many"], help="this part alone (may be given again)")
    options.add_argument("--long", action="store_true", help="the page of every finding and check with a hostile name")
    options.add_argument("--shots", metavar="DIR", help="write pictures of every state there")
    chosen = options.parse_args()
    if MISSING:
        print("\n".join(MISSING))
        return 77
    return asyncio.run(look(chosen))


if __name__ == "__main__":
    sys.exit(main())
