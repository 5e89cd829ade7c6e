"""The world of the examples, on loopback: files to fetch, and a receiver of POSTs that keeps them and knows their keys.

    python3 server.py PORT          # binds 127.0.0.1 and nothing else; Ctrl-C ends it

| request               | answer                                                                                  |
|-----------------------|-----------------------------------------------------------------------------------------|
| GET, HEAD /FILE.json  | the file below this folder                                                              |
| GET, HEAD /page/NAME  | a page after a moment; /page/gone-NAME is 404, /page/broken-NAME is 503                 |
| POST /NAME            | 200 with the receipt; an Idempotency-Key that came before gets its first receipt again  |
| POST /broken/NAME     | 503, and nothing is kept                                                                |
| POST /slow/NAME       | as /NAME, but what comes for the first time is answered only after ten seconds          |
| GET /received         | every POST as it came in: path, key, body, and whether the key had come before          |
| GET /pages            | how many pages were asked for, and how many at the same moment at most                  |

A POST takes effect when it arrives, not when it is answered: it is printed, and kept, before anything else happens.
Nothing is kept when the server ends.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SLOW_SECONDS = 10
PAGE_SECONDS = 0.05


class World:
    """What the server knows, shared by all requests."""

    def __init__(self):
        self.lock = threading.Lock()
        self.received = []
        self.receipts = {}
        self.pages = {"asked": 0, "open": 0, "most_at_once": 0}

    def receive(self, path, key, body):
        """Keeps one POST. Answers its receipt, and whether the key had come before."""
        with self.lock:
            number = len(self.received) + 1
            again = key in self.receipts
            receipt = self.receipts[key] if again else {"receipt": number}
            if key is not None:
                self.receipts[key] = receipt
            self.received.append({"path": path, "key": key, "body": body, "again": again})
            print(f"{number} POST {path} {'again' if again else 'new'} {key}", flush=True)
            return receipt, again

    def open_page(self):
        with self.lock:
            self.pages["asked"] += 1
            self.pages["open"] += 1
            self.pages["most_at_once"] = max(self.pages["most_at_once"], self.pages["open"])

    def close_page(self):
        with self.lock:
            self.pages["open"] -= 1


class Handler(BaseHTTPRequestHandler):
    """One request."""

    world = World()

    def do_GET(self):
        if self.path == "/received":
            self.answer(200, self.world.received)
        elif self.path == "/pages":
            self.answer(200, self.world.pages)
        elif self.path.startswith("/page/"):
            self.page(self.path.removeprefix("/page/"))
        else:
            self.file(FOLDER / self.path.lstrip("/"))

    do_HEAD = do_GET

    def do_POST(self):
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(content) if content else None
        if self.path.startswith("/broken/"):
            return self.answer(503, {"error": "out of order"})
        receipt, again = self.world.receive(self.path, self.headers.get("Idempotency-Key"), body)
        if self.path.startswith("/slow/") and not again:
            time.sleep(SLOW_SECONDS)
        return self.answer(200, receipt)

    def page(self, name):
        self.world.open_page()
        time.sleep(PAGE_SECONDS)
        self.world.close_page()
        status = 404 if name.startswith("gone-") else 503 if name.startswith("broken-") else 200
        self.answer(status, {"page": name})

    def file(self, path):
        path = path.resolve()
        if path.suffix == ".json" and path.is_relative_to(FOLDER) and path.is_file():
            self.answer(200, json.loads(path.read_text(encoding="utf-8")))
        else:
            self.answer(404, {"error": "no such file"})

    def answer(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        """Only POSTs are printed, by `World.receive`."""


class Server(ThreadingHTTPServer):
    """Ends without waiting for answers, and says nothing of callers who were killed while they waited for one."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 server.py PORT")
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    print(f"listening on 127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
