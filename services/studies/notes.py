"""What a reader must know to judge a report's numbers. Pure."""

from servicekit.clusters import LEAST_CLUSTERS
from services.studies.figures import share
from services.studies.findings import Findings
from services.studies.statistics import LEAST_PROBES, SIGNIFICANT


def notes(found: Findings) -> list[str]:
    """A sentence or two each."""
    lines = []
    if found.model.domain:
        lines.append(
            f"The model was pretrained for a narrow domain ({found.model.domain}): it reads such documents and no "
            "others. The result shows how the methods compare for this model; the result on real text needs a real "
            "checkpoint (a folder or a hub id)."
        )
    lines.append(_about_costs(found))
    if any(method.cost.cold_question for method in found.methods.values()):
        lines.append(
            "Documents in the context have two prices: cached (the context was read once and is held; a question "
            "only looks at it) and not cached (every question reads the whole context). Totals use the first."
        )
    if any(method.covered for method in found.methods.values()):
        lines.append(
            "A probe is covered when its right answer stands word for word among the rows that the model wrote; "
            "the others show what training generalises to beyond that."
        )
    lines += _about_rows_left_out(found)
    if "shuffled_finetune" in found.methods:
        lines.append(
            "shuffled_finetune is a control: its added rows have the right form and say nothing true. It is never "
            "recommended."
        )
    lines += _about_the_probes(found)
    lines += _about_trainings(found)
    if any(model.HasField("endpoint") for model in found.models.values()):
        lines.append(
            "One of the models gives no log-likelihoods, so everyone was asked for text: a probe with choices is right "
            "where what was written is a right choice."
        )
    winner = found.methods.get(found.decision.method)
    if winner and winner.participant.method.reads and found.study.spec.group_key:
        lines.append(
            f"Here every question was asked with the documents of its own {found.study.spec.group_key}. Served as auto:, or "
            "behind an alias, the winner reads or searches all documents together, which was not measured: evaluate it so "
            "before relying on it (an alias with a gate asks for just that), or make a context for each set."
        )
    if found.limits.unchecked:
        lines.append(found.limits.unchecked)
    return lines


def _about_rows_left_out(found: Findings) -> list[str]:
    count = sum(one.excluded_count for one in found.labelled.values())
    if not found.study.spec.HasField("exclusion"):
        return []
    return [
        f"{count:,} inferred rows were left out of training because the study's exclusion says so: what probes ask about was "
        "taken out of the training data, so that accuracies are lower than with all that the model inferred."
    ]


def _about_costs(found: Findings) -> str:
    if found.prices.currency_code:
        return (
            f"Money is reckoned from what was measured and the operator's prices of {found.prices.effective_date}"
            f"{f' ({found.prices.source})' if found.prices.source else ''}; storage, idle machines and people's time are not in "
            "it. Seconds were measured where each step ran, beside whatever else ran there."
        )
    return (
        "Costs are floating-point operations reckoned from token counts; hosting, storage and people's time are "
        "not in them. Seconds were measured where each step ran, beside whatever else ran there."
    )


def _about_trainings(found: Findings) -> list[str]:
    lines = []
    trained = {m.model.name: m.model.summary for m in found.methods.values() if m.model.HasField("summary")}
    steps = {summary.step_count for summary in trained.values()}
    tokens = [summary.cost.trained_token_count for summary in trained.values()]
    if len(trained) > 1:
        taken = (
            f"the same {steps.pop():,} optimizer steps" if len(steps) == 1 else "different numbers of steps"
        )
        lines.append(
            f"Every training took {taken} and between {min(tokens):,} and {max(tokens):,} tokens; whoever "
            "learns from more rows sees each of them less often."
        )
    seeds = max(len(m.seeds) for m in found.methods.values())
    if seeds > 1:
        lines.append(
            f"Trainings ran with {seeds} seeds each: accuracies are means over them, intervals are those over probes, and "
            "the first seed's model is the one that is handed over."
        )
    return lines


def _about_the_probes(found: Findings) -> list[str]:
    """What the verdicts rest on."""
    lines = []
    labels = found.probes.labels
    if labels.get("made_by") == "GenerateProbes":
        lines.append(
            f"A model wrote the probes ({labels.get('generator', 'unknown')}), nobody else: {labels.get('trust', '')}".rstrip(
                ": "
            )
        )
    first = next(iter(found.methods.values()))
    shown = {kind.kind: kind.n for kind in first.kinds if kind.n < LEAST_PROBES}
    listed = ", ".join(f"{kind} ({n})" for kind, n in shown.items())
    if shown and set(shown) != {kind.kind for kind in first.kinds}:
        lines.append(
            f"Kinds of fewer than {LEAST_PROBES} probes are shown with their intervals, but means over kinds and "
            f"verdicts leave them out: {listed}."
        )
    elif shown:
        lines.append(
            f"No kind has {LEAST_PROBES} probes ({listed}): nothing can be said of a kind alone, and verdicts rest on all "
            "of them together."
        )
    if found.repeated:
        many = len(found.repeated) > 1
        listed = ", ".join(found.repeated[:5]) + (" and others" if len(found.repeated) > 5 else "")
        lines.append(
            f"{len(found.repeated)} {'probes repeat' if many else 'probe repeats'} the text of an earlier one of "
            f"{'their' if many else 'its'} kind and {'were' if many else 'was'} counted once: {listed}."
        )
    if found.ties:
        tied = ", ".join(f"{method} {count}" for method, count in found.ties.items())
        lines.append(
            f"Of some forced choices several had the same score in the first place ({tied}); such an answer is right only "
            "if every choice in the first place is."
        )
    if first.accuracy.fixed:
        lines.append(
            f"Where the probes of a kind come from fewer than {LEAST_CLUSTERS} groups or documents, intervals and verdicts hold for "
            "further questions about these groups; such few say nothing about other groups like them."
        )
    if not found.clusters_by:
        lines.append(
            "No probe names the documents that it is about (metadata.sources), so each was taken as independent of the others; "
            "where many are about one document, intervals are too short."
        )
    if len(found.comparisons) > 1:
        lines.append(
            f"{len(found.comparisons)} pairs of methods were compared; their p-values are adjusted (Holm) so that all "
            f"verdicts together are wrong in at most {share(SIGNIFICANT, 0)} of studies. Intervals are 95 % each, on their own."
        )
    return lines
