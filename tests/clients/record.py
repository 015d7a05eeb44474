#!/usr/bin/env python3
"""Stands between an agent and a gateway and writes down what they say: an exchange a line, without keys.

    record.py PORT http://127.0.0.1:4000 out.jsonl

Point the agent at PORT. Credentials are left out, and so is whatever names a person or a machine as far as a program can
tell: look the file through before it becomes a fixture.
"""

import http.client
import http.server
import json
import sys
import urllib.parse

CREDENTIALS = {"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"}
port, upstream, out = int(sys.argv[1]), urllib.parse.urlsplit(sys.argv[2]), sys.argv[3]


class Between(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        there = http.client.HTTPConnection(upstream.hostname, upstream.port)
        hop = {"host", "connection", "content-length"}
        there.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() not in hop})
        answer = there.getresponse()
        told = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "content-length", "date"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)
        try:
            said = json.loads(body) if body else None
        except ValueError:
            said = f"({len(body)} bytes that are no JSON)"
        headers = {k.lower(): v for k, v in self.headers.items() if k.lower() not in CREDENTIALS | hop}
        with open(out, "a", encoding="utf-8") as file:
            line = {"method": self.command, "path": self.path, "headers": headers, "body": said}
            line["answer"] = {"status": answer.status, "body": told.decode("utf-8", "replace")}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    do_GET = do_POST = do_HEAD = do_DELETE = pass_on

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", port), Between).serve_forever()
