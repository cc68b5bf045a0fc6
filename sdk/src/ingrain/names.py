"""Resource names: `projects/{project}/{collection}/{id}`, and operations below them."""

from ingrain.errors import Invalid


def project_name(project: str) -> str:
    """`projects/p` from `p` or `projects/p`."""
    project = project.removeprefix("projects/")
    if not project or "/" in project:
        raise Invalid(f"{project!r} is not a project; give its id, e.g. `default`")
    return f"projects/{project}"


def full_name(parent: str, collection: str, name: str) -> str:
    """The full name from an id, from `{collection}/{id}`, or from itself."""
    if name.startswith("projects/"):
        parts = name.split("/")
        if len(parts) != 4 or parts[2] != collection:
            raise Invalid(f"{name!r} is not the name of one of the {collection}")
        return name
    name = name.removeprefix(f"{collection}/")
    if not name or "/" in name:
        raise Invalid(f"{name!r} is not the id of one of the {collection}")
    return f"{parent}/{collection}/{name}"


def target_of(operation: str) -> str:
    """The resource that an operation makes."""
    return operation.rsplit("/operations/", 1)[0]


def short_id(name: str) -> str:
    return name.rsplit("/", 1)[-1]
