"""Certificates of TLS servers: given, made for the occasion, wrong; and of their clients."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import echoservers
from echoservers import EchoClient, OptionError
from support import (
    PATIENCE,
    ROOT,
    TLS_NAMES,
    connect_tls,
    program,
    run_cli,
    serving,
    wait_until,
)
from tls_peers import over, trusting

# --- certificates -----------------------------------------------------------------------


def test_without_a_certificate_one_is_made_and_its_fingerprint_told(tmp_path: Path) -> None:
    with program("--mode", "tls", "--port", "0", env={"TMPDIR": str(tmp_path)}) as server:
        assert list(tmp_path.iterdir()) == []  # no key is left
        with connect_tls(server.address) as client:
            certificate = client.getpeercert(binary_form=True)
        code, log = server.stop()
    assert code == 0
    fingerprint = hashlib.sha256(certificate or b"").digest().hex(":").upper()
    assert f"SHA-256 {fingerprint};" in log
    assert server.line.startswith("tls listening on tls://127.0.0.1:")


def test_without_a_certificate_and_without_the_package_one_line_tells_what_to_do() -> None:
    code = (
        "import sys; sys.modules['trustme'] = None; from echoservers.cli import main\n"
        "sys.exit(main(['--mode', 'tls', '--port', '0']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert "give certfile and keyfile, or `pip install echoservers[tls]`" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"certfile": "missing"}, "No such file"),
        ({"certfile": "garbage"}, "in PEM format"),
        ({"certfile": "cert"}, "its key there too or in keyfile"),
        ({"certfile": "cert", "keyfile": "missing"}, "keyfile="),
        ({"certfile": "cert", "keyfile": "client_key"}, "mismatch"),
        ({"keyfile": "key"}, "give certfile, too"),
        ({"certfile": "both", "client_ca": "garbage"}, "client_ca="),
    ],
)
def test_a_wrong_certificate_is_one_line(
    options: dict[str, str], told: str, files: dict[str, str]
) -> None:
    given = {name: files[value] for name, value in options.items()}
    with pytest.raises(OptionError, match=told):
        echoservers.create_server("tls", ("127.0.0.1", 0), **given)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    done = run_cli("--mode", "threading-tls", "--port", "0", *flags)
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_key_with_a_password_is_refused_not_asked_for(
    tmp_path: Path, files: dict[str, str]
) -> None:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(Path(files["key"]).read_bytes(), None)
    locked = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "locked").write_bytes(locked)
    with pytest.raises(OptionError, match="has a password"):
        echoservers.create_server(
            "tls", ("127.0.0.1", 0), certfile=files["cert"], keyfile=str(tmp_path / "locked")
        )


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_with_a_client_ca_only_its_clients_are_served(
    mode: str, folder: Path, own: dict[str, str], files: dict[str, str]
) -> None:
    with serving(mode, folder, client_ca=files["ca"], **own) as server:
        known = trusting(files, certfile=files["client"])
        with EchoClient(server.endpoint(), **known) as client:
            assert client.echo(b"hello") == b"hello"
        with (
            pytest.raises(ConnectionError, match="certificate required"),
            EchoClient(server.endpoint(), **trusting(files)) as client,
        ):
            client.echo(b"hello")  # in TLS 1.3 the client learns it behind its handshake
        wait_until(lambda: over(server), "all are over")
        assert server.stats()["refused"] == {"handshake": 1}
