"""Another server's model: `POST {base_url}/chat/completions`, as OpenAI-style servers take it.

What passes (429, 408, 5xx, a lost connection) is tried again with growing waits, or those that the server asks for,
until the call's time is up. Keys are read from the environment when they are sent, to the host that the operator
opened them for; they are never kept, logged or part of an error.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from servicekit.addresses import host_of, refuse_reserved
from servicekit.errors import DomainError, Exhausted, Invalid, Unavailable, WrongState
from services.inference.settings import InferenceSettings
from services.inference.wire import EndpointRef

LONGEST_BACKOFF_S = 8.0
GREATEST_ANSWER_BYTES = 8 << 20
QUOTED = 300  # characters of a server's own words in an error
PASSING = {408, 429}  # and all from 500 on


@dataclass(frozen=True)
class Answer:
    """The server's own counts; None where it gave none."""

    text: str
    finished: bool
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    generated_tokens: int | None = None


class CheckedResolver(AbstractResolver):
    """A name leads nowhere that an address may not: looked at when the connection is made, not before."""

    def __init__(self) -> None:
        self._names = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        for one in found:
            refuse_reserved(one["host"], "endpoint.base_url")
        return found

    async def close(self) -> None:
        await self._names.close()


class Completions:
    """Made in a running event loop."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        connector = aiohttp.TCPConnector(resolver=CheckedResolver())
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._renamed: set[EndpointRef] = set()  # servers that call `max_tokens` otherwise

    async def close(self) -> None:
        await self._session.close()

    async def answer(self, endpoint: EndpointRef, body: dict[str, Any]) -> Answer:
        async with self._opened(endpoint, body) as response:
            return answer_of(endpoint, await content_of(response, endpoint))

    async def pieces(self, endpoint: EndpointRef, body: dict[str, Any]) -> AsyncGenerator[str | Answer, None]:
        """Text as it comes; last the Answer, without text."""
        asked = body | {"stream": True, "stream_options": {"include_usage": True}}
        finish, usage = None, None
        async with self._opened(endpoint, asked) as response:
            async for event in events(response, endpoint):
                usage = event.get("usage") or usage
                for choice in event.get("choices") or []:
                    finish = choice.get("finish_reason") or finish
                    if text := (choice.get("delta") or {}).get("content"):
                        yield text
        if finish is None:
            raise Unavailable("ENDPOINT_BROKE_OFF", f"{endpoint.base_url} ended in the middle of an answer")
        yield with_usage("", finish, usage)

    @asynccontextmanager
    async def _opened(
        self, endpoint: EndpointRef, body: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response with status 200, within the call's time and the server's share of calls at once."""
        slots = self._slots.setdefault(
            endpoint.base_url, asyncio.Semaphore(self._settings.endpoint_concurrency)
        )
        async with slots:
            deadline = time.monotonic() + self._settings.endpoint_wait_s
            response = await self._patiently(endpoint, body, deadline)
            try:
                yield response
            except (aiohttp.ClientError, TimeoutError) as error:
                raise unreachable(endpoint, error) from None
            finally:
                response.close()

    async def _patiently(
        self, endpoint: EndpointRef, body: dict[str, Any], deadline: float
    ) -> aiohttp.ClientResponse:
        tries = 0
        while True:
            tries += 1
            problem, wait_s = await self._try(endpoint, body, deadline)
            if isinstance(problem, aiohttp.ClientResponse):
                return problem
            backoff_s = min(LONGEST_BACKOFF_S, self._settings.endpoint_backoff_s * 2 ** (tries - 1))
            wait_s = max(wait_s, backoff_s * random.uniform(0.5, 1.0))
            if tries >= self._settings.endpoint_tries or time.monotonic() + wait_s >= deadline:
                raise problem
            await asyncio.sleep(wait_s)

    async def _try(
        self, endpoint: EndpointRef, body: dict[str, Any], deadline: float
    ) -> tuple[aiohttp.ClientResponse | DomainError, float]:
        """The response, or what is wrong for now and how long the server asks to wait; raises what stays wrong."""
        key = key_of(endpoint, self._settings.endpoint_keys)
        timeout = aiohttp.ClientTimeout(total=max(0.01, deadline - time.monotonic()))
        try:
            response = await self._session.post(
                f"{endpoint.base_url}/chat/completions",
                json=self._spelled(endpoint, body),
                headers={"Authorization": f"Bearer {key}"} if key else {},
                allow_redirects=False,
                timeout=timeout,
            )
            if response.status == 200:
                return response, 0.0
            async with response:
                said = await error_of(response, endpoint, key)
        except (aiohttp.ClientError, TimeoutError) as error:
            return unreachable(endpoint, error), 0.0
        if response.status in PASSING or response.status >= 500:
            wait_s = asked_wait_s(response.headers.get("Retry-After", ""))
            return busy(endpoint, response.status, wait_s), wait_s
        if said.get("param") == "max_tokens" and endpoint not in self._renamed:
            self._renamed.add(endpoint)
            return await self._try(endpoint, body, deadline)
        raise refusal(endpoint, response.status, said.get("message", ""))

    def _spelled(self, endpoint: EndpointRef, body: dict[str, Any]) -> dict[str, Any]:
        if endpoint not in self._renamed:
            return body
        return {("max_completion_tokens" if name == "max_tokens" else name): body[name] for name in body}


def key_of(endpoint: EndpointRef, opened: str) -> str:
    """Of this process's environment, for hosts that the operator opened the variable for; empty: none is sent."""
    name = endpoint.api_key_ref.removeprefix("env:")
    if not name:
        return ""
    host = host_of(endpoint.base_url)
    if f"{name}={host}" not in [entry.strip() for entry in opened.split(",")]:
        raise WrongState(
            "ENDPOINT_KEY_NOT_OPENED",
            f"{name} may not be sent to {host}; the operator opens it with INGRAIN_ENDPOINT_KEYS={name}={host}",
            variable=name,
            host=host,
        )
    key = os.environ.get(name, "")
    if not key:
        raise WrongState(
            "ENDPOINT_KEY_MISSING",
            f"the variable {name} is not set where inference runs; the key of {host} is read from it",
            variable=name,
        )
    return key


def answer_of(endpoint: EndpointRef, content: dict[str, Any]) -> Answer:
    try:
        choice = content["choices"][0]
        return with_usage(
            choice["message"].get("content") or "", choice.get("finish_reason"), content.get("usage")
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        raise no_completion(endpoint) from None


def with_usage(text: str, finish: str | None, usage: dict[str, Any] | None) -> Answer:
    counts = usage or {}
    cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Answer(
        text, finish != "length", counts.get("prompt_tokens"), cached, counts.get("completion_tokens")
    )


async def events(response: aiohttp.ClientResponse, endpoint: EndpointRef) -> AsyncIterator[dict[str, Any]]:
    """Of a stream of server-sent events, until the last."""
    try:
        async for line in response.content:
            kind, _, data = line.decode().strip().partition(":")
            if kind != "data" or not data.strip():
                continue
            if data.strip() == "[DONE]":
                return
            event = json.loads(data)
            if event.get("error"):
                raise Unavailable(
                    "ENDPOINT_BROKE_OFF", f"{endpoint.base_url} ended in the middle of an answer"
                )
            yield event
    except (ValueError, AttributeError):
        raise no_completion(endpoint) from None


async def content_of(response: aiohttp.ClientResponse, endpoint: EndpointRef) -> Any:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > GREATEST_ANSWER_BYTES:
            raise no_completion(endpoint)
    try:
        return json.loads(content)
    except ValueError:
        raise no_completion(endpoint) from None


async def error_of(response: aiohttp.ClientResponse, endpoint: EndpointRef, key: str) -> dict[str, str]:
    """`message` and `param` of the server's error, as far as it has them. The key is no part of it."""
    try:
        error = (await content_of(response, endpoint))["error"]
        found = {name: str(error.get(name) or "") for name in ("message", "param")}
    except (DomainError, KeyError, TypeError, AttributeError):
        return {}
    return {name: value.replace(key, "...") if key else value for name, value in found.items()}


def asked_wait_s(retry_after: str) -> float:
    """Of the header: seconds, or a date."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0


def busy(endpoint: EndpointRef, status: int, wait_s: float) -> Exhausted:
    kind = Exhausted if status == 429 else Unavailable
    reason = "ENDPOINT_BUSY" if status == 429 else "ENDPOINT_UNAVAILABLE"
    return kind(reason, f"{endpoint.base_url} answered {status}; try again", wait_s or 1.0, status=status)


def unreachable(endpoint: EndpointRef, error: Exception) -> Unavailable:
    if isinstance(error, TimeoutError):
        return Unavailable("ENDPOINT_SLOW", f"{endpoint.base_url} did not answer in time", 1.0)
    return Unavailable(
        "ENDPOINT_UNREACHABLE", f"{endpoint.base_url} cannot be reached: {type(error).__name__}", 1.0
    )


def refusal(endpoint: EndpointRef, status: int, said: str) -> DomainError:
    """Of what will not pass. What servers say of keys may hold a part of them and is not told."""
    if status in (401, 403):
        name = endpoint.api_key_ref or "no key"
        return WrongState(
            "ENDPOINT_KEY_REFUSED", f"{endpoint.base_url} answered {status} to {name}", status=status
        )
    words = f": {said[:QUOTED]}" if said else ""
    if status == 404:
        return WrongState(
            "ENDPOINT_HAS_NO_MODEL",
            f"{endpoint.base_url}/chat/completions answered 404 for {endpoint.model_id!r}{words}",
            status=status,
        )
    return Invalid("ENDPOINT_REFUSED", f"{endpoint.base_url} answered {status}{words}", status=status)


def no_completion(endpoint: EndpointRef) -> WrongState:
    return WrongState(
        "NO_CHAT_COMPLETION",
        f"{endpoint.base_url}/chat/completions answered something that is no chat completion",
    )
