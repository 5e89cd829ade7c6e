#!/usr/bin/env python3
"""A second verifier of runproof proof bundles, version 1.

What it is: an independent reading of docs/spec, in plain Python 3.11 with the
package `cryptography` for Ed25519. It shares no code with the reference crate.
Where the two disagree, one of them or the specification is wrong.

What it is not: a product. It does not replay decisions, it reads no database,
it reads no environment variable, it writes no report for people. Every check
that it does not make is printed under "not checked".

    verify.py BUNDLE [--key VKEY | --trust FILE]... [--known-head FILE]... [--json]

The first line of the output is the verdict; the exit code is the verdict's.
Exit code 2: wrong arguments, a file that cannot be read, a refused trust file.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import sys
import unicodedata

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# ---------------------------------------------------------------- limits (events.md, bundle.md)

KIB, MIB = 1024, 1024 * 1024
MAX_SAFE = 2**53 - 1
LIMIT_BUNDLE = 256 * MIB
LIMIT_FORMAT, LIMIT_HEADER = 64, 4096
LIMIT_EVENT, LIMIT_PAYLOAD, LIMIT_RECORD, LIMIT_CONSISTENCY = 16 * KIB, 17 * MIB, 24 * KIB, 16 * KIB
LIMIT_PROOF, LIMIT_NOTE, LIMIT_TRUST = 128 * KIB, 64 * KIB, MIB
LIMIT_VALUE, LIMIT_CHUNK = 16 * MIB, 64 * KIB
MAX_EVENTS, MAX_RECORDS, MAX_PARTS, MAX_PATH, MAX_SIGNATURES, MAX_NAME = 100_000, 10_000, 64, 63, 16, 255
DEPTH_EVENT, DEPTH_LINE, DEPTH_PART, DEPTH_PAYLOAD = 16, 17, 64, 68

# ---------------------------------------------------------------- verdicts (verdicts.md)

# From best to worst, with the exit code.
VERDICTS = {
    "VERIFIED": 0, "OPEN": 10, "UNANCHORED": 11, "UNPINNED": 12, "INCOMPLETE": 13, "UNSUPPORTED": 31,
    "KEY_INVALID": 23, "ROLLED_BACK": 22, "FORKED": 21, "TAMPERED": 20, "MALFORMED": 30,
}
SEVERITY = {verdict: place for place, verdict in enumerate(VERDICTS)}

# The codes that a verifier of files alone can give.
CODES = {
    "bundle.malformed": "MALFORMED", "bundle.unsupported": "UNSUPPORTED",
    "chain.link": "TAMPERED", "chain.identity": "TAMPERED", "chain.time": "TAMPERED",
    "structure.first": "TAMPERED", "structure.order": "TAMPERED", "structure.after_seal": "TAMPERED",
    "structure.totals": "TAMPERED", "outcome.missing": "INCOMPLETE", "outcome.unknown": "INCOMPLETE",
    "gap.recorded": "INCOMPLETE", "payload.mismatch": "TAMPERED",
    "seal.count": "TAMPERED", "seal.root": "TAMPERED", "seal.totals": "TAMPERED",
    "run.open": "OPEN", "run.no_steps": "UNSUPPORTED",
    "inclusion.proof": "TAMPERED", "inclusion.record": "TAMPERED", "inclusion.consistency": "TAMPERED",
    "checkpoint.missing": "UNANCHORED", "checkpoint.unpinned": "UNPINNED", "checkpoint.signature": "TAMPERED",
    "checkpoint.key": "KEY_INVALID", "checkpoint.key_retired": "KEY_INVALID", "checkpoint.origin": "TAMPERED",
    "checkpoint.unknown_signature": "KEY_INVALID",
    "head.rolled_back": "ROLLED_BACK", "head.forked": "FORKED", "head.not_compared": "UNANCHORED",
}

NOT_CHECKED = [
    "replay: inputs and decisions are not recomputed from the plan and the recorded outcomes",
    "rows: no database is read",
]


class Malformed(Exception):
    """The bytes are not what the specification allows."""


class Unsupported(Exception):
    """The bytes are of a version above 1."""


class Refused(Exception):
    """What the verifier brings (a key, a trust file, a head) cannot be used."""


def need(condition, what):
    if not condition:
        raise Malformed(what)


def shown(text):
    """Text from a file, escaped and cut as verdicts.md asks."""
    def one(char):
        code = ord(char)
        hidden = (0x200B <= code <= 0x200F or 0x2028 <= code <= 0x202E or 0x2060 <= code <= 0x2069
                  or code == 0xFEFF or unicodedata.category(char) == "Cc")
        return "\\u{%x}" % code if hidden else char
    return "".join(map(one, text[:200])) + ("…" if len(text) > 200 else "")


class Findings(list):
    def add(self, code, seq=None, place=""):
        self.append({"code": code, "seq": seq, "place": shown(place)})


def conclude(findings):
    """The report: the worst verdict that any finding gives."""
    verdict = max((CODES[f["code"]] for f in findings), key=SEVERITY.get, default="VERIFIED")
    return {"verdict": verdict, "exit_code": VERDICTS[verdict], "findings": list(findings)}


def decisive(report):
    """The code of the first finding that gives the verdict."""
    return next((f["code"] for f in report["findings"] if CODES[f["code"]] == report["verdict"]), None)


# ---------------------------------------------------------------- canonical JSON (canonical.md)

def utf16(name):
    """Names compare as UTF-16 code units; big-endian bytes compare the same way."""
    return name.encode("utf-16-be")


def ascending(names):
    keys = [utf16(name) for name in names]
    return all(a < b for a, b in zip(keys, keys[1:]))


def whole_number(digits):
    if len(digits) > 17 or abs(int(digits)) > MAX_SAFE:
        raise ValueError("number out of range")
    return int(digits)


def no_number(digits):
    raise ValueError("not a whole number")


def check_value(value, levels):
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("U+0000")
    elif isinstance(value, (dict, list)):
        if levels == 0:
            raise ValueError("too deep")
        if isinstance(value, dict):
            if not ascending(value) or any("\0" in name for name in value):
                raise ValueError("names")
            value = value.values()
        for inner in value:
            check_value(inner, levels - 1)


def encode(value):
    """The canonical bytes of a value that check_value accepts."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def parse_canonical(data, levels):
    """Read, write again, compare: only the one allowed spelling survives. Repeated names vanish on the way."""
    try:
        value = json.loads(data.decode("utf-8"), parse_int=whole_number, parse_float=no_number,
                           parse_constant=no_number)
        check_value(value, levels)
        same = encode(value) == data
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not canonical: {type(error).__name__}") from None
    need(same, "not canonical: another spelling")
    return value


def depth(value):
    if not isinstance(value, (dict, list)):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


# ---------------------------------------------------------------- types and tables (events.md)

WORDS = {name: set(words.split()) for name, words in {
    "effect_class": "pure read idempotent transactional probeable unsafe",
    "error_category": "client auth timeout validation rate_limit server transient network policy not_found internal "
                      "reference secret interrupted resolved",
    "attempt_outcome": "done not_done failed unknown",
    "then": "settle retry hold",
    "via": "call probe recovery",
    "evidence_class": "executed observed reported",
    "step_status": "success failure skipped unknown",
    "end_status": "succeeded failed halted cancelled",
    "end_reason": "plan_completed step_failed planner_failed cancel_requested gate_failed policy_halt "
                  "budget_exhausted run_timeout limit_reached",
    "resolution": "done not_done",
    "decision": "allow warn block require_approval halt",
    "actor_type": "human system service",
    "gap_kind": "events_lost outcome_lost over_quota observer_lost rollback clock_went_back",
    "scope": "tenant agent skill run",
}.items()}

SETTLED_CATEGORIES = WORDS["error_category"] | {"execution", "skipped"}

# The status that goes with each reason.
END_STATUS = {reason: status for status, reasons in {
    "succeeded": "plan_completed",
    "failed": "step_failed planner_failed run_timeout limit_reached",
    "halted": "gate_failed policy_halt budget_exhausted",
    "cancelled": "cancel_requested",
}.items() for reason in reasons.split()}

# The item of an element, of its fallback, or of a step's fallback.
ITEM = re.compile(r"fallback|(?P<element>0|[1-9][0-9]{0,9})(?P<fallback>\.fallback)?")
MAX_ELEMENTS = 1_000


def fields(table):
    """"name:type name?:type" as {name: (type, optional)}."""
    pairs = (entry.split(":") for entry in table.split())
    return {name.rstrip("?"): (kind, name.endswith("?")) for name, kind in pairs}


SHARED = {name: fields(table) for name, table in {
    "actor": "authenticated_by:text id?:text type:actor_type",
    "engine": "build:text version:text",
    "versioned": "name:text version:text",
    "gate": "approval_id?:id context_digest?:hash decision:decision policies?:texts policy_set:text",
    "totals": "attempts:u64 cost_microcents:u64 duration_us:u64 resolved:u64 unknown:u64",
}.items()}

ENVELOPE = fields("at:u64 body:object kind:text log:text prev:hash seq:u64 stream:text tenant:tenant v:u64")

KINDS = {name: fields(table) for name, table in {
    "run.created": "actor:actor agent:id beacon?:text engine:engine goal:commitment origin_system_id:text "
                   "parent_run_id?:id plan_digest?:hash planner:versioned policy_set:text retry_of?:id run_id:id "
                   "run_no:u64 synthetic_scenario_id?:id",
    "run.planned": "inputs?:commitment plan:commitment plan_digest:hash step_count:u64",
    "run.claimed": "epoch:u64 worker:text",
    "run.paused": "actor:actor reason?:commitment",
    "run.resumed": "actor:actor reason?:commitment",
    "run.cancel_requested": "actor:actor reason?:commitment",
    "run.sealed": "error?:commitment event_count:u64 reason:end_reason run_root:hash status:end_status "
                  "step_count:u64 totals:totals",
    "step.expanded": "count:u32 items:commitment plan_index:u32 step_id:id",
    "step.intended": "attempt:u32 cost_limit_microcents:u64 effect:effect_class gate:gate idempotency_key:text "
                     "item?:text params:commitment plan_index:u32 skill:text skill_version:text step_id:id "
                     "timeout_us:u64",
    "step.returned": "attempt:u32 category?:error_category code?:text cost_microcents:u64 duration_us:u64 "
                     "error?:commitment evidence:evidence_class item?:text output?:commitment "
                     "outcome:attempt_outcome retry_after_us?:u64 retry_at?:u64 retryable:bool step_id:id then:then "
                     "via:via",
    "step.resolved": "actor:actor attempt:u32 item?:text reason:commitment resolution:resolution step_id:id",
    "step.settled": "attempts:u32 category:text code?:text cost_microcents:u64 duration_us:u64 error?:commitment "
                    "item?:text plan_index:u32 skill:text status:step_status step_id:id step_index:u64",
    "policy.checked": "attempt:u32 gate:gate item?:text step_id:id",
    "approval.requested": "approval_id:id binding:hash expires_at:u64 item?:text quorum:u32 roles:texts step_id:id",
    "approval.decided": "actor:actor approval_id:id binding:hash granted:bool reason?:commitment",
    "approval.expired": "approval_id:id",
    "budget.exhausted": "available_microcents:u64 requested_microcents:u64 scope:scope scope_id:id",
    "budget.granted": "scope:scope scope_id:id",
    "incident.recorded": "category:text code?:text incident_id:id outcome:text severity:text",
    "usage.recorded": "cost_microcents:u64 input_tokens:u64 model?:text output_tokens:u64 provider?:text",
    "evidence.summarized": "gaps:u64 intents:u64 outcomes:u64 weakest:evidence_class",
    "gap.recorded": "count?:u64 gap:gap_kind",
    "tenant.created": "actor:actor",
    "tenant.agent_created": "actor:actor agent_id:id name:commitment",
    "tenant.run_opened": "run_id:id run_no:u64",
    "tenant.run_archived": "run_id:id run_root:hash",
    "tenant.run_purged": "actor:actor event_count:u64 run_id:id run_root:hash",
    "tenant.hold_placed": "actor:actor reason:commitment run_id:id",
    "tenant.hold_lifted": "actor:actor reason:commitment run_id:id",
    "tenant.value_erased": "actor:actor field:text index?:u32 reason:commitment run_id:id seq:u64",
    "tenant.value_revealed": "actor:actor audience:commitment field:text index?:u32 run_id:id seq:u64",
    "tenant.bundle_exported": "actor:actor digest:hash run_id:id withheld:u64",
    "tenant.policy_set_activated": "actor:actor digest:hash policy_set:text",
    "tenant.budget_set": "actor:actor limit_microcents:u64 scope:scope scope_id:id window:text",
    "tenant.kill_switch_set": "active:bool actor:actor epoch:u64 reason:commitment scope:scope scope_id:id",
    "log.created": "engine:engine vkey:text",
    "log.key_added": "actor:actor vkey:text",
    "log.key_retired": "actor:actor last_size:u64 vkey:text",
    "log.key_revoked": "actor:actor last_size:u64 vkey:text",
    "log.rollback_acknowledged": "actor:actor lost_root:hash lost_size:u64 root:hash size:u64",
    "log.closed": "actor:actor successor?:text",
}.items()}

HEX = re.compile(r"[0-9a-f]{64}")
STREAM = re.compile(r"log|(run|tenant)/[A-Za-z0-9_.:-]{1,64}")


def is_number(value, most=MAX_SAFE):
    return type(value) is int and 0 <= value <= most


def is_hash(value):
    return isinstance(value, str) and HEX.fullmatch(value) is not None


def is_list(value, test):
    return isinstance(value, list) and all(test(entry) for entry in value)


def is_text(value):
    return isinstance(value, str)


def is_commitment(value):
    if not isinstance(value, dict) or set(value) != {"as", "macs"} or not is_list(value["macs"], is_hash):
        return False
    count = len(value["macs"])
    return value["as"] == "whole" and count == 1 or value["as"] == "members" and 1 <= count <= MAX_PARTS


SIMPLE = {
    "u64": is_number,
    "u32": lambda value: is_number(value, 2**32 - 1),
    "bool": lambda value: isinstance(value, bool),
    "text": is_text,
    "id": is_text,  # events.md: a verifier checks the form of an id in `stream` only
    "tenant": lambda value: value is None or isinstance(value, str),
    "hash": is_hash,
    "texts": lambda value: is_list(value, is_text),
    "hashes": lambda value: is_list(value, is_hash),
    "object": lambda value: isinstance(value, dict),
    "commitment": is_commitment,
    "any": lambda value: True,
}


def check_fields(value, table, place):
    """Exactly the fields of the table, each of its type."""
    need(isinstance(value, dict), f"{place}: not an object")
    for name in value:
        need(name in table, f"{place}: unknown field")
    for name, (kind, optional) in table.items():
        where = f"{place}.{name}"
        if name not in value:
            need(optional, f"{where}: missing")
            continue
        inner = value[name]
        if kind in SHARED:
            check_fields(inner, SHARED[kind], where)
        elif kind in WORDS:
            need(isinstance(inner, str) and inner in WORDS[kind], f"{where}: unknown word")
        else:
            need(SIMPLE[kind](inner), f"{where}: not of type {kind}")
        need(not (optional and kind == "texts" and not inner), f"{where}: empty list")


class Event:
    """One event: its bytes, its fields, its leaf hash, the names of its committed fields."""

    def __init__(self, data, value):
        need(isinstance(value, dict), "event: not an object")
        if is_number(value.get("v")) and value["v"] > 1:
            raise Unsupported("event")
        check_fields(value, ENVELOPE, "$")
        need(value["v"] == 1, "$.v")
        need(value["kind"] in KINDS, "$.kind: unknown")
        self.table = KINDS[value["kind"]]
        check_fields(value["body"], self.table, "$.body")
        need(STREAM.fullmatch(value["stream"]), "$.stream")
        self.value, self.body, self.leaf = value, value["body"], leaf_hash(data)
        self.committed = [name for name, (kind, _) in self.table.items()
                          if kind == "commitment" and name in self.body]

    def __getattr__(self, name):
        return self.value[name]


def parse_event(data):
    need(len(data) <= LIMIT_EVENT, "event: too long")
    return Event(data, parse_canonical(data, DEPTH_EVENT))


# ---------------------------------------------------------------- tree (ledger.md)

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_hash(data):
    return sha256(b"\x00", data)


def node(left, right):
    return sha256(b"\x01", left, right)


def tree_root(hashes):
    if not hashes:
        return sha256()
    if len(hashes) == 1:
        return hashes[0]
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return node(tree_root(hashes[:half]), tree_root(hashes[half:]))


def included(leaf, index, size, path, root):
    if index >= size:
        return False
    first, second, result = index, size - 1, leaf
    for other in path:
        if second == 0:
            return False
        if first & 1 or first == second:
            result = node(other, result)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            result = node(result, other)
        first, second = first >> 1, second >> 1
    return second == 0 and result == root


def consistent(old, old_root, new, new_root, path):
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == tree_root([])
    if old > new:
        return False
    if old & (old - 1) == 0:
        path = [old_root] + path
    if not path:
        return False
    first, second = old - 1, new - 1
    while first & 1:
        first, second = first >> 1, second >> 1
    before, after = path[0], path[0]
    for other in path[1:]:
        if second == 0:
            return False
        if first & 1 or first == second:
            before, after = node(other, before), node(other, after)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            after = node(after, other)
        first, second = first >> 1, second >> 1
    return second == 0 and before == old_root and after == new_root


# ---------------------------------------------------------------- keys, notes, checkpoints (ledger.md)

PRIME = 2**255 - 19
CURVE_D = -121665 * pow(121666, -1, PRIME) % PRIME
# Unicode White_Space outside category Cc.
SPACES = set(" \u00a0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(code) for code in range(0x2000, 0x200B)}


def decode_point(data):
    """RFC 8032, 5.1.3: the point, or None."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & 2**255 - 1
    if y >= PRIME:
        return None
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if x * x % PRIME != square:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    if x * x % PRIME != square or x == 0 and sign:
        return None
    return (PRIME - x if x & 1 != sign else x, y)


def usable_point(data):
    """On the curve, and not of small order: eight times the point is not the neutral element."""
    point = decode_point(data)
    if point is None:
        return False
    for _ in range(3):
        x, y = point
        product = CURVE_D * x * x * y * y % PRIME
        point = (2 * x * y * pow(1 + product, -1, PRIME) % PRIME,
                 (y * y + x * x) * pow(1 - product, -1, PRIME) % PRIME)
    return point != (0, 1)


def signature_holds(public, signature, message):
    """Strict: cryptography checks the range of S and the equation without cofactor; the rest is here."""
    if len(signature) != 64 or not usable_point(signature[:32]) or not usable_point(public):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def strict_base64(text):
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise Malformed("base64") from None
    need(base64.b64encode(data).decode() == text, "base64")
    return data


def is_control(char):
    return unicodedata.category(char) == "Cc"


def check_name(name):
    need(1 <= len(name.encode("utf-8", "surrogatepass")) <= MAX_NAME, "name of a key: length")
    need(not any(char == "+" or char in SPACES or is_control(char) for char in name), "name of a key")


def parse_vkey(text):
    """A vkey as (name, key id, public key)."""
    pieces = text.split("+", 2)
    need(len(pieces) == 3, "vkey: three fields")
    name, key_id, encoded = pieces
    check_name(name)
    data = strict_base64(encoded)
    need(len(data) == 33 and data[0] == 1, "vkey: not Ed25519")
    try:
        expected = sha256(name.encode("utf-8"), b"\n", data)[:4]
    except UnicodeEncodeError:
        raise Malformed("vkey: not UTF-8") from None
    need(key_id == expected.hex(), "vkey: key id")
    need(usable_point(data[1:]), "vkey: not a usable point")
    return name, expected, data[1:]


def parse_note(data):
    """A signed note as (text, [(name, key id, signature)])."""
    need(len(data) <= LIMIT_NOTE, "note: too long")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("note: not UTF-8") from None
    need(not any(is_control(char) and char != "\n" for char in whole), "note: control character")
    cut = whole.rfind("\n\n")
    need(cut >= 0, "note: no blank line")
    text, rest = whole[:cut + 1], whole[cut + 2:]
    need(rest.endswith("\n"), "note: no signature, or no last newline")
    lines = rest[:-1].split("\n")
    need(len(lines) <= MAX_SIGNATURES, "note: too many signatures")
    signatures = []
    for line in lines:
        pieces = line.split(" ")
        need(len(pieces) == 3 and pieces[0] == "\u2014", "note: signature line")
        check_name(pieces[1])
        data = strict_base64(pieces[2])
        need(len(data) >= 5, "note: signature too short")
        signatures.append((pieces[1], data[:4], data[4:]))
    need(len({entry[:2] for entry in signatures}) == len(signatures), "note: the same key twice")
    return text, signatures


def decimal(text):
    """A number below 2^64, without sign and leading zero."""
    need(re.fullmatch(r"0|[1-9][0-9]{0,19}", text) is not None, "decimal")
    need(int(text) < 2**64, "decimal")
    return int(text)


def hash_line(text):
    data = strict_base64(text)
    need(len(data) == 32, "hash")
    return data


class Checkpoint:
    def __init__(self, data):
        self.text, self.signatures = parse_note(data)
        lines = self.text.split("\n")
        need(len(lines) == 4 and lines[0], "checkpoint: not three lines")
        self.origin, self.size, self.root = lines[0], decimal(lines[1]), hash_line(lines[2])


class InclusionProof:
    def __init__(self, data):
        need(len(data) <= LIMIT_PROOF, "inclusion proof: too long")
        head, blank, note = data.partition(b"\n\n")
        need(blank, "inclusion proof: no blank line")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise Malformed("inclusion proof: not ASCII") from None
        need(lines[0] == "c2sp.org/tlog-proof@v1", "inclusion proof: first line")
        need(len(lines) > 1 and lines[1].startswith("index "), "inclusion proof: index")
        need(len(lines) - 2 <= MAX_PATH, "inclusion proof: too many hashes")
        self.index = decimal(lines[1][len("index "):])
        self.path = [hash_line(line) for line in lines[2:]]
        self.checkpoint = Checkpoint(note)


# ---------------------------------------------------------------- trust (trust.md)

class Trust:
    """Keys as (name, key id, public key, last size or None); heads as checkpoints."""

    def __init__(self):
        self.keys, self.heads = [], []

    def add_key(self, vkey):
        try:
            self.keys.append((*parse_vkey(vkey), None))
        except Malformed as error:
            raise Refused(f"--key: {error}") from None

    def add_file(self, data):
        try:
            keys, heads = parse_trust(data)
        except (Malformed, ValueError, RecursionError) as error:
            raise Refused(f"--trust: {error}") from None
        self.keys += keys
        self.heads += heads

    def add_head(self, data):
        """One signed note; the keys that are already known judge it."""
        try:
            head = Checkpoint(data)
            need(head_signed(head, self.keys), "no valid signature by a key of its log")
        except Malformed as error:
            raise Refused(f"--known-head: {error}") from None
        self.heads.append(head)


def head_signed(head, keys):
    return any(name == head.origin and (name, key_id) == (by, by_id)
               and signature_holds(public, signature, head.text.encode("utf-8"))
               for name, key_id, public, _ in keys for by, by_id, signature in head.signatures)


def once(pairs):
    need(len({name for name, _ in pairs}) == len(pairs), "repeated field")
    return dict(pairs)


def parse_trust(data):
    need(len(data) <= LIMIT_TRUST, "too long")
    value = json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_float=no_number,
                       parse_constant=no_number)
    need(isinstance(value, dict) and set(value) <= {"format", "keys", "heads"}, "unknown field")
    need(value.get("format") == "runproof.trust/v1", "format")
    need(isinstance(value.get("keys"), list) and value["keys"], "no key")
    need(is_list(value.get("heads", []), is_text), "heads")
    keys = []
    for entry in value["keys"]:
        need(isinstance(entry, dict) and set(entry) <= {"vkey", "last_size"} and is_text(entry.get("vkey")), "key")
        need("last_size" not in entry or is_number(entry["last_size"]), "last_size")
        need(all(entry["vkey"] != other["vkey"] for other in value["keys"] if other is not entry), "a key twice")
        keys.append((*parse_vkey(entry["vkey"]), entry.get("last_size")))
    heads = [Checkpoint(note.encode("utf-8")) for note in value.get("heads", [])]
    need(all(head_signed(head, keys) for head in heads), "a head without a valid signature")
    return keys, heads


# ---------------------------------------------------------------- commitments (commitments.md)

def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def u32(number):
    return number.to_bytes(4, "big")


def part_salt(seed, field, index):
    name = field.encode("utf-8")
    return mac(seed, b"runproof.dev/salt/v1\0", u32(len(name)), name, u32(index))


def part_mac(division, salt, name, data):
    tag = {"members": b"runproof.dev/member/v1\0", "whole": b"runproof.dev/whole/v1\0"}[division]
    name = name.encode("utf-8")
    frame = tag + u32(len(name)) + name + len(data).to_bytes(8, "big")
    if len(data) <= LIMIT_CHUNK:
        return mac(salt, frame, data)
    chunks = []
    for number, start in enumerate(range(0, len(data), LIMIT_CHUNK)):
        chunk_salt = mac(salt, b"runproof.dev/chunk-salt/v1\0", u32(number))
        chunks.append(mac(chunk_salt, b"runproof.dev/chunk/v1\0", u32(number), data[start:start + LIMIT_CHUNK]))
    root_salt = mac(salt, b"runproof.dev/root-salt/v1\0")
    return mac(root_salt, b"runproof.dev/chunked/v1\0", frame, tree_root(chunks))


def divide(value):
    """A value as its division and its parts (name, value)."""
    if isinstance(value, dict) and 1 <= len(value) <= MAX_PARTS:
        return "members", list(value.items())
    return "whole", [("", value)]


PART = fields("index:u32 name:text salt:hash value:any")


def parse_payload(data):
    value = parse_canonical(data, DEPTH_PAYLOAD)
    need(isinstance(value, dict), "payload: not an object")
    if set(value) == {"seed", "values"}:
        need(is_hash(value["seed"]) and isinstance(value["values"], dict), "payload: seed and values")
        return value
    need(set(value) == {"parts"} and isinstance(value["parts"], dict), "payload: members")
    for entries in value["parts"].values():
        need(isinstance(entries, list) and entries, "payload: list of parts")
        for entry in entries:
            check_fields(entry, PART, "payload")
    return value


def open_payload(event, payload, findings):
    """Open everything that a payload shows. A part that is not shown is no finding."""
    def bad(field, name=""):
        findings.add("payload.mismatch", event.seq, f"payload.{field}.{name}")

    if "seed" in payload:
        seed, values = bytes.fromhex(payload["seed"]), payload["values"]
        divisions, lists = {}, {}
        for field, value in values.items():
            divisions[field], parts = divide(value)
            lists[field] = [(index, name, part_salt(seed, field, index), inner)
                            for index, (name, inner) in enumerate(parts)]
        for field in event.committed:
            if field not in values:
                bad(field)
    else:
        lists = {field: [(e["index"], e["name"], bytes.fromhex(e["salt"]), e["value"]) for e in entries]
                 for field, entries in payload["parts"].items()}
        divisions = None
    for field, parts in lists.items():
        if field not in event.committed:
            bad(field)
            continue
        division, macs = event.body[field]["as"], event.body[field]["macs"]
        if divisions is not None and (divisions[field] != division or len(parts) != len(macs)):
            bad(field)
            continue
        indices = [part[0] for part in parts]
        if any(a >= b for a, b in zip(indices, indices[1:])) or indices and indices[-1] >= len(macs):
            bad(field)
            continue
        if division == "members" and not ascending(part[1] for part in parts):
            bad(field)
        size = 0
        for index, name, salt, value in parts:
            data = encode(value)
            size += len(name.encode("utf-8")) + len(data)
            if depth(value) > DEPTH_PART or part_mac(division, salt, name, data).hex() != macs[index]:
                bad(field, name)
        if size > LIMIT_VALUE:
            bad(field)


# ---------------------------------------------------------------- bundle (bundle.md)

HEADER = fields("anchored:bool events:u64 log:text records:u64 run_id:text since?:u64 tenant:text")
RECORD = fields("event:object hashes:hashes index:u64")
CONSISTENCY = fields("hashes:hashes root:hash since:u64")


def hash_list(texts):
    return [bytes.fromhex(text) for text in texts]


class Lines:
    """Lines with a limit for each: nothing longer is looked at."""

    def __init__(self, data):
        self.data, self.at, self.number = data, 0, 0

    def next(self, limit):
        self.number += 1
        end = self.data.find(b"\n", self.at, self.at + limit + 1)
        need(end >= 0, "line too long, or the file ends")
        line, self.at = self.data[self.at:end], end + 1
        return line


class Bundle:
    def __init__(self, lines):
        format_line = lines.next(LIMIT_FORMAT)
        if format_line != b"runproof.bundle/v1":
            if re.fullmatch(rb"runproof\.bundle/v([2-9]|[1-9][0-9]+)", format_line):
                raise Unsupported("bundle")
            raise Malformed("format")
        self.header = header = parse_canonical(lines.next(LIMIT_HEADER), DEPTH_LINE)
        check_fields(header, HEADER, "header")
        need(header["events"] <= MAX_EVENTS and header["records"] <= MAX_RECORDS, "header: too many")
        need(header["anchored"] or "since" not in header, "header: since without anchored")
        self.events, self.payloads, self.records = [], [], []
        for _ in range(header["events"]):
            event = parse_event(lines.next(LIMIT_EVENT))
            self.events.append(event)
            self.payloads.append(parse_payload(lines.next(LIMIT_PAYLOAD)) if event.committed else None)
        for _ in range(header["records"]):
            self.records.append(self.record(lines.next(LIMIT_RECORD)))
            need(len(self.records) < 2 or self.records[-2][0] < self.records[-1][0], "records: order")
        self.consistency = self.proof = None
        if "since" in header:
            line = parse_canonical(lines.next(LIMIT_CONSISTENCY), DEPTH_LINE)
            check_fields(line, CONSISTENCY, "consistency")
            need(line["since"] == header["since"], "consistency: since")
            self.consistency = line["since"], bytes.fromhex(line["root"]), hash_list(line["hashes"])
        if header["anchored"]:
            lines.number += 1
            self.proof = InclusionProof(lines.data[lines.at:])
        else:
            need(lines.at == len(lines.data), "something follows")

    @staticmethod
    def record(data):
        line = parse_canonical(data, DEPTH_LINE)
        check_fields(line, RECORD, "record")
        need(len(line["hashes"]) <= MAX_PATH, "record: too many hashes")
        return line["index"], hash_list(line["hashes"]), parse_event(encode(line["event"]))


# ---------------------------------------------------------------- checks, in the order of bundle.md

def check_chain(bundle, findings):
    header, before, latest = bundle.header, bytes(32), 0
    for position, event in enumerate(bundle.events):
        for name, expected in (("seq", position), ("prev", before.hex())):
            if event.value[name] != expected:
                findings.add("chain.link", event.seq, f"$.{name}")
        if event.at < latest:
            findings.add("chain.time", event.seq, "$.at")
        for name, expected in (("log", header["log"]), ("stream", "run/" + header["run_id"]),
                               ("tenant", header["tenant"])):
            if event.value[name] != expected:
                findings.add("chain.identity", event.seq, f"$.{name}")
        before, latest = event.leaf, max(latest, event.at)


class Pair:
    """What is known of one (step_id, item)."""

    def __init__(self):
        self.intended, self.open, self.settled, self.cost, self.duration = 0, False, False, 0, 0
        self.last = self.resolution = self.effect = None

    def doubtful(self):
        """An effect may have happened, nobody said whether, and it matters."""
        return (self.last == "unknown" and self.resolution is None
                and self.effect in ("idempotent", "probeable", "unsafe"))

    def fits(self, status):
        if self.last == "done" or self.resolution == "done":
            return status == "success"
        if self.last in ("not_done", "failed") or self.resolution == "not_done":
            return status == "failure"
        return True


class Walk:
    """The order rules of events.md: one method for each kind that has a rule."""

    def __init__(self, bundle):
        self.bundle, self.structure, self.seal = bundle, Findings(), Findings()
        self.pairs, self.sealed, self.settled, self.resolved, self.unknown = {}, False, 0, 0, 0
        self.step_count, self.cancel_requested, self.paused = None, False, False
        self.positions, self.owners, self.expanded, self.called, self.failed = {}, {}, {}, set(), set()
        self.leaves = []
        for event in bundle.events:
            self.step(event)
            self.leaves.append(event.leaf)

    def rule(self, holds, code, event, place):
        if not holds:
            (self.seal if code.startswith("seal.") else self.structure).add(code, event.seq, place)

    def step(self, event):
        if self.sealed:
            return self.rule(False, "structure.after_seal", event, "$")
        self.rule((event.kind == "run.created") == (event.seq == 0), "structure.first", event, "$.kind")
        self.rule(event.kind.split(".")[0] not in ("tenant", "log"), "structure.order", event, "$.kind")
        action = getattr(self, event.kind.replace(".", "_"), None)
        if action is not None:
            pair = None
            if "step_id" in event.body:
                pair = self.pairs.setdefault((event.body["step_id"], event.body.get("item")), Pair())
            action(event, event.body, pair)

    def run_created(self, event, body, pair):
        self.rule(body["run_id"] == self.bundle.header["run_id"], "structure.first", event, "$.body.run_id")

    def run_planned(self, event, body, pair):
        self.rule(self.step_count is None, "structure.order", event, "$.kind")
        if self.step_count is None:
            self.step_count = body["step_count"]

    def run_cancel_requested(self, event, body, pair):
        self.cancel_requested = True

    def run_paused(self, event, body, pair):
        self.rule(not self.paused, "structure.order", event, "$.kind")
        self.paused = True

    def run_resumed(self, event, body, pair):
        self.rule(self.paused, "structure.order", event, "$.kind")
        self.paused = False

    def begins(self, event):
        """Nothing begins while the run is paused."""
        self.rule(not self.paused, "structure.order", event, "$.kind")

    def in_plan(self, event, body):
        """One position for a step, one step for a position, and both in a plan that is there."""
        self.rule(self.step_count is not None, "structure.order", event, "$.kind")
        if self.step_count is None:
            return
        step_id, index = body["step_id"], body["plan_index"]
        self.rule(self.positions.setdefault(step_id, index) == index, "structure.order", event, "$.body.plan_index")
        self.rule(self.owners.setdefault(index, step_id) == step_id, "structure.order", event, "$.body.step_id")
        self.rule(index < self.step_count, "structure.order", event, "$.body.plan_index")

    def item_fits(self, body, settles):
        step_id, item, count = body["step_id"], body.get("item"), self.expanded.get(body["step_id"])
        if item is None:
            return settles or count is None
        match = ITEM.fullmatch(item)
        if match is None:
            return False
        element, fallback = match["element"], match["fallback"] is not None or item == "fallback"
        if element is None and count is not None:
            return False
        if element is not None and (count is None or int(element) >= count):
            return False
        return not fallback or (step_id, element) in self.failed

    def step_expanded(self, event, body, pair):
        self.in_plan(event, body)
        self.begins(event)
        step_id = body["step_id"]
        self.rule(step_id not in self.expanded and step_id not in self.called,
                  "structure.order", event, "$.body.step_id")
        self.rule(body["count"] <= MAX_ELEMENTS, "structure.order", event, "$.body.count")
        self.expanded.setdefault(step_id, body["count"])

    def step_intended(self, event, body, pair):
        self.rule(not pair.open and not pair.settled and body["attempt"] == pair.intended + 1,
                  "structure.order", event, "$.body.attempt")
        pair.intended, pair.open, pair.resolution, pair.effect = body["attempt"], True, None, body["effect"]
        self.in_plan(event, body)
        self.begins(event)
        self.rule(self.item_fits(body, settles=False), "structure.order", event, "$.body.item")
        self.called.add(body["step_id"])

    def step_returned(self, event, body, pair):
        self.rule(pair.open and body["attempt"] == pair.intended, "structure.order", event, "$.body.attempt")
        pair.open, pair.last = False, body["outcome"]
        pair.cost += body["cost_microcents"]
        pair.duration += body["duration_us"]

    def step_resolved(self, event, body, pair):
        self.rule(not pair.open and not pair.settled and pair.last == "unknown" and pair.resolution is None
                  and body["attempt"] == pair.intended, "structure.order", event, "$.body.attempt")
        pair.resolution = body["resolution"]
        self.resolved += 1

    def step_settled(self, event, body, pair):
        self.rule(not pair.open and not pair.settled, "structure.order", event, "$.body.step_id")
        for name, sum_of in (("attempts", pair.intended), ("cost_microcents", pair.cost),
                             ("duration_us", pair.duration), ("step_index", self.settled)):
            self.rule(body[name] == sum_of, "structure.totals", event, f"$.body.{name}")
        self.rule(pair.fits(body["status"]), "structure.order", event, "$.body.status")
        self.rule(body["status"] != "unknown" and not pair.doubtful(), "outcome.unknown", event, "$.body.status")
        self.rule(body["category"] in SETTLED_CATEGORIES, "structure.order", event, "$.body.category")
        self.in_plan(event, body)
        self.rule(self.item_fits(body, settles=True), "structure.order", event, "$.body.item")
        step_id, item = body["step_id"], body.get("item")
        if body["attempts"] == 0 and not (item is None and step_id in self.expanded):
            self.begins(event)
        self.rule(body["attempts"] > 0 or body["status"] != "success" or item is None and step_id in self.expanded,
                  "structure.order", event, "$.body.attempts")
        self.called.add(step_id)
        if body["status"] == "failure":
            self.failed.add((step_id, item))
        pair.settled = True
        self.settled += 1
        self.unknown += body["status"] == "unknown"

    def gap_recorded(self, event, body, pair):
        self.rule(False, "gap.recorded", event, "$.body.gap")

    def run_sealed(self, event, body, pair):
        for one in self.pairs.values():
            self.rule(not one.open, "outcome.missing", event, "$")
        for name, count in (("event_count", event.seq), ("step_count", self.settled)):
            self.rule(body[name] == count, "seal.count", event, f"$.body.{name}")
        pairs = self.pairs.values()
        totals = {"attempts": sum(one.intended for one in pairs), "cost_microcents": sum(one.cost for one in pairs),
                  "duration_us": event.at - self.bundle.events[0].at,
                  "resolved": self.resolved, "unknown": self.unknown}
        for name, total in totals.items():
            self.rule(body["totals"][name] == total, "seal.totals", event, f"$.body.totals.{name}")
        self.rule(body["run_root"] == tree_root(self.leaves).hex(), "seal.root", event, "$.body.run_root")
        reason = body["reason"]
        self.rule(body["status"] == END_STATUS[reason], "structure.order", event, "$.body.reason")
        for one, holds in (("plan_completed", self.step_count is not None),
                           ("planner_failed", self.step_count is None), ("cancel_requested", self.cancel_requested)):
            self.rule(reason != one or holds, "structure.order", event, "$.body.reason")
        self.sealed = True


def check_inclusion(bundle, findings):
    proof, header = bundle.proof, bundle.header
    point = proof.checkpoint
    for last in bundle.events[-1:]:  # without events there is nothing to include
        if not included(last.leaf, proof.index, point.size, proof.path, point.root):
            findings.add("inclusion.proof", last.seq, "index")
    for number, (index, path, event) in enumerate(bundle.records):
        if (event.log, event.stream, event.tenant) != (header["log"], "tenant/" + header["tenant"], header["tenant"]):
            findings.add("chain.identity", None, f"record {number}")
        if not included(event.leaf, index, point.size, path, point.root):
            findings.add("inclusion.record", None, f"record {number}")
    if bundle.consistency is not None:
        old, old_root, path = bundle.consistency
        if not consistent(old, old_root, point.size, point.root, path):
            findings.add("inclusion.consistency", None, "since")


def check_signatures(point, keys, findings):
    """Whether the checkpoint is accepted and without finding ("When a checkpoint counts")."""
    if not keys:
        findings.add("checkpoint.unpinned")
        return False
    found, accepted = Findings(), False
    message = point.text.encode("utf-8")
    for name, key_id, signature in point.signatures:
        known = [key for key in keys if key[:2] == (name, key_id)]
        holding = [key for key in known if signature_holds(key[2], signature, message)]
        if not known:
            found.add("checkpoint.unknown_signature", None, name)
        elif not holding:
            found.add("checkpoint.signature", None, name)
        elif any(key[3] is not None and point.size > key[3] for key in holding):
            found.add("checkpoint.key_retired", None, name)
        elif name == point.origin:
            accepted = True
    if not accepted and all(f["code"] == "checkpoint.unknown_signature" for f in found):
        found = Findings()
        found.add("checkpoint.key")
    findings += found
    return accepted and not found


def check_heads(bundle, heads, findings):
    point = bundle.proof.checkpoint
    since, since_root, _ = bundle.consistency or (None, None, None)
    for head in heads:
        if head.origin != point.origin:
            continue
        if head.size > point.size:
            findings.add("head.rolled_back", None, str(head.size))
        elif head.size == point.size and head.root == point.root:
            pass
        elif since == head.size and since_root == head.root:
            pass
        elif since == head.size or head.size == point.size:
            findings.add("head.forked", None, str(head.size))
        else:
            findings.add("head.not_compared", None, str(head.size))


def verify(data, trust):
    """The report for the bytes of a bundle. It raises nothing for any bytes."""
    findings = Findings()
    lines = Lines(data)
    try:
        need(len(data) <= LIMIT_BUNDLE, "bundle: too long")
        bundle = Bundle(lines)
    except Malformed as error:
        findings.add("bundle.malformed", None, f"line {lines.number}: {error}")
        return conclude(findings)
    except Unsupported:
        findings.add("bundle.unsupported", None, f"line {lines.number}")
        return conclude(findings)
    check_chain(bundle, findings)
    walk = Walk(bundle)
    findings += walk.structure + walk.seal
    for event, payload in zip(bundle.events, bundle.payloads):
        if payload is not None:
            open_payload(event, payload, findings)
    if not walk.sealed:
        findings.add("run.open" if walk.settled else "run.no_steps")
    if bundle.proof is None:
        findings.add("checkpoint.missing")
        if bundle.records:
            findings.add("inclusion.record")
        return conclude(findings)
    check_inclusion(bundle, findings)
    same_log = bundle.proof.checkpoint.origin == bundle.header["log"]
    if not same_log:
        findings.add("checkpoint.origin", None, bundle.proof.checkpoint.origin)
    if check_signatures(bundle.proof.checkpoint, trust.keys, findings) and same_log:
        check_heads(bundle, trust.heads, findings)
    return conclude(findings)


# ---------------------------------------------------------------- command line

def read_file(path, limit):
    """One byte more than the limit is enough to see that it is exceeded."""
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise Refused(f"{shown(path)}: {error.__class__.__name__}") from None


def load_trust(key_texts, trust_paths, head_paths):
    trust = Trust()
    for text in key_texts:
        trust.add_key(text)
    for path in trust_paths:
        trust.add_file(read_file(path, LIMIT_TRUST))
    for path in head_paths:
        trust.add_head(read_file(path, LIMIT_NOTE))
    return trust


def main(arguments):
    parser = argparse.ArgumentParser(description="Second verifier of runproof proof bundles.")
    parser.add_argument("bundle")
    parser.add_argument("--key", action="append", default=[], metavar="VKEY")
    parser.add_argument("--trust", action="append", default=[], metavar="FILE")
    parser.add_argument("--known-head", action="append", default=[], metavar="FILE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        trust = load_trust(options.key, options.trust, options.known_head)
        data = read_file(options.bundle, LIMIT_BUNDLE)
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    try:
        report = verify(data, trust)
    except Exception as error:  # a fault of this program; whatever it is, it is not VERIFIED
        report = conclude([{"code": "bundle.malformed", "seq": None, "place": f"verifier: {type(error).__name__}"}])
    if options.json:
        print(json.dumps({**report, "not_checked": NOT_CHECKED}))
    else:
        print(report["verdict"])
        for finding in report["findings"]:
            seq = "" if finding["seq"] is None else f" event {finding['seq']}"
            print(f"  {finding['code']}{seq} {finding['place']}".rstrip())
        print("not checked")
        for line in NOT_CHECKED:
            print(f"  {line}")
    return report["exit_code"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
