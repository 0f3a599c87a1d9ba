"""Serves calc over HTTP, at the host and port of $BROKER_URL, until SIGTERM."""

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import calc


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        answer = calc.answer(calc.read(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200 if answer else 204)  # an error is a 200, too; a notification has no answer
        if answer:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", len(answer))  # json.dumps writes ASCII
        self.end_headers()
        self.wfile.write((answer or "").encode())

    def log_message(self, *_):
        """Leaves out the line for each request."""


url = urlsplit(os.environ["BROKER_URL"])
with ThreadingHTTPServer((url.hostname, url.port), Handler) as server:
    server.daemon_threads = False  # the end waits for running requests
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("ready", file=sys.stderr)
    server.serve_forever()
