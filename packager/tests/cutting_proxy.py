"""A proxy on 127.0.0.1 in front of a hub that breaks one request, for tests of what an interruption leaves.

Usage: cutting_proxy.py HUB before|after|middle|always METHOD PART-OF-THE-PATH
Prints its address.  The first request of that method whose path holds the part is lost `before` the hub sees it, `after` the hub answered
it, or in the `middle` of the answer; whatever follows it passes.  With `always` the hub sees none of them.
"""
import http.client
import http.server
import sys
import threading
import urllib.parse

hub, when, method, part = urllib.parse.urlsplit(sys.argv[1]), *sys.argv[2:5]
lock, cut = threading.Lock(), [False]


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        with lock:
            mine = (not cut[0] or when == "always") and self.command == method and part in self.path
            cut[0] |= mine
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if mine and when in ("before", "always"):
            return self.drop()
        connection = http.client.HTTPConnection(hub.hostname, hub.port)
        connection.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() != "host"})
        answer = connection.getresponse()
        data = answer.read()
        if mine and when == "after":
            return self.drop()
        # The hub's own address in an answer would lead around this proxy.
        mine_address = f"http://127.0.0.1:{self.server.server_port}".encode()
        if "json" in answer.getheader("Content-Type", ""):
            data = data.replace(sys.argv[1].encode(), mine_address)
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if mine else data)
        if mine:
            self.drop()

    def drop(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(2)

    def log_message(self, *_):
        pass

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = forward


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
