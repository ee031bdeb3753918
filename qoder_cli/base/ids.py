"""Check the words that name things on the command line, before any request."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from urllib.parse import quote

from qoder_cli.base.errors import UsageError
from qoder_cli.base.kinds import KINDS_OF_IDS
from qoder_cli.base.tokens import names_token, without_tokens
from qoder_cli.base.words import shortened

LONGEST = 256  # characters; the API's limit for a deployment's name (api.md#deployments)
LONGEST_KEY = 255  # characters of an idempotency key

LAST = ("last", "@last")  # the newest run triggered here

# What ids are made of: a prefix, and hexadecimal or base-36 digits (api.md#ids-times-and-numbers). Allowed is what
# stands in a path as it is (RFC 3986, "unreserved"); what else there is was meant as something else.
NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9._~-]")
_AT_VERSION = re.compile(r"(.+)@([1-9][0-9]{0,8})", re.DOTALL)  # writer@3
_AROUND = " \t\r\n\xa0\ufeff\u200b\"'`<>“”‘’"  # what is pasted along


def file_id(word: str) -> str:
    """Return a file's id. Raises UsageError."""
    return _id(word, prefix="file_", wanted="a file id (file_…)")


def deployment(word: str) -> str:
    """Return a deployment's id or name. Raises UsageError."""
    id_or_name(word, "dep_", "deployment", "a deployment id (dep_…) or an exact name")
    return word


def id_or_name(word: str, prefix: str, kind: str, wanted: str) -> bool:
    """Return whether an id was typed, and not a name. Raises UsageError if it is neither."""
    _check_text(word, kind, wanted)
    if _kind(word) is not None:
        return bool(_id(word, prefix=prefix, wanted=wanted))
    if {".", ".."} & set(word.split("/")):
        raise UsageError(f"{_shown(word)} is a path, not {a(kind)}", hint=f"give {wanted}")
    return False


def run(word: str) -> str:
    """Return what names a run: an id, a session's id, `last` or `DEPLOYMENT@last`. Raises UsageError."""
    if word in LAST:
        return word
    if of := deployment_of(word):
        deployment(of)
        return word
    prefix = "sess_" if _kind(word) == "session" else "drun_"
    return _id(word, prefix=prefix, wanted="a run (drun_…, sess_…, last or DEPLOYMENT@last)")


def call(word: str) -> str:
    """Return the id of a tool call, which is that of its event. Raises UsageError."""
    _check_kind(word, "call", "event", "the id of a call (evt_…) or its number, as `qoder run pending` lists it")
    return word


def call_number(word: str) -> int | None:
    """Return the number of a call as `pending` shows it; None if it is not one that was typed. Raises UsageError."""
    if not word.isdecimal():
        return None
    if not word.isascii() or len(word) > 6 or int(word) < 1:
        raise UsageError(f"{_shown(word)} is not the number of a call", hint="to see the numbers: qoder run pending")
    return int(word)


def memory_version(word: str) -> str:
    """Return the id of a version of a memory, whatever its prefix. Raises UsageError."""
    return _unprefixed(word, "version of a memory", "the id of a version, as `qoder memory history` lists it")


def resource(word: str) -> str:
    """Return the id of a session's resource, whatever its prefix. Raises UsageError."""
    return _unprefixed(word, "resource", "the id of a resource (sesr_…), as `qoder session files` lists it")


def _unprefixed(word: str, kind: str, wanted: str) -> str:
    """Return an id of a kind, whatever its prefix, made of what ids are made of. Raises UsageError."""
    _check_kind(word, kind, kind, wanted)
    if NOT_OF_AN_ID.search(word) or not word.strip("."):
        raise UsageError(f"{_shown(word)} is not the id of a {kind}", hint=f"give {wanted}")
    return word


def may_be_call(id: str) -> bool:
    """Return whether a call's id can be passed as an argument; digits alone are a call's number."""
    return len(id) <= LONGEST and NOT_OF_AN_ID.search(id) is None and not id.startswith("-") and not id.isdecimal()


def deployment_of(word: str) -> str:
    """Return what stands before `@last`; empty if nothing does."""
    of, _, last = word.rpartition("@")
    return of if last == "last" else ""


def with_version(word: str) -> tuple[str, int | None]:
    """Return what stands before `@3` and that version, None without one."""
    match = _AT_VERSION.fullmatch(word)
    if match:
        return match[1], int(match[2])
    return word, None


def is_deployment(word: str) -> bool:
    """Return whether the word names a deployment, and not a run or a session."""
    return word not in LAST and not deployment_of(word) and _kind(word) in (None, "deployment")


def called(word: str, id: str) -> str:
    """Return how a deployment is said back: as typed, and with its id."""
    if word == id:
        return id
    return f"{word} ({id})"


_RUNS_TAKE_SESSIONS = ("pending", "approve", "deny", "answer")  # hidden verbs of `session`


def noun(id: str, verb: str = "") -> str:
    """Return the noun of the command to type for this id: `session`, unless its `verb` is hidden there, or `run`."""
    if id.startswith("sess_") and verb not in _RUNS_TAKE_SESSIONS:
        return "session"
    return "run"


def segment(name: str) -> str:
    """Return an id or a name as one path segment; dots alone would lead out of the path."""
    if name.strip("."):
        return quote(name, safe="", errors="surrogatepass")
    return name.replace(".", "%2E")


def _id(word: str, *, prefix: str, wanted: str) -> str:
    """Return an id with this prefix, made of what ids are made of. Raises UsageError."""
    needed = KINDS_OF_IDS[prefix]
    _check_text(word, needed, wanted)
    kind, odd = _kind(word), NOT_OF_AN_ID.search(word)
    hint = f"give {wanted}"
    if kind == needed and odd:
        what = "a space" if odd[0] == " " else _shown(odd[0])
        raise UsageError(f"{_shown(word)} is not {a(needed)} id: it contains {what}", hint=f"{hint}, and nothing else")
    if prefix == "drun_" and odd is None and kind in (None, "deployment") and word != "-":
        hint = f"for the latest run of a deployment: {word}@last; or {hint}"
    if kind not in (None, needed):
        raise UsageError(f"{_shown(word)} is {a(kind)}, not {a(needed)}", hint=hint)
    if kind is None or word == prefix:
        raise UsageError(f"{_shown(word)} is not {a(needed)} id", hint=hint)
    return word


def _check_text(word: str, what: str, wanted: str) -> None:
    if not word.strip():
        raise UsageError(f"the {what} is empty", hint="is a shell variable unset?")
    if names_token(word):  # no id has one, and what is taken for an id or a name is written down
        raise UsageError(f"a token was given instead of {a(what)}", hint=f"set QODER_PAT to it, and give {wanted}")
    if len(word) > LONGEST:
        raise UsageError(f"{_shown(word)} is {len(word)} characters long; an id or a name has at most {LONGEST}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in word):
        raise UsageError(f"{_shown(word)} contains a control character", hint=f"give {wanted}, and nothing else")


def _check_kind(word: str, what: str, kind: str, wanted: str) -> None:
    """Raise UsageError if a word cannot be an id, or has the prefix of another kind."""
    _check_text(word, what, wanted)
    typed = _kind(word)
    if typed not in (None, kind):
        raise UsageError(f"{_shown(word)} is {a(typed)}, not {a(what)}", hint=f"give {wanted}")


def _shown(word: str) -> str:
    """Return the word in quotes, readable in any script; what would not show is escaped."""
    return repr(shortened(word, 60))


def _kind(word: str) -> str | None:
    """Return what kind of thing the prefix of an id says, whatever was pasted before it."""
    bare = word.lstrip(_AROUND)
    return next((kind for prefix, kind in KINDS_OF_IDS.items() if bare.startswith(prefix)), None)


def a(kind: str) -> str:
    """Return a word with its article."""
    if kind[0] in "aeiou":
        return f"an {kind}"
    return f"a {kind}"


def nearest(typed: str, words: Iterable[str], *, most: int = 1, alike: float = 0.7) -> list[str]:
    """Return the words most like the typed one, best first; `alike` is how much, 0 to 1."""
    from difflib import get_close_matches

    words = list(words)
    if same := [word for word in words if sorted(word) == sorted(typed)]:
        return same[:most]  # letters that changed places, which count for little in a short word
    return get_close_matches(typed, words, n=most, cutoff=alike)


RETRY = "retry-"  # before the id of a run: the key under which it is started once more


def retry_key(run_id: str) -> str:
    """Return the one key under which a run is started once more, whoever does it. Raises UsageError."""
    return check_key(f"{RETRY}{run_id}")


def check_key(key: str, secrets: Collection[str] = ()) -> str:
    """Return a valid idempotency key. Raises UsageError."""
    if any(secret in key for secret in secrets) or without_tokens(key) != key:
        raise UsageError("--idempotency-key contains a token", hint="use another key, for example nightly-2026-06-14")
    if not 0 < len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable() or key != key.strip():
        raise UsageError(
            f"--idempotency-key must be 1 to {LONGEST_KEY} printable ASCII characters, with no spaces around them",
            hint="use for example nightly-2026-06-14",
        )
    return key
