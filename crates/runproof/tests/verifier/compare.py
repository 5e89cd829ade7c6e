#!/usr/bin/env python3
"""Compares the second verifier with `runproof verify`, on one bundle and seeded mutations of it.

What it is: a differential test. The two must give the same verdict and the same
exit code; where they name another decisive finding, a note is printed.
What it is not: a judge. Where the two disagree, docs/spec decides.

    compare.py BUNDLE VKEY RUNPROOF_BINARY COUNT

Cases: the bundle with the key, without a key, with another key of the same
name, then COUNT copies with one changed byte. The last line is
"N passed, M failed"; the exit code is 0 when nothing failed.
"""

import base64
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

sys.dont_write_bytecode = True  # leave nothing beside the sources

import verify
from vectors import Tally, mutated


def other_key(vkey):
    """A valid key of the same name that nobody signed with."""
    name = vkey.split("+")[0]
    data = b"\x01" + Ed25519PrivateKey.from_private_bytes(b"\x02" * 32).public_key().public_bytes_raw()
    key_id = verify.sha256(name.encode("utf-8"), b"\n", data)[:4].hex()
    return f"{name}+{key_id}+{base64.b64encode(data).decode()}"


def by_binary(binary, path, key, environment):
    """(verdict, exit code, decisive code) of the reference program."""
    command = [binary, "verify", str(path), "--json"] + (["--key", key] if key else [])
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
    report = json.loads(done.stdout)
    if done.returncode != report["exit_code"]:
        raise ValueError(f"exit code {done.returncode}, report {report['exit_code']}")
    return report["verdict"], report["exit_code"], next(
        (f["code"] for f in report["findings"] if verify.CODES.get(f["code"]) == report["verdict"]), None)


def by_python(data, key):
    report = verify.verify(data, verify.load_trust([key] if key else [], [], []))
    return report["verdict"], report["exit_code"], verify.decisive(report)


def main(arguments):
    if len(arguments) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    bundle, vkey, binary, count = arguments
    data = pathlib.Path(bundle).read_bytes()
    cases = [("unchanged", data, vkey), ("no key", data, None), ("another key", data, other_key(vkey))]
    cases += [(f"mutation {number}, byte {at}", wrong, vkey)
              for number, (at, wrong) in enumerate(mutated(data, int(count)))]
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        # A home of its own, and no trust from outside: only --key counts.
        environment = {name: value for name, value in os.environ.items() if name != "RUNPROOF_TRUST"}
        environment["RUNPROOF_HOME"] = folder
        environment.pop("DATABASE_URL", None)

        def reference(number):
            path = pathlib.Path(folder) / f"{number}.runproof"
            path.write_bytes(cases[number][1])
            try:
                return by_binary(binary, path, cases[number][2], environment)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
            finally:
                path.unlink()

        for (name, content, key), theirs in zip(cases, pool.map(reference, range(len(cases)))):
            def test():
                ours = by_python(content, key)
                if ours[2] != theirs[2]:
                    print(f"note    {name}: decisive {ours[2]}, the program says {theirs[2]}")
                return ours[:2] == theirs[:2] or f"{ours}, the program says {theirs}"
            tally.case(name, test)
    return tally.end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
