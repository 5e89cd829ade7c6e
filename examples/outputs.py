"""Prints what the calls of a run answered, as one JSON object, from the run's bundle.

    python3 outputs.py RUN_ID.runproof          # all calls; those of a `foreach` by element, as in `pages (0)`
    python3 outputs.py RUN_ID.runproof STEP     # only what this call answered

It reads, and checks nothing: `runproof verify` does. The form of the file is in docs/spec/bundle.md.
"""

import json
import sys


def outputs(path):
    """The outputs by name of the call, in the order in which they were recorded."""
    found = {}
    with open(path, encoding="utf-8") as bundle:
        next(bundle)  # the name of the format
        header = json.loads(next(bundle))
        name, events = None, 0
        while events < header["events"]:
            line = json.loads(next(bundle))
            if "kind" in line:
                events += 1
                name = call(line["body"]) if line["kind"] == "step.returned" else None
            elif name and "output" in line["values"]:  # the values of the event before it
                found[name] = line["values"]["output"]
    return found


def call(body):
    return f"{body['step_id']} ({body['item']})" if "item" in body else body["step_id"]


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python3 outputs.py RUN_ID.runproof [STEP]")
    answers = outputs(sys.argv[1])
    if len(sys.argv) == 3 and sys.argv[2] not in answers:
        sys.exit(f"no output of `{sys.argv[2]}`; there are: {', '.join(answers)}")
    print(json.dumps(answers[sys.argv[2]] if len(sys.argv) == 3 else answers, indent=2))
