#!/usr/bin/env python3
"""Checks a bundle, and shows what it holds: bundle-reader.py BUNDLE KEY.pub...

Written from docs/bundle-format.md alone, with Python's standard library, and `openssl` for signatures. Every key that is given must have
signed. Ends with 0, with 2 where the file is not a bundle, or with 4 where it is not to be trusted.
"""
import base64, hashlib, json, re, subprocess, sys, tempfile

INDEX, MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
BUNDLE, PACKAGE, CHART, DOCUMENT, UPSTREAM = (f"application/vnd.qiji.{kind}.v1" for kind in ("bundle", "package", "chart", "document", "upstream"))
ENVELOPE, IN_TOTO = "application/vnd.dsse.envelope.v1+json", "application/vnd.in-toto+json"
SPDX = "application/spdx+json"
ARCHIVE, VALUES = "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/yaml"
REF, TITLE = "org.opencontainers.image.ref.name", "org.opencontainers.image.title"
ARCHES, ROLES = ["amd64", "arm64", "loong64", "riscv64"], ["control-plane", "worker", "control-plane,worker", ""]
LAYOUT, MIB = b'{"imageLayoutVersion":"1.0.0"}', 1 << 20
NAME = {"bundle": r"[a-z0-9][a-z0-9.-]{0,127}", "version": r"[A-Za-z0-9][A-Za-z0-9.+~:_-]{0,127}",
        "artifact": r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,127}",
        "image": r"[a-z0-9][a-z0-9.-]{0,127}(:[0-9]+)?(/[a-z0-9][a-z0-9._-]{0,127})+:[A-Za-z0-9][A-Za-z0-9._-]{0,127}",
        "type": r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,127}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,127}"}


class NotABundle(Exception): pass
class Untrusted(Exception): pass


def need(holds, message):
    if not holds:
        raise Untrusted(message)


# The tar

def header(name, size):
    fields = [(0, name.encode()), (100, b"0000644"), (108, b"0000000"), (116, b"0000000"), (124, b"%011o" % size),
              (136, b"0" * 11), (148, b" " * 8), (156, b"0"), (257, b"ustar\x0000"), (329, b"0000000"), (337, b"0000000")]
    block = bytearray(512)
    for offset, text in fields:
        block[offset:offset + len(text)] = text
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def members(file, length):
    """Name and place of each member, in the order of the file."""
    file.seek(0)
    start = file.read(512)
    file.seek(max(0, length - 2048))
    tail_is_good = file.read(512) == header("oci-layout", len(LAYOUT))
    if length < 1536 or (sum(a != b for a, b in zip(start, b"blobs/sha256/")) > 4 and not tail_is_good):
        raise NotABundle("it is not a bundle")
    found, at, last = {}, 0, ""
    while last != "oci-layout":
        file.seek(at)
        block = file.read(512)
        size = re.fullmatch(rb"([0-7]{11})\0", block[124:136])
        name = block[:100].rstrip(b"\0").decode("ascii", "replace")
        need(size and block == header(name, size := int(size[1], 8)), f"the header at byte {at} is damaged")
        follows = {"index.json": last.startswith("blobs/sha256/"), "oci-layout": last == "index.json"}
        is_blob = re.fullmatch("blobs/sha256/[0-9a-f]{64}", name) and (last == "" or last < name < "c")
        need(follows.get(name, is_blob), f"{name!r} at byte {at} has no place here")
        found[name], last = (at + 512, size), name
        at += 512 + -(-size // 512) * 512
        need(at + 1024 <= length, f"{name} is cut short")
        need(len(found) <= 65536 + 2, "there are too many members")
    file.seek(at)
    need(length == at + 1024 and file.read() == bytes(1024), "the end is damaged")
    return found


# The documents

def text(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def descriptor(kind, digest, size, artifact=None, arch=None, notes=None):
    every = {"mediaType": kind, "digest": digest, "size": size, "artifactType": artifact,
             "platform": arch and {"architecture": arch, "os": "linux"}, "annotations": notes and dict(sorted(notes.items()))}
    return {key: value for key, value in every.items() if value}


def describe(kind, document, *more):
    return descriptor(kind, "sha256:" + hashlib.sha256(text(document)).hexdigest(), len(text(document)), *more)


def index(manifests, artifact=None, notes=None):
    every = {"schemaVersion": 2, "mediaType": INDEX, "artifactType": artifact, "manifests": manifests, "annotations": notes}
    return {key: value for key, value in every.items() if value is not None}


def manifest(artifact, layers, subject=None, notes=None):
    empty = descriptor("application/vnd.oci.empty.v1+json", "sha256:" + hashlib.sha256(b"{}").hexdigest(), 2)
    every = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact, "config": empty, "layers": layers,
             "subject": subject, "annotations": notes}
    return {key: value for key, value in every.items() if value is not None}


class Reader:
    def __init__(self, file):
        self.file, self.length = file, file.seek(0, 2)
        self.members = members(file, self.length)
        self.used, self.subjects, self.budget = {}, {}, 64 * MIB

    def content(self, name):
        start, size = self.members[name]
        need(size <= 4 * MIB, f"{name} is larger than 4 MiB")
        self.file.seek(start)
        return self.file.read(size)

    def use(self, blob, owner):
        """Remembers that a blob is referred to, and requires that it is there with its size."""
        name = "blobs/sha256/" + blob["digest"].removeprefix("sha256:")
        need(self.members.get(name, (0, None))[1] == blob["size"], f"{blob['digest']} of {owner} is missing or has another size")
        need(re.fullmatch(NAME["type"], blob["mediaType"]), f"{owner} has a blob of no media type")
        self.used.setdefault(name, owner)
        return name

    def document(self, blob, owner):
        content = self.content(self.use(blob, owner))
        need(hashlib.sha256(content).hexdigest() == blob["digest"].removeprefix("sha256:"), f"{owner} is damaged")
        self.budget -= len(content)
        need(self.budget >= 0, "the documents have more than 64 MiB")
        return json.loads(content)

    def image(self, name, entry):
        arch, roles = entry["platform"]["architecture"], entry["annotations"]["dev.qiji.roles"]
        need(re.fullmatch(NAME["image"], name) and len(name) <= 255, f"{name} cannot name an image")
        need(arch in ARCHES and roles in ROLES, f"{name} is for an unknown architecture or role")
        found, kind = self.document(entry, f"image {name} ({arch})"), entry["mediaType"]
        need(kind in (MANIFEST, DOCKER) and found.get("mediaType", kind) == kind, f"{name} has a manifest of another type")
        for blob in [found["config"], *found["layers"]]:
            self.use(blob, f"image {name} ({arch})")
        self.subjects[name, arch] = descriptor(kind, entry["digest"], entry["size"])
        return (name, ARCHES.index(arch)), descriptor(kind, entry["digest"], entry["size"], None, arch, {"dev.qiji.roles": roles})

    def images(self, entry):
        """An image of one architecture, or an index of several; as the page would have the entry written."""
        name = entry["annotations"][REF]
        if entry["mediaType"] != INDEX:
            key, plain = self.image(name, entry)
            return [key], {**plain, "annotations": {**plain["annotations"], REF: name}}
        keys, plain = zip(*(self.image(name, one) for one in self.document(entry, f"image {name}")["manifests"]))
        need(len(keys) > 1, f"{name} has an index of one architecture")
        return list(keys), describe(INDEX, index(list(plain)), None, None, {REF: name})

    def artifact(self, entry):
        """A package, a chart, a document or a bill of materials; as the page would have the entry written."""
        kind, notes = entry["artifactType"], entry["annotations"]
        if kind == UPSTREAM:
            return self.upstream(notes["dev.qiji.name"], entry)
        name, owner = notes["dev.qiji.name"], f"{kind} {notes['dev.qiji.name']}"
        need(kind == SPDX or re.fullmatch(NAME["artifact"], name), f"{name} cannot name an artifact")
        layers = [descriptor(one["mediaType"], one["digest"], one["size"]) for one in self.document(entry, owner)["layers"]]
        for layer in layers:
            self.use(layer, owner)
        if kind == DOCUMENT:
            need(len(layers) == 1, f"{owner} has not one layer")
            layers[0]["annotations"] = {TITLE: name}
            return (name, 0), describe(MANIFEST, manifest(kind, layers, None, {"dev.qiji.name": name}), kind, None, {"dev.qiji.name": name})
        if kind == SPDX:
            return self.materials(name, entry.get("platform", {}).get("architecture"), layers)
        if kind == CHART:
            return self.chart(name, notes["dev.qiji.version"], layers)
        arch, roles, version = entry["platform"]["architecture"], notes["dev.qiji.roles"], notes["dev.qiji.version"]
        need(kind == PACKAGE and arch in ARCHES and roles in ROLES and layers, f"{owner} is of no known kind")
        need(re.fullmatch(NAME["version"], version), f"{owner} has no version")
        notes = {"dev.qiji.name": name, "dev.qiji.roles": roles, "dev.qiji.version": version}
        written = describe(MANIFEST, manifest(kind, layers, None, notes), kind, arch, notes)
        self.subjects[name, arch] = descriptor(MANIFEST, written["digest"], written["size"])
        return (name, ARCHES.index(arch)), written

    def chart(self, name, version, layers):
        """A chart: its archive, then its values."""
        types = [layer["mediaType"] for layer in layers]
        need(types == [ARCHIVE] + [VALUES] * (len(types) - 1), f"chart {name} has layers of unknown kinds")
        need(re.fullmatch(NAME["bundle"], name) and re.fullmatch(NAME["version"], version), f"chart {name} breaks the rules for names")
        notes = {"dev.qiji.name": name, "dev.qiji.version": version}
        written = describe(MANIFEST, manifest(CHART, layers, None, notes), CHART, None, notes)
        self.subjects[name, None] = descriptor(MANIFEST, written["digest"], written["size"])
        return (name, 0), written

    def upstream(self, name, entry):
        """What others say of an image, or the image's own index, which may list what is not there."""
        images = {image for image, arch in self.subjects if "/" in image}
        need(re.fullmatch(NAME["image"], name) and len(name) <= 255, f"{name} cannot name an upstream")
        need(name.rpartition(":")[0] in {image.rpartition(":")[0] for image in images}, f"{name} is about no image")
        is_index = entry["mediaType"] in (INDEX, DOCKER_INDEX)
        need(is_index or entry["mediaType"] in (MANIFEST, DOCKER), f"{name} is of another type")
        need(is_index == (name in images), f"{name} has the name of an image, or an index has another")
        found = self.document(entry, f"{UPSTREAM} {name}")
        for blob in [] if is_index else [found["config"], *found["layers"]]:
            self.use(blob, f"{UPSTREAM} {name}")
        return (name, 0), descriptor(entry["mediaType"], entry["digest"], entry["size"], UPSTREAM, None, {"dev.qiji.name": name})

    def materials(self, name, arch, layers):
        """A bill of materials, which hangs on an image, a package or a chart that was read before it."""
        need((name, arch) in self.subjects, f"a bill of materials is about {name} ({arch}), which is not there")
        need(len(layers) == 1 and layers[0]["mediaType"] == SPDX and layers[0]["size"] <= 16 * MIB, f"the bill of materials of {name} is of no known kind")
        layers[0]["annotations"], notes = {TITLE: "sbom.spdx.json"}, {"dev.qiji.name": name}
        written = describe(MANIFEST, manifest(SPDX, layers, self.subjects[name, arch], notes), SPDX, arch, notes)
        return (2, name, 0) if arch is None else ("/" not in name, name, ARCHES.index(arch)), written

    def read(self):
        """The root, its contents, and the envelope, with every document held to its one form."""
        need(self.content("oci-layout") == LAYOUT, "oci-layout is damaged")
        top = json.loads(self.content("index.json"))["manifests"]
        root = self.document(top[0], "the root")
        notes = root["annotations"]
        if notes["dev.qiji.format"] != "1":
            raise NotABundle("it is a bundle of another format")
        images = [self.images(entry) for entry in root["manifests"] if "artifactType" not in entry]
        artifacts = [self.artifact(entry) for entry in root["manifests"] if "artifactType" in entry]
        kinds = ([(key, one) for key, one in artifacts if one["artifactType"] == kind] for kind in (PACKAGE, CHART, DOCUMENT, SPDX, UPSTREAM))
        packages, charts, documents, materials, upstreams = kinds
        for keys in [sum((keys for keys, _ in images), []), *([key for key, _ in some] for some in (packages, charts, documents, materials, upstreams))]:
            need(keys == sorted(set(keys)), "the root is out of order, or names something twice")
        for key, rule in [("name", "bundle"), ("version", "version"), ("edition", "bundle")]:
            need(re.fullmatch(NAME[rule], notes.get("dev.qiji." + key, "x")), f"the {key} breaks the rules")
        known = ("dev.qiji.edition", "dev.qiji.format", "dev.qiji.name", "dev.qiji.version")
        again = index([one for _, one in images + packages + charts + documents + materials + upstreams], BUNDLE, {key: notes[key] for key in known if key in notes})
        need(describe(INDEX, again, BUNDLE) == top[0], "the root is not in its one form")
        signature = self.document(top[1], "the signature")
        envelope_bytes = self.content(self.use(signature["layers"][0], "the signature"))
        subject = descriptor(INDEX, top[0]["digest"], top[0]["size"])
        layer = descriptor(ENVELOPE, "sha256:" + hashlib.sha256(envelope_bytes).hexdigest(), len(envelope_bytes))
        signature = manifest(ENVELOPE, [layer], subject)
        again = index([top[0], describe(MANIFEST, signature, ENVELOPE), *(one for _, one in images)])
        need(text(again) == self.content("index.json"), "index.json is not in its one form")
        self.use(signature["config"], "the empty configuration")
        need(set(self.used) == set(self.members) - {"index.json", "oci-layout"}, "a blob belongs to nothing")
        return text(root), notes, envelope_bytes

    def hash_everything(self):
        for name, (start, size) in self.members.items():
            self.file.seek(start)
            digest, left = hashlib.sha256(), size
            while left:
                piece = self.file.read(min(left, MIB))
                need(piece, f"{name} ends early")
                digest.update(piece)
                left -= len(piece)
            need(not name.startswith("blobs/") or digest.hexdigest() == name[13:], f"{name} of {self.used.get(name)} is damaged")
            need(not any(self.file.read(-size % 512)), f"the padding after {name} is damaged")


# The signature

def openssl(*arguments, files=()):
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, content in enumerate(files):
            paths.append(f"{folder}/{number}")
            with open(paths[-1], "wb") as file:
                file.write(content)
        return subprocess.run(["openssl", *(word.format(*paths) for word in arguments)], capture_output=True)


def check_statement(root, notes, envelope_bytes):
    envelope = json.loads(envelope_bytes)
    shape = [{"keyid": one["keyid"], "sig": one["sig"]} for one in envelope["signatures"]]
    again = {"payloadType": IN_TOTO, "payload": envelope["payload"], "signatures": shape}
    ids = [one["keyid"] for one in shape]
    need(text(again) == envelope_bytes and ids == sorted(set(ids)), "the envelope is not in its one form")
    need(all(re.fullmatch("[0-9a-f]{64}", one) for one in ids), "a key id is none")
    payload = base64.b64decode(envelope["payload"], validate=True)
    need(base64.b64encode(payload).decode() == envelope["payload"], "the payload is not in its one form")
    said = json.loads(payload)["predicate"]
    sm3 = openssl("dgst", "-sm3", "-r", "{0}", files=[root]).stdout.split()[0].decode()
    name, version = notes["dev.qiji.name"], notes["dev.qiji.version"]
    predicate = {"created-by": said["created-by"], "name": name, "version": version,
                 "edition": notes.get("dev.qiji.edition"), "channel": said.get("channel")}
    need(re.fullmatch(NAME["bundle"], said.get("channel", "x")), "the channel breaks the rules")
    subject = {"name": name, "digest": {"sha256": hashlib.sha256(root).hexdigest(), "sm3": sm3}}
    again = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": "https://qiji.dev/bundle/v1",
             "predicate": {key: value for key, value in predicate.items() if value is not None}}
    need(text(again) == payload, "the statement is about something else")
    return b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload), shape


def check_signatures(message, signatures, keys, edition):
    kinds = set()
    for key in keys:
        pem = open(key, "rb").read()
        der = base64.b64decode(b"".join(line for line in pem.splitlines() if not line.startswith(b"-")))
        kind = "sm2" if bytes.fromhex("06082a811ccf5501822d") in der else "ed25519"
        mine = [one["sig"] for one in signatures if one["keyid"] == hashlib.sha256(der).hexdigest()]
        need(mine, f"{key} has not signed")
        options = ["-digest", "sm3", "-pkeyopt", "distid:1234567812345678"] if kind == "sm2" else []
        done = openssl("pkeyutl", "-verify", "-rawin", *options, "-pubin", "-inkey", "{0}", "-sigfile", "{1}", "-in", "{2}",
                       files=[pem, base64.b64decode(mine[0], validate=True), message])
        need(done.returncode == 0, f"the signature by {key} does not hold")
        kinds.add(kind)
    need(kinds, "no key was given")
    need(edition != "trusted" or kinds == {"ed25519", "sm2"}, "the edition needs keys of both kinds")


def main(bundle, *keys):
    try:
        with open(bundle, "rb") as file:
            reader = Reader(file)
            root, notes, envelope = reader.read()
            message, signatures = check_statement(root, notes, envelope)
            check_signatures(message, signatures, keys, notes.get("dev.qiji.edition"))
            reader.hash_everything()
    except NotABundle as error:
        return f"{bundle}: {error}", 2
    except (Untrusted, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return f"{bundle}: not to be trusted: {error}", 4
    held = sorted({owner for owner in reader.used.values() if "(" in owner or "vnd.qiji" in owner})
    return "\n".join([f"{notes['dev.qiji.name']} {notes['dev.qiji.version']} holds", *held]), 0


if __name__ == "__main__":
    answer, status = main(*sys.argv[1:])
    print(answer, file=sys.stderr if status else sys.stdout)
    sys.exit(status)
