"""The official Python client works against the simulated Hub, unmodified, as it does against the Hub.

Drives huggingface_hub through what an organization's programs do with it, and through every refusal that it maps to an
exception.  Nothing but the simulated Hub is reached: a socket that goes elsewhere is an error of the test.
"""

import os
import shutil
import socket
import tempfile
import unittest

from simulator import CI, Case, free_port, secret

# The client reads its environment once, so all tests share one address; each has a Hub of its own there.
PORT = free_port()
HOME = tempfile.mkdtemp(prefix="contract-")
for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING")) or name.lower().endswith("_proxy")]:
    del os.environ[name]
os.environ |= {
    "HF_ENDPOINT": f"http://127.0.0.1:{PORT}", "HF_HOME": HOME, "NO_PROXY": "*", "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1",
}

try:
    import huggingface_hub
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (BadRequestError, DisabledRepoError, GatedRepoError, HfHubHTTPError,
                                        RepositoryNotFoundError, RevisionNotFoundError)
except ImportError:
    huggingface_hub = None


def tearDownModule():
    shutil.rmtree(HOME, ignore_errors=True)


class Client(Case):
    port = PORT

    def setUp(self):
        if huggingface_hub is None:
            if CI:
                self.fail("huggingface_hub is not installed; in CI the contract must be tested")
            self.skipTest("huggingface_hub is not installed")
        super().setUp()
        self.stay_at_home()
        # Connections to the Hub of the test before are dead.
        huggingface_hub.close_session()
        self.addCleanup(huggingface_hub.close_session)

    def stay_at_home(self):
        connect = socket.socket.connect

        def guarded(sock, address):
            if tuple(address[:2]) != ("127.0.0.1", PORT):
                raise AssertionError(f"the client went to {address}")
            return connect(sock, address)

        socket.socket.connect = guarded
        self.addCleanup(setattr, socket.socket, "connect", connect)

    def api(self, token):
        return HfApi(token=secret(token) if token else False)

    def refused(self, kind, status, call, *args, **kwargs):
        """The call fails as exactly this kind of error, with this status and a request id."""
        with self.assertRaises(HfHubHTTPError) as caught:
            call(*args, **kwargs)
        error = caught.exception
        self.assertIs(type(error), kind, str(error))
        self.assertEqual(error.response.status_code, status, str(error))
        self.assertIn("Request ID: Root=1-", str(error))
        return error

    def requests(self):
        return [f"{seen['method']} {seen['path']} {seen['status']}" for seen in self.hub.steer("GET", "requests")]

    def test_nothing_else_is_reached(self):
        with self.assertRaisesRegex(AssertionError, "the client went to"):
            socket.create_connection(("127.0.0.1", 9))

    # -- what works ------------------------------------------------------------------------
    def test_a_repository_of_each_type_lives_and_dies(self):
        api = self.api("writer")
        for kind, extra in (("model", {}), ("dataset", {}), ("space", {"space_sdk": "static"})):
            with self.subTest(kind):
                url = api.create_repo("acme/fresh", repo_type=kind, private=True, **extra)
                self.assertEqual((url.repo_id, url.repo_type), ("acme/fresh", kind))
                again = api.create_repo("acme/fresh", repo_type=kind, private=True, exist_ok=True, **extra)
                self.assertEqual(again, url)
                self.refused(HfHubHTTPError, 409, api.create_repo, "acme/fresh", repo_type=kind, **extra)
                self.assertTrue(api.repo_exists("acme/fresh", repo_type=kind))
                info = api.repo_info("acme/fresh", repo_type=kind)
                self.assertEqual((info.id, info.author), ("acme/fresh", "acme"))
                self.assertEqual((info.private, info.disabled), (True, False))
                self.assertEqual([file.rfilename for file in info.siblings], [".gitattributes"])
                [commit] = api.list_repo_commits("acme/fresh", repo_type=kind)
                self.assertEqual((commit.title, commit.authors), ("initial commit", ["wim"]))
                self.assertEqual(commit.commit_id, info.sha)
                [file] = api.list_repo_tree("acme/fresh", repo_type=kind)
                self.assertEqual(file.path, ".gitattributes")
                api.auth_check("acme/fresh", repo_type=kind)
                api.auth_check("acme/fresh", repo_type=kind, write=True)
                self.assertFalse(self.api("stranger").repo_exists("acme/fresh", repo_type=kind))
                api.delete_repo("acme/fresh", repo_type=kind)
                self.assertFalse(api.repo_exists("acme/fresh", repo_type=kind))
                api.delete_repo("acme/fresh", repo_type=kind, missing_ok=True)
                self.refused(RepositoryNotFoundError, 404, api.delete_repo, "acme/fresh", repo_type=kind)
        self.assertEqual(self.hub.steer("GET", "world")["left_over"], [])

    def test_a_users_own_namespace_and_a_resource_group(self):
        self.assertEqual(self.api("writer").create_repo("mine", private=True).repo_id, "wim/mine")
        group = self.hub.steer("GET", "world")["organizations"]["acme"]["resource_group_ids"]["lab"]
        self.api("admin").create_repo("acme/inside", private=True, resource_group_id=group)
        self.refused(HfHubHTTPError, 403, self.api("writer").create_repo, "acme/other", resource_group_id=group)
        self.assertFalse(self.api("writer").repo_exists("acme/inside"))

    def test_branches_and_tags(self):
        api = self.api("writer")
        api.create_branch("acme/private", branch="side/way")
        api.create_branch("acme/private", branch="side/way", exist_ok=True)
        self.refused(HfHubHTTPError, 409, api.create_branch, "acme/private", branch="side/way")
        self.assertIn("refs/heads/main already exists",
                      str(self.refused(HfHubHTTPError, 409, api.create_branch, "acme/private", branch="main")))
        api.create_tag("acme/private", tag="v1", tag_message="first")
        api.create_tag("acme/private", tag="v1", exist_ok=True)
        refs = api.list_repo_refs("acme/private", include_pull_requests=True)
        self.assertEqual([branch.name for branch in refs.branches], ["main", "side/way"])
        self.assertEqual([(tag.name, tag.ref) for tag in refs.tags], [("v1", "refs/tags/v1")])
        self.assertEqual(api.repo_info("acme/private", revision="v1").sha, refs.tags[0].target_commit)
        api.delete_tag("acme/private", tag="v1")
        api.delete_branch("acme/private", branch="side/way")
        self.assertIn("Cannot delete refs/heads/main",
                      str(self.refused(BadRequestError, 400, api.delete_branch, "acme/private", branch="main")))
        self.refused(RevisionNotFoundError, 404, api.repo_info, "acme/private", revision="v1")
        # Who may not write is told so, although the branch is there.
        self.refused(HfHubHTTPError, 403, self.api("reader").create_branch, "acme/private", branch="main")

    def test_listings_hold_what_the_token_sees_page_after_page(self):
        api = self.api("admin")
        for at in range(5):
            api.create_repo(f"acme/many-{at}", private=True)

        def names(found):
            return sorted(repo.id for repo in found)

        many = [f"acme/many-{at}" for at in range(5)]
        before = len(self.requests())
        self.assertEqual(names(api.list_models(author="acme", search="many", limit=4)), many[:4])
        # The client takes a page of what it wants; the simulated Hub gives pages as small as it is asked for.
        pages = huggingface_hub.utils.paginate(f"http://127.0.0.1:{PORT}/api/models",
                                               {"author": "acme", "search": "many", "limit": 2},
                                               {"Authorization": f"Bearer {secret('admin')}"})
        self.assertEqual(sorted(repo["id"] for repo in pages), many)
        self.assertEqual(self.requests()[before:], ["GET /api/models 200"] * 4)
        self.assertEqual(names(self.api("stranger").list_models(author="acme", search="many")), [])
        self.assertEqual(names(self.api(None).list_models(author="acme")), ["acme/gated", "acme/public", "acme/shut"])
        self.assertEqual(names(api.list_datasets(author="acme")), ["acme/data", "acme/gated-data"])
        self.assertEqual(names(self.api("reader").list_datasets(author="acme")), ["acme/gated-data"])
        self.assertEqual(names(self.api("reader").list_spaces(author="acme")), ["acme/app"])
        stored = {repo.id: repo.visibility for repo in api.list_user_repos("acme")}
        self.assertEqual((stored["acme/lab"], stored["acme/public"]), ("private", "public"))

    def test_who_one_is(self):
        me = self.api("janitor").whoami()
        self.assertEqual((me["type"], me["name"], me["orgs"][0]["roleInOrg"]), ("user", "ann", "admin"))
        token = me["auth"]["accessToken"]
        self.assertEqual((token["role"], token["fineGrained"]["canReadGatedRepos"]), ("fineGrained", True))
        self.assertEqual(token["fineGrained"]["scoped"][0]["permissions"], ["repo.write", "org.read"])
        self.assertNotIn("accessToken", self.api("session").whoami()["auth"])
        for token in ("dead", "old"):
            # The one error that the client words itself.
            with self.assertRaisesRegex(HfHubHTTPError, "^Invalid user token") as caught:
                self.api(token).whoami()
            self.assertEqual(caught.exception.response.status_code, 401)
        self.hub.steer("PATCH", "world", {"limits": {"whoami": 1}})
        self.api("reader").whoami()
        with self.assertRaisesRegex(HfHubHTTPError, "intentionally strict") as caught:
            self.api("reader").whoami()
        self.assertEqual(caught.exception.response.status_code, 429)

    def test_an_organization_and_its_people(self):
        overview = self.api(None).get_organization_overview("ACME")
        self.assertEqual((overview.name, overview.num_users, overview.plan), ("acme", 4, "enterprise"))
        self.refused(HfHubHTTPError, 404, self.api(None).get_organization_overview, "nowhere")
        members = [member.username for member in self.api("reader").list_organization_members("acme")]
        self.assertEqual(members, ["ann", "nora", "ria", "wim"])
        self.assertEqual([hook.url for hook in self.api("writer").list_webhooks()], ["https://example.com/hook"])
        self.assertEqual(list(self.api("writer").list_jobs(namespace="acme")), [])
        [waiting] = self.api("writer").list_pending_access_requests("acme/gated")
        self.assertEqual((waiting.username, waiting.status), ("oz", "pending"))
        self.refused(BadRequestError, 400, self.api("writer").list_pending_access_requests("acme/public").__next__)

    def test_moving_and_settings(self):
        api = self.api("writer")
        api.move_repo("acme/private", "acme/elsewhere")
        # Its former name leads there.
        self.assertEqual(api.repo_info("acme/private").id, "acme/elsewhere")
        self.refused(HfHubHTTPError, 403, self.api("reader").move_repo, "acme/elsewhere", "acme/private")
        api.update_repo_settings("acme/elsewhere", visibility="public")
        self.assertFalse(self.api(None).repo_info("acme/elsewhere").private)
        api.update_repo_settings("acme/elsewhere", private=True, gated="manual")
        self.assertEqual(api.repo_info("acme/elsewhere").gated, "manual")
        self.refused(HfHubHTTPError, 403, self.api("reader").update_repo_settings, "acme/elsewhere", private=False)

    # -- what is refused -------------------------------------------------------------------
    def test_401_who_are_you(self):
        for token, repo in ((None, "acme/private"), (None, "acme/absent"), ("dead", "acme/public"),
                            ("old", "acme/public")):
            # On https the client would call it a repository that is not found, whoever asks.
            self.refused(HfHubHTTPError, 401, self.api(token).repo_info, repo)
        self.refused(HfHubHTTPError, 401, self.api(None).create_repo, "acme/x")
        self.refused(HfHubHTTPError, 401, self.api(None).auth_check, "acme/public", write=True)
        self.refused(GatedRepoError, 401, self.api(None).auth_check, "acme/gated")

    def test_403_you_may_not(self):
        rights = "You don't have the rights to create a {} under the namespace \"{}\""
        for token, repo, kind in (("reader", "acme/x", "model"), ("empty", "acme/x", "dataset"),
                                  ("stranger", "acme/x", "model"), ("writer", "nowhere/x", "model"),
                                  ("writer", "ACME/x", "dataset"), ("empty", "acme/private", "model")):
            error = self.refused(HfHubHTTPError, 403, self.api(token).create_repo, repo, repo_type=kind)
            self.assertIn(rights.format(kind, repo.split("/")[0]), str(error))
        # With exist_ok the client looks whether it is there, and is content.
        self.api("reader").create_repo("acme/private", exist_ok=True)
        self.refused(HfHubHTTPError, 403, self.api("stranger").create_repo, "acme/private", exist_ok=True)
        self.refused(HfHubHTTPError, 403, self.api("writer").create_repo, "strict/x")
        self.refused(HfHubHTTPError, 403, self.api("reader").delete_repo, "acme/public")
        error = self.refused(HfHubHTTPError, 403, self.api("reader").auth_check, "acme/private", write=True)
        self.assertIn("You have read access but not the required permissions for this operation", str(error))
        # In front of a gate one is told so, and what is on the outside is open.
        for token in ("stranger", "janitor", "granted"):
            self.assertEqual(self.api(token).repo_info("acme/gated").gated, "manual")
        self.refused(GatedRepoError, 403, self.api("stranger").auth_check, "acme/gated")
        self.api("janitor").auth_check("acme/gated")
        error = self.refused(HfHubHTTPError, 403, self.api("granted").auth_check, "acme/gated")
        self.assertIn("Please enable access to public gated repositories", str(error))
        self.refused(DisabledRepoError, 403, self.api("writer").repo_info, "acme/shut")

    def test_402_404_409_429(self):
        error = self.refused(HfHubHTTPError, 402, self.api("poor").create_repo, "poor/x", repo_type="space",
                             space_sdk="gradio")
        self.assertIn("requires a PRO subscription", str(error))
        for token, repo in (("stranger", "acme/private"), ("writer", "acme/absent"), ("empty", "acme/private")):
            self.refused(RepositoryNotFoundError, 404, self.api(token).repo_info, repo)
            self.refused(RepositoryNotFoundError, 404, self.api(token).auth_check, repo, write=True)
        error = self.refused(HfHubHTTPError, 409, self.api("writer").create_repo, "acme/private")
        self.assertIn("You already created this model repo", str(error))
        self.hub.steer("PATCH", "world", {"limits": {"creations_per_day": 1}})
        self.api("writer").create_repo("acme/first", private=True)
        error = self.refused(HfHubHTTPError, 429, self.api("writer").create_repo, "acme/second")
        # Not this window: the client must not tell anybody to wait for its end.
        self.assertNotIn("Retry after", str(error))
        self.assertIn("rate limit for repository creation (1 per day)", str(error))
        for _ in range(2):
            self.api("slow").repo_info("acme/public")
        self.assertIn("Retry after", str(self.refused(HfHubHTTPError, 429, self.api("slow").repo_info, "acme/public")))

    def test_two_creations_of_one_user_take_turns(self):
        # The client knows the lock's text and tries again at once, until the first creation is done.
        lock = "Cannot create repo: another conflicting operation is in progress"
        self.hub.steer("POST", "faults", {"faults": [
            {"route": "create", "kind": "status", "status": 409, "body": {"error": lock}, "times": 2}]})
        self.assertEqual(self.api("writer").create_repo("acme/patient").repo_id, "acme/patient")
        self.assertEqual([line[-3:] for line in self.requests()], ["409", "409", "200"])


if __name__ == "__main__":
    unittest.main()
