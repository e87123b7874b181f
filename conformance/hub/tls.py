"""Certificates of a local authority, good and bad, and TLS servers that show them."""
import pathlib
import ssl
import subprocess

EXTENSIONS = "subjectAltName=%s\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"


def openssl(*words, at=None, **more):
    command = (["faketime", at] if at else []) + ["openssl", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, **more)


class Authority:
    def __init__(self, folder, name):
        self.folder, self.name = pathlib.Path(folder), name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = self.folder / (name + ".pem"), self.folder / (name + ".key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 20000, "-subj",
                "/CN=" + name, "-keyout", self.key, "-out", self.certificate, "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign", at="2000-01-01")

    def issue(self, name, subject="IP:127.0.0.1", at=None, days=2):
        """Returns (certificate, key) for a server, valid for so many days from `at`."""
        base = self.folder / name
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=" + name, "-keyout",
                base.with_suffix(".key"), "-out", base.with_suffix(".csr"))
        base.with_suffix(".ext").write_text(EXTENSIONS % subject)
        openssl("x509", "-req", "-in", base.with_suffix(".csr"), "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", days, "-extfile", base.with_suffix(".ext"), "-out", base.with_suffix(".pem"), at=at)
        return base.with_suffix(".pem"), base.with_suffix(".key")


def context(pair, newest=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if newest:
        made.set_ciphers("DEFAULT:@SECLEVEL=0")
        made.minimum_version = ssl.TLSVersion.TLSv1
        made.maximum_version = newest
    made.load_cert_chain(*map(str, pair))
    return made


class Cut:
    """Takes the first bytes of a handshake, then closes."""

    @staticmethod
    def wrap_socket(connection, server_side):
        connection.recv(5)
        raise OSError("cut")


def contexts(folder):
    """name -> context; and the file of the authority that clients of the cases trust."""
    ours, unknown = Authority(folder, "authority"), Authority(folder, "stranger")
    good = ours.issue("good")
    return {"good": context(good),
            "expired": context(ours.issue("expired", at="2015-01-01")),
            "not_yet": context(ours.issue("not-yet", at="2040-01-01")),
            "wrong_host": context(ours.issue("wrong-host", subject="DNS:hub.example")),
            "unknown": context(unknown.issue("unknown")),
            "self_signed": context((unknown.certificate, unknown.key)),
            "cut": Cut(),
            "old_protocol": context(good, newest=ssl.TLSVersion.TLSv1_1)}, ours.certificate
