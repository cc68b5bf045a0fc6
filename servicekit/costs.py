"""Floating-point operations of a decoder-only transformer, reckoned from its shape.

Kaplan et al. 2020 (arXiv 2001.08361), section 2.1: 2 operations per parameter and token forward, twice that backward; attention adds
4 * layers * width for each token and each position that it looks at.
"""


def forward_flops(
    parameter_count: int, layer_count: int, hidden_size: int, token_count: int, cached_token_count: int = 0
) -> float:
    """Of reading `token_count` new tokens after `cached_token_count` tokens whose keys and values exist."""
    looked_at = token_count * cached_token_count + token_count * (token_count + 1) / 2
    return 2.0 * parameter_count * token_count + 4.0 * layer_count * hidden_size * looked_at


def training_flops(
    parameter_count: int, layer_count: int, hidden_size: int, token_count: int, mean_row_tokens: float
) -> float:
    """Of forward and backward passes over `token_count` tokens in rows of `mean_row_tokens` on average."""
    looked_at = token_count * (mean_row_tokens + 1) / 2
    return 6.0 * parameter_count * token_count + 12.0 * layer_count * hidden_size * looked_at
