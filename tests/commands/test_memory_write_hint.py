"""`memory write` and every other write: what an error says to type next is a command that there is."""

import httpx
import pytest

from qoder_cli.base.errors import Exit
from qoder_cli.nouns.table import NOUNS, Noun, operation, words_of
from qoder_cli.nouns.write import target_of
from tests.conftest import Qoder
from tests.support.asking import refusal

STORE = "memstore_1"


def _looks(noun: Noun) -> list[tuple[str, ...]]:
    """Return the commands that errors about a noun's things name."""
    above = NOUNS.get(noun.words.rpartition(" ")[0])
    held, id = [f"{above.prefix}1"] if above else [], f"{noun.prefix}1"
    found = [words_of(noun, "list", *held)]
    if (operation(noun, "retrieve") or operation(noun, "retrieve_metadata")) and noun.words != "memory version":
        found.append(target_of(noun, *held, id).look)  # of a version of a memory `redact` says it itself
    if operation(noun, "versions.list"):
        found.append(words_of(noun, "versions", *held, id))
    if operation(noun, "delete"):
        found.append(words_of(noun, "delete", *held, id, "--yes"))
    return found


@pytest.mark.parametrize("noun", NOUNS.values(), ids=lambda noun: noun.words)
def test_memory_write_names_no_command_that_does_not_exist(qoder: Qoder, noun: Noun) -> None:
    qoder.transport = httpx.MockTransport(lambda request: refusal(404, "No such thing.", "not_found_error"))
    for words in _looks(noun):
        ran = qoder(*words)
        assert ran.code == Exit.NOT_FOUND, (words, ran.err)  # it was understood, and a request was sent


def test_memory_write_whose_answer_is_lost_says_how_to_look(qoder: Qoder) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            raise httpx.ReadError("reset")
        if request.url.path.endswith("/memory_stores"):
            return httpx.Response(200, json={"data": [], "has_more": False})
        return httpx.Response(200, json={"data": [], "has_more": False, "id": STORE, "type": "memory_store"})

    qoder.transport = httpx.MockTransport(answer)
    ran = qoder("memory", "write", STORE, "a.md", "-m", "x", "--json")
    assert ran.code == 9
    assert ran.error["next"][:4] == ["qoder", "memory", "ls", STORE]
    assert qoder(*ran.error["next"][1:]).code == 0
