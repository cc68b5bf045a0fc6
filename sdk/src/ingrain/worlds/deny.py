"""English words that have the shape of an invented name; they are never used as names."""

ENGLISH = frozenset(
    """
    baker basin baton began begin below bonus bison cabin camel canon cider civil comet coral cover
    """.split()
)
