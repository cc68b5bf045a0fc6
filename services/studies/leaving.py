"""Leaves rows out of what was derived, as the study's spec says: a dataset without them, made by the study itself."""

import contextlib
from collections.abc import Mapping

from ingrain import AsyncClient, errors
from ingrain.v1 import studies_pb2
from servicekit.errors import Invalid
from services.studies import plan
from services.studies.labels import labelled, left
from services.studies.plan import Step

# The label by which a dataset without provenance says what its rows' sources are rows of.
SOURCE = "source_dataset"
LEFT_OUT_OF = "left_out_of"


async def leave_out(client: AsyncClient, step: Step, names: Mapping[str, str], id: str, digest: str) -> None:
    """Makes the dataset, once. Raises Invalid where nothing is left."""
    exclusion = step.settings
    assert isinstance(exclusion, studies_pb2.Exclusion)
    rows = [row async for row in client.datasets.rows(names["derived"])]
    probes = [row async for row in client.datasets.rows(names["probes"])]
    excluded = labelled(probes, rows, exclusion.group_key).excluded(exclusion)
    if len(excluded) == len(rows):
        raise Invalid(
            "NOTHING_LEFT",
            f"All {len(rows):,} rows of {names['derived']} hold a question or an answer of the probes, and `exclusion` leaves "
            "such rows out; train without augmentation, or exclude less.",
            field="study.spec.exclusion",
        )
    with contextlib.suppress(errors.AlreadyExists):  # another study was quicker
        await client.datasets.upload(
            left(rows, excluded),
            id=id,
            kind="documents",
            display_name=f"{names['derived'].rpartition('/')[2]} without {len(excluded):,} rows that probes ask about",
            request_id=plan.request_uuid("datasets", id, digest),
            labels={SOURCE: names["documents"], LEFT_OUT_OF: names["derived"]},
        )
