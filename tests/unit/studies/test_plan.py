import pytest

from ingrain.v1 import augmenter_pb2, studies_pb2
from servicekit.errors import Invalid
from services.studies import plan as planning
from services.studies.methods import METHODS
from services.studies.plan import fingerprint, plan, request_uuid, resource_id
from services.studies.requests import create_request
from services.studies.spec import normalised

FIVE = ("base", "icl", "finetune", "augmented_finetune", "shuffled_finetune")

DIGESTS = {"documents": "a" * 64, "probes": "b" * 64, "model": "c" * 64, "derived": "d" * 64}


def spec(**values: object) -> studies_pb2.StudySpec:
    names = {
        "dataset": "projects/p/datasets/d",
        "probes": "projects/p/datasets/q",
        "model": "projects/p/models/m",
    }
    return studies_pb2.StudySpec(**{**names, **values})


def steps_of(**values: object) -> dict[str, planning.Step]:
    return {step.id: step for step in plan(normalised(spec(**values)))}


def test_defaults_are_written_out() -> None:
    full = normalised(spec(seed=7))
    assert list(full.methods) == ["base", "icl", "finetune", "augmented_finetune"]
    assert list(full.augmentation.strategies) == ["rephrase", "reverse", "infer", "link", "about"]
    assert (full.augmentation.samples_per_document, full.augmentation.temperature) == (3, 0.7)
    assert (full.training.max_steps, full.training.seed, full.augmentation.seed) == (400, 7, 7)
    assert (full.question_count, full.tolerance) == (10_000, 0.02)
    assert normalised(full) == full


def test_zeros_that_were_meant_stay() -> None:
    given = spec(tolerance=0.0)
    given.augmentation.temperature = 0.0
    full = normalised(given)
    assert (full.tolerance, full.augmentation.temperature) == (0.0, 0.0)


def test_methods_run_in_the_order_of_the_table() -> None:
    full = normalised(spec(methods=["shuffled_finetune", "icl", "icl", "base"]))
    assert list(full.methods) == ["base", "icl", "shuffled_finetune"]


def test_an_unknown_method_is_named_with_its_place_and_the_known_ones() -> None:
    with pytest.raises(Invalid) as caught:
        normalised(spec(methods=["base", "lora"]))
    assert (caught.value.reason, caught.value.field) == ("UNKNOWN_METHOD", "study.spec.methods[1]")
    assert all(method in caught.value.message for method in METHODS)


def test_epochs_are_refused_because_trainings_would_differ_in_steps() -> None:
    given = spec()
    given.training.num_train_epochs = 3
    with pytest.raises(Invalid, match="max_steps"):
        normalised(given)


def test_the_whole_plan() -> None:
    steps = steps_of(methods=FIVE)
    assert list(steps) == [
        "augment",
        "augment shuffled",
        "train finetune",
        "train augmented_finetune",
        "train shuffled_finetune",
        *(f"evaluate {method}" for method in FIVE),
    ]
    assert steps["train augmented_finetune"].needs(steps) == ["augment"]
    assert steps["evaluate shuffled_finetune"].needs(steps) == ["train shuffled_finetune"]
    assert steps["evaluate icl"].needs(steps) == []


def test_trainings_differ_by_their_data_only() -> None:
    steps = steps_of(methods=FIVE)
    plain, augmented = steps["train finetune"].settings, steps["train augmented_finetune"].settings
    assert (len(plain.datasets), len(augmented.datasets)) == (1, 2)
    del augmented.datasets[1]
    assert plain == augmented


def test_base_and_icl_are_different_evaluations_also_without_keys() -> None:
    steps = steps_of()
    base, icl = (fingerprint(steps[f"evaluate {m}"], DIGESTS) for m in ("base", "icl"))
    assert base != icl
    assert steps["evaluate icl"].settings.subject.HasField("context")


def test_a_fingerprint_is_stable_over_processes_and_releases() -> None:
    digest = fingerprint(steps_of(seed=1, group_key="world")["train finetune"], DIGESTS)
    assert digest == "3c3c5a8490180de75f0dc39db97c896ada525d1bdfcefb9e60b4ea537da009a3"


def test_a_fingerprint_depends_on_inputs_and_settings_and_not_on_names() -> None:
    one = fingerprint(steps_of(seed=1)["train finetune"], DIGESTS)
    assert one == fingerprint(
        steps_of(seed=1, dataset="projects/p/datasets/other")["train finetune"], DIGESTS
    )
    assert one == fingerprint(steps_of(seed=1, question_count=5)["train finetune"], DIGESTS)
    assert one != fingerprint(steps_of(seed=2)["train finetune"], DIGESTS)
    assert one != fingerprint(steps_of(seed=1)["train finetune"], {**DIGESTS, "documents": "e" * 64})
    given = spec(seed=1)
    given.training.max_steps = 401
    assert one != fingerprint({s.id: s for s in plan(normalised(given))}["train finetune"], DIGESTS)


def test_after_a_withdrawal_what_reads_the_documents_is_made_anew_and_nothing_else() -> None:
    """A withdrawal changes the digest of the dataset; of evaluations of trained models the model has another, too."""
    steps = steps_of(seed=1, methods=FIVE)
    withdrawn = {**DIGESTS, "documents": "e" * 64}
    anew = {id for id, step in steps.items() if fingerprint(step, DIGESTS) != fingerprint(step, withdrawn)}
    trained = {f"train {method}" for method in FIVE[2:]}
    assert anew == {"augment", "augment shuffled", "evaluate icl", *trained}


def test_shuffled_rows_are_another_dataset() -> None:
    steps = steps_of(methods=FIVE)
    assert fingerprint(steps["augment"], DIGESTS) != fingerprint(steps["augment shuffled"], DIGESTS)


def test_resource_names_and_request_ids_follow_from_the_fingerprint() -> None:
    step = steps_of()["train augmented_finetune"]
    digest = "0123456789abcdef" * 4
    assert resource_id(step, digest) == "augmented-finetune-0123456789abcdef"
    assert resource_id(step, digest, attempt=3) == "augmented-finetune-0123456789abcdef-3"
    first = request_uuid("models", resource_id(step, digest), digest)
    assert first == request_uuid("models", resource_id(step, digest), digest)
    assert first != request_uuid("models", resource_id(step, digest, 2), digest)


def test_who_is_trained_on_the_same_shares_the_training() -> None:
    steps = steps_of(methods=["finetune", "finetune_icl"])
    assert [id for id in steps if id.startswith("train")] == ["train finetune"]
    assert steps["evaluate finetune_icl"].inputs == {
        "model": "train finetune",
        "probes": "probes",
        "documents": "documents",
    }


def test_seeds_are_trainings_and_evaluations_of_their_own() -> None:
    steps = steps_of(methods=["icl", "finetune"], training_seeds=[8, 9])
    assert list(steps) == [
        "train finetune",
        "train finetune seed 2",
        "evaluate icl",
        "evaluate finetune",
        "evaluate finetune seed 2",
    ]
    assert [steps[f"train finetune{s}"].settings.seed for s in ("", " seed 2")] == [8, 9]
    first, second = (fingerprint(steps[f"train finetune{s}"], DIGESTS) for s in ("", " seed 2"))
    assert first != second


def test_a_contender_has_steps_of_its_own_on_its_own_model() -> None:
    large = studies_pb2.Contender(model="projects/p/models/large", methods=["icl", "augmented_finetune"])
    steps = steps_of(methods=["base"], contenders=[large])
    assert list(steps) == [
        "augment@large",
        "train augmented_finetune@large",
        "evaluate base",
        "evaluate icl@large",
        "evaluate augmented_finetune@large",
    ]
    assert steps["train augmented_finetune@large"].inputs == {
        "model": "model large",
        "documents": "documents",
        "derived": "augment@large",
    }


def test_local_and_global_augmentation_have_their_strategies() -> None:
    steps = steps_of(methods=["augmented_finetune_local", "augmented_finetune_global"])
    assert list(steps["augment local"].settings.strategies) == ["rephrase", "reverse", "infer"]
    assert list(steps["augment global"].settings.strategies) == ["link", "about"]
    assert steps["train augmented_finetune_global"].inputs["derived"] == "augment global"


def own_prompts(*sees: str) -> list[augmenter_pb2.PromptTemplate]:
    return [
        augmenter_pb2.PromptTemplate(strategy=f"own_{i}", text="{document}", sees=one)
        for i, one in enumerate(sees)
    ]


def test_strategies_are_local_or_global_by_what_they_see() -> None:
    given = spec(methods=["augmented_finetune", "augmented_finetune_local", "augmented_finetune_global"])
    given.augmentation.strategies[:] = ["summarize", "entity_pairs", "masked", "own_0", "own_1"]
    given.augmentation.prompts.extend(own_prompts("ONE_DOCUMENT", "ALL_DOCUMENTS"))
    steps = {step.id: step.settings for step in plan(normalised(given))}
    assert list(steps["augment local"].strategies) == ["summarize", "masked", "own_0"]
    assert list(steps["augment global"].strategies) == ["entity_pairs", "own_1"]
    assert list(steps["augment"].strategies) == list(given.augmentation.strategies)
    # A prompt that nobody asks would be refused by the augmenter.
    assert [prompt.strategy for prompt in steps["augment local"].prompts] == ["own_0"]
    assert [prompt.strategy for prompt in steps["augment"].prompts] == ["own_0", "own_1"]


def test_a_prompt_of_its_own_decides_what_a_known_strategy_sees() -> None:
    given = spec(methods=["augmented_finetune_global"])
    given.augmentation.strategies[:] = ["infer"]
    with pytest.raises(Invalid, match="augmented_finetune_global"):
        normalised(given)
    given.augmentation.prompts.add(strategy="infer", text="{document}", sees="ALL_DOCUMENTS")
    assert "augment global" in {step.id for step in plan(normalised(given))}


def test_another_model_may_infer() -> None:
    given = spec(methods=["augmented_finetune"])
    assert plan(normalised(given))[0].inputs["model"] == "model"
    given.augmentation.model = "projects/p/models/large"
    step = plan(normalised(given))[0]
    assert step.inputs["model"] == planning.GENERATOR
    assert step.settings.model == ""  # named by its role, so that its bytes decide and not its name


def test_a_judge_is_an_input_whose_bytes_decide() -> None:
    given = spec(methods=["augmented_finetune"])
    alone = plan(normalised(given))[0]
    assert "judge" not in alone.inputs
    given.augmentation.gates.judge = "projects/p/models/judge"
    step = plan(normalised(given))[0]
    assert step.inputs["judge"] == planning.JUDGE
    digests = {**DIGESTS, "judge": "e" * 64}
    assert fingerprint(step, digests) != fingerprint(step, {**digests, "judge": "f" * 64})
    assert fingerprint(step, digests) != fingerprint(alone, digests)
    given.augmentation.gates.judge = "projects/p/models/the-same-by-another-name"
    assert fingerprint(plan(normalised(given))[0], digests) == fingerprint(step, digests)
    names = {"documents": "d", "model": "m", "judge": "projects/p/models/judge"}
    assert create_request(step, "projects/p", names).spec.gates.judge == "projects/p/models/judge"


def test_a_judge_of_answers_is_an_input_whose_bytes_decide() -> None:
    given = spec(methods=["base"])
    (alone,) = plan(normalised(given))
    given.judge.model, given.judge.rubric = "projects/p/models/judge", "{question} {answer} {right}"
    (step,) = plan(normalised(given))
    assert step.inputs["judge"] == planning.ANSWER_JUDGE
    digests = {**DIGESTS, "judge": "e" * 64}
    assert fingerprint(step, digests) != fingerprint(step, {**digests, "judge": "f" * 64})
    assert fingerprint(step, digests) != fingerprint(alone, digests)
    given.judge.model = "projects/p/models/the-same-by-another-name"
    assert fingerprint(plan(normalised(given))[0], digests) == fingerprint(step, digests)
    request = create_request(step, "projects/p", {"model": "m", "probes": "q", "judge": "j"})
    assert (request.evaluation.judge.model, request.evaluation.judge.rubric) == ("j", given.judge.rubric)


def test_rows_are_left_out_only_where_the_study_says_so() -> None:
    usual = steps_of(methods=["augmented_finetune"])
    assert steps_of(methods=["augmented_finetune"], exclusion=studies_pb2.Exclusion()).keys() == usual.keys()
    steps = steps_of(
        methods=["finetune", "augmented_finetune"],
        exclusion=studies_pb2.Exclusion(seen=True),
        group_key="world",
    )
    step = steps["leave out of augment"]
    assert list(steps)[:2] == ["augment", "leave out of augment"]
    assert step.inputs == {"documents": "documents", "derived": "augment", "probes": "probes"}
    assert (step.settings.seen, step.settings.covered, step.settings.group_key) == (True, False, "world")
    assert steps["train augmented_finetune"].inputs["derived"] == "leave out of augment"
    assert usual["train augmented_finetune"].inputs["derived"] == "augment"
    # What is derived is the same whatever is left out of it: the augmenter sees no probe.
    of = {role: DIGESTS[role] for role in ("documents", "model")}
    assert fingerprint(steps["augment"], of) != ""
    assert steps["augment"].inputs == usual["augment"].inputs


def test_matched_tokens_are_those_of_full_steps() -> None:
    given = spec(matching=studies_pb2.TOKENS)
    given.training.max_steps, given.training.per_device_train_batch_size = 10, 2
    given.training.max_length, given.training.num_workers = 100, 3
    settings = {s.id: s for s in plan(normalised(given))}["train finetune"].settings
    assert (settings.max_steps, settings.max_tokens) == (0, 10 * 2 * 100 * 3)


def test_what_is_kept_is_asked_before_and_after_each_training() -> None:
    retention = studies_pb2.Retention(text="projects/p/datasets/t", probes="projects/p/datasets/g")
    steps = steps_of(
        methods=["icl", "finetune", "shuffled_finetune"], training_seeds=[1, 2], retention=retention
    )
    kept = {id: step.inputs for id, step in steps.items() if id.startswith("retain")}
    assert list(kept) == [
        "retain text of base",
        "retain probes of base",
        "retain text of finetune",
        "retain probes of finetune",
        "retain text of finetune seed 2",
        "retain probes of finetune seed 2",
    ]
    assert kept["retain probes of finetune seed 2"]["model"] == "train finetune seed 2"
