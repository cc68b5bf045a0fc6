"""Questions with choices, look by look."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from servicekit.errors import Invalid
from services.inference.vllm_engine import requests
from services.inference.vllm_engine.models import Loaded, account, require_room
from services.inference.vllm_engine.trees import Place, Tree, tree_of
from services.inference.wire import ScoreCall, Spent

T = TypeVar("T")
# A request: model, tokens, parameters, whether it is bulk -> the last of its outputs.
Ask = Callable[[Loaded, Sequence[int], Any, bool], Awaitable[Any]]


def trees_of(loaded: Loaded, call: ScoreCall) -> list[Tree]:
    """Of each question. Raises Invalid where a choice has no room, or nothing to be scored."""
    documents = call.context.text if call.context else None
    trees = []
    for index, (prompt, choices) in enumerate(call.items):
        rendered = loaded.renderer.choices(documents, prompt, choices)
        for number, choice in enumerate(rendered):
            where = f"items[{index}].choices[{number}]"
            require_room(loaded.ref, len(choice.ids), where)
            if not 0 < choice.begin < len(choice.ids):
                raise Invalid(
                    "NOTHING_TO_SCORE",
                    f"{where} needs text, and the model must have read something before it",
                    field=where,
                )
        trees.append(tree_of(rendered))
    return trees


async def scores_of(
    ask: Ask, loaded: Loaded, tree: Tree, bulk: bool, spent: Spent
) -> list[tuple[float, int]]:
    """Per choice; the first look alone, so that the others find in the cache what stands before all of them."""
    found: dict[Place, dict[int, float]] = {}
    cached: dict[Place, int] = {}

    async def look(place: Place, tokens: Sequence[int]) -> None:
        output = await ask(loaded, [*tree.trunk, *place], requests.looking(tokens), bulk)
        cached[place] = output.num_cached_tokens or 0
        (logprobs,) = output.outputs[0].logprobs
        found[place] = {token: logprobs[token].logprob for token in tokens}

    first, *rest = tree.looks
    await look(first.place, first.tokens)
    await together(look(one.place, one.tokens) for one in rest)
    # Every look computes the last piece of what it reads, however often that was read before.
    again = sum(len(tree.trunk) + len(place) - cached[place] for place in found)
    account(spent, loaded.ref, tree.read_count, cached[first.place], 0, computed=again)
    return tree.scores(found)


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All at once, in their order; where one fails the others are ended."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as problems:
        raise problems.exceptions[0] from None
    return [task.result() for task in tasks]
