"""A folder made by somebody who wants an allowed command to do more than it may, and what was touched by it."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

STRACE = shutil.which("strace")
SECRET = "the-canary-sings"
_ODD = ("-rf", "--output=caught", "-o", "@opts", "a b", "$(touch caught)", "`touch caught`", "a;touch caught", "HEAD:a")
_IDENTITY = ("-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "commit.gpgsign=false")
_CALLED = re.compile(
    r'(?P<call>\w+)\((?:(?:AT_FDCWD|\d+)<(?P<at>[^>]*)>, )?(?:"(?P<path>(?:[^"\\]|\\.)*)")?(?P<rest>.*)'
)
_WRITES = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC")
_CHANGES = ("unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "symlink", "link")
_TRACED = "execve,connect,openat,open,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,symlink,link"
# Where programs keep what is theirs, and nobody else's.
_OWN = ("/dev/null", "/dev/tty", "/proc/self/", "/tmp/", "/dev/shm/")


@dataclass
class Ran:
    """What a command did: the programs that it started, the files that it changed or read of what is none of its
    business."""

    started: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    leaked: bool = False
    sent: list[str] = field(default_factory=list)

    @property
    def harm(self) -> dict[str, object]:
        named = {"started": self.started, "changed": self.changed, "leaked": self.leaked, "sent": self.sent}
        return {name: value for name, value in named.items() if value}


class HostileFolder:
    """`work`, a repository with all sorts of traps in it; `secret`, a file beside it; `out` in it may be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"
        self.out = self.work / "out"
        self.home = root / "home"
        self.secret = root / "outside" / "secret.txt"
        for folder in (self.work / "src", self.out, self.home, self.secret.parent):
            folder.mkdir(parents=True)
        self.secret.write_text(f"{SECRET}\n")
        self._fill()

    def _fill(self) -> None:
        work, trap = self.work, f"#!/bin/sh\ntouch {self.root}/caught\n"
        (work / "src/a.txt").write_text("one\ntwo\nthree 3\n")
        (work / "src/b.json").write_text('{"a": [1, 2]}\n')
        (work / "a").write_text("alpha\nbeta\n")
        for name in _ODD:
            (work / name).write_text("odd\n")
        (work / "link").symlink_to("src")
        (work / ".gitattributes").write_text("* diff=evil filter=evil merge=evil\n*.json text export-subst\n")
        (work / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch caught"\n')
        (work / ".mailmap").write_text("Other <me@example.com>\n")
        for name in ("conftest.py", "sitecustomize.py", "json.py", "jq.jq", "a.jq"):
            (work / name).write_text(f"import os\nos.system('touch {self.root}/caught')\n")
        for name in ("hooks/pre-commit", "hooks/post-index-change", "git", "pager", "sh", "less"):
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_text(trap)
            (work / name).chmod(0o755)
        for folder in ("objects", "refs"):  # a bare repository, whose config starts programs
            (work / "bare" / folder).mkdir(parents=True)
        (work / "bare/HEAD").write_text("ref: refs/heads/main\n")
        (work / "bare/config").write_text(f"[core]\n\tfsmonitor = touch {self.root}/caught\n\tbare = false\n")
        for words in (
            ("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "one"), ("tag", "v1"),
        ):  # fmt: skip
            self._git(*words)
        (work / "src/a.txt").write_text("one\n2\nthree 3\n")
        self._git("commit", "-q", "-a", "-m", "two")
        (work / "src/a.txt").write_text("one\n2\n3\n")

    def _git(self, *words: str) -> None:
        subprocess.run(("git", *_IDENTITY, *words), cwd=self.work, env=self.env, check=True, capture_output=True)

    @property
    def env(self) -> dict[str, str]:
        # An empty part of PATH would be the folder itself.
        extra = os.environ.get("QODER_TEST_PROGRAMS", "")
        path = ":".join(filter(None, (extra, os.environ["PATH"])))
        return {"PATH": path, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1", "TZ": "UTC"}

    def state(self) -> dict[str, tuple[object, ...]]:
        """Return what there is outside `out`, with content and time. Git may renew its index."""
        state: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_relative_to(self.out) or name in ("work/.git/index", "work/.git", "home"):
                continue
            about = path.lstat()
            state[name] = (about.st_mode, about.st_size, about.st_mtime_ns if path.is_file() else 0)
        return state

    def run(self, *words: str, shell: str | None = None) -> Ran:
        """Run a command in `work`, as words or by a shell, and say what it did."""
        command = [*words] if shell is None else [shell, "-c", *words]
        trace = self.root / "trace"
        if STRACE:
            command = [STRACE, "-fyqq", "--seccomp-bpf", "-s300", "-e", f"trace={_TRACED}", "-o", str(trace), *command]
        before = self.state()
        try:
            ended = subprocess.run(
                command, cwd=self.work, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
            )
            said = (ended.stdout + ended.stderr).decode(errors="replace")
        except subprocess.TimeoutExpired:
            said = ""
        lines = trace.read_text(errors="replace").splitlines() if trace.exists() else []
        trace.unlink(missing_ok=True)
        ran = Ran(leaked=SECRET in said)
        after = self.state()
        ran.changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        self._trace(ran, lines)
        return ran

    def _trace(self, ran: Ran, lines: list[str]) -> None:
        programs: list[str] = []
        for line in lines:
            match = _CALLED.search(line)
            if match is None or " = -1 " in line:
                continue
            call, path, rest = match["call"], match["path"] or "", match["rest"]
            whole = os.path.normpath(os.path.join(match["at"] or self.work, path))
            if call == "execve":
                programs.append(whole)
            elif call == "connect":
                if "AF_INET" in rest or "AF_INET6" in rest:
                    ran.sent.append(rest)
            elif whole == str(self.secret):
                ran.leaked = True
            elif call == "creat" or call in _CHANGES or any(flag in rest for flag in _WRITES):
                is_own = whole.startswith(_OWN) and not whole.startswith(str(self.root))
                is_index = whole.startswith(f"{self.work}/.git/index")
                is_there = call != "mkdir" or os.path.lexists(whole)  # `mkdir -p` goes into the folders
                if is_there and not is_own and not is_index and not whole.startswith(f"{self.out}/"):
                    ran.changed.append(whole)
        ran.started = programs[1:]
