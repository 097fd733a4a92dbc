"""Lies: answers in the Hub's own form that are about something else, or say what cannot be.

As zoo_content.py, which it adds to.  Each lie is for some shapes of answer only.
"""

import json
from dataclasses import replace

from world import HIDDEN, Said, refuses, says
from zoo import EVERY, behaviour, raw, shapes, written
from zoo_content import JSON, others

STRANGER, ELSEWHERE = "somebody-else", "another-organization"
HERE = "http://127.0.0.1"


def lie(name, of, make, harmless="", **more):
    """Of a function that makes the answer of the right one; for these shapes only."""
    raw("lie", name, make, harmless, " ".join(EVERY - shapes(of)), goes_on=True, **more)


def altered(name, of, change, harmless="", **more):
    """Another body: `change` alters a copy of the right value, or gives another."""
    def make(said, _):
        value = json.loads(said.body)
        got = change(value)
        return replace(said, body=json.dumps(value if got is None else got).encode())
    lie(name, of, make, harmless, **more)


def without(*fields):
    return lambda value: {key: value[key] for key in value if key not in fields}


def having(**fields):
    return lambda value: {**value, **fields}


def everywhere(change):
    """Applies a change of texts to all texts, but for keys and addresses."""
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(item) for key, item in value.items()}
        if isinstance(value, list):
            return [turned(item) for item in value]
        return change(value) if isinstance(value, str) else value
    return turned


def organization_of(text):
    """The organization that a text of this world names."""
    return text.split("/")[0] if "/" in text else text


def rename(to):
    """Names another organization wherever one is named: `x000`, `x000/repo`, `x000-user`."""
    def change(text):
        first = text.split("/")[0].split("-")[0]
        known = len(first) == 5 and first[0] in "rsmgjin" and first[1:].isdigit()
        return to(first) + text[5:] if known else text
    return everywhere(change)


# -- about another object ----------------------------------------------------------------------------------------------

altered("about another organization", "place private described overview created listing canary refused exists",
        rename(lambda _: ELSEWHERE), "listing", moves=True)
# Whose name it is in which case an answer of a permission need not repeat; a repository's and a new one's it must.
altered("in another letter case", "place private described overview created listing canary", rename(str.upper),
        "place listing", moves=True)
altered("about another user", "place", lambda value: {**value, "user": {"id": "0" * 24, "name": STRANGER}})
altered("about another repository", "private described created canary", lambda value: {
    **value, **{key: value[key] + "-2" for key in ("id", "name") if "/" in str(value.get(key))}}, moves=True)
altered("about a repository below another's name", "private described created canary", lambda value: {
    **value, **{key: "x" + value[key] for key in ("id", "name") if "/" in str(value.get(key))}}, moves=True)

# -- descriptions ------------------------------------------------------------------------------------------------------

altered("a description without a name", "private described overview", without("id", "name"))
altered("a name that is a number", "private described overview", having(id=1, name=1))
altered("a name that is a list", "private described overview", having(id=["acme"], name=["acme"]))
altered("public after all", "private described canary", having(private=False), "described", moves=True)
altered("private in words", "private described canary", having(private="true"), "described canary")
altered("private as a number", "private described canary", having(private=1), "described canary")
altered("private unsaid", "private described canary", without("private"), "described canary")
altered("a canary of another id", "canary", having(_id="0" * 24), moves=True)
altered("a canary in another namespace", "canary", having(author=STRANGER), moves=True)
altered("a canary with files", "canary", having(siblings=[{"rfilename": "model.safetensors"}]), moves=True)
altered("a canary of another time", "canary", having(createdAt="1999-01-01T00:00:00.000Z"), "canary", moves=True)
altered("a canary of which nothing is said", "canary", without("private", "author", "createdAt", "siblings", "_id"), "canary",
        moves=True)
altered("a commit by somebody else", "commits", lambda value: [{**value[0], "authors": [{"user": STRANGER}]}], moves=True)
altered("two commits", "commits", lambda value: value * 2, moves=True)
altered("a commit of nobody", "commits", lambda value: [{**value[0], "authors": []}], "commits")
altered("10 000 commits", "commits", lambda value: [{"id": "0"}] * 10_000, moves=True)
lie("found, whatever it is", "missing hidden", lambda said, _: says({"_id": "0" * 24, "id": f"{STRANGER}/x", "private": True}),
    moves=True)
lie("open to everybody", "unsigned", lambda said, _: says({"_id": "0" * 24, "id": f"{STRANGER}/x", "private": True}), moves=True)
lie("gated, not missing", "missing hidden", lambda said, _: refuses(404, "Access to this model is restricted.", "GatedRepo"))
lie("members for everybody, with roles", "closed", lambda said, _: says([{"user": "x", "role": "admin"}]))
lie("members for everybody, as far as they show themselves", "closed", lambda said, _: says([{"user": "x"}]), "closed")
lie("not found, to whoever can see it", "private described canary", lambda said, _: HIDDEN)

# -- pages -------------------------------------------------------------------------------------------------------------

altered("no place", "place", without("namespace"))
altered("no user", "place", without("user"))
altered("names that are numbers", "place", lambda value: {"namespace": {"name": 1}, "user": {"name": 2}})
altered("names that are null", "place", lambda value: {"namespace": {"name": None}, "user": {"name": None}})
altered("a place and an error", "place object", having(error="Internal Error"))
lie("207 without patterns", "place", lambda said, _: replace(said, status=207))
altered("an object for a list", "list listing inventory groups commits", lambda value: {"items": value}, "commits")
altered("a list for an object", "object place", lambda value: [value])
altered("every field null", "list object", lambda value: (
    [{key: None for key in item} for item in value] if isinstance(value, list) else {key: None for key in value}))
altered("one item without its fields", "list", lambda value: [*value, {}])
altered("one item that is none", "list inventory", lambda value: [*value, None])
altered("a million items", "list", lambda value: value * 1_000_000 if len(value) == 1 else value * 2)


def listed(count):
    return [{"_id": "0" * 24, "id": f"{STRANGER}/{n}", "private": True, "name": f"g{n}"} for n in range(count)]


altered("somebody else's repositories", "listing", lambda _: listed(100), "listing")
altered("5 000 of somebody else's", "listing", lambda _: listed(5_000), "listing")
altered("names that are none", "listing", lambda value: [{**item, "id": bad} for item in value for bad in (
    "", "/", "a/b/c", "../..", "x" * 10_000, None, 1)], "listing")
lie("a private one that is not there", "listing", lambda said, _: says([
    {**item, "id": item["id"].split("/")[0] + "/ghost", "private": True} for item in said.data[:1]]), "listing")


def pointing(name, link, harmless="listing inventory"):
    """A further page, and then?"""
    def make(said, place):
        kept = tuple(h for h in said.headers if h[0] != "Link")
        shown = [{**item, "private": False} for item in said.data] if said.data and "private" in said.data[0] else said.data
        to = link.format(elsewhere=place.elsewhere, here=place.here, turn=place.turn, pad="x" * 6000)
        return says(shown, **{}) if not to else replace(says(shown), headers=(*kept, ("Link", f'<{to}>; rel="next"')))
    lie(name, "listing inventory", make, harmless)


pointing("a page that follows itself", HERE + "/api/models?author=x&limit=100")
pointing("pages without end", HERE + "/api/models?author=x&cursor={turn}")
pointing("a page of another origin", "http://{elsewhere}/api/models?author=x")
pointing("a page that mints a credential", HERE + "/api/models/x/y/xet-write-token/main")
pointing("a page of the settings", HERE + "/api/settings/webhooks")
pointing("a page behind dots", HERE + "/api/models/../../settings/tokens?author=x")
pointing("a page with a line end", HERE + "/api/models?author=x%0d%0aHost:%20evil")
pointing("a page with a user", "http://hub:secret@{elsewhere}/api/models")
pointing("a page of a very long name", HERE + "/api/models?author={pad}")
pointing("a page of nothing", HERE)

# -- who it is ---------------------------------------------------------------------------------------------------------

altered("whoami of another user", "whoami", having(id="0" * 24, name=STRANGER))
altered("whoami without a name", "whoami", without("name", "id"))
altered("whoami of a number", "whoami", having(name=1, id=2))
altered("whoami of an empty name", "whoami", having(name=""))
altered("whoami of an endless name", "whoami", having(name="n" * 900_000))
altered("whoami of an app", "whoami", having(type="app", auth={"type": "app_token"}))
altered("whoami without organizations", "whoami", having(orgs=[]))
altered("whoami with organizations that are none", "whoami", having(orgs="acme"))
altered("whoami of another kind", "whoami", having(auth="access_token"))
altered("whoami with 5 000 scopes", "whoami", lambda value: {**value, "auth": {"type": "access_token", "accessToken": {
    "displayName": "x" * 10_000, "role": "fineGrained", "createdAt": "never", "fineGrained": {"scoped": [
        {"entity": {"type": "moonbase", "name": f"n{n}"}, "permissions": ["repo.teleport"]} for n in range(5_000)]}}}})
altered("whoami that expired in another age", "whoami", lambda value: {**value, "auth": {**value["auth"], "expiresAt": "0000-00-00"}})

# -- what was done -----------------------------------------------------------------------------------------------------

altered("created, and no id", "created", without("id"))
altered("created, and no name", "created", without("name"))
altered("created, an id too short", "created", lambda value: {**value, "id": value["id"][:23]})
altered("created, an id too long", "created", lambda value: {**value, "id": value["id"] + "0"})
altered("created, an id in no hex", "created", lambda value: {**value, "id": "g" + value["id"][1:]})
altered("created, an id that is a number", "created", having(id=12345678))
altered("created, an id that is null", "created", having(id=None))
altered("created, and an error", "created", having(error="Internal Error"))
altered("created, in a list", "created", lambda value: [value])
altered("created with its bare name", "created", lambda value: {**value, "name": value["name"].split("/")[1]}, "created")
altered("created, an address only", "created", lambda value: {"url": value["url"]})
lie("exists, it says, of another", "exists", lambda said, _: says(
    {"error": "You already created this dataset repo", "url": f"https://hub.invalid/datasets/{STRANGER}/x"}, 409))
lie("exists, in other words", "exists", lambda said, _: refuses(409, "Conflict"))


@behaviour("lie", "the right words, and nothing done", "*", never="created")
async def words(link, said, _place):
    """For what is to be done only: it never is."""
    await link.send(written(said))
    return True


altered("groups whose ids are none", "groups", lambda value: [{**value[0], "id": bad} for bad in ("", "x" * 24, 1, None)])
altered("other groups", "groups", lambda value: [{**value[0], "name": "somebody's"}])
altered("a group that is none", "group", lambda value: {"id": ["x"], "name": 1}, "group")
altered("entries without a name", "inventory", lambda value: [{"last4": "abcd"}])
altered("entries that are texts", "inventory", lambda value: ["hf_abcd"])
altered("an account of somebody else", "account", having(user=STRANGER))
altered("an account whose tokens are none", "account", having(accessTokens={"x": 1}))
