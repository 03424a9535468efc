"""The memory read against a dense formulation of the same, for every kernel."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sali.ops import memory_read, native
from sali.ops.read import similarity

NATIVE = pytest.param(
    "native", marks=pytest.mark.skipif(not native.available(), reason="no C++ compiler here")
)
KERNELS = [NATIVE, "torch"]


def dense_read(query_key, memory_key, memory_value, top_k):
    """Full distances, everything but the top k masked out, dense product."""
    scale = query_key.shape[1] ** 0.5
    distance = (query_key.unsqueeze(2) - memory_key.unsqueeze(3)).square().sum(1)  # [B, N, Q]
    score = -distance / scale
    k = min(top_k, score.shape[1])
    cut = score.topk(k, dim=1).values[:, -1:]
    affinity = score.masked_fill(score < cut, -torch.inf).softmax(1)
    return memory_value @ affinity, affinity.sum(2)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("elements", "top_k"), [(200, 20), (7, 20), (20, 20), (1, 1), (50, 1), (5000, 20), (900, 300)]
)
def test_equals_dense_read(kernel, elements, top_k):
    query, memory = torch.randn(2, 4, 33), torch.randn(2, 4, elements)
    value = torch.randn(2, 16, elements)
    readout, usage = memory_read(query, memory, value, top_k, kernel)
    expected, expected_usage = dense_read(query, memory, value, top_k)
    torch.testing.assert_close(readout, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(usage, expected_usage, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(usage.sum(1), torch.full((2,), 33.0))


class LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for made in tree_leaves(results):
            if isinstance(made, torch.Tensor):
                self.bytes = max(self.bytes, made.nbytes)
        return results


def read_and_gradients(tensors, max_bytes):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    with LargestTensor() as largest:
        readout, usage = memory_read(*leaves, 20, "torch", max_bytes)
        readout.square().sum().backward()
    return [readout.detach(), usage, *(leaf.grad for leaf in leaves)], largest.bytes


@pytest.mark.parametrize("max_bytes", [1, 50_000])
def test_slices_change_nothing_and_never_hold_the_matrix(max_bytes):
    queries, elements = 200, 1500
    shapes = (2, 4, queries), (2, 4, elements), (2, 16, elements)
    tensors = [torch.randn(shape) for shape in shapes]
    matrix = 2 * queries * elements * 4
    whole, largest = read_and_gradients(tensors, 2**30)
    assert largest >= matrix
    sliced, largest = read_and_gradients(tensors, max_bytes)
    inputs_and_outputs = max(tensor.nbytes for tensor in tensors)
    assert largest <= max(inputs_and_outputs, max_bytes) < matrix / 5
    for one, other in zip(whole, sliced, strict=True):
        torch.testing.assert_close(one, other)
    with torch.inference_mode():
        for one, other in zip(whole, memory_read(*tensors, 20, "torch", max_bytes), strict=False):
            torch.testing.assert_close(one, other)


def native_choice(query, memory, top_k):
    value = torch.zeros(memory.shape[0], 1, memory.shape[2])
    _, _, weight, index = torch.ops.sali.memory_read(query, memory, value, top_k)
    return weight, index


@pytest.mark.skipif(not native.available(), reason="no C++ compiler here")
@settings(deadline=None, max_examples=80)
@given(
    channels=st.sampled_from([1, 2, 3, 4, 7, 17]),
    elements=st.integers(1, 1500),
    queries=st.integers(1, 40),
    top_k=st.integers(1, 40),
    values=st.integers(1, 6),
    spread=st.sampled_from([0, 1, 3, 50]),
    seed=st.integers(0, 2**31),
)
def test_native_reads_the_exact_top_k(channels, elements, queries, top_k, values, spread, seed):
    """Whole-number keys make similarities exact and ties many: of equals the lowest index."""
    generator = torch.Generator().manual_seed(seed)
    query, memory = (
        torch.randint(-spread, spread + 1, (1, channels, n), generator=generator).float()
        for n in (queries, elements)
    )
    value = torch.randn(1, values, elements, generator=generator)
    exact = similarity(query.double(), memory.double())[0]
    k = min(top_k, elements)
    expected = exact.argsort(dim=1, descending=True, stable=True)[:, :k]
    _, index = native_choice(query, memory, top_k)
    assert torch.equal(index[0].sort(1).values, expected.sort(1).values)

    readout, usage = memory_read(query, memory, value, top_k, "native")
    affinity = torch.zeros_like(exact).scatter_(1, expected, exact.gather(1, expected).softmax(1))
    # A similarity s is rounded to float32, which changes its weight by a factor exp(eps s).
    rounding = 4 * torch.finfo(torch.float32).eps * float(exact.abs().max())
    close = {"atol": 1e-4 + rounding, "rtol": 1e-4 + rounding}
    torch.testing.assert_close(readout[0].double(), value[0].double() @ affinity.T, **close)
    torch.testing.assert_close(usage[0].double(), affinity.sum(0), **close)


@pytest.mark.skipif(not native.available(), reason="no C++ compiler here")
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e4])
def test_native_top_k_of_smooth_keys(spread):
    """As keys of frames are: neighbors alike, frames alike. Only near-ties may fall either way."""
    frames = torch.nn.functional.interpolate(torch.randn(6, 4, 5, 5), size=(30, 30), mode="bicubic")
    keys = spread * (frames + 0.01 * torch.randn_like(frames)).transpose(0, 1).flatten(1)[None]
    query, memory = keys[:, :, -900:], keys[:, :, :-900]
    _, index = native_choice(query, memory, 20)
    exact = similarity(query.double(), memory.double())[0]
    cut = exact.topk(20, dim=1).values[:, -1:]
    norms = query.double().square().sum(1)[0] + memory.double().square().sum(1).max()
    missed_by = cut - exact.gather(1, index[0]).amin(1, keepdim=True)
    assert (missed_by[:, 0] <= 1e-6 * norms).all()
    assert all(len(set(row)) == 20 for row in index[0].tolist())


@pytest.mark.parametrize("kernel", KERNELS)
def test_layout_of_memory_does_not_matter(kernel):
    query, memory, value = torch.randn(2, 4, 9), torch.randn(2, 4, 70), torch.randn(2, 5, 70)
    expected = memory_read(query, memory, value, 6, kernel)
    strided = [
        t.transpose(1, 2).contiguous().transpose(1, 2).repeat_interleave(2, 2)[:, :, ::2]
        for t in (query, memory, value)
    ]
    assert not any(t.is_contiguous() for t in strided)
    for one, other in zip(memory_read(*strided, 6, kernel), expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients(kernel):
    leaves = [
        torch.randn(2, c, n, dtype=torch.float64, requires_grad=True)
        for c, n in ((4, 5), (4, 9), (3, 9))
    ]
    assert torch.autograd.gradcheck(lambda *a: memory_read(*a, 4, kernel)[0], leaves)


@pytest.mark.parametrize("kernel", KERNELS)
def test_usage_has_no_gradient(kernel):
    query = torch.randn(1, 4, 5, requires_grad=True)
    _, usage = memory_read(query, torch.randn(1, 4, 9), torch.randn(1, 3, 9), 4, kernel)
    assert not usage.requires_grad


@pytest.mark.parametrize("kernel", KERNELS)
def test_float32_under_autocast(kernel):
    query, memory, value = torch.randn(1, 4, 9), torch.randn(1, 4, 30), torch.randn(1, 3, 30)
    expected, _ = memory_read(query, memory, value, 5, kernel)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, _ = memory_read(query, memory, value, 5, kernel)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_number_stays_no_number(kernel):
    query, memory, value = torch.randn(1, 4, 9), torch.randn(1, 4, 30), torch.randn(1, 3, 30)
    broken = memory.clone()
    broken[0, 2, 17] = torch.nan
    assert memory_read(query, broken, value, 5, kernel)[0].isnan().all()
    query[0, 1, 4] = torch.nan
    lost = memory_read(query, memory, value, 5, kernel)[0].isnan()[0]
    assert lost[:, 4].all()
    assert not lost[:, torch.arange(9) != 4].any()


@pytest.mark.skipif(not native.available(), reason="no C++ compiler here")
def test_infinite_keys_are_not_hidden():
    query, memory, value = torch.randn(1, 4, 9), torch.randn(1, 4, 30), torch.randn(1, 3, 30)
    for extreme in (torch.inf, -torch.inf, 1e30):  # whose square is infinite
        far = query.clone()
        far[0, 0, 2] = extreme
        assert memory_read(far, memory, value, 5, "native")[0][0, :, 2].isnan().all()
        memory[0, 0, 3] = extreme
        assert memory_read(query, memory, value, 5, "native")[0].isnan().all()
        memory[0, 0, 3] = 1.0


@pytest.mark.skipif(not native.available(), reason="no C++ compiler here")
def test_threads_read_at_once_and_get_the_same():
    tensors = torch.randn(1, 4, 500), torch.randn(1, 4, 3000), torch.randn(1, 16, 3000)
    expected = memory_read(*tensors, 20, "native")
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def read():
        found.extend(memory_read(*tensors, 20, "native") for _ in range(10))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert all(torch.equal(a, b) for pair in found for a, b in zip(pair, expected, strict=True))


@pytest.mark.skipif(not native.available(), reason="no C++ compiler here")
def test_number_of_threads_changes_no_bit():
    tensors = torch.randn(1, 4, 500), torch.randn(1, 4, 3000), torch.randn(1, 16, 3000)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(memory_read(*tensors, 20, "native"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.skipif(not native.available(), reason="no C++ compiler here")
def test_operator_is_registered_as_pytorch_wants_it():
    tensors = [torch.randn(2, c, n, requires_grad=True) for c, n in ((4, 9), (4, 30), (3, 30))]
    torch.library.opcheck(torch.ops.sali.memory_read, (*tensors, 5))


@pytest.mark.skipif(not native.available(), reason="no C++ compiler here")
def test_compiles_without_a_break():
    tensors = torch.randn(1, 4, 9), torch.randn(1, 4, 30), torch.randn(1, 3, 30)
    compiled = torch.compile(lambda *a: memory_read(*a, 5), fullgraph=True, backend="aot_eager")
    for one, other in zip(compiled(*tensors), memory_read(*tensors, 5), strict=True):
        torch.testing.assert_close(one, other)


def test_refusals():
    query, value = torch.randn(1, 4, 5), torch.randn(1, 3, 6)
    with pytest.raises(ValueError, match="memory is empty"):
        memory_read(query, torch.randn(1, 4, 0), torch.randn(1, 3, 0), 4)
    with pytest.raises(ValueError, match="'fast' is not one of"):
        memory_read(query, torch.randn(1, 4, 6), value, 4, "fast")
    if native.available():
        for memory, top_k, words in (
            (torch.randn(1, 3, 6), 4, "4 channels, memory keys 3"),
            (torch.randn(1, 4, 7), 4, "7 keys and 6 values"),
            (torch.randn(2, 4, 6), 4, "batch size"),
            (torch.randn(1, 4, 6).double(), 4, "differ in type"),
        ):
            with pytest.raises(RuntimeError, match=words):
                memory_read(query, memory, value, top_k, "native")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("batch", "queries"), [(1, 0), (5, 0), (0, 3), (2, 1)])
def test_nothing_to_read_is_no_crash(kernel, batch, queries):
    if kernel == "native" and not native.available():
        pytest.skip("no C++ compiler here")
    key, value = torch.ones(batch, 2, 5), torch.ones(batch, 3, 5)
    readout, usage = memory_read(torch.ones(batch, 2, queries), key, value, 4, kernel)
    assert readout.shape == (batch, 3, queries) and usage.shape == (batch, 5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_other_tensors_are_refused(kernel):
    key = torch.ones(1, 2, 5)
    for query, top_k in ((torch.ones(2, 5), 4), (key, 0)):
        with pytest.raises(ValueError, match=r"wanted tensors \[B, C, N\]"):
            memory_read(query, key, key, top_k, kernel)
