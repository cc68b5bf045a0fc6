"""A study's demands, and an installation's parts. Pure."""

from dataclasses import dataclass, field, replace

DAY_S = 86_400.0
STUDIES_A_DAY = 100_000
GPUS = 1_000

# Seconds of one GPU, from docs/sizing.md (computed): 100 pages, a model of 8 billion parameters, LoRA, 1,000 probes.
AUGMENTATION_S = 90.0
TRAINING_DERIVED_S = 61.0  # on documents and derived rows
TRAINING_PLAIN_S = 20.0  # on the documents: a third of the tokens
ASKING_CONTEXT_S = 167.0  # 1,000 questions, the documents in a cached context
ASKING_S = 6.4  # 1,000 questions without
# Assumed: what a fit takes of its GPU before its first step (a Ray job, the model's weights).
FIT_START_S = 60.0
# How much studies differ: the standard deviation of the logarithm of their size, whose mean is 1.
SPREAD = 0.8

POLLS_OF_A_WAITER_S = 5.0  # WaitOperation looks every 0.2 s
POLLS_OF_A_POD_S = 2.0  # a worker looks for work every 0.5 s
HEARTBEATS_S = 0.1  # of an operation at work, a third of the lease of 30 s
TRAINER_POLLS_S = 2.0  # a trainer that follows a fit notes progress
CHILDREN = 9  # operations of a study: itself, one augmentation, two fits, five evaluations and contexts
CALLS = 120  # of a study through the gateway, some 40 of them to engines


# Who holds a place of a later one may wait for a place of an earlier one.
DEEPEST_FIRST = ("engines", "training", "trainer", "augmenter", "evaluator", "studies")


@dataclass(frozen=True)
class Installation:
    """Pods by service, GPUs, and operations at once in a pod."""

    name: str
    studies: int = 2
    augmenter: int = 8
    evaluator: int = 8
    trainer: int = 1
    at_once: int = 4  # INGRAIN_WORKER_CONCURRENCY
    fits: int = 8  # INGRAIN_TRAININGS_AT_ONCE
    engines: int = 600
    training: int = 400

    @property
    def slots(self) -> dict[str, int]:
        """What an operation takes one of. A fit is a RayJob that its trainer follows."""
        return {
            "studies": self.studies * self.at_once,
            "augmenter": self.augmenter * self.at_once,
            "evaluator": self.evaluator * self.at_once,
            "trainer": self.trainer * self.fits,
            "engines": self.engines,
            "training": self.training,
        }

    @property
    def pods(self) -> int:
        return self.studies + self.augmenter + self.evaluator + self.trainer

    def with_more(self, part: str) -> "Installation":
        """Four times as many of what a bottleneck lies in."""
        return replace(self, **{part: 4 * getattr(self, part)})


def demands() -> dict[str, float]:
    """Seconds that a mean study holds one of each, were nothing ever waited for."""
    fits = 2 * FIT_START_S + TRAINING_DERIVED_S + TRAINING_PLAIN_S
    asked = ASKING_CONTEXT_S + 3 * ASKING_S
    # The longest way through: augmentation, the fit on what it made, asking that; the context is asked meanwhile.
    length = AUGMENTATION_S + FIT_START_S + TRAINING_DERIVED_S + ASKING_S
    return {
        "studies": max(length, ASKING_CONTEXT_S),
        "augmenter": AUGMENTATION_S,
        "evaluator": asked,
        "trainer": fits,
        "engines": AUGMENTATION_S + asked,
        "training": fits,
    }


def needed(rate_s: float, busy: float = 0.85) -> dict[str, int]:
    """How many of each, so that they are busy for no more than this share."""
    return {part: max(1, round(rate_s * seconds / busy + 0.5)) for part, seconds in demands().items()}


@dataclass
class Outcome:
    """What a simulation saw: studies a day that ended, how busy each part was, operations at once, waits."""

    installation: Installation
    ended_a_day: float
    busy: dict[str, float]
    waiting: dict[str, float]  # mean number of those who wait for one
    open_operations: float  # mean number that somebody waits for
    fits: float  # mean number that a trainer follows
    median_s: float
    p95_s: float
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def bottleneck(self) -> str:
        """What is short, if anything: of all that is full the one that the others wait for while they hold their own."""
        full = [part for part in DEEPEST_FIRST if self.busy[part] > 0.95 and self.waiting[part] > 1]
        return full[0] if full else ""

    def transactions_s(self) -> float:
        """Of the database: polls, heartbeats, and what operations themselves write (measured by `database`)."""
        polls = self.open_operations * (POLLS_OF_A_WAITER_S + HEARTBEATS_S) + self.fits * TRAINER_POLLS_S
        written = self.ended_a_day / DAY_S * CHILDREN * self.facts.get("transactions_of_an_operation", 4.1)
        return polls + self.installation.pods * POLLS_OF_A_POD_S + written
