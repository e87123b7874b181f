"""A hub on 127.0.0.1 that holds a site for each case, and breaks the answers that the case says, the way it says.

The first segment of a path is the case's name, so that one server serves all cases at once and each client's HF_ENDPOINT is
http://127.0.0.1:PORT/CASE.  A second server, `elsewhere`, stands for other people's machines: what reaches it is kept too.
"""
import hashlib
import json
import re
import socket
import ssl
import threading
import urllib.parse

REPOSITORY = "org/triangle-multiplication"
COMMIT = "c" * 40


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag_of(path, data):
    return hashlib.sha256(data).hexdigest() if path.endswith(".so") else git_sha1(data)


class Request:
    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target = lines[0].split(" ")[:2]
        self.headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if ":" in line)}
        self.raw = head.decode("latin-1")
        # A proxy is asked with the whole address.
        split = urllib.parse.urlsplit(self.target)
        self.path, self.query = urllib.parse.unquote(split.path), split.query
        self.case, _, self.rest = self.path[1:].partition("/")

    @property
    def what(self):
        """Which of the requests of a fetch it is: the names that cases use for `at`."""
        if self.method == "CONNECT":
            return "connect"
        if self.rest.endswith("/refs"):
            return "refs"
        if "/tree/" in self.rest:
            return "tree"
        name = self.rest.rpartition("/")[2]
        known = {"bundle.json": "bundle", "bundle.json.minisig": "signature", "metadata.json": "metadata", "manifest.json": "manifest",
                 "revocations.json": "revocations", "revocations.json.minisig": "revocations_signature"}
        return known.get(name, "build" if name.endswith(".so") else "other")


class Answer:
    def __init__(self, status=200, body=b"", headers=None):
        self.status, self.body, self.headers = status, body, dict(headers or {})

    def head(self, length=True):
        lines = ["HTTP/1.1 %d X" % self.status]
        headers = {"Connection": "close", **self.headers}
        if length and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(self.body))
        for name, value in headers.items():
            for one in value if isinstance(value, list) else [value]:
                lines.append("%s: %s" % (name, one))
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Site:
    """Files of one commit, and what the hub says of them.  `listing` and `refs` may be replaced by any bytes."""

    def __init__(self, files, branches=None, main=None):
        self.files, self.main = dict(files), dict(main or {})
        self.branches = branches or {"v1": COMMIT, "main": "d" * 40}
        self.entries = [self.entry(path, data) for path, data in sorted(self.files.items())]
        self.listing = self.refs = None

    @staticmethod
    def entry(path, data):
        one = {"type": "file", "path": path, "oid": git_sha1(data), "size": len(data)}
        if path.endswith(".so"):
            one["lfs"] = {"oid": etag_of(path, data), "size": len(data), "pointerSize": 134}
        return one

    def answer(self, request, base):
        if request.what == "refs":
            branches = [{"name": n, "ref": "refs/heads/" + n, "targetCommit": c} for n, c in self.branches.items()]
            return Answer(200, self.refs or json.dumps({"branches": branches, "tags": [], "converts": []}).encode())
        if request.what == "tree":
            return Answer(200, self.listing if self.listing is not None else json.dumps(self.entries).encode())
        found = re.match(r"kernels/%s/resolve/([^/]+)/(.*)$" % REPOSITORY, request.rest)
        files = {} if not found else self.main if found[1] == "main" else self.files
        if not found or found[2] not in files:
            return Answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        data = files[found[2]]
        headers = {"ETag": '"%s"' % etag_of(found[2], data), "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        asked = re.match(r"bytes=(\d+)-$", request.headers.get("range", ""))
        if not asked:
            return Answer(200, data, headers)
        start = int(asked[1])
        if start >= len(data):
            return Answer(416, b"", {"Content-Range": "bytes */%d" % len(data)})
        headers["Content-Range"] = "bytes %d-%d/%d" % (start, len(data) - 1, len(data))
        return Answer(206, data[start:], headers)


class Hub:
    """`cases`: name -> object with .site, and .fault(connection, request, answer) that returns True when it answered itself."""

    def __init__(self, tls=None, address="127.0.0.1"):
        self.cases, self.seen, self.lock, self.tls = {}, {}, threading.Lock(), tls
        self.listener = socket.create_server((address, 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.origin = "%s://127.0.0.1:%d" % ("https" if tls else "http", self.port)
        threading.Thread(target=self.accept, daemon=True).start()

    def endpoint(self, case):
        return self.origin + "/" + case

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            connection.settimeout(60)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head and len(head) < 1 << 16:
                piece = connection.recv(1 << 16)
                if not piece:
                    return
                head += piece
            head, _, body = head.partition(b"\r\n\r\n")
            request = Request(head)
            while len(body) < int(request.headers.get("content-length", 0)):
                body += connection.recv(1 << 16)
            request.body = body
            self.remember(request)
            self.handle(connection, request)
            # Unread bytes at close would reset the connection and lose what is on its way.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except (OSError, ssl.SSLError, ValueError):
            pass
        finally:
            connection.close()

    def remember(self, request):
        with self.lock:
            self.seen.setdefault(request.case, []).append(request)

    def requests(self, case):
        with self.lock:
            return list(self.seen.get(case, []))

    def handle(self, connection, request):
        case = self.cases.get(request.case)
        if case is None:
            connection.sendall(Answer(404, b"", {"X-Error-Code": "RepoNotFound"}).head())
            return
        answer = case.site.answer(request, self.endpoint(request.case))
        if not case.fault(connection, request, answer):
            connection.sendall(answer.head() + (b"" if request.method == "HEAD" else answer.body))
