"""The kinds of things there are: a line for each. What a noun is, is in a file of its own, `nouns/NOUN.py`."""

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of thing."""

    prefix: str  # of its ids
    called: str  # by a person, in a sentence
    words: str = ""  # that are typed before a verb; none for what has no commands
    about: str = ""  # its line in `qoder --help`, if it stands there


KINDS = (
    Kind("dep_", "deployment", "deploy", "Run and manage deployments"),
    Kind("drun_", "run", "run", "Inspect runs, read their logs, wait for them"),
    Kind("sess_", "session", "session", "Start, list, change and end sessions, talk to their agents"),
    Kind("agent_", "agent", "agent", "Manage agents: their models, tools and instructions"),
    Kind("env_", "environment", "env", "Manage the environments that sessions run in"),
    Kind("file_", "file", "file", "Upload files, download what agents made"),
    Kind("vault_", "vault", "vault", "Keep secrets for agents"),
    Kind("skill_", "skill", "skill", "Upload and manage skills"),
    Kind("memstore_", "memory store", "memory", "Read and write what agents remember"),
    Kind("drm_", "dream", "dream", "Have memories tidied up"),
    Kind("", "model", "model", "List the models that agents can use"),
    Kind("work_", "work item", "env work"),
    Kind("vcred_", "credential", "vault credential"),
    Kind("mem_", "memory", "memory entry"),
    Kind("memver_", "version of a memory", "memory version"),
    Kind("sthr_", "thread", "session thread"),
    Kind("skillver_", "version of a skill"),
    Kind("sesr_", "resource"),
    Kind("turn_", "turn"),
    Kind("evt_", "event"),
)

KINDS_OF_NOUNS: dict[str, Kind] = {}
KINDS_OF_IDS: dict[str, str] = {}
for _kind in KINDS:
    if _kind.words:
        KINDS_OF_NOUNS[_kind.words] = _kind
    if _kind.prefix:
        KINDS_OF_IDS[_kind.prefix] = _kind.called
