#!/usr/bin/env python3
"""Runs the second verifier over the vectors of docs/spec, or over mutations of a bundle.

What it is: a test of verify.py, and through it of the specification. It calls
the functions of verify.py; it computes nothing of its own.
What it is not: a test of the reference crate. compare.py does that.

    vectors.py [DIRECTORY]                        default: docs/spec/vectors of this repository
    vectors.py --mutations BUNDLE VKEY COUNT      no bundle with one changed byte may be VERIFIED

The last line is "N passed, M failed"; the exit code is 0 when nothing failed.
"""

import base64
import json
import pathlib
import random
import sys

sys.dont_write_bytecode = True  # leave nothing beside the sources

import verify

DEFAULT = pathlib.Path(__file__).resolve().parents[4] / "docs" / "spec" / "vectors"


class Tally:
    def __init__(self):
        self.passed = self.failed = 0

    def case(self, name, test):
        """One line for one case. A test that raises has failed, whatever it raises."""
        try:
            problem = None if (result := test()) is True else f"got {result}"
        except Exception as error:
            problem = f"raised {type(error).__name__}: {error}"
        self.passed += problem is None
        self.failed += problem is not None
        print(f"FAILED  {name}: {problem}" if problem else f"passed  {name}")

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def load(directory, name):
    return json.loads((directory / name).read_text(encoding="utf-8"))


def same(got, expected):
    return True if got == expected else f"{got!r}, expected {expected!r}"


def refuses(function, *arguments):
    """Whether a function says Malformed, which is the only way to refuse."""
    try:
        function(*arguments)
    except verify.Malformed:
        return True
    return "accepted"


def content(case):
    return bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode("utf-8")


def canonical(tally, directory):
    for case in load(directory, "canonical.json"):
        def test():
            if not case["accept"]:
                return refuses(verify.parse_canonical, content(case), case["depth"])
            verify.parse_canonical(content(case), case["depth"])
            return True
        tally.case(f"canonical: {case['what']}", test)


def leaf(tally, directory):
    cases = load(directory, "leaf.json")
    for case in cases["bytes"]:
        tally.case("leaf: bytes", lambda: same(verify.leaf_hash(content(case)).hex(), case["leaf_hash"]))
    node = cases["node"]
    tally.case("leaf: node", lambda: same(
        verify.node(bytes.fromhex(node["left"]), bytes.fromhex(node["right"])).hex(), node["node"]))
    for group in ("full", "minimal"):
        for case in cases[group]:
            kind = json.loads(case["event"])["kind"]
            tally.case(f"leaf: {group} {kind}",
                       lambda: same(verify.parse_event(case["event"].encode()).leaf.hex(), case["leaf_hash"]))
        tally.case(f"leaf: {group} has every kind",
                   lambda: same({json.loads(case["event"])["kind"] for case in cases[group]}, set(verify.KINDS)))
    for case in cases["refused"]:
        tally.case(f"leaf: refused, {case['what']}", lambda: refuses(verify.parse_event, case["event"].encode()))


def letters(count):
    return ("abcdefghijklmnopqrstuvwxyz" * (count // 26 + 1))[:count]


def commitments(tally, directory):
    for case in load(directory, "commitments.json"):
        def test():
            if "letters" in case:
                value = letters(case["letters"])
            elif "letters_in_big" in case:
                value = {"big": letters(case["letters_in_big"]), "small": 1}
            else:
                value = case["value"]
            division, parts = verify.divide(value)
            got = []
            for index, (name, inner) in enumerate(parts):
                salt = verify.part_salt(bytes.fromhex(case["seed"]), case["field"], index)
                data = verify.encode(inner)
                got.append({"bytes": len(data), "index": index, "name": name, "salt": salt.hex(),
                            "mac": verify.part_mac(division, salt, name, data).hex()})
            expected = {"as": division, "macs": [part["mac"] for part in got]}
            return same((got, expected), (case["parts"], case["commitment"]))
        tally.case(f"commitment: {case['what']}", test)


def merkle(tally, directory):
    cases = load(directory, "merkle.json")
    leaves = [verify.leaf_hash(str(number).encode()) for number in range(len(cases["roots"]))]
    roots = [bytes.fromhex(case["root"]) for case in cases["roots"]]
    for size, root in enumerate(roots):
        tally.case(f"tree: root of {size}", lambda: same(verify.tree_root(leaves[:size]), root))
    for case in cases["inclusion"]:
        def test():
            index, size = case["index"], case["size"]
            path = [bytes.fromhex(entry) for entry in case["proof"]]
            wrong = [verify.included(leaves[index], index + 1, size, path, roots[size]),
                     verify.included(leaves[index + 1], index, size, path, roots[size]),
                     verify.included(leaves[index], index, size, path + [leaves[0]], roots[size])]
            wrong += [verify.included(leaves[index], index, size, path[:-1], roots[size])] if path else []
            return same((verify.included(leaves[index], index, size, path, roots[size]), any(wrong)), (True, False))
        tally.case(f"tree: leaf {case['index']} of {case['size']}", test)
    for case in cases["consistency"]:
        def test():
            old, new = case["old"], case["new"]
            path = [bytes.fromhex(entry) for entry in case["proof"]]
            wrong = [verify.consistent(old, leaves[-1], new, roots[new], path),
                     verify.consistent(old, roots[old], new, leaves[-1], path),
                     verify.consistent(old, roots[old], new, roots[new], path + [leaves[0]])]
            wrong += [verify.consistent(old, roots[old], new, roots[new], path[:-1])] if path else []
            return same((verify.consistent(old, roots[old], new, roots[new], path), any(wrong)), (True, False))
        tally.case(f"tree: {case['old']} before {case['new']}", test)


def note(tally, directory):
    case = load(directory, "note.json")
    point = verify.Checkpoint(case["note"].encode())
    name, key_id, public = verify.parse_vkey(case["vkey"])
    expected = case["checkpoint"]
    tally.case("note: name of the key", lambda: same(name, case["name"]))
    tally.case("note: checkpoint", lambda: same(
        (point.origin, point.size, point.root.hex(), point.text),
        (expected["origin"], expected["size"], expected["root"], expected["text"])))
    tally.case("note: signature", lambda: same(
        [(by, by_id, verify.signature_holds(public, signature, point.text.encode()))
         for by, by_id, signature in point.signatures], [(name, key_id, True)]))
    private = base64.b64encode(b"\x01" + bytes.fromhex(case["seed"])).decode()
    tally.case("note: private key", lambda: same(
        f"PRIVATE+KEY+{name}+{key_id.hex()}+{private}\n", case["private_key"]))

    def inclusion():
        proof = verify.InclusionProof(case["tlog_proof"]["text"].encode())
        return verify.included(bytes.fromhex(case["tlog_proof"]["leaf_hash"]), proof.index, proof.checkpoint.size,
                               proof.path, proof.checkpoint.root)
    tally.case("note: inclusion proof", inclusion)
    for wrong in case["refused_keys"]:
        tally.case(f"note: key refused, {wrong['what']}", lambda: refuses(verify.parse_vkey, wrong["vkey"]))
    for wrong in case["refused_notes"]:
        tally.case(f"note: refused, {wrong['what']}", lambda: refuses(verify.Checkpoint, wrong["note"].encode()))


def digests(tally, directory):
    """Formulas of engines: a verifier of files does not need them, but the specification must suffice for them."""
    cases = load(directory, "digests.json")
    for case in cases["idempotency_key"]:
        def test():
            inputs = (case["tenant"], case["run_id"], case["step_id"], case.get("item", ""), case["binding"])
            framed = b"".join(verify.u32(len(entry.encode())) + entry.encode() for entry in inputs)
            digest = verify.sha256(b"runproof.dev/idempotency/v1\0", framed)
            return same(base64.b32encode(digest).decode().lower().rstrip("="), case["key"])
        tally.case(f"digest: idempotency key {case['key'][:8]}", test)
    for case in cases["plan_digest"]:
        tally.case("digest: plan", lambda: same(
            verify.sha256(b"runproof.dev/plan/v1\0", verify.encode(case["plan"])).hex(), case["plan_digest"]))
    for case in cases["legacy_root_hash"]:
        text = case["run_id"] + "".join(":".join(map(str, step)) for step in case["steps"])
        tally.case(f"digest: legacy root of {len(case['steps'])} steps",
                   lambda: same(verify.sha256(text.encode()).hex(), case["legacy_root_hash"]))


def bundles(tally, directory):
    for case in load(directory, "index.json"):
        def test():
            trust = verify.load_trust([], [directory / case["key"]] if case["key"] else [], [])
            report = verify.verify((directory / case["file"]).read_bytes(), trust)
            return same((report["verdict"], report["exit_code"], verify.decisive(report)),
                        (case["verdict"], case["exit_code"], case["code"]))
        tally.case(f"bundle: {case['file']} with {case['key']}: {case['what']}", test)


def mutated(data, count, seed=1):
    """`count` copies with one other byte: a flipped bit, any byte, or a sign of the same sort."""
    source = random.Random(seed)
    for _ in range(count):
        at, way = source.randrange(len(data)), source.randrange(3)
        old = new = data[at]
        sort = next((s for s in (b"0123456789", b"abcdef", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ") if old in s), None)
        while new == old:
            if way == 0:
                new = old ^ 1 << source.randrange(8)
            elif way == 1 or sort is None:
                new = source.randrange(256)
            else:
                new = source.choice(sort)
        yield at, data[:at] + bytes([new]) + data[at + 1:]


def mutations(tally, path, vkey, count):
    data = pathlib.Path(path).read_bytes()
    trust = verify.load_trust([vkey], [], [])
    tally.case("unchanged: VERIFIED", lambda: same(verify.verify(data, trust)["verdict"], "VERIFIED"))
    seen = {}
    for at, wrong in mutated(data, count):
        def test():
            verdict = verify.verify(wrong, trust)["verdict"]
            seen[verdict] = seen.get(verdict, 0) + 1
            return verdict != "VERIFIED" or "VERIFIED"
        tally.case(f"byte {at}", test)
    print(", ".join(f"{verdict} {number}" for verdict, number in sorted(seen.items())))


def main(arguments):
    tally = Tally()
    if arguments[:1] == ["--mutations"] and len(arguments) == 4:
        mutations(tally, arguments[1], arguments[2], int(arguments[3]))
        return tally.end()
    if len(arguments) > 1 or arguments[:1] == ["--mutations"]:
        print(__doc__, file=sys.stderr)
        return 2
    directory = pathlib.Path(arguments[0]) if arguments else DEFAULT
    for group in (canonical, leaf, commitments, merkle, note, digests):
        group(tally, directory)
    bundles(tally, directory / "bundles")
    return tally.end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
