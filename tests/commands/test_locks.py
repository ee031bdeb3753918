"""The config file is changed by one at a time: two changes at once both count, or one fails."""

import errno
import os
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from qoder_cli.base.errors import UsageError
from qoder_cli.settings import configfile
from qoder_cli.settings.configfile import change, load
from tests.conftest import Qoder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = tmp_path / "qoder" / "config.toml"
    made.parent.mkdir()
    return made


def lock_of(config: Path) -> Path:
    return config.with_name(f".{config.name}.lock")


def test_config_set_loses_no_change_made_while_another_reads(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = configfile._changed

    def slow(text: str, profile: str, values: object) -> str | None:
        if profile == "a" and not other.is_alive() and not done:
            other.start()
            other.join(0.2)  # with no lock it is through by now, and what it wrote is lost
        return edited(text, profile, values)  # type: ignore[arg-type]

    done: list[int] = []

    def change_b() -> None:
        change(config, "b", {"region": "cn"}, env={})
        done.append(1)

    other = threading.Thread(target=change_b)
    monkeypatch.setattr(configfile, "_changed", slow)
    change(config, "a", {"region": "cn"}, env={})
    other.join()
    assert set(load(config).profiles) == {"a", "b"}


def test_config_set_says_who_holds_the_lock(qoder: Qoder, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configfile, "LONGEST_WAIT", 0.05)
    qoder.env["QODER_CONFIG"] = str(config)
    with FileLock(lock_of(config), mode=0o600):
        for words in (["set", "region", "cn"], ["unset", "region"]):
            config.write_text('[profiles.default]\nregion = "global"\n')
            ran = qoder("config", *words, "--json")
            assert (ran.code, "another qoder" in ran.error["message"]) == (2, True)
            assert load(config).profile("default") == {"region": "global"}
        assert qoder("config", "get", "region").out == "global\n"  # who only reads waits for nobody
    assert configfile.LONGEST_WAIT < 1


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights on Windows")
def test_config_set_locks_two_paths_of_one_file_as_one(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configfile, "LONGEST_WAIT", 0.05)
    link = config.parent.parent / "link.toml"
    link.symlink_to(config)
    with FileLock(lock_of(config), mode=0o600), pytest.raises(UsageError, match="another qoder"):
        change(link, "default", {"region": "cn"}, env={})
    change(link, "default", {"region": "cn"}, env={})
    assert (link.is_symlink(), load(config).profile("default")) == (True, {"region": "cn"})


def test_config_set_says_that_nobody_may_write_to_the_folder(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('[profiles.default]\nregion = "global"\n')
    opened = os.open

    def denied(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr("os.open", denied)  # root may write anywhere
    with pytest.raises(UsageError, match=r"cannot write the config file .*: Permission denied; nothing was changed"):
        change(config, "default", {"region": "cn"}, env={})
    monkeypatch.undo()
    assert load(config).profile("default") == {"region": "global"}
