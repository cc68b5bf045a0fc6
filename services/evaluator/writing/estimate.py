"""What writing probes will take, at most: how many come through the checks is not known before."""

from ingrain import AsyncClient
from ingrain.v1 import common_pb2
from servicekit.costs import forward_flops
from services.evaluator.inputs import shape_of
from services.evaluator.texts import count_tokens
from services.evaluator.writing.generate import MOST_TOKENS, READ_AT_MOST, TOGETHER, readable
from services.evaluator.writing.prompts import template
from services.evaluator.writing.sources import Pool
from services.evaluator.writing.spec import Inputs

SAMPLE = 256  # documents that are counted


async def estimate(client: AsyncClient, found: Inputs, pools: dict[str, Pool]) -> common_pb2.Estimate:
    fitting = await readable(client, found, pools)
    documents = [document for pool in fitting.values() for document in pool.documents]
    skipped = sum(len(pool.documents) for pool in pools.values()) - len(documents)
    sample = documents[:: -(-len(documents) // SAMPLE)] if documents else []
    counts = await count_tokens(client, found.checker.name, [document.text for document in sample])
    each = sum(counts) / max(1, len(counts))
    writing = [kind for kind in found.spec.kinds if template(found.spec.style, kind)]
    most = MOST_TOKENS[found.spec.style]
    together = sum(kind in TOGETHER for kind in writing)
    read_written = len(documents) * each * (len(writing) + 2 * together)
    # Sources and the documents of wrong choices are read once for each probe that is checked; half is the usual.
    read_checked = len(documents) * len(found.spec.kinds) * each * READ_AT_MOST / 2
    written = len(documents) * len(writing) * most
    shape = await shape_of(client, found.writer)
    tokens = round(read_written + read_checked) + written
    flops = forward_flops(shape.parameter_count, shape.layer_count, shape.hidden_size, 1) * tokens
    cost = common_pb2.Cost(
        prompt_token_count=round(read_written + read_checked), generated_token_count=written, flops=flops
    )
    notes = [
        f"at most: {len(documents)} documents of {each:.0f} tokens on average are asked about for each of "
        f"{len(found.spec.kinds)} kinds, in waves, until a kind has {found.spec.count_per_kind} probes",
        f"at most {most} tokens are written for each; models mostly stop earlier",
    ]
    if skipped:
        notes.append(f"{skipped} documents are too long to be read {READ_AT_MOST} together, and are left out")
    return common_pb2.Estimate(cost=cost, row_count=len(documents), notes=notes)
