"""What a study will take, asked of every service; nothing runs."""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, studies_pb2
from services.studies.bill import hour_price, money, price_of
from services.studies.costs import amount
from services.studies.plan import Step
from services.studies.preflight import Inputs
from services.studies.requests import create, create_request


async def rehearse(
    client: AsyncClient, steps: Sequence[Step], inputs: Inputs, prices: studies_pb2.PriceTable
) -> common_pb2.Estimate:
    """Asks every service to check its part and to estimate it; nothing runs. The sum.

    What is not there yet is stood in for: a trained model by the base model, derived rows by none (every training
    takes the same steps).
    """
    bases = {step.id: step.inputs["model"] for step in steps if step.kind == "train"}

    async def estimate(step: Step) -> tuple[Step, common_pb2.Estimate]:
        names = {role: inputs.names[source] for role, source in step.inputs.items() if source in inputs.names}
        source = step.inputs["model"]
        names["model"] = inputs.names[bases.get(source, source)]
        request = create_request(step, client.parent, names, validate_only=True)
        return step, await client.operations.wait(await create(client, step, request))

    estimates = await asyncio.gather(*map(estimate, steps))
    whole = sum_of(estimates, inputs)
    if prices.currency_code:
        of_step = [
            price_of(amount(one.cost), inputs.models[_base(step, bases)], inputs.device, prices)
            for step, one in estimates
        ]
        known = [price for price in of_step if price is not None]
        whole.price.CopyFrom(money(sum(known, Decimal(0)), prices))
        if len(known) < len(of_step):
            whole.notes.append("Not everything has a price; the sum holds what has.")
        if hour_price(inputs.device, prices.device_hours) is not None:
            whole.notes.append(f"Prices of {prices.effective_date}, by seconds of {inputs.device!r}.")
    return whole


def _base(step: Step, bases: Mapping[str, str]) -> str:
    source = step.inputs["model"]
    return bases.get(source, source)


def sum_of(estimates: Sequence[tuple[Step, common_pb2.Estimate]], inputs: Inputs) -> common_pb2.Estimate:
    """Costs and optimizer steps added, memory of the largest worker, notes with their steps."""
    whole = common_pb2.Estimate(row_count=inputs.documents.row_count + inputs.probes.row_count)
    for step, estimate in estimates:
        for field in common_pb2.Cost.DESCRIPTOR.fields:
            added = getattr(whole.cost, field.name) + getattr(estimate.cost, field.name)
            setattr(whole.cost, field.name, added)
        whole.worker_memory_bytes = max(whole.worker_memory_bytes, estimate.worker_memory_bytes)
        whole.step_count += estimate.step_count
        seconds = estimate.cost.compute_seconds
        took = f"about {seconds:.0f} s of the processor; " if seconds else ""
        whole.notes.append(f"{step.id}: {took}{' '.join(estimate.notes)}".rstrip("; "))
    whole.notes.append("Steps that were done before with the same inputs and settings will cost nothing.")
    return whole
