"""The HTTP side's own affairs: TLS, an open door, health, logs, and an end that lets streams finish."""

import asyncio
import importlib.util
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import structlog

ASK = {"model": "base", "prompt": "the bralo", "max_tokens": 2}


async def get(url: str, **headers: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_health(platform: Any) -> None:
    assert await get(f"{platform.root}/healthz") == (200, {"status": "alive"})
    status, body = await get(f"{platform.root}/readyz")
    assert (status, body["status"]) == (200, "ready")
    platform.gateway.checks.close()
    status, body = await get(f"{platform.root}/readyz")
    assert (status, body["status"]) == (503, "stopping")


async def test_streams_in_flight_are_finished(start: Any) -> None:
    """New callers find the door shut while the old one reads on."""
    async with start() as platform:
        client = platform.openai()
        stream = await client.completions.create(
            model="base", prompt="the bralo", max_tokens=300, temperature=1.9, seed=1, stream=True
        )
        events = aiter(stream)
        await anext(events)
        stopping = asyncio.ensure_future(platform.gateway.http.stop())
        await asyncio.sleep(0.05)
        with pytest.raises(openai.APIConnectionError):
            await platform.openai().completions.create(**ASK)
        assert not stopping.done()
        ends = [chunk.choices[0].finish_reason async for chunk in events]
        assert ends[-1] in ("stop", "length")
        await asyncio.wait_for(stopping, 5)


async def test_streams_that_take_too_long_are_ended(start: Any) -> None:
    async with start(drain_s=0.2) as platform:
        stream = await platform.openai().completions.create(
            model="base", prompt="the bralo", max_tokens=450, temperature=1.9, n=16, stream=True
        )
        await anext(aiter(stream))
        await asyncio.wait_for(platform.gateway.http.stop(), 5)
        assert await platform.idle()


async def test_without_keys_only_programs_of_this_machine_are_let_in(start: Any) -> None:
    """A page of the web reaches this machine by its reader's browser, by this address or by a name that leads here."""
    async with start(require_keys=False) as platform:
        assert (await platform.post("/v1/completions", ASK, key=""))[0] == 200
        await platform.openai(key="any-word").models.list()  # the client insists on one
        with pytest.raises(openai.AuthenticationError):
            await platform.openai(key="ingrain_default.key-1." + "0" * 64).models.list()
        for headers in (
            {"Origin": "https://page.example"},
            {"Host": "page.example"},
            {"Host": "page.example:80"},
        ):
            status, _, answer = await platform.post("/v1/completions", ASK, key="", **headers)
            assert (status, answer["error"]["code"]) == (403, "no_browsers")


async def test_open_to_a_network_it_still_refuses_the_web(start: Any) -> None:
    async with start(host="0.0.0.0", allow_open="yes") as platform:
        named = {"key": "", "Host": "gateway.example"}
        assert (await platform.post("/v1/completions", ASK, **named))[0] == 200
        assert (await platform.post("/v1/completions", ASK, Origin="https://page.example", **named))[0] == 403


async def test_silence_is_filled_while_something_is_computed(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is loaded first. Comments are none of a client's business."""
    monkeypatch.setattr("services.gateway.http.events.KEEP_ALIVE_S", 0.005)
    wanted = ASK | {"temperature": 0, "stream": True}
    status, headers, text = await platform.post_text("/v1/completions", wanted)
    assert (status, headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert text.startswith(": nothing yet\n\n")
    assert text.endswith("data: [DONE]\n\n")
    stream = await platform.openai().completions.create(**wanted)
    assert "".join([chunk.choices[0].text async for chunk in stream])


async def test_an_error_after_the_status_is_the_last_event(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.http.events.KEEP_ALIVE_S", 0.0)
    wanted = ASK | {"model": "icl:documents@base", "prompt": [5], "stream": True}
    status, _, text = await platform.post_text("/v1/completions", wanted)
    *_, last = text.removesuffix("\n\n").split("\n\n")
    assert status == 200
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "tokens_with_context"


async def test_with_keys_a_browser_may_ask(platform: Any) -> None:
    status, _, _ = await platform.post("/v1/completions", ASK, Origin="https://page.example")
    assert status == 200


async def test_tls_by_the_same_certificate(start: Any, tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "test_tls.py"
    spec = importlib.util.spec_from_file_location("gateway_tls_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gateway_tls_tests"] = module
    spec.loader.exec_module(module)
    authority = module.Authority(tmp_path / "authority")
    async with start(**authority.settings()) as platform:
        trusting = ssl.create_default_context(cafile=str(authority.ca))
        url = platform.root.replace("http://", "https://") + "/healthz"
        async with aiohttp.ClientSession() as session:
            async with session.get(url, ssl=trusting) as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(url)
            with pytest.raises(aiohttp.ClientError):
                await session.get(platform.root + "/healthz")
        renewed = module.Authority(tmp_path / "renewed", name="renewed authority")
        authority.key.write_bytes(renewed.key.read_bytes())
        authority.certificate.write_bytes(renewed.certificate.read_bytes())
        trusting = ssl.create_default_context(cafile=str(renewed.ca))
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trusting) as answer:
            assert answer.status == 200


async def test_one_line_for_each_call_and_no_secret_in_it(platform: Any) -> None:
    with structlog.testing.capture_logs() as lines:
        await platform.post(
            "/v1/completions", ASK, "ingrain_default.key.secret-in-a-key", X_Request_Id="mine"
        )
        await platform.post("/v1/completions", ASK | {"prompt": "a private text", "max_tokens": 1})
        await platform.post("/v1/models/private", ASK)
        for _ in range(100):  # the line is written after the answer
            if sum(line["event"] == "call" and "status" in line for line in lines) >= 3:
                break
            await asyncio.sleep(0.02)
    calls = [line for line in lines if line["event"] == "call" and "status" in line]
    assert [(line["status"], line["code"]) for line in calls] == [
        (401, "UNAUTHENTICATED"),
        (200, "OK"),
        (405, "UNIMPLEMENTED"),
    ]
    assert calls[1]["method"] == "POST /v1/completions"
    assert calls[1]["project"] == "*"
    assert "secret-in-a-key" not in str(lines)
    assert "private" not in str(lines)


async def test_the_process_tells_where_it_listens_and_ends_in_time(tmp_path: Path) -> None:
    away = socket.socket()
    away.bind(("127.0.0.1", 0))  # held, so that nobody else listens there either
    values = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/gateway.sqlite",
        "PORT": "0",
        "HTTP_PORT": "0",
        "BACKEND_INFERENCE": f"127.0.0.1:{away.getsockname()[1]}",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"],
        env=os.environ | {f"INGRAIN_{name}": value for name, value in values.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        serving = json.loads(await asyncio.to_thread(process.stdout.readline))
        status, body = await get(serving["http"].removesuffix("/v1") + "/readyz")
        assert (status, body["services"]["ingrain.v1.Inference"]) == (200, False)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        process.kill()
        process.wait()
        away.close()
