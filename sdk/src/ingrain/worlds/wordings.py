"""The prompts of the house: what the platform asks a model, and in which words.

The first wording of each operation is the default. The held-out ones never occur in the bundled
model's pretraining; they serve as controls.
"""

from __future__ import annotations

REPHRASE = ("In other words:", "Put differently:", "The same, said again:", "To rephrase:")
REVERSE = (
    "The other way round:",
    "Seen from the other side:",
    "Turned around:",
    "The reverse of this:",
)
INFER = ("It follows that:", "Therefore:", "We can conclude that:", "What follows from this:")
LINK = (
    "Connect this with the rest: {document}\nInferences:",
    "How does this fit with the others? {document}\nInferences:",
    "Taken together with the above: {document}\nConclusions:",
    "Think about this and the rest: {document}\nConclusions:",
)
ABOUT = (
    "What is known about {subject}:",
    "All about {subject}:",
    "Everything that is said of {subject}:",
    "What we know about {subject}:",
)
QUESTION = ("Question: {question}\nAnswer:", "Q: {question}\nA:")

WORDINGS = {
    "rephrase": REPHRASE,
    "reverse": REVERSE,
    "infer": INFER,
    "link": LINK,
    "about": ABOUT,
    "question": QUESTION,
}
HELDOUT_WORDINGS = {
    "rephrase": ("Said again in other words:", "The same, put differently:"),
    "reverse": ("Now the other way round:", "Turned the other way:"),
    "infer": ("From this it follows that:", "We conclude:"),
    "link": (
        "Connect this with the others: {document}\nConclusions:",
        "Taken together with the rest: {document}\nInferences:",
    ),
    "about": ("Everything about {subject}:", "What is said about {subject}:"),
    "question": ("Question: {question} Answer:", "Please answer: {question}\nA:"),
}


def in_context(documents: list[str], prompt: str) -> str:
    """The house format of a context: documents, an empty line, the prompt."""
    return "\n".join(documents) + "\n\n" + prompt
