"""Do the tests see it when the program is changed? `python -m tests.support.mutate [--random COUNT [SEED]] [WORD…]`.

Each mutation is a small change of meaning, made in a copy of the tree, on which the tests named beside it are run: it
is *killed* when one fails, and *survives* when none does: then a test is missing, or the line is not needed. `TABLE`
has those that somebody thought of; one whose old text is not there exactly once applies no longer, and is a failure of
the table. `--random` makes others by the grammar, in the files of `TESTS`. Words choose those with one of them in their
name. Tests that fail without a mutation are left out. The exit code is 1 where one applies no longer.
"""

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = "qoder_cli"
LONGEST = 90.0  # seconds; what takes longer hangs, and is killed by that
TRIGGER = "commands/test_trigger commands/test_lost"
WRITE = "commands/test_writing commands/test_lost commands/test_trigger commands/test_api"
WAIT = "unit/test_wait commands/test_run commands/test_listen commands/test_ending commands/test_lost"
ENDING = "commands/test_ending commands/test_trigger commands/test_run unit/test_many"
OUTCOME = "unit/test_outcome commands/test_run commands/test_ending"
STORE = "commands/test_store commands/test_trigger"
ANSWERS = "commands/test_answering commands/test_answering_attacks commands/test_matrix_answers commands/test_turns"
NOUNS = (
    "commands/test_nouns_kept commands/test_lost_blobs commands/test_nouns_attacks commands/test_agent"
    " commands/test_env commands/test_session commands/test_vault commands/test_memory commands/test_operations"
    " commands/test_marks commands/test_matrix_objects commands/test_deploy_state"
)
TESTS = {
    "runs/trigger.py": TRIGGER,
    "runs/lost.py": TRIGGER,
    "runs/wait.py": WAIT,
    "runs/watch.py": WAIT,
    "runs/observe.py": "commands/test_run commands/test_ending commands/test_trigger commands/test_turns",
    "runs/ending.py": ENDING,
    "http/write.py": WRITE,
    "base/outcome.py": f"{OUTCOME} commands/test_turns",
    "base/pool.py": "unit/test_pool commands/test_trigger commands/test_api",
    "http/client.py": TRIGGER,
    "http/answers.py": f"unit/test_pool {WRITE}",
    "sessions/story.py": f"{OUTCOME} commands/test_turns",
    "runs/listed.py": "commands/test_names commands/test_ending",
    "runs/turn.py": "commands/test_ending commands/test_answering commands/test_turns",
    "local/store.py": STORE,
    "sessions/asks.py": ANSWERS,
    "sessions/answers.py": ANSWERS,
    "nouns/write.py": NOUNS,
    "nouns/update.py": NOUNS,
    "http/change.py": f"{WRITE} {NOUNS}",
    "http/redact.py": "commands/test_secrets_said commands/test_redact",
    "nouns/secrets.py": "commands/test_vault",
    "nouns/change.py": NOUNS,
    "nouns/named.py": NOUNS,
    "nouns/table.py": NOUNS,
}  # of each file: in one process, and quick
SLOW = "processes or kill_9 or locked or disk_that_fills or forked"  # starts processes, or waits in real time


class Mutation(NamedTuple):
    """A change: in which file, what stands there once, and what it becomes."""

    file: str
    old: str
    new: str

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:70] for text in (self.old, self.new))
        return f"{self.file}: {old}  =>  {new}"


TABLE = [Mutation(*each) for each in (
    # Things of the nouns: what is created once, what counts as changed, and which one a name stands for.
    ("nouns/write.py", "return is_of_kind and not is_other and", "return not is_other and"),
    ("nouns/write.py", "return is_of_kind and not is_other and", "return is_of_kind and"),
    ("nouns/write.py", "in (None, self._mark) and not self._is_older(raw)", "in (None, self._mark)"),
    ("nouns/write.py", "and self._mark_in(raw) in (None, self._mark)", ""),
    ("nouns/write.py", "if len(silent) > _READ_SINGLY or has_others or not reading.is_whole:", "if False:"),
    ("nouns/write.py", "or has_others or not", "or not"),
    ("nouns/write.py", "_READ_SINGLY or has_others or not reading.is_whole", "_READ_SINGLY or has_others"),
    ("nouns/write.py", "        if self._suspects:\n", "        if False:\n"),
    ("nouns/write.py", "is_silent = not shown or", "is_silent = False or"),
    ("nouns/write.py", "return created < first", "return False"),
    ("nouns/write.py", "- ABOUT", "+ 1"),
    ("nouns/write.py", "reverse=True)[:_READ_SINGLY]:", "reverse=True)[:0]:"),
    ("nouns/write.py", "if error.http_status == 409 and self._is_marked:", "if False:"),
    ("nouns/write.py", " and has_room(metadata)", ""),
    ("nouns/write.py", "settle=self._look_for_it if self._is_marked else None", "settle=self._look_for_it"),
    ("nouns/update.py", "        if is_so and has_rest:\n", "        if is_so:\n"),
    ("nouns/update.py", "        if self._is_as_before(raw):\n", "        if True:\n"),
    ("nouns/update.py", "        self._theirs = self._theirs or raw\n", "        self._theirs = None\n"),
    ("nouns/update.py", "        self._heed_others(error)\n        return found\n\n    def already",
     "        return found\n\n    def already"),
    ("nouns/update.py", "return is_same and not self._has_moved(raw) and", "return is_same and"),
    ("nouns/update.py", "return is_same and not self._has_moved(raw) and", "return not self._has_moved(raw) and"),
    ("nouns/update.py", "and not self._target.id.startswith(_MOVING)", ""),
    ("nouns/update.py", "self.can_tell = not self._is_invisible", "self.can_tell = True"),
    ("nouns/update.py", "fresh=True, **how)", "**how)"),
    ("http/change.py", "LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)", "LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0)"),
    ("http/change.py", "if is_kept(answer.headers):", "if False:"),
    ("nouns/change.py", "if asked is not None and written is not None and written >= asked - _SECOND:", "if False:"),
    ("nouns/secrets.py", "not in _SET_ONCE}", "}"),
    ("nouns/secrets.py", "and not covers(kept.get(\"networking\"), hosts):", "and False:"),
    ("nouns/secrets.py", "if found_at(each, place) == found_at({\"auth\": auth}, place)]", "if name_of(each) == name]"),
    ("nouns/secrets.py", "if kind == BEARER and name_of(found) != name:", "if False:"),
    ("http/redact.py", "- self._public", ""),
    ("http/redact.py", "for word in {secret, *spellings(secret)}]", "for word in {secret}]"),
    ("http/redact.py", "    text = _without_quoted(text)\n", ""),
    ("http/redact.py", "hit[begin:end] = b\"\\1\" * (end - begin)", "pass"),
    ("nouns/change.py", "return self.id in (raw.get(\"id\"), str(raw.get(\"version\")))", "return True"),
    ("nouns/change.py", "return str(raw.get(\"type\")).endswith(\"_deleted\")", "return True"),
    ("nouns/change.py", "if change is DELETE and error.enveloped:", "if change is DELETE:"),
    ("nouns/named.py", "                case [only]:\n", "                case [only, *_]:\n"),
    ("nouns/named.py", "for raw in these if not raw[\"archived_at\"]] or", "for raw in these] or"),
    ("nouns/named.py", "if has_id(noun, each) and each", "if each"),
    ("nouns/table.py", "return id.startswith(noun.prefix) and", "return"),
    # The trigger: what is sent again, and what its key has started.
    ("runs/trigger.py", "if meaning is Meaning.DOUBTFUL or resends == RESENDS:", "if resends == RESENDS:"),
    ("runs/trigger.py", "RESENDS = 2", "RESENDS = 3"),
    ("runs/trigger.py", 'return 0.0 if self._order.on_lost == "resend" else None', "return 0.0"),
    ("runs/trigger.py", "return max(pause - MORE_LOOKS[-1], 0.0) if pause <= LONGEST_RETRY_AFTER else None",
     "return max(pause - MORE_LOOKS[-1], 0.0)"),
    ("runs/trigger.py", "max(pause - MORE_LOOKS[-1], 0.0)", "pause"),
    ("runs/trigger.py", 'meaning is not Meaning.LOST or self._order.on_lost == "resend"',
     "meaning is not Meaning.LOST"),
    ("runs/trigger.py", "if meaning is not Meaning.LOST:", "if True:"),
    ("runs/trigger.py", "if entry.attempt.deployment != self.deployment_id:", "if False:"),
    ("runs/trigger.py", "attempt)) > CERTAIN:", "attempt)) > 60:"),
    ("runs/trigger.py", "if run.deployment_id not in (None, self.deployment_id):", "if False:"),
    ("runs/trigger.py", "for entry in entries if entry.open]", "for entry in entries]"),
    ("runs/trigger.py", "settle([*self._sent][-1],", "settle([*self._sent][0],"),
    # A lost answer: which run is adopted, and what permits a second one.
    ("runs/lost.py", "_Window(math.floor(sent), sent", "_Window(sent, sent"),
    ("runs/lost.py", 'get("type")) == "manual"', 'get("type")) != "schedule"'),
    ("runs/lost.py", "if min(age(client, attempt)", "if max(age(client, attempt)"),
    ("runs/lost.py", "LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0)", "LOOKS = (0.5, 1.0, 2.0, 4.0)"),
    ("runs/lost.py", "if len(ours) != 1 or likely != ours:", "if len(ours) != 1:"),
    ("runs/lost.py", " and not owner.adopted\n", "\n"),
    ("runs/lost.py", "created is None or any(window is None", "created is not None and any(window is None"),
    ("runs/lost.py", "claim(held[-1], run.id)", "claim(held[0], run.id)"),
    ("runs/lost.py", "if not self._is_whole:", "if False:"),
    ("runs/lost.py", "clocks = (attempt.at, attempt.at + attempt.ahead)", "clocks = (attempt.at + attempt.ahead,)"),
    ("runs/lost.py", "if entry.open and is_other", "if is_other"),
    ("runs/lost.py", "return max(min(ages), 0.0)", "return max(max(ages), 0.0)"),
    ("runs/lost.py", "reading.is_whole and all_are_runs", "reading.is_whole"),
    ("runs/lost.py", "ABOUT = 60.0", "ABOUT = 6.0"),
    ("runs/lost.py", "        if gone:\n", "        if gone and not possible:\n"),
    # One write: what an answer means, and what is certain afterwards.
    ("http/write.py", "GATEWAY = (502, 504)", "GATEWAY = (502,)"),
    ("http/write.py", "_NO_ANSWER = (408, 499)", "_NO_ANSWER = (408,)"),
    ("http/write.py", "return Meaning.REFUSED if error.enveloped else Meaning.DOUBTFUL", "return Meaning.REFUSED"),
    ("http/write.py", "if self.is_lost or (conflicts and self._has_failed):", "if self.is_lost:"),
    ("http/write.py", "if meaning is Meaning.LOST or not self.can_tell:", "if meaning is Meaning.LOST:"),
    ("http/write.py", "if self.pace and error.http_status == 429:", "if self.pace:"),
    ("http/write.py", "isinstance(error, NoAnswer) and not error.sent", "isinstance(error, NoAnswer)"),
    ("http/write.py", "in (Meaning.NOTHING, Meaning.REFUSED):", "in (Meaning.REFUSED,):"),
    ("http/write.py", "self.is_lost, self._loss = True, self._loss or error",
     "self.is_lost, self._loss = True, error"),
    # Waiting.
    ("runs/wait.py", "min(self.app.client.request_timeout, max(self.left, LAST_LOOK))",
     "self.app.client.request_timeout"),
    ("runs/wait.py", "if not (watch.looked and self.left < -LAST_LOOK):", "if not self.left < -LAST_LOOK:"),
    ("runs/wait.py", "if asleep > ASLEEP:", "if False:"),
    ("runs/wait.py", "max(watch.pause, error.asked_pause)", "watch.pause"),
    ("runs/wait.py", "doubled = min(watch.pause * 2, max(self.longest_pause, len(self.said) / READS_PER_SECOND))",
     "doubled = watch.pause * 2"),
    ("runs/wait.py", "max(self.limits.timeout - self.limits.spent, 0.0)", "self.limits.timeout"),
    ("runs/watch.py", "if asks_since is not None and now < asks_since + ASKS_FOR:", "if False:"),
    ("runs/wait.py", "        if not watch.is_alert(now):\n", "        if True:\n"),
    ("base/pool.py", "            if self._is_given_up:\n", "            if False:\n"),
    ("base/pool.py", "            self.is_committed = True\n", "            pass\n"),
    ("http/answers.py", "sent=request.is_committed", "sent=False"),
    ("runs/wait.py", 'if self.wanted.on_ask != "wait" and watch.observer.needs_answer:',
     "if watch.observer.needs_answer:"),
    ("runs/wait.py", "return self.limits.timeout != 0 and self.left", "return self.left"),
    ("runs/watch.py", "now - self._missing_since > LAGGING", "now - self._missing_since > 3 * LAGGING"),
    ("runs/watch.py", "self.is_known and error.enveloped and not error.retryable:",
     "self.is_known and not error.retryable:"),
    ("runs/watch.py", "(LONGEST_SILENCE if self.is_known else FIRST_WORD)", "LONGEST_SILENCE"),
    ("runs/watch.py", "        if self.due == math.inf:\n", "        if True:\n"),
    ("runs/watch.py", "        elif self.due == math.inf:\n", "        else:\n"),
    ("runs/watch.py", "self._heard += seconds", "pass"),
    ("runs/watch.py", "self._heard, self._missing_since = now, None", "self._heard = now"),
    ("runs/watch.py", "return is_silent or not (self.is_known or error.retryable)", "return is_silent"),
    # How a run stands, and how it ended.
    ("runs/observe.py", "DISAGREEMENT_AFTER = 60.0", "DISAGREEMENT_AFTER = 6.0"),
    ("runs/observe.py", "YOUNG = 60.0", "YOUNG = 6.0"),
    ("runs/observe.py", "if run is None or run.id != self.run_id:", "if run is None:"),
    ("runs/observe.py", "if now < due or not run.session_id:", "if not run.session_id:"),
    ("runs/observe.py", "if now - since < LAGGING or times + 1 < GONE_READS:", "if now - since < LAGGING:"),
    ("runs/observe.py", "            if not error.enveloped:\n", "            if False:\n"),
    ("runs/observe.py", "if known.rests and now - known.rests[1] >= DISAGREEMENT_AFTER:", "if known.rests:"),
    ("runs/observe.py", " or known.rests[0].key != rest.key:", ":"),
    ("runs/observe.py", "if run.session_id and run.session_id != self.known.session_id:",
     "if run.session_id and not self.known.session_id:"),
    ("runs/observe.py", "self.known.asked_until - since >= ASKS_FOR", "self.known.asked_until - since >= 0.0"),
    ("sessions/story.py", "if story.ending and is_upward and not whole:", "if story.ending and not whole:"),
    ("sessions/story.py", "known = story.restart()", "known = story.events"),
    ("sessions/story.py", "        story.tell(known)\n", "        pass\n"),
    ("runs/turn.py", "    reads_on = True\n", "    reads_on = False\n"),
    ("base/outcome.py", "is_unclear or idled_early or last_error is not None", "is_unclear or idled_early"),
    ("base/outcome.py", "is_unclear or idled_early or last_error is not None", "is_unclear or last_error is not None"),
    ("base/outcome.py", "                elif not worked:\n", "                elif False:\n"),
    ("base/outcome.py", "worked, fatal_error, rests = True, None, False", "worked, rests = True, False"),
    ("base/outcome.py", 'in ("exhausted", "terminal")', 'in ("exhausted",)'),
    ("base/outcome.py", "(status not in GOING and run.completed_at is not None)", "status not in GOING"),
    ("base/outcome.py", '_TURN_DONE = frozenset({"end_turn", "stop_sequence"})',
     '_TURN_DONE = frozenset({"end_turn"})'),
    ("base/outcome.py", "return endings[0].ending if endings else None",
     "return endings[-1].ending if endings else None"),
    ("base/outcome.py", "        asks = None  # no longer", "        pass  # no longer"),
    ("base/outcome.py", "if known and known[0] > known[-1]:", "if known and known[0] >= known[-1]:"),
    ("base/outcome.py", '(run.raw.get("error") is not None and not run.session_id)',
     'run.raw.get("error") is not None'),
    ("base/outcome.py", "or at >= self._since", "or at > self._since"),
    ("base/outcome.py", "None if self.judged.endings else self.judged.asks", "self.judged.asks"),
    ("base/outcome.py", "elif reason is None and fatal_error is not None:", "elif fatal_error is not None:"),
    ("runs/ending.py", "if run.adopted or run.session_id is None:", "if run.session_id is None:"),
    ("runs/ending.py", "isinstance(error, WaitTimeout | Interrupted) and is_going(run)",
     "isinstance(error, WaitTimeout | Interrupted)"),
    ("runs/ending.py", "if is_going(run) and isinstance(error, ApiError):", "if False:"),
    ("runs/ending.py", "retries=False", "retries=True"),
    ("runs/ending.py", 'run_state="going" if run else "unknown",', 'run_state="going",'),
    # What is remembered.
    ("local/store.py", " AND NOT EXISTS (SELECT * FROM attempts WHERE run = :run AND host = :host AND id <> :id)",
     ""),
    ("local/store.py", "WHERE id = :id AND (run IS NULL OR run = :run)", "WHERE id = :id"),
    ("local/store.py", 'WHERE id = :id AND run IS NULL"', 'WHERE id = :id"'),
    ("local/store.py", "AND host = :host AND is_adopted AND id <> :id", "AND host = :host AND id <> :id"),
    ("local/store.py", "ORDER BY number DESC LIMIT 1", "ORDER BY number LIMIT 1"),
    ("local/store.py", "profile = ? AND NOT is_nothing", "profile = ?"),
    ("local/store.py", "host = ? AND profile = ? AND", "host = ? AND (profile = ? OR 1) AND"),
    ("local/store.py", '"key = ? AND host = ? ORDER', '"key = ? AND (host = ? OR 1) ORDER'),
    ("local/store.py", "is_adopted = is_adopted OR run IS NULL", "is_adopted = 1"),
    ("local/store.py", "            self._unwritten.append(work)\n            return result",
     "            return result"),
    ("local/store.py", "if version > VERSION:", "if False:"),
    ("local/store.py", 'host = ? ORDER BY number DESC"', 'host = ? ORDER BY number"'),
    ("local/store.py", "                if insist:\n", "                if False:\n"),
    # What waits for a person, and the answer to it.
    ("sessions/asks.py", "return self.id, self.sha256", 'return self.id, ""'),
    ("sessions/asks.py", '"thread": self.thread, "input"', '"input"'),
    ("sessions/asks.py", '{"kind": self.kind, **names,', "{**names,"),
    ("sessions/asks.py", 'for name in ("name", "mcp_server_name")}\n', 'for name in ("name",)}\n'),
    ("sessions/asks.py", "for id in named if id not in answered}", "for id in named}"),
    ("sessions/asks.py", "set(map(_answered, events[:place]))", "set(map(_answered, events))"),
    ("sessions/asks.py", "list(_since_running(events[place:])), set(map(_answered, events))",
     "list(_since_running(events[place:])), answered"),
    ("sessions/asks.py", "tuple(id for id in asked_by if id not in calls)", "()"),
    ("sessions/asks.py", "if behind and Asked(session_id", "if False and Asked(session_id"),
    ("sessions/asks.py", "if id not in calls or _asks(calls[id].event)}", "}"),
    ("sessions/asks.py", "is_named and all(isinstance(each, str | None) for each in places) and", "is_named and"),
    ("sessions/asks.py", "return is_named and all(", "return all("),
    ("sessions/asks.py", "not any(map(_answered, self.since(self.key)))", "True"),
    ("sessions/asks.py", "if idle is None or not keys.issuperset(until):", "if idle is None:"),
    ("sessions/asks.py", "calls.items() if id not in doubtful and", "calls.items() if"),
    ("sessions/story.py", 'if any(text(event.get("session_id")) not in (None, session_id) for event in',
     "if any(False for event in"),
    ("runs/listed.py", "if any(run.deployment_id not in (None, deployment_id) for run in runs):", "if False:"),
    ("http/client.py", "if fresh and is_kept(answer.headers):", "if False:"),
    ("http/client.py", "        if is_kept(headers):\n", "        if False:\n"),
    ("sessions/asks.py", 'event.get("evaluated_permission") == "ask" or',
     'event.get("evaluated_permission") != "deny" or'),
    ("sessions/asks.py", "iter(of_people or answers)", "iter(answers)"),
    ("sessions/asks.py", "(named := waiting_calls(idle)) and keys.issuperset(named)",
     "(named := waiting_calls(idle))"),
    ("sessions/answers.py", "if waiting[call.id].shown != call.shown:", "if False:"),
    ("sessions/answers.py", "    def stopped_after(self, signalled: Signalled",
     "    def resend_after(self, *how: object) -> float:\n        return 0.0\n\n"
     "    def stopped_after(self, signalled: Signalled"),
    ("sessions/answers.py", "raise gone.with_(message=gone.message + self._not_sent)", "pass"),
    ("sessions/answers.py", '                return Rejected(f"{call.id} cannot be read any more")',
     "                continue"),
    ("sessions/answers.py", "if knows_as_much and not named", "if not named"),
    ("sessions/answers.py", " and _results(accepted) <= _results(sent)", ""),
    ("sessions/answers.py", "self.asked.since(self._asked_by.get(id, \"\"))", "self.asked.events"),
    ("sessions/answers.py", "if error.http_status != 409 or self._is_busy_since_before():", "if True:"),
    ("sessions/answers.py", "if error.http_status != 409 or self._is_busy_since_before():",
     "if error.http_status != 409:"),
    ("sessions/answers.py", "return self._sent(retry=True) if self._refusals else None", "return None"),
    ("sessions/answers.py", "        if self._known is None:\n", "        if True:\n"),
    ("sessions/answers.py", "if len(found) == len(named):", "if found:"),
    ("sessions/answers.py", "return _results(event) <= _results(ours)", "return True"),
    ("sessions/answers.py", "raise OutcomeUnknown(self._otherwise(event, other))", "raise Rejected(\"\")"),
    ("sessions/answers.py", " and self._went_on() else None", " else None"),
    ("sessions/answers.py", "event_key(event) not in (self._known or ()) and (at", "(at"),
    ("sessions/answers.py", " and (at is None or at >= not_before)", ""),
    ("sessions/answers.py", "if error.http_status == 400 and _NAMES_THE_FORM.search(error.message) and",
     "if error.http_status == 400 and"),
    ("sessions/answers.py", "if len(accepted) != len(self.events) or not", "if not"),
    ("sessions/answers.py", " or not all(map(self._may_be, accepted, self.events)):", ":"),
    ("sessions/answers.py", "not named & set(asked.waiting)", "not named & {call.id for call in asked.calls}"),
    # Which turn of a session is told of, and where it ends.
    ("sessions/story.py", "judge(turn, needs_work=is_of_message)", "judge(turn, needs_work=False)"),
    ("sessions/story.py", "[*(told for told in before if told.kind == RUNNING), *ordered[place:]]", "ordered[place:]"),
    ("sessions/story.py", "if told.kind not in (*SAID, \"session.error\")][-1:]", "][-1:]"),
    ("sessions/story.py", "is_unclear=bool(doubtful) or not judged.worked", "is_unclear=bool(doubtful)"),
    ("sessions/story.py", "is_unclear=bool(doubtful) or not judged.worked", "is_unclear=not judged.worked"),
    ("sessions/story.py", "        if rests and rests[0].kind == RUNNING:\n", "        if False:\n"),
    ("sessions/story.py", " or judged.endings or judged.asks:", " or judged.endings:"),
    ("runs/turn.py", "session.get(\"status\") in AT_WORK", "False"),
    ("runs/turn.py", "if self._unworked is None or self._unworked[0] != unworked.key:", "if self._unworked is None:"),
    ("runs/turn.py", "(archived_at is None or now - archived_at >= DISAGREEMENT_AFTER)", "True"),
    ("runs/turn.py", "            run = self._read_session(within) or run\n", "            pass\n"),
    ("runs/observe.py", "known.asks[1] if is_same and known.asks else now", "now"),
    ("base/outcome.py", "asks = asks and _left_of(", "asks = asks or _left_of("),
    ("base/outcome.py", "if id != answered]", "if True]"),
)]  # fmt: skip

_SWAPPED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not",
    ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip


def of_grammar(path: Path) -> Iterator[Mutation]:
    """Yield what can be changed in a file by the grammar: comparisons, and/or, not, numbers, conditions."""
    source = path.read_text()
    lines = [0]
    for line in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))

    def at(line: int, column: int) -> int:
        begins = lines[line - 1]
        return begins + len(source[begins:].encode()[:column].decode())

    def changed(begin: int, end: int, text: str) -> Mutation:
        # The lines around it, so that it is there once.
        first, last = source.rfind("\n", 0, begin) + 1, source.find("\n", end)
        while source.count(source[first:last]) > 1 and first > 0:
            first = source.rfind("\n", 0, first - 1) + 1
        name = str(path.relative_to(ROOT / PACKAGE))
        return Mutation(name, source[first:last], source[first:begin] + text + source[end:last])

    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                begin, end = at(left.end_lineno or 0, left.end_col_offset or 0), at(right.lineno, right.col_offset)
                if set(source[begin:end]) <= set("<>=! isnotin"):
                    yield changed(begin, end, f" {_SWAPPED[type(op)]} ")
            case ast.BoolOp(op=op, values=[first, second, *_]):
                begin, end = at(first.end_lineno or 0, first.end_col_offset or 0), at(second.lineno, second.col_offset)
                if source[begin:end].strip() in ("and", "or"):
                    yield changed(begin, end, " or " if isinstance(op, ast.And) else " and ")
            case ast.UnaryOp(op=ast.Not()):
                begin = at(node.lineno, node.col_offset)
                yield changed(begin, begin + len("not "), "")
            case ast.Constant(value=bool(value)):
                yield changed(*_span(node, at), str(not value))
            case ast.Constant(value=int(value) | float(value)):
                yield changed(*_span(node, at), repr(value * 3 + 1))
            case ast.If(test=test):
                yield changed(*_span(test, at), "False")


def _span(node: ast.expr, at: Callable[[int, int], int]) -> tuple[int, int]:
    return at(node.lineno, node.col_offset), at(node.end_lineno or 0, node.end_col_offset or 0)


def applies(mutation: Mutation) -> bool:
    """Return whether the old text is there, once."""
    path = ROOT / PACKAGE / mutation.file
    return path.exists() and path.read_text().count(mutation.old) == 1


class Failed(NamedTuple):
    """What pytest ended with: its exit code, and the tests that failed."""

    code: int
    tests: list[str]


def run(tree: Path, tests: Sequence[str], *options: str) -> Failed:
    """Run test files in a tree, in one process. Raises TimeoutExpired."""
    env = {**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "1000"}
    options = ("-q", "--tb=no", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", f"not ({SLOW})", *options)
    files = [f"tests/{test}.py" for test in tests]
    command = [sys.executable, "-m", "pytest", *options, *files]
    ended = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=LONGEST)
    lines = [line.split(" ", 1) for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return Failed(ended.returncode, [rest.split(" - ")[0] for _, rest in lines])


@contextmanager
def copied() -> Iterator[Path]:
    """Give a copy of what is needed to run the tests."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for part in (PACKAGE, "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "README.md", "CHANGELOG.md"):
            shutil.copy(ROOT / part, tree)
        yield tree


@contextmanager
def mutated(tree: Path, mutation: Mutation) -> Iterator[None]:
    """Change the copy meanwhile; what was compiled of the file is thrown away, for its time may be the same."""
    path = tree / PACKAGE / mutation.file
    compiled, source = Path(cache_from_source(str(path))), path.read_text()
    compiled.unlink(missing_ok=True)
    path.write_text(source.replace(mutation.old, mutation.new))
    try:
        yield
    finally:
        path.write_text(source)
        compiled.unlink(missing_ok=True)


@cache
def failing(tree: Path, test: str) -> tuple[str, ...]:
    """Return the tests of a file that fail without any mutation, which tell nothing."""
    return tuple(run(tree, [test]).tests)


def try_out(tree: Path, mutation: Mutation) -> str:
    """Return what became of a mutation, in words."""
    if not applies(mutation):
        return "APPLIES NO LONGER"
    tests = TESTS[mutation.file].split()
    known = [f"--deselect={each}" for test in tests for each in failing(tree, test)]
    with mutated(tree, mutation):
        try:
            failed = run(tree, tests, "-x", *known)
        except subprocess.TimeoutExpired:
            return "killed, by hanging"
    return f"killed by {next(iter(failed.tests), f'exit code {failed.code}')}" if failed.code else "SURVIVED"


def main(words: Sequence[str]) -> int:
    """Try mutations out and say what became of each, and how many survived. Returns the exit code."""
    words = list(words)
    wanted = TABLE
    if words[:1] == ["--random"]:
        count, seed = int(words[1]), 1
        words = words[2:]
        if words and words[0].isdigit():
            seed = int(words.pop(0))
        every = [mutation for file in TESTS for mutation in of_grammar(ROOT / PACKAGE / file)]
        every = [mutation for mutation in every if not words or any(word in str(mutation) for word in words)]
        wanted = random.Random(seed).sample(every, min(count, len(every)))
    elif words:
        wanted = [mutation for mutation in TABLE if any(word in str(mutation) for word in words)]
    became: list[str] = []
    with copied() as tree:
        for mutation in wanted:
            became.append(try_out(tree, mutation))
            print(f"{became[-1]:<60} {mutation}", flush=True)
    survived, gone = became.count("SURVIVED"), became.count("APPLIES NO LONGER")
    killed = len(became) - survived - gone
    print(f"{len(became)} mutations: {killed} killed, {survived} survived, {gone} apply no longer")
    return 1 if gone else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
