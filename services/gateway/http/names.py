"""Model names as callers write them -> names that inference takes, and back.

m                        a model of the caller's project
projects/p/models/m      a model by its full name
icl:<dataset>@<model>    and rag:..., auto:<study>, an alias like support-bot@prod: as inference knows them
"""

import re

from servicekit import identity
from servicekit.errors import Invalid

PROJECT_HEADER = "OpenAI-Project"
DEFAULT_PROJECT = "projects/default"
_PROJECT = re.compile(r"(?:projects/)?([a-z][a-z0-9-]{1,62})")


def parent_of(caller: identity.Caller, header: str | None) -> str:
    """The project that short names belong to: the header's, else the key's own, else the default one. Whether the caller
    may look into it, the services decide."""
    if header:
        found = _PROJECT.fullmatch(header)
        if not found:
            raise Invalid(
                "BAD_PROJECT",
                f"{PROJECT_HEADER} must be a project's id, e.g. `default`",
                field=PROJECT_HEADER,
            )
        return f"projects/{found[1]}"
    return DEFAULT_PROJECT if caller.project == identity.ALL_PROJECTS else caller.project


def model_name(parent: str, model: str) -> str:
    """The name by which inference knows it."""
    virtual = ":" in model or "@" in model or "/" in model
    return model if virtual else f"{parent}/models/{model}"


def short(parent: str, name: str) -> str:
    """What a caller of this project writes for a model's or an alias's full name."""
    owner, _, rest = name.rpartition("/")
    if owner == f"{parent}/models" or (owner == f"{parent}/aliases" and "@" in rest):
        return rest
    return name  # an alias without @ would be taken for a model
