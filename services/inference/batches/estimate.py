"""What a batch will take, from its rows' number and the tokens of some of them."""

import json

from ingrain.v1 import batches_pb2, common_pb2, datasets_pb2
from ingrain.v1 import inference_pb2 as pb
from servicekit.costs import forward_flops
from servicekit.errors import Invalid
from servicekit.storage import Storage
from services.inference.batches.asking import Door
from services.inference.batches.calls import Target
from services.inference.batches.reading import Lines
from services.inference.batches.rows import Asked, asked_of
from services.inference.wire import ModelRef

PLACES, IN_A_ROW = 16, 16  # rows that are counted, where there are more


async def estimate(
    door: Door,
    storage: Storage,
    source: datasets_pb2.Dataset,
    batch: batches_pb2.Batch,
    target: Target,
    model: ModelRef,
    context_tokens: int,
) -> common_pb2.Estimate:
    """`context_tokens`: read before every row, from the second on without being computed."""
    rows = await sample(storage, source, batch)
    texts = [text_of(row) for row in rows]
    request = pb.CountTokensRequest(parent=target.parent, model=target.model, texts=texts)
    counts = (await door.CountTokens(request, None)).token_counts
    count = source.row_count
    prompt = round(count * sum(counts) / len(counts))
    written = round(count * sum(row.form.max_tokens for row in rows) / len(rows))
    per_row = (prompt + written) / count
    flops = count * forward_flops(
        model.parameter_count, model.layer_count, model.hidden_size, round(per_row), context_tokens
    )
    cost = common_pb2.Cost(
        prompt_token_count=prompt,
        cached_token_count=count * context_tokens,
        generated_token_count=written,
        flops=flops,
    )
    counted = "all rows" if len(rows) == count else f"{len(rows)} of {count} rows"
    notes = [
        f"tokens are those of {counted}, without a chat template's own",
        "written tokens are the most that may be; answers mostly end sooner",
    ]
    return common_pb2.Estimate(cost=cost, row_count=count, notes=notes)


async def sample(storage: Storage, source: datasets_pb2.Dataset, batch: batches_pb2.Batch) -> list[Asked]:
    """All of few rows, else runs of rows from places all over the dataset. Raises Invalid where none can be asked."""
    lines = Lines(storage, storage.key(source.uri))
    few = source.row_count <= PLACES * IN_A_ROW
    found: list[Asked] = []
    for place in range(1 if few else PLACES):
        if place:
            lines.seek(place * source.size_bytes // PLACES)
            await lines.next()  # the rest of a line
        for _ in range(PLACES * IN_A_ROW if few else IN_A_ROW):
            line = await lines.next()
            if line is None:
                break
            try:
                found.append(asked_of(len(found), json.loads(line), batch))
            except Invalid:
                continue
    if not found:
        raise Invalid("NOTHING_ASKED", f"no row of {source.name} can be asked", field="batch.dataset")
    return found


def text_of(asked: Asked) -> str:
    """What is read for a row; of a question with choices all of them."""
    content = asked.content
    if isinstance(content, pb.ScoreItem):
        return " ".join([content.prompt, *content.choices])
    if isinstance(content, pb.Input):
        return "\n\n".join(message.content for message in content.chat.messages)
    return str(content)
