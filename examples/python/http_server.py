"""Serves calc over HTTP, at the host, port and path of $BROKER_URL, until SIGTERM."""

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import calc

url = urlsplit(os.environ["BROKER_URL"])


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if self.path.partition("?")[0] != (url.path or "/"):
            self.reply(404)
        elif not length.isdecimal():  # a chunked body has none
            self.reply(411)
        else:
            answer = calc.answer(calc.read(self.rfile.read(int(length))))
            self.reply(200 if answer else 204, answer or "")  # an error is a 200, too; a notification has no answer

    def refuse(self):
        self.reply(405)

    do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse

    def reply(self, status, answer=""):
        self.send_response(status)
        self.send_header("Allow", "POST")
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", len(answer))  # json.dumps writes ASCII
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        """Leaves out the line for each request."""


with ThreadingHTTPServer((url.hostname, url.port), Handler) as server:
    server.daemon_threads = False  # the end waits for running requests
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("ready", file=sys.stderr)
    server.serve_forever()
