"""Keys: how they are given, and that no message shows them."""

import base64
import os
import sys
from pathlib import Path

import pytest

from inturn.encryption import keys
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


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", "holds no key"),
        (b"\n , \r\n", "holds no key"),
        (b"\x00\xff\xfe\x80", "it is no text"),
        (b"\x00" * 100, "does not begin with an ID"),
        (b"# keys\na:" + b"A" * 43 + b"=", "key 1 does not begin with an ID"),
        (b"a:" + b"A" * 22 + b"==", "has 16 bytes instead of 32"),
        (b"a:" + b"A" * 86 + b"==", "has 64 bytes instead of 32"),
        (b"a:", "has 0 bytes instead of 32"),
        (b"a:" + b"A" * 43 + b"=\nb:" + b"A" * 43 + b"=", "key 2 is there twice"),
        (b"a:" + b"A" * 43 + b"=\na:" + b"B" * 43 + b"=", "key 2 is there twice, or has the ID of another"),
        (b"a:" + b"A" * 43 + b"= b:" + b"B" * 43 + b"=", "is not base64"),
    ],
)
def test_a_file_that_holds_no_ring_of_keys_says_what_is_wrong(
    written: bytes, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_bytes(written)
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "keys"))
    with pytest.raises(Misconfigured, match=said) as caught:
        read_keys()
    assert "AAAA" not in str(caught.value)
    assert str(caught.value).startswith(FILE_VARIABLE)


@pytest.mark.parametrize("form", ["\ufeffa:{}\r\nb:{}\r\n", "a:{},b:{}", "\n a : {} ,\n\n\tb:{}", "a:{}\nb:{}"])
def test_a_file_of_any_editor_is_read(form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(form.format(encoded(), encoded()).encode())
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "keys"))
    assert _ids(read_keys()) == ["a", "b"]


@pytest.mark.parametrize("place", ["", "secret", "a\0b"])
def test_what_is_no_file_and_one_that_may_not_be_read_are_said(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(f"a:{encoded()}")
    (tmp_path / "secret").chmod(0)
    if place == "secret" and os.access(tmp_path / "secret", os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(Misconfigured, match=f"{FILE_VARIABLE}: the file .* cannot be read"):
        keys._read(str(tmp_path / place))


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(Misconfigured, match=r"pip install 'inturn\[encryption\]'"):
        parse_keys(f"a:{encoded()}")


def _ids(ring: KeyRing | None) -> list[str]:
    assert ring is not None
    return [key.id for key in ring.keys]
