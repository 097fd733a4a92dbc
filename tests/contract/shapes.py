"""What the Hub's own description (OpenAPI, August 2026) says its answers look like: facts, in a notation of ours.

A string names a kind of value (`checker.py` knows them); `=a|b` is one of these words; a list holds one kind of item;
a tuple is any one of several; a dict is an object that holds what it names and nothing else, `key?` where it may
be absent, and `...` for whatever other keys there may be.  None: the description gives a route and no answer.
Serves test_shapes.py.  Errors that a route does not describe have the envelope ERROR.
"""

ERROR = {"error": "string"}

ROLE = "=admin|write|contributor|read|no_access"
REPO_TYPE = "=dataset|model|space|bucket|kernel"
# Service accounts' tokens may have these; user tokens' names are open.
PERMISSION = ("=repo.content.read|repo.write|inference.serverless.write|inference.endpoints.infer.write"
              "|inference.endpoints.write|org.read|org.write|collection.read|collection.write|resourceGroup.write"
              "|job.write|org.serviceAccounts.read|org.serviceAccounts.write")
# Of the audit log's events, those about repositories, groups, members and approvals.
EVENT = ("=repo.create|repo.delete|repo.move|repo.update_settings|repo.update_resource_group|resource_group.create"
         "|resource_group.add_users|resource_group.remove_users|resource_group.change_role|resource_group.settings"
         "|resource_group.delete|org.add_user|org.change_role|org.remove_user|org.token_approval.enabled"
         "|org.token_approval.disabled|org.token_approval.authorization_request"
         "|org.token_approval.authorization_request.authorized|org.token_approval.authorization_request.denied"
         "|org.token_approval.authorization_request.revoked")

PAYER = {"email?": ("string", "null"), "canPay?": "boolean", "billingMode?": "=prepaid|postpaid",
         "periodEnd?": ("number", "null")}

SCOPE = {"entity": {"_id": "hex24", "name?": "string",
                    "type": "=dataset|model|space|bucket|kernel|collection|org|user|resource-group|oauth-app"},
         "permissions": ["string"]}

WHOAMI = {
    **PAYER,
    "type": "=user", "id": "string", "name": "string", "fullname": "string", "avatarUrl": "string", "isPro": "boolean",
    "emailVerified?": "boolean",
    "auth": {
        "type": "string",
        "accessToken?": {
            "displayName": "string", "role": "=read|write|god|fineGrained", "createdAt": "date",
            "fineGrained?": {"scoped": [SCOPE], "global?": ["=discussion.write|post.write"],
                             "canReadGatedRepos?": "boolean"},
        },
        "expiresAt?": "date",
        "resource?": {"sub": "string"},
    },
    "orgs": [{
        **PAYER,
        "type": "=org", "id": "string", "name": "string", "fullname": "string", "avatarUrl": "string",
        "plan?": "=team|enterprise|plus|academia", "roleInOrg?": ROLE,
        "securityRestrictions?": ["=mfa|token-policy|token-revoked|sso|ip"],
        "resourceGroups?": [{"id": "hex24", "name": "string", "role": ROLE}],
    }],
}

GROUP = {
    "id": "hex24", "name": "string", "description?": ("string", "null"),
    "autoJoin?": ({"enabled": True, "role": ROLE, "scope?": "=all|read_plus"}, {"enabled": False}),
    "spendLimits?": {"total?": "integer", "inferenceProviders?": "integer", "spaces?": "integer", "jobs?": "integer",
                     "endpoints?": "integer"},
    "users": [{"type": "=user", "_id": "hex24", "fullname": "string", "name": "string", "avatarUrl": "string",
               "role": ROLE, "addedBy?": "string"}],
    "resources": [(
        {"type": REPO_TYPE, "name": "string", "addedBy?": "string", "private": "boolean"},
        {"type": "=collection|blog", "id": "hex24", "slug": "string", "title": "string", "addedBy?": "string",
         "private": "boolean"},
        {"type": "=job|scheduled-job", "id": "string", "name?": "string", "addedBy?": "string"},
    )],
}

ACCOUNT = {"_id": "hex24", "user": "string", "name": "string", "email": "string", "description?": "string",
           "createdAt": "date"}
ACCOUNT_TOKEN = {
    "_id": "hex24", "displayName": "string", "createdAt": "date", "lastUsedAt?": "date", "expiration?": "date",
    "role": "=read|write|fineGrained", "permissions": [PERMISSION], "repoIds": ["hex24"],
    "repoPermissions": ["=repo.content.read|repo.write"], "endpointPatterns": ["string"], "last4?": "string",
    "skipNetworkSecurity?": "boolean",
}

# Of what was used, only what is the same for every product is told here; the simulated Hub uses nothing.
USAGE = {
    "usage": {"...": [{"...": "any"}]},
    "period": {
        "_id": "hex24", "entityId": "hex24", "entityType": "=user|org", "entityName": "string", "periodStart": "date",
        "periodEnd": "date", "invoice?": {"...": "any"}, "charges?": [{"...": "any"}],
    },
}
UPTIME = {"uptimeSec": "number", "costCents": "number"}

PLACE = {"namespace": {"id": "string", "name": "string"}, "user": {"id": "string", "name": "string"}}
ENDPOINT = {**PLACE, "user": {"id": "string", "name": "string", "hasHfLevelAccess?": "boolean"},
            "resourceGroupId?": "string"}
REFERENCE = {"name": "string", "ref": "string", "targetCommit": "string"}
SETTINGS = {
    "private?": "boolean", "visibility?": "=private|public|protected", "discussionsDisabled?": "boolean",
    "discussionsSorting?": "=recently-created|trending|reactions", "gated?": (False, "=auto|manual"),
    "orgMembersGated?": "boolean", "gatedNotificationsEmail?": "string", "gatedNotificationsMode?": "=bulk|real-time",
}
COMMIT = {"id": "string", "title": "string", "message": "string", "date": "date",
          "authors": [{"user": "string", "avatar?": "string"}],
          "formatted?": {"title": "string", "message?": "string"}}
# The description names no `path` here, and closes the object; the official client cannot do without it.
ENTRY = {"type": "=file|directory|unknown", "oid": "string", "path": "string", "size?": "integer",
         "lfs?": {"oid": "string", "size": "integer", "pointerSize": "integer"}, "xetHash?": "string",
         "lastCommit?": {"id": "string", "title": "string", "date": "date"}, "securityFileStatus?": {"...": "any"}}
COUNTS = {f"num{thing}?": "number" for thing in (
    "Models", "Datasets", "Spaces", "Buckets", "Kernels", "Discussions", "Papers", "Upvotes", "Likes", "Followers",
    "Following", "FollowingOrgs")}
PERSON = {
    **COUNTS,
    "_id": "hex24", "avatarUrl": "string", "fullname": "string", "isPro": "boolean", "user": "string", "type": "=user",
    "orgs?": [{"id": "string", "name": "string", "fullname": "string", "avatarUrl": "string"}], "email?": "string",
    "details?": "string", "isFollowing?": "boolean", "reasonToFollow?": "string", "primaryOrgAvatarUrl?": "string",
}
WEBHOOK = {
    "id": "hex24", "url?": "uri", "job?": {"...": "any"}, "jobSourceId?": "string", "hasSecret": "boolean",
    "disabled": ("boolean", "=suspended-after-failure"), "domains": ["=repo|discussion"], "lastTriggerAt?": "date",
    "watched": [{"name": "string", "type": "=dataset|model|space|bucket|kernel|user|org", "avatarUrl?": "string"}],
}
CONTENT = {"resource": (REPO_TYPE, "=*"), "scope": "string"}

ORGANIZATION = "/api/organizations/{name}"
ONE_GROUP = ORGANIZATION + "/resource-groups/{resourceGroupId}"

# Route → status → shape.
SHAPES = {
    "GET /api/whoami-v2": {200: WHOAMI},
    "POST /api/repos/create": {200: {"url": "string", "name": "string", "id": "hex24"},
                               409: {"error": "string", "url": "string"}},
    "POST /api/repos/move": {200: None},
    "GET /api/settings/webhooks": {200: [WEBHOOK]},
    "GET /api/settings/billing/usage": {200: USAGE},
    "GET /api/settings/billing/usage-v2": {200: None},
    "GET /api/jobs/{namespace}": {200: ["any"]},      # what a job is, is not told here: none ever runs
    "POST /api/jobs/{namespace}/auth-check/{perms}": {200: PLACE},
    "POST /api/inference-endpoints/{namespace}/auth-check/{perms}": {
        200: ENDPOINT, 207: {**ENDPOINT, "patternRestrictions": ["string"]}},
    # 207 stands there too, with the remark that it comes only without an endpoint's name.
    "POST /api/inference-endpoints/{namespace}/{endpoint}/auth-check/{perms}": {200: ENDPOINT},
    f"GET {ORGANIZATION}/members": {200: [{
        "_id": "hex24", "user": "string", "fullname": "string", "avatarUrl": "string", "isPro": "boolean",
        "type": "=user", "isFollowing?": "boolean", "role?": ROLE, "twoFaEnabled?": "boolean",
        "verifiedEmail?": ("string", "null"), "isExternalCollaborator?": "boolean",
        "resourceGroups?": [{"name": "string", "id": "string", "numUsers": "number", "role": ROLE}],
    }]},
    f"PUT {ORGANIZATION}/members/{{username}}/role": {200: None},
    f"GET {ORGANIZATION}/settings/repositories": {200: [{
        "id": "string", "type": REPO_TYPE, "updatedAt": "string", "visibility": "=public|private|protected",
        "storage": "number", "storagePercent": "number"}]},
    f"GET {ORGANIZATION}/settings/network-security": {200: {
        "enforceAuth": ("boolean", "=pending"), "enforceIpRestriction": "boolean", "highRateLimits": "boolean",
        "ipRanges": ["string"], "blockedContents": [CONTENT], "allowedContents": [CONTENT],
        "keepReposMetadataVisible": "boolean"}},
    f"GET {ORGANIZATION}/service-accounts": {200: [ACCOUNT]},
    f"GET {ORGANIZATION}/service-accounts/{{serviceAccountId}}": {
        200: {**ACCOUNT, "accessTokens?": [ACCOUNT_TOKEN]}},
    f"GET {ORGANIZATION}/audit-log/export": {200: [{
        "_id": "hex24", "createdAt": "date", "type": EVENT, "message": "string", "data?": "any", "ip?": "string",
        "location?": {"formatted": "string", "country?": "string", "city?": "string"}, "userAgent?": "string",
        "author": {"_id": "hex24", "user": "string", "avatarUrl": "string", "type": "=user|system",
                   "deleted?": "boolean"},
        "token?": {"type": "=access_token", "id": "string", "role?": "=read|write|fineGrained", "last4?": "string",
                   "deleted": "boolean"},
        "oauth?": {"clientId": "string", "name?": "string"},
    }]},
    f"GET {ORGANIZATION}/billing/usage": {200: USAGE},
    f"GET {ORGANIZATION}/billing/usage-v2": {200: None},
    f"GET {ORGANIZATION}/billing/usage/live": {200: None},
    f"GET {ORGANIZATION}/billing/usage-by-resource-group": {200: {"currency": "string", "periods": [{
        "period": "date",
        "resourceGroups": [{
            "id": ("string", "null"), "name": ("string", "null"),
            "storage": {"privateGB": "number", "publicGB": "number"},
            "inference": {"requestCount": "number", "costCents": "number"},
            "compute": {"spaces": UPTIME, "endpoints": UPTIME, "jobs": UPTIME}}]}]}},
    f"GET {ORGANIZATION}/resource-groups": {200: [GROUP]},
    f"POST {ORGANIZATION}/resource-groups": {200: GROUP},
    f"GET {ONE_GROUP}": {200: GROUP},
    f"DELETE {ONE_GROUP}": {200: {"success": "boolean"}},
    f"POST {ONE_GROUP}/users": {200: GROUP},
    f"PATCH {ONE_GROUP}/users/{{username}}": {200: GROUP},
    f"DELETE {ONE_GROUP}/users/{{username}}": {200: GROUP},
}

REPO = "/api/{kind}/{namespace}/{repo}"
for kind in ("models", "datasets", "spaces"):
    repo = REPO.replace("{kind}", kind)
    SHAPES |= {
        f"GET {repo}/commits/{{rev}}": {200: [COMMIT]},
        f"GET {repo}/tree/{{rev}}/{{path}}": {200: [ENTRY]},
        f"GET {repo}/refs": {200: {"tags": [REFERENCE], "branches": [REFERENCE], "converts": [REFERENCE],
                                   "pullRequests?": [REFERENCE]}},
        f"GET {repo}/resource-group": {200: {"id": "hex24", "name": "string", "numUsers?": "number"}},
        f"POST {repo}/resource-group": {200: {"name": "string", "type": REPO_TYPE, "private": "boolean",
                                              "addedBy": "string"}},
        f"PUT {repo}/settings": {200: SETTINGS},
        f"POST {repo}/branch/{{rev}}": {200: None},
        f"DELETE {repo}/branch/{{rev}}": {200: None},
        f"POST {repo}/tag/{{rev}}": {200: None},
        f"DELETE {repo}/tag/{{rev}}": {200: None},
    }
    if kind != "spaces":
        SHAPES[f"GET {repo}/user-access-request/{{status}}"] = {200: [{
            "user?": {**PERSON, "verifiedOrgNames": ["string"]}, "grantedBy?": (PERSON, {}),
            # Not in the description either; the official client cannot do without it.
            "requestId": "hex24",
            "status": "=accepted|rejected|pending", "fields?": {"...": "string"}, "timestamp": "date",
            "reviewedAt?": "date"}]}

# Served, but not in the Hub's description; where each is known from.  {kind}: models, datasets and spaces.
ELSEWHERE = {
    "DELETE /api/repos/delete": "every official client; huggingface_hub hf_api.delete_repo",
    "GET /api/{kind}": "the Hub's older API documentation; huggingface_hub hf_api.list_models and its siblings",
    "GET /api/{kind}/{repo}": "huggingface_hub hf_api.repo_info, of a name without a namespace",
    f"GET {REPO}": "huggingface_hub hf_api.repo_info",
    f"GET {REPO}/revision/{{rev}}": "huggingface_hub hf_api.repo_info with a revision",
    f"GET {REPO}/tree/{{rev}}": "as tree/{rev}/{path}, at the root; huggingface_hub hf_api.list_repo_tree",
    f"GET {REPO}/auth-check": "huggingface_hub hf_api.auth_check",
    f"GET {REPO}/auth-check/write": "huggingface_hub hf_api.auth_check with write, and a developer of the Hub",
    f"GET {ORGANIZATION}/overview": "huggingface_hub hf_api.get_organization_overview",
    f"GET {ORGANIZATION}/settings/tokens": "a change of the Hub's documentation, September 2026",
}
