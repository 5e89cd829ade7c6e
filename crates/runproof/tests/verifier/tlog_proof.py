#!/usr/bin/env python3
"""A second reader of runproof's inclusion proof files, from docs/spec/ledger.md alone.

What it is: it checks that a leaf hash, or the event in a file, is in a log whose key you name. It takes the reading of
notes, keys and trees from verify.py beside it, which shares no code with the reference crate.

What it is not: it knows nothing of runs, and does not look into the event.

    tlog_proof.py FILE (--leaf HEX | --event FILE) [--key VKEY | --trust FILE]... [--known-head FILE]...

The first line of the output is the verdict; the exit code is the verdict's. Exit code 2: wrong arguments, a file that
cannot be read, a refused trust file.
"""

import argparse
import hashlib
import sys

import verify


def leaf_hash(options):
    if options.leaf is not None:
        if not verify.is_hash(options.leaf):
            raise verify.Refused("--leaf: not a hash")
        return bytes.fromhex(options.leaf)
    event = verify.read_file(options.event, verify.LIMIT_EVENT + 1)
    return hashlib.sha256(b"\0" + event.removesuffix(b"\n")).digest()


def check_heads(point, heads, findings):
    """The file has no consistency proof, so a head is of the same size or cannot be compared."""
    for head in heads:
        if head.origin != point.origin:
            continue
        if head.size > point.size:
            findings.add("head.rolled_back", None, str(head.size))
        elif head.size < point.size:
            findings.add("head.not_compared", None, str(head.size))
        elif head.root != point.root:
            findings.add("head.forked", None, str(head.size))


def check(data, leaf, trust):
    findings = verify.Findings()
    try:
        proof = verify.InclusionProof(data)
    except verify.Malformed as error:
        findings.add("bundle.malformed", None, str(error))
        return verify.conclude(findings)
    point = proof.checkpoint
    if not verify.included(leaf, proof.index, point.size, proof.path, point.root):
        findings.add("inclusion.proof", None, "index")
    if verify.check_signatures(point, trust.keys, findings):
        check_heads(point, trust.heads, findings)
    return verify.conclude(findings)


def main(arguments):
    parser = argparse.ArgumentParser(description="Second reader of inclusion proof files.")
    parser.add_argument("file")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--leaf", metavar="HEX")
    what.add_argument("--event", metavar="FILE")
    for name, value in (("--key", "VKEY"), ("--trust", "FILE"), ("--known-head", "FILE")):
        parser.add_argument(name, action="append", default=[], metavar=value)
    options = parser.parse_args(arguments)
    try:
        trust = verify.load_trust(options.key, options.trust, options.known_head)
        leaf = leaf_hash(options)
        data = verify.read_file(options.file, verify.LIMIT_PROOF)
    except verify.Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    report = check(data, leaf, trust)
    print(report["verdict"])
    for finding in report["findings"]:
        print(f"  {finding['code']} {finding['place']}".rstrip())
    return report["exit_code"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
