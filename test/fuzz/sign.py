"""Signs each request of Schemathesis as myKaarma does. Only the final bytes of a body can be signed."""

import hashlib
import hmac
import os

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase


class Signature(AuthBase):
    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        digest = hmac.new(os.environ["FUZZ_SECRET"].encode(), body, hashlib.sha256).hexdigest()
        request.headers["mykaarma-signature-token"] = f"sha256={digest}"
        request.headers["x-authorization-token"] = os.environ["FUZZ_TOKEN"]
        return request


schemathesis.auth.set_from_requests(Signature())
