"""What a cron script would do: asks the Hub with each token in turn, by huggingface_hub. Prints what it cost as JSON.

`HF_ENDPOINT` says where, `SSL_CERT_FILE` whom to trust. One process, one request after the other, one client whose connection is kept.
"""

import json
import os
import re
import resource
import ssl
import sys
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, set_client_factory
from huggingface_hub.errors import HfHubHTTPError


def spent():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def client():
    """As huggingface_hub makes it, but of the machine's authorities only the Hub's own."""
    return httpx2.Client(verify=ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]), timeout=10)


def main():
    set_client_factory(client)
    tokens, count = int(sys.argv[1]), int(sys.argv[2])
    api, refused = HfApi(), 0
    began = spent()
    for at in range(count):
        try:
            api.auth_check("acme/model", token=f"hf_scale_{at % tokens:028}")
        except HfHubHTTPError as error:
            refused += error.response is not None and error.response.status_code in (401, 403, 404)
    used = spent() - began
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    print(json.dumps({"cpu": used, "sent": count, "good": refused, "peak_mb": peak}))


if __name__ == "__main__":
    main()
