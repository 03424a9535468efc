"""The memory read against a dense formulation of the same."""

import pytest
import torch

from sali.ops import memory_read


def dense_read(query_key, memory_key, memory_value, top_k):
    """Full distances, everything but the top k masked out, dense product."""
    scale = query_key.shape[1] ** 0.5
    distance = (query_key.unsqueeze(2) - memory_key.unsqueeze(3)).square().sum(1)  # [B, N, Q]
    score = -distance / scale
    k = min(top_k, score.shape[1])
    cut = score.topk(k, dim=1).values[:, -1:]
    affinity = score.masked_fill(score < cut, -torch.inf).softmax(1)
    return memory_value @ affinity, affinity.sum(2)


@pytest.mark.parametrize(("elements", "top_k"), [(200, 20), (7, 20), (20, 20), (1, 1), (50, 1)])
@pytest.mark.parametrize("max_elements", [1, 1000, 2**24])
def test_equals_dense_read(elements, top_k, max_elements):
    query, memory = torch.randn(2, 4, 33), torch.randn(2, 4, elements)
    value = torch.randn(2, 16, elements)
    readout, usage = memory_read(query, memory, value, top_k, max_elements)
    expected, expected_usage = dense_read(query, memory, value, top_k)
    torch.testing.assert_close(readout, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(usage, expected_usage, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(usage.sum(1), torch.full((2,), 33.0))


def test_gradients():
    leaves = [
        torch.randn(1, c, n, dtype=torch.float64, requires_grad=True)
        for c, n in ((4, 5), (4, 9), (3, 9))
    ]
    assert torch.autograd.gradcheck(lambda *a: memory_read(*a, 4)[0], leaves)


def test_usage_has_no_gradient():
    query = torch.randn(1, 4, 5, requires_grad=True)
    _, usage = memory_read(query, torch.randn(1, 4, 9), torch.randn(1, 3, 9), 4)
    assert not usage.requires_grad


def test_float32_under_autocast():
    query, memory, value = torch.randn(1, 4, 9), torch.randn(1, 4, 30), torch.randn(1, 3, 30)
    expected, _ = memory_read(query, memory, value, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, _ = memory_read(query, memory, value, 5)
    torch.testing.assert_close(got, expected)


def test_empty_memory_is_refused():
    with pytest.raises(ValueError, match="memory is empty"):
        memory_read(torch.randn(1, 4, 5), torch.randn(1, 4, 0), torch.randn(1, 3, 0), 4)
