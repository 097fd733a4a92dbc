"""The calls that a round makes, and which checks stand on each: the table of what a spoilt answer may cost.

Taken from the public documents: a probe's answer decides its own check; the controls decide every check of the
organization; a denial stands on its target, a grant of members on its being closed to others; whoami, visits, deletions
and the inventory decide none.  Knows nothing of how answers are spoilt.  Serves pairs.py.
"""

from dataclasses import dataclass

from world import PROBES


@dataclass(frozen=True)
class Call:
    kind: str                   # of the organizations that make it
    name: str
    decides: object             # (organization, role) -> checks that a spoilt answer to this role leaves undetermined
    touches: object             # likewise: checks that it may leave undetermined
    lost: bool = False          # what was asked for never takes effect
    times: int = 1_000_000      # the strikes that there are; a canary is looked at more and more rarely
    fresh: bool = False         # strikes an organization in its first round, before anything is known of it
    moves: bool = False         # an answer that leads elsewhere is for a person to look into

    @property
    def title(self):
        return f"{self.kind}:{self.name}" + (", lost" if self.lost else "")


def nothing(_organization, _role):
    return set()


def everything(organization, _role):
    return set(organization.checks)


def own(organization, role):
    """All checks of the token that asked."""
    return {key for key in organization.checks if key[0] == organization.tokens[role]}


def of(permission, role=None, target=None):
    """The checks of a permission: of the token that asked, or of another."""
    def select(organization, asked):
        token = organization.tokens[role or asked]
        return {key for key in organization.checks
                if key[0] == token and key[1] == permission and (target is None or key[2] == target)}
    return select


def by(role, select):
    """What `select` says, where this token asked."""
    return lambda organization, asked: select(organization, asked) if asked == role else set()


def creations(organization, _role):
    return {key for key in organization.checks if key[1] == "repo.create" and key[2] != "dataset"}


def trials(organization, _role):
    return {key for key in organization.checks if key[1] == "repo.create" and key[2] == "dataset"}


def seen_by(organization, role):
    """Where there is no janitor, everybody observes for himself."""
    return own(organization, role or "can")


CALLS = [
    Call("r", "whoami.token", nothing, own, fresh=True),
    Call("r", "whoami.janitor", nothing, everything, fresh=True),
    *(Call("r", name, everything, nothing) for name in ("overview", "list", "read", "absent", "anonymous")),
    Call("r", "proof.read", of("repo.read", "cannot"), nothing),
    Call("r", "proof.write", of("repo.write", "cannot"), nothing),
    *(Call("r", permission, of(permission), nothing) for permission, *_ in PROBES[:7]),
    Call("s", "proof.closed", of("org.members", "can"), nothing),
    *(Call("s", permission, of(permission), nothing) for permission, *_ in PROBES[7:]),
    Call("m", "sentinel", everything, nothing),
    # What was created is found again, and proves that it might be.
    Call("m", "create", by("cannot", of("repo.create", None, "model")), creations),
    Call("m", "create", of("repo.create", None, "model"), creations, lost=True),
    Call("m", "trial.look", trials, nothing),
    Call("m", "trial.post", of("repo.create", None, "dataset"), creations),
    *(Call("m", f"visit.{what}", nothing, creations, moves=True, times=2)
      for what in ("describe", "commits", "anonymous", "absent", "listing")),
    Call("m", "delete", nothing, creations, moves=True, times=2),
    Call("m", "delete", nothing, creations, lost=True, moves=True, times=2),
    Call("m", "sweep", nothing, nothing, fresh=True),
    Call("g", "groups", creations, nothing),
    Call("g", "group", nothing, creations),
    Call("g", "create", by("cannot", of("repo.create")), creations),
    Call("j", "delete.refused", nothing, creations, moves=True, times=2),
    Call("j", "delete.janitor", nothing, creations, moves=True, times=2),
    Call("j", "delete.janitor", nothing, creations, lost=True, moves=True, times=2),
    Call("i", "list.page2", everything, nothing),
    *(Call("i", f"inventory.{what}", nothing, nothing) for what in ("tokens", "page2", "accounts", "account")),
    Call("n", "overview", own, nothing), Call("n", "absent", own, nothing), Call("n", "anonymous", seen_by, nothing),
    Call("n", "list", nothing, own),
    Call("n", "proof.anonymous", of("repo.write", "cannot"), nothing),
]
