#!/usr/bin/env python3
"""Receives callbacks on port 9000 and verifies them: WEBHOOK_SECRET=whsec_… python3 docs/examples/receiver.py"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import time

SECRET = os.environ["WEBHOOK_SECRET"]
KEY = base64.b64decode(SECRET.removeprefix("whsec_")) if SECRET.startswith("whsec_") else SECRET.encode()
TOLERANCE_SECONDS = 300
seen = set()  # of a real receiver, where it keeps what the callbacks are about


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        name, sent_at = self.headers["webhook-id"] or "", self.headers["webhook-timestamp"] or "0"
        digest = hmac.digest(KEY, f"{name}.{sent_at}.".encode() + body, hashlib.sha256)
        expected = "v1," + base64.b64encode(digest).decode()
        fresh = abs(time.time() - int(sent_at)) < TOLERANCE_SECONDS
        # More than one signature would be separated by blanks.
        signatures = (self.headers["webhook-signature"] or "").split()
        genuine = fresh and any(hmac.compare_digest(given, expected) for given in signatures)
        if genuine and name not in seen:
            seen.add(name)
            event = json.loads(body)
            print(event["event"], event["task_id"], event["result"] or event["error"], flush=True)
        self.send_response(204 if genuine else 401)
        self.end_headers()


http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Receiver).serve_forever()
