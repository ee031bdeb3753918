"""Keys in a memory store of the same account: `keys/<sha256>` each (api.md#memory).

A path that is taken and a stale `content_sha256` are refused with 409. So is every write to an archived store: what a
refusal means is only known by reading back.
"""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from qoder_cli.base.errors import ApiError, AuthError, NoResponse, NotFound, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import mapping, says_whether_more, text
from qoder_cli.http.answers import Pending, answer_to
from qoder_cli.http.client import Client
from qoder_cli.http.write import Meaning, meaning_of
from qoder_cli.keys.patience import AT_A_SIGNAL, SHORTEST, Patience
from qoder_cli.keys.record import FOLDER, KeyRecord, Lost, StoreAway, StoredKey, away, found_of
from qoder_cli.nouns.memory import sha256_of

STORE_NAME = "qoder-keys"  # of each store that was made for this
_VIEW = {"view": "full"}
Left = Callable[[], float]  # tells the seconds that are left


def stores_of_account(client: Client) -> set[str]:
    """Return the ids of the account's stores of keys, by their name. Raises ApiError, NoResponse (list cut short)."""
    pages = list(client.pages("/memory_stores", {"limit": 100}, fresh=True))
    rows = [mapping(row) for page in pages for row in page["data"]]
    if not pages or not says_whether_more(pages[-1]) or not all(isinstance(row.get("id"), str) for row in rows):
        raise NoResponse("the list of memory stores may be incomplete; nothing was sent", hint="try again")
    return {row["id"] for row in rows if row.get("name") == STORE_NAME and not row.get("archived_at")}


class MemoryKeys:
    """Keys in the memory store with this id."""

    def __init__(self, client: Client, id: str, patience: Patience) -> None:
        self.patience = patience
        self._client = client
        self._path = f"/memory_stores/{segment(id)}/memories"
        self._id = id
        self._checking = threading.Lock()
        self._is_checked = False

    @property
    def shown(self) -> str:
        return self._id

    def put(self, found: StoredKey | None, record: KeyRecord | None) -> StoredKey | None:
        path, gone = self._path, [409]
        if found is None:
            self._check()
        else:
            path, gone = f"{self._path}/{segment(found.id)}", [404, 409]
        if record is None:
            assert found is not None
            query = {"expected_content_sha256": sha256_of(found.content)}
            answer = self._write(lambda: self._client.prepare("DELETE", path, params=query), gone=gone, reads=False)
            return found if answer is not None else None
        if found is None:
            body = {"path": f"{FOLDER}{record.name}", "content": record.content}
        else:
            body = {"content": record.content, "content_sha256": sha256_of(found.content)}
        answer = self._write(lambda: self._client.prepare("POST", path, params=_VIEW, body=body), gone=gone)
        if answer is None:
            return None
        id = text(answer.get("id")) if found is None else found.id
        if id is None or answer.get("content_sha256") != sha256_of(record.content):
            raise Lost  # it says that something else was written
        return StoredKey(id, record, record.content)

    def read(self, name: str) -> StoredKey | None:
        with self._usable() as left:
            query = {"path_prefix": f"{FOLDER}{name}", "limit": 100, **_VIEW}
            for row in filter(_is_memory, self._rows(query, left)):
                if row.get("path") == f"{FOLDER}{name}":
                    with suppress(NotFound):
                        return self._whole(row, left)
            return None

    def entries(self, prefix: str = "") -> list[StoredKey]:
        with self._usable() as left:
            rows = self._rows({"path_prefix": f"{FOLDER}{prefix}", "limit": 100, **_VIEW}, left, must_be_whole=True)
            return [self._whole(row, left) for row in rows]

    def _check(self) -> None:
        """Look once whether this is a store of keys, and not archived. Raises StoreAway, UsageError.

        One that cannot be seen is left to the write: a list of stores may lag.
        """
        with self._checking, self._usable() as left:
            if self._is_checked:
                return
            with suppress(NotFound):
                store = mapping(self._get(f"/memory_stores/{segment(self._id)}", left))
                if store.get("archived_at"):
                    raise StoreAway(f"the store of keys {self._id} is archived", hint="make another: qoder key init")
                name = text(store.get("name"))
                if name not in (None, STORE_NAME):
                    raise UsageError(
                        f"{self._id} is the memory store {name!r}, not one of keys; nothing was sent",
                        hint=f"use the id that qoder key init printed; if this is it, name it {STORE_NAME} again",
                    )
            self._is_checked = True

    def _get(self, path: str, left: Left, query: dict[str, Any] | None = None) -> Any:
        return self._client.patiently(
            lambda: self._client.get(path, query, within=left(), retry=False, fresh=True), within=left()
        )

    def _rows(self, query: dict[str, Any], left: Left, *, must_be_whole: bool = False) -> list[dict[str, Any]]:
        pages = self._client.patiently(
            lambda: list(self._client.pages(self._path, query, within=left(), retry=False, fresh=True)), within=left()
        )
        rows = [mapping(row) for page in pages for row in page["data"]]
        if must_be_whole and not (says_whether_more(pages[-1]) and all(map(_is_memory, rows))):
            raise NoResponse("the list of keys may be incomplete")
        return rows

    def _whole(self, row: dict[str, Any], left: Left) -> StoredKey:
        """Return what a row of a list stands for. Raises NotFound if it is gone, or not shown yet."""
        if not text(row.get("content")):
            row = mapping(self._get(f"{self._path}/{segment(str(row['id']))}", left, _VIEW))
        return found_of(str(row.get("id")), str(row.get("content")), where=f"{row.get('path')} in {self._id}")

    def _write(
        self, prepare: Callable[[], Pending], *, gone: Collection[int], reads: bool = True
    ) -> dict[str, Any] | None:
        """Return the answer to a write, None if it was refused. Raises Lost, ApiError."""

        def once() -> dict[str, Any] | None:
            request = prepare().start()
            try:
                request.wait(min(AT_A_SIGNAL, left()), heeds_signals=False)
                answer = answer_to(request, left())
                if reads:
                    return mapping(self._client.understand(answer))
                self._client.accept(answer)
                return {}
            except AuthError as error:
                if error.http_status != 403:
                    raise
                raise error.with_(
                    message=f"the store of keys {self._id} may not be written: {error.message}"
                ) from error
            except ApiError as error:
                if meaning_of(error) is Meaning.NOTHING:
                    raise  # it is sent again
                if error.http_status in gone:
                    return None
                if isinstance(error, NotFound) and error.enveloped:
                    why = f"memory store {self._id} not found: it was deleted, or belongs to another account"
                    raise StoreAway(why, hint="use the id that qoder key init printed", cause=error) from error
                if meaning_of(error) is Meaning.REFUSED:
                    raise away(self.shown, error) from error
                if not request.wait(0.0):
                    self.patience.note_silence()
                raise Lost from error

        with self._usable() as left:
            written = self._client.patiently(once, within=left())
            self.patience.note_answer()
            return written

    @contextmanager
    def _usable(self) -> Iterator[Left]:
        """Turn errors of the server into those of the store; errors of the token stay as they are.

        Yield what tells the seconds that are left for one reading or writing.
        """
        if self.patience.is_over:
            raise away(self.shown, NoResponse("it did not respond"))
        left = self.patience.begin()
        try:
            yield left
        except (AuthError, StoreAway):
            raise
        except ApiError as error:
            if left() <= SHORTEST:
                self.patience.note_silence()
            raise away(self.shown, error) from error


def _is_memory(row: dict[str, Any]) -> bool:
    """Return whether a row of a list is a memory: a folder stands for some that are not listed."""
    return row.get("type") in (None, "memory") and text(row.get("id")) is not None
