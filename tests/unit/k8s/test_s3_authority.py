"""An S3 server whose certificate an authority of one's own has signed: SSL_CERT_FILE is what the guide says to set."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from tests.unit.k8s.test_starting import certificates
from tools import platform

CODE = """
import asyncio
from servicekit.settings import ServiceSettings
from servicekit.storage import open_storage
async def main():
    storage = open_storage(ServiceSettings())
    await storage.put("projects/p/a", b"bytes")
    print((await storage.get("projects/p/a")).decode())
asyncio.run(main())
"""


def test_ssl_cert_file_is_read(tmp_path: Path) -> None:
    authority = certificates(tmp_path / "tls")
    (tmp_path / "s3").mkdir()
    port, secret = platform.free_port(), secrets.token_hex(16)
    command = [
        str(Path(sys.executable).parent / "rclone"),
        "serve",
        "s3",
        str(tmp_path / "s3"),
        "--addr",
        f"127.0.0.1:{port}",
    ]
    command += ["--cert", str(authority / "tls.crt"), "--key", str(authority / "tls.key")]
    server = subprocess.Popen(
        command,
        env=os.environ | {"RCLONE_AUTH_KEY": f'"key,{secret}"'},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    told = {
        "INGRAIN_STORAGE": "s3://ingrain/prefix",
        "INGRAIN_S3_ENDPOINT": f"localhost:{port}",
        "INGRAIN_S3_ACCESS_KEY": "key",
        "INGRAIN_S3_SECRET_KEY": secret,
        "INGRAIN_SCRATCH": str(tmp_path / "scratch"),
    }
    try:
        platform.wait_for_port(port, 60)

        def asked(**more: str) -> subprocess.CompletedProcess[str]:
            known = os.environ | told | more
            return subprocess.run([sys.executable, "-c", CODE], env=known, capture_output=True, text=True)

        assert asked(SSL_CERT_FILE=str(authority / "ca.crt")).stdout == "bytes\n"
        assert "cannot be reached" in asked().stderr
    finally:
        platform.stop(server, 10)
