"""Values of `wire` <-> what vLLM takes and gives. vLLM is imported where it is used: only GPU nodes have it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from services.inference.wire import Continuation, GenerateCall, Token, TopToken

BytesOf = Callable[[int], bytes]


def looking(tokens: Sequence[int]) -> Any:
    """One step, for the log-probabilities of these tokens. Reads the prefix cache: no prompt token's are asked for."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        logprob_token_ids=list(tokens),
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def reading() -> Any:
    """One step, for nothing but what is in the cache afterwards."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1, temperature=0.0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
    )


def writing(call: GenerateCall, seed: int, most: int, *, in_pieces: bool = False) -> Any:
    """Log-probabilities are those before temperature and top_p: the engine runs in its mode `raw_logprobs`."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    drawn = call.temperature > 0
    schema = StructuredOutputsParams(json=json.loads(call.json_schema)) if call.json_schema else None
    return SamplingParams(
        max_tokens=max(1, most),
        temperature=call.temperature,
        top_p=call.top_p if drawn else 1.0,
        seed=seed if drawn else None,
        stop=list(call.stop),
        logprobs=call.top_logprobs if call.logprobs else None,
        # Asked for, these keep the request from reading the cache: right here, for each of them must be computed.
        prompt_logprobs=call.top_logprobs if call.prompt_logprobs else None,
        structured_outputs=schema,
        output_kind=RequestOutputKind.DELTA if in_pieces else RequestOutputKind.FINAL_ONLY,
    )


def prompt_of(ids: Sequence[int]) -> Any:
    from vllm import TokensPrompt

    return TokensPrompt(prompt_token_ids=list(ids))


def continuation(output: Any, call: GenerateCall, bytes_of: BytesOf) -> Continuation:
    """Of a finished RequestOutput. Where only the prompt was asked about, what had to be written is left out."""
    counts = len(output.prompt_token_ids), output.num_cached_tokens or 0
    about = prompt_tokens(output, call.top_logprobs, bytes_of) if call.prompt_logprobs else []
    if not call.max_tokens:
        return Continuation("", 0, False, *counts, [], about)
    (one,) = output.outputs
    return Continuation(
        one.text,
        len(one.token_ids),
        one.finish_reason == "stop",
        *counts,
        tokens(one, call, bytes_of),
        about,
    )


def tokens(one: Any, call: GenerateCall, bytes_of: BytesOf) -> list[Token]:
    """Of a CompletionOutput, the whole or a piece of it."""
    if not call.logprobs:
        return []
    return [
        described(token, place, call.top_logprobs, bytes_of)
        for token, place in zip(one.token_ids, one.logprobs, strict=True)
    ]


def prompt_tokens(output: Any, top: int, bytes_of: BytesOf) -> list[Token]:
    return [
        described(token, place, top, bytes_of) if place is not None else Token(token, bytes_of(token), None)
        for token, place in zip(output.prompt_token_ids, output.prompt_logprobs, strict=True)
    ]


def described(token: int, place: Any, top: int, bytes_of: BytesOf) -> Token:
    """`place`: token -> Logprob of the token itself and of the likeliest."""
    likeliest = sorted(place.items(), key=lambda entry: (-entry[1].logprob, entry[0]))[:top]
    others = [TopToken(other, bytes_of(other), found.logprob) for other, found in likeliest]
    return Token(token, bytes_of(token), place[token].logprob, others)
