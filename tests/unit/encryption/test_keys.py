"""Keys: how they are given, and that no message shows them."""

import base64
import os
import sys
from pathlib import Path

import pytest

from inturn.encryption.keys import FILE_VARIABLE, VARIABLE, KeyRing, parse_keys, read_keys
from inturn.errors import Misconfigured


def encoded(size: int = 32) -> str:
    return base64.b64encode(os.urandom(size)).decode()


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)


def test_the_first_key_encrypts_and_all_are_found_by_name() -> None:
    ring = parse_keys(f"new:{encoded()}, old:{encoded()}")
    assert ring.first.id == "new"
    assert [ring.find(key.id, key.check) for key in ring.keys] == list(ring.keys)


def test_another_key_of_the_same_name_is_not_taken_for_it() -> None:
    ring, other = parse_keys(f"k:{encoded()}"), parse_keys(f"k:{encoded()}")
    assert ring.find("k", other.first.check) is None


def test_keys_come_from_the_environment_a_file_or_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read_keys() is None
    (tmp_path / ".env").write_text(f"{VARIABLE}=a:{encoded()}\n")
    assert _ids(read_keys()) == ["a"]
    monkeypatch.setenv(VARIABLE, f"b:{encoded()}")
    assert _ids(read_keys()) == ["b"]
    (tmp_path / ".env").unlink()
    monkeypatch.delenv(VARIABLE)
    (tmp_path / "keys").write_text(f"c:{encoded()}\nd:{encoded()}\n")
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "keys"))
    assert _ids(read_keys()) == ["c", "d"]


SECRET = "c2VjcmV0LWtleS1tYXRlcmlhbC1ub2JvZHktbWF5LXNlZQ=="


@pytest.mark.parametrize(
    "given",
    [
        SECRET,  # no name
        f"{SECRET}:k1",  # the wrong way round
        f"k1:{SECRET}!",  # no base64
        f"k1:{SECRET[:20]}",  # cut off
        f"k1:{SECRET},",
        f"k1:{SECRET},k1:{SECRET}",  # twice
        f"k1={SECRET}",
        f"-:{SECRET}:{SECRET}",
        f"{'x' * 40}{SECRET}:{SECRET}",
        f"k1:{SECRET}\u00e9",
    ],
)
@pytest.mark.promise("SEC-3")
def test_what_is_wrong_with_a_key_is_said_without_showing_it(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(Misconfigured) as caught:
        read_keys()
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET[:12] not in f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_key_shows_its_name_alone() -> None:
    ring = parse_keys(f"k1:{base64.b64encode(b'm' * 32).decode()}")
    assert "k1" in repr(ring)
    assert "mmm" not in repr(ring)


def test_a_file_that_cannot_be_read_and_two_sources_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(Misconfigured, match="cannot be read: No such file"):
        read_keys()
    monkeypatch.setenv(VARIABLE, f"a:{encoded()}")
    with pytest.raises(Misconfigured, match="both set"):
        read_keys()


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(Misconfigured, match=r"pip install 'inturn\[encryption\]'"):
        parse_keys(f"a:{encoded()}")


def _ids(ring: KeyRing | None) -> list[str]:
    assert ring is not None
    return [key.id for key in ring.keys]
