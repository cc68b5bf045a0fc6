"""Scores of choices in, numbers out: pure. What is written is matched by `ingrain.matching`.

acc             the choice with the greatest sum of log-probabilities is right
acc_norm        the same by the sum divided by the choice's characters (lm-evaluation-harness's name and meaning)
acc_bytes       the same by the sum divided by its UTF-8 bytes (lm-evaluation-harness's name and meaning)
acc_token_norm  the same by the sum divided by its tokens: the mean log-probability of a token
brier_score     squared distance of the softmax over sums to what is right (Brier 1950, over all choices: 0 to 2)
confidence      the softmax's probability of the chosen
ece             expected calibration error, of a kind

Of texts, from the sum of log-probabilities l in nats, as lm-evaluation-harness names and computes them:
bits_per_byte    -l / bytes / ln 2
byte_perplexity  exp(-l / bytes)
word_perplexity  exp(-l / words)
"""

import math
from collections.abc import Collection, Sequence

# Two computations of one sum in float32 (another batch, another order) differ by less than this; so whatever lies
# nearer than this to the first place shares it.
TIE_NATS = 1e-4
BINS = 15
MOST_EXPONENT = 700.0  # of e, in a float
BITS_PER_BYTE = "bits_per_byte"


def forced_choice(
    sums: Sequence[float], token_counts: Sequence[int], choices: Sequence[str], right: Collection[int]
) -> dict[str, float]:
    """All metrics of one probe. A tie for the first place counts as right only if every choice in it is right."""
    probabilities = softmax(sums)
    return {
        "acc": _first_is_right(sums, [1] * len(sums), right),
        "acc_norm": _first_is_right(sums, [len(choice) for choice in choices], right),
        "acc_bytes": _first_is_right(sums, [len(choice.encode()) for choice in choices], right),
        "acc_token_norm": _first_is_right(sums, token_counts, right),
        "brier_score": brier_score(probabilities, right),
        "confidence": max(probabilities),
    }


def first(sums: Sequence[float], lengths: Sequence[int]) -> list[int]:
    """The choices that share the first place by sum / length; a rounding of the sums does not decide it."""
    scores = [total / length for total, length in zip(sums, lengths, strict=True)]
    best = max(scores)
    return [index for index, score in enumerate(scores) if best - score <= TIE_NATS / lengths[index]]


def is_tie(sums: Sequence[float]) -> bool:
    """Whether more than one choice has the first place by sum."""
    return len(first(sums, [1] * len(sums))) > 1


def _first_is_right(sums: Sequence[float], lengths: Sequence[int], right: Collection[int]) -> float:
    return float(all(index in right for index in first(sums, lengths)))


def softmax(sums: Sequence[float]) -> list[float]:
    best = max(sums)
    weights = [math.exp(total - best) for total in sums]
    return [weight / sum(weights) for weight in weights]


def brier_score(probabilities: Sequence[float], right: Collection[int]) -> float:
    """sum over choices c of (p_c - y_c)^2, where y is 1 on the right choice, or shared evenly among right ones."""
    return sum(
        (probability - (index in right) / len(right)) ** 2 for index, probability in enumerate(probabilities)
    )


def expected_calibration_error(confidences: Sequence[float], hits: Sequence[float]) -> float:
    """ECE = sum over bins b of n_b / n * |share right in b - mean confidence in b|.

    15 bins of equal width over (0, 1], a confidence of exactly k/15 in the lower one (Guo et al. 2017,
    arXiv 1706.04599). With few probes it is biased upwards: 0 is expected of no finite sample.
    """
    bins: dict[int, list[int]] = {}
    for index, confidence in enumerate(confidences):
        bins.setdefault(max(0, math.ceil(confidence * BINS) - 1), []).append(index)
    gaps = (abs(sum(hits[i] for i in rows) - sum(confidences[i] for i in rows)) for rows in bins.values())
    return sum(gaps) / len(confidences)


def chance(choice_count: int, right_count: int) -> float:
    """Expected accuracy of a guess."""
    return right_count / choice_count


def text_likelihood(loglikelihood: float, byte_count: int, word_count: int) -> dict[str, float]:
    """The metrics of texts with so many bytes and words in all. Without `word_perplexity` where no float holds it."""
    found = {
        BITS_PER_BYTE: -loglikelihood / byte_count / math.log(2),
        "byte_perplexity": math.exp(-loglikelihood / byte_count),
    }
    if -loglikelihood / word_count <= MOST_EXPONENT:
        found["word_perplexity"] = math.exp(-loglikelihood / word_count)
    return found
