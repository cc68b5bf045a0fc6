from ingrain.cli.augment import told_of
from ingrain.v1 import common_pb2, datasets_pb2


def test_a_derivation_is_told_with_its_price_where_it_has_one() -> None:
    made = datasets_pb2.Dataset(row_count=12)
    made.provenance.source_dataset = "projects/p/datasets/docs"
    made.provenance.prompt_count = 4
    assert told_of(made) == "12 rows from docs. 4 prompts."
    made.provenance.price.CopyFrom(common_pb2.Money(currency_code="EUR", amount="0.61"))
    assert told_of(made) == "12 rows from docs. 4 prompts. Its price: 0.61 EUR."
