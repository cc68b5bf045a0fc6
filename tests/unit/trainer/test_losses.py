"""The head only at targets, texts in a line, adapters in one product: losses and gradients are those of the plain ways."""

import copy

import pytest
import torch

from services.trainer import attention, losses
from services.trainer.data import Batch
from services.trainer.distillation import Teacher
from services.trainer.loading import agrees
from services.trainer.losses import distillation_loss, learns_at_targets
from services.trainer.packing import IGNORED, TokenSequence, pack
from services.trainer.step import forward, target_loss_sum
from services.trainer.tokens import borders_mask, in_line, in_rows

ARCHITECTURES = ["llama", "qwen3", "mistral", "gemma", "phi", "gpt2"]
LENGTHS = (17, 30, 5, 64, 41, 9, 100)


def batch(teacher=None):
    """Rows of 128 tokens: whole texts, one with a masked prompt and a masked end, one that is not learned at all."""
    torch.manual_seed(1)
    texts = [torch.randint(6, 380, (n,)).tolist() for n in LENGTHS]
    sequences = [TokenSequence(text, text) for text in texts]
    answer = torch.randint(6, 380, (20,)).tolist()
    sequences.append(TokenSequence(answer, [IGNORED] * 8 + answer[8:15] + [IGNORED] * 5))
    sequences.append(TokenSequence(answer, [IGNORED] * 20))
    packed = pack(sequences, 128, seed=0, padding_id=0)
    tensors = (
        torch.from_numpy(array).long()
        for array in (packed.input_ids_RL, packed.position_ids_RL, packed.labels_RL)
    )
    return Batch(*tensors, teacher=teacher)


def plain_loss(model, given):
    return target_loss_sum(forward(model, given.input_ids_BL, given.position_ids_BL), given.labels_BL)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def assert_same(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        apart = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert apart < tolerance, name


@pytest.fixture
def build(build_checkpoint):
    from transformers import AutoModelForCausalLM

    attention.register()

    def load(architecture, implementation=attention.NAME, **options):
        folder = build_checkpoint(architecture, **options)
        return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=implementation).eval()

    return load


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("most_bytes", [losses.MOST_LOGIT_BYTES, 50 * 400 * 4])
def test_loss_and_gradients_are_the_plain_ones(build, architecture, most_bytes, monkeypatch):
    """In one part and in parts of 50 targets, with the texts in a line, with padding behind them, and in rows."""
    monkeypatch.setattr(losses, "MOST_LOGIT_BYTES", most_bytes)
    monkeypatch.setattr(losses, "BLOCK_BYTES", 7 * 400 * 4)
    plain, ours, given = build(architecture, "sdpa"), build(architecture), batch()
    assert agrees(ours)
    assert learns_at_targets(ours)
    expected = plain_loss(plain, given)
    wanted = gradients(plain, expected)
    for reading in (in_line(given), in_line(given, few_shapes=True), in_rows(given)):
        loss = ours(**reading.inputs, targets=reading.targets)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        assert_same(gradients(ours, loss), wanted)
    logits = ours(input_ids=given.input_ids_BL, position_ids=given.position_ids_BL, use_cache=False).logits
    assert torch.allclose(target_loss_sum(logits, given.labels_BL), expected, rtol=1e-5)


def test_only_what_a_target_needs_is_read(build):
    given = batch()
    reading = in_line(given)
    # Of each text all but its last token; of the answer nothing after its last target's forerunner.
    assert reading.inputs["input_ids"].shape == (1, sum(n - 1 for n in LENGTHS) + 14)
    assert len(reading.targets.ids_N) == sum(n - 1 for n in LENGTHS) + 7
    assert (in_rows(given).targets.ids_N == reading.targets.ids_N).all()


def test_flash_attention_is_told_the_same_borders():
    ours, flash = in_line(batch()).inputs, in_line(batch(), "flash_attention_2").inputs
    assert "attention_mask" not in flash
    assert flash["cu_seq_lens_q"].dtype == torch.int32
    assert (flash["cu_seq_lens_k"] == ours["attention_mask"].flatten()).all()
    assert (flash["position_ids"] == ours["position_ids"]).all()


def test_a_batch_without_targets_is_no_loss_but_still_a_graph(build):
    given = batch()
    nothing = Batch(given.input_ids_BL, given.position_ids_BL, torch.full_like(given.labels_BL, IGNORED))
    model = build("llama")
    learns_at_targets(model)
    reading = in_line(nothing)
    loss = model(**reading.inputs, targets=reading.targets)
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients(model, loss).values())


@pytest.mark.parametrize(
    ("name", "value"), [("final_logit_softcapping", 5.0), ("logit_scale", 0.3), ("logits_scaling", 4.0)]
)
def test_what_architectures_do_with_their_logits_is_done(build, name, value):
    """Gemma caps, Cohere and Granite scale; the plain path is the finish itself, by autograd."""
    model, given = build("llama"), batch()
    setattr(model.config, name, value)
    finish = losses.Finish.of(model.config)
    reading = in_line(given)
    hidden = model.model(**reading.inputs).last_hidden_state.flatten(0, 1)[reading.targets.at_N]
    logits = finish(model.lm_head(hidden))
    expected = torch.nn.functional.cross_entropy(logits, reading.targets.ids_N, reduction="sum")
    wanted = gradients(model, expected)
    model.lm_head.forward = losses.head_forward(model.lm_head, finish)
    hidden = model.model(**reading.inputs).last_hidden_state.flatten(0, 1)[reading.targets.at_N]
    loss = model.lm_head(hidden, targets=reading.targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_same(gradients(model, loss), wanted)


def test_a_model_whose_logits_are_not_its_heads_makes_all_of_them(build):
    model, given = build("llama"), batch()
    plain = model.forward

    def odd(*args, **named):
        found = plain(*args, **named)
        found.logits = found.logits.roll(1, -1)
        return found

    model.forward = odd
    expected = plain_loss(model, given)
    assert not learns_at_targets(model)
    reading = in_rows(given)
    assert torch.allclose(model(**reading.inputs, targets=reading.targets), expected, rtol=1e-5)


def teacher_for(given):
    count = int((given.labels_BL != IGNORED).sum())
    logprobs = torch.log_softmax(torch.randn(count, 400), -1)
    top, ids = logprobs.topk(5)
    return Teacher(ids, top, torch.log1p(-top.exp().sum(-1)), 2.0)


def test_a_teacher_is_followed_in_parts(build, monkeypatch):
    monkeypatch.setattr(losses, "MOST_LOGIT_BYTES", 50 * 400 * 4)
    plain, ours = build("llama", "sdpa"), build("llama")
    learns_at_targets(ours)
    given = batch(teacher_for(batch()))
    logits = forward(plain, given.input_ids_BL, given.position_ids_BL)[:, :-1]
    chosen = logits[given.labels_BL[:, 1:] != IGNORED]
    expected = distillation_loss(chosen, given.teacher, 2.0)
    wanted = gradients(plain, expected)
    reading = in_line(given)
    loss = ours(**reading.inputs, targets=reading.targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_same(gradients(ours, loss), wanted)


@pytest.mark.parametrize("targets", [None, ["q_proj", "down_proj", "lm_head"]])
@pytest.mark.parametrize("autocast", [False, True])
def test_adapters_are_pefts_own(build, targets, autocast):
    """With gradient checkpointing on our side, and an adapter on the head in one case."""
    from peft import LoraConfig, get_peft_model

    from services.trainer.adapters import quicken

    given, made = batch(), []
    for implementation in ("sdpa", attention.NAME):
        model = build("llama", implementation, tied=False)
        lora = LoraConfig(r=4, lora_alpha=8, target_modules=targets or "all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora)
        generator = torch.Generator().manual_seed(5)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
            elif "lora_A" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        made.append(model.train())
    plain, ours = made
    for module in ours.modules():
        quicken(module)
    ours.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    learns_at_targets(ours)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = plain_loss(plain, given)
        reading = in_line(given)
        loss = ours(**reading.inputs, targets=reading.targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3 if autocast else 1e-5)
    assert_same(gradients(ours, loss), gradients(plain, expected), 0.05 if autocast else 1e-5)


def test_bfloat16_stays_near_float32(build):
    """The same model under autocast: what is rounded is rounded once."""
    model, given = build("llama"), batch()
    learns_at_targets(model)
    reading = in_line(given)
    exact = model(**reading.inputs, targets=reading.targets)
    wanted = gradients(model, exact)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**reading.inputs, targets=reading.targets)
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)
    found = gradients(model, loss)
    whole = lambda those: torch.cat([g.flatten() for g in those.values()])  # noqa: E731
    assert (whole(found) - whole(wanted)).norm() < 0.05 * whole(wanted).norm()


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("length", [1, 31, 64, 65, 96, 130])
def test_attention_in_bfloat16_is_that_of_float32(length, window):
    """Short texts are reckoned in float32, longer ones with zeros behind them; queries share keys."""
    torch.manual_seed(0)
    exact = [torch.randn(1, heads, length + 70, 8).bfloat16().float().requires_grad_() for heads in (4, 2, 2)]
    rough = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    expected = reference(*exact, (length, 70), sliding_window=window)
    borders = borders_mask(torch.tensor([0, length, length + 70]))
    found, _ = attention.attend(torch.nn.Module(), *rough, borders, sliding_window=window)
    assert found.dtype == torch.bfloat16
    weights = torch.randn(expected.shape)
    (expected * weights).sum().backward()
    (found.float() * weights).sum().backward()
    for ours, theirs in ((found, expected), *((r.grad, e.grad) for r, e in zip(rough, exact, strict=True))):
        assert (ours.float() - theirs).norm() < 0.01 * theirs.norm()


def test_capped_and_windowed_attention_of_a_line(build):
    """Gemma 2's attention caps its scores; long texts and windows take torch's kernel."""
    torch.manual_seed(0)
    module = torch.nn.Module()
    module.num_key_value_groups = 2
    query, key, value = (torch.randn(1, heads, 300, 8, requires_grad=True) for heads in (4, 2, 2))
    borders = borders_mask(torch.tensor([0, 270, 300]))
    for extra in ({"softcap": 3.0}, {"sliding_window": 16}, {}):
        found, _ = attention.attend(module, query, key, value, borders, **extra)
        expected = reference(query, key, value, (270, 30), **extra)
        assert torch.allclose(found, expected, atol=1e-5)


def reference(query, key, value, lengths, softcap=None, sliding_window=None):
    text = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(len(text))
    seen = (text[:, None] == text) & (place[:, None] >= place)
    if sliding_window:
        seen &= place[:, None] - place < sliding_window
    scores = query @ key.repeat_interleave(2, 1).transpose(2, 3) / 8**0.5
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    shares = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return (shares @ value.repeat_interleave(2, 1)).transpose(1, 2)


def test_attention_that_an_architecture_does_not_hand_on_is_not_used(build):
    model = build("llama")
    for layer in model.model.layers:
        plain = layer.self_attn.forward
        layer.self_attn.forward = lambda *args, plain=plain, **named: plain(
            *args, **(copy.copy(named) | {"attention_mask": None})
        )
    assert not agrees(model)
