import pytest

torch = pytest.importorskip("torch")
network = pytest.importorskip("network")
muon = pytest.importorskip("muon")

WIDTH, VOCABULARY, LENGTH = 128, 1_190, 40


@pytest.fixture(scope="module")
def attentions():
    """Attention of a fresh model over a random row said twice, by layer."""
    model = network.build(network.Shape(), VOCABULARY, seed=0).eval()
    network.use_attention(model, "eager")
    row = torch.randint(300, VOCABULARY, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(torch.cat([row, row], 1), output_attentions=True).attentions


def at_distance(attention_HTT, head: int, distance: int) -> float:
    return attention_HTT[head].diagonal(-distance)[5:].mean().item()


def test_first_heads_look_back(attentions):
    for head, distance in enumerate(network.LOOK_BACK):
        assert at_distance(attentions[0][0], head, distance) > 0.85


def test_second_layers_heads_match_what_stood_before(attentions):
    attention_HTT = attentions[1][0]
    same = [attention_HTT[1, i, i] + attention_HTT[1, i, i - LENGTH] for i in range(45, 80)]
    following = [attention_HTT[2, i, i - LENGTH + 1] for i in range(45, 80)]
    assert sum(same) / len(same) > 0.7
    assert sum(following) / len(following) > 0.2


def test_written_out_attention_is_the_usual_one():
    model = network.build(network.Shape(layers=2), VOCABULARY, seed=0).eval()
    ids_BT = torch.randint(0, VOCABULARY, (2, 17))
    with torch.no_grad():
        network.use_attention(model, "sdpa")
        usual = model(ids_BT).logits
        network.use_attention(model, "short_rows")
        torch.testing.assert_close(model(ids_BT).logits, usual, atol=1e-4, rtol=1e-4)


def test_a_seed_gives_the_same_weights():
    first, second = (network.build(network.Shape(), VOCABULARY, seed=3) for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_stacked_muon_steps_like_torchs():
    torch.manual_seed(0)
    shapes = [(128, 128), (128, 128), (384, 128), (128, 384)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    settings = {"lr": 0.01, "momentum": 0.95, "weight_decay": 0.01}
    one = muon.StackedMuon(ours, **settings)
    other = torch.optim.Muon(theirs, **settings, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            its.grad = mine.grad.clone()
        one.step()
        other.step()
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-3, rtol=0)
