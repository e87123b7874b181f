"""What can go wrong on the wire: each function sends a broken answer on a connection.  Cases name them as fault `kind`."""
import functools
import gzip
import json
import socket
import struct
import time
import zlib

from fault_hub import Answer


def send(connection, data):
    connection.sendall(data)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def cut(hub, connection, request, answer, fault):
    """The body ends early: by FIN, by RST, or as chunks without an end."""
    part = answer.body[: fault.get("after", len(answer.body) // 2)]
    how = fault.get("how", "fin")
    if how == "chunked":
        answer.headers["Transfer-Encoding"] = "chunked"
        return send(connection, answer.head(length=False) + b"%x\r\n" % len(part) + part + b"\r\n")
    send(connection, answer.head() + part)
    if how == "rst":
        time.sleep(0.05)
        reset(connection)


def nothing(hub, connection, request, answer, fault):
    """Closed without a byte."""


def stall(hub, connection, request, answer, fault):
    send(connection, (answer.head() + answer.body)[: fault["after"]])
    time.sleep(fault.get("seconds", 30))


def drip(hub, connection, request, answer, fault):
    """A byte at a time, for longer than anybody should wait."""
    data = answer.head() + answer.body
    if fault.get("part") == "body":
        send(connection, answer.head())
        data = answer.body
    for byte in data[: int(fault.get("seconds", 30) / fault["every"])]:
        send(connection, bytes([byte]) * fault.get("bytes", 1))
        time.sleep(fault["every"])


def wrong_range(hub, connection, request, answer, fault):
    """A part of the file is sent that is not the one that was asked for."""
    total, start = len(answer.body), fault["start"]
    answer.status = 206
    answer.headers["Content-Range"] = fault.get("range", "bytes %d-%d/%d") % ((start, total - 1, total) if "range" not in fault else ())
    answer.body = answer.body[start:]
    send(connection, answer.head() + answer.body)


def ignore_range(hub, connection, request, answer, fault):
    whole = hub.cases[request.case].site.files[request.rest.partition("/resolve/")[2].partition("/")[2]]
    send(connection, Answer(200, whole).head() + whole)


def extra(hub, connection, request, answer, fault):
    """More bytes than the file has, and a length that agrees with them, or none."""
    answer.body += b"x" * fault["bytes"]
    send(connection, answer.head(length=not fault.get("endless")) + answer.body)
    while fault.get("endless"):
        send(connection, b"x" * (1 << 16))


def length(hub, connection, request, answer, fault):
    answer.headers["Content-Length"] = fault["value"]
    if fault.get("chunked"):
        answer.headers["Transfer-Encoding"] = "chunked"
        answer.body = b"%x\r\n" % len(answer.body) + answer.body + b"\r\n0\r\n\r\n"
    send(connection, answer.head() + answer.body)


@functools.lru_cache(1)
def bomb():
    """256 MB in a quarter of one."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()


def encoded(hub, connection, request, answer, fault):
    if fault.get("bomb"):
        answer.body = bomb()
    elif fault["coding"] == "gzip":
        answer.body = gzip.compress(answer.body)
    answer.headers["Content-Encoding"] = fault["coding"]
    send(connection, answer.head() + answer.body)


def headers(hub, connection, request, answer, fault):
    """Header lines without an end, or one that is very long."""
    send(connection, b"HTTP/1.1 200 X\r\n")
    if "line" in fault:
        return send(connection, b"X-Long: " + b"x" * fault["line"] + b"\r\n\r\n")
    for i in range(fault["lines"]):
        send(connection, b"X-%d: x\r\n" % i)
    send(connection, b"\r\n")


def status(hub, connection, request, answer, fault):
    body = fault.get("body", "").encode() * fault.get("repeat", 1)
    other = Answer(fault["status"], body, {k: v.replace("{now+2}", http_date(2)) for k, v in fault.get("headers", {}).items()})
    send(connection, other.head() + (b"" if request.method == "HEAD" else other.body))


def http_date(seconds):
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds))


def redirect(hub, connection, request, answer, fault):
    """To `location`, in which {here}, {elsewhere}, {host}, {path} and {case} stand for what they say."""
    here = hub.origin.split("//")[1]
    # What the client is sent to answers by itself only when it carries this mark.
    if fault.get("once") and "moved=1" in request.query:
        return send(connection, answer.head() + answer.body)
    location = fault["location"]
    for name, value in {"here": here, "elsewhere": hub.elsewhere.origin.split("//")[1], "path": request.path, "case": request.case}.items():
        location = location.replace("{%s}" % name, value)
    other = Answer(fault.get("status", 302), b"gone", {"Location": location})
    send(connection, other.head() + other.body)


def hops(hub, connection, request, answer, fault):
    hop = int(request.query.partition("hop=")[2] or 0)
    if hop == fault["number"]:
        return send(connection, answer.head() + answer.body)
    other = Answer(302, b"", {"Location": "%s?hop=%d" % (request.path, hop + 1)})
    send(connection, other.head())


def pages(hub, connection, request, answer, fault):
    """The listing goes on at `next`; with `endless`, each page leads to another one."""
    page = int(request.query.partition("page=")[2] or 0)
    if page and not any(map(fault.get, ("endless", "loop", "split"))):
        return send(connection, answer.head() + answer.body)
    if page and not fault.get("split"):
        answer.body = b"[]"
    link = fault["next"].replace("{here}", hub.endpoint(request.case)).replace("{elsewhere}", hub.elsewhere.endpoint(request.case))
    link = link.replace("{rest}", request.rest).replace("{page}", str(page + 1))
    answer.headers["Link"] = '<%s>; rel="next"' % link
    if fault.get("split") and not page:
        entries = json.loads(answer.body)
        answer.body = json.dumps(entries[: len(entries) // 2]).encode()
    elif fault.get("split"):
        entries = json.loads(hub.cases[request.case].site.answer(request, "").body)
        answer.body = json.dumps(entries[len(entries) // 2:]).encode()
        del answer.headers["Link"]
    send(connection, answer.head() + answer.body)


def old_protocol(hub, connection, request, answer, fault):
    send(connection, answer.head(length=False).replace(b"HTTP/1.1", b"HTTP/1.0") + answer.body)


def raw(hub, connection, request, answer, fault):
    send(connection, fault["bytes"].encode("latin-1"))


KINDS = {f.__name__: f for f in (cut, nothing, stall, drip, wrong_range, ignore_range, extra, length, encoded, headers, status, redirect,
                                 hops, pages, old_protocol, raw)}
