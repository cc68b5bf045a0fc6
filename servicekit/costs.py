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
    parameter_count: int,
    layer_count: int,
    hidden_size: int,
    token_count: int,
    mean_row_tokens: float = 0.0,
    *,
    looked_at: float | None = None,
    adapter_parameter_count: int = 0,
) -> float:
    """Of forward and backward passes over `token_count` tokens in rows of `mean_row_tokens` on average, or of tokens that look
    at `looked_at` positions together. A frozen base gets no weight gradients: 4 operations per parameter instead of 6, and 6 for
    each of its adapters' `adapter_parameter_count`. What is computed again to save memory does not count."""
    if looked_at is None:
        looked_at = token_count * (mean_row_tokens + 1) / 2
    each = (
        4.0 * parameter_count + 6.0 * adapter_parameter_count
        if adapter_parameter_count
        else 6.0 * parameter_count
    )
    return each * token_count + 12.0 * layer_count * hidden_size * looked_at
