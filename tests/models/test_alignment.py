import pytest
import torch

from sali.models.sali import ShortTermAlignment


def module(max_offset):
    torch.manual_seed(0)
    align = ShortTermAlignment(8, 2, "torchvision", max_offset=max_offset)
    for deform in align.deform:
        torch.nn.init.normal_(deform.to_offset.weight, std=20)
    return align.eval()


def pyramid(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 8, side, side, generator=generator) for side in (32, 16, 8)]


@torch.no_grad()
def offsets(max_offset):
    """Return the shifts of every level, coarse to fine."""
    alignment, found = module(max_offset), []
    for deform in alignment.deform:
        deform.register_forward_hook(lambda _, inputs, __: found.append(inputs[1].offset))
    alignment(pyramid(0), pyramid(1))
    return found


def test_shifts_stay_within_their_bound_and_keep_their_direction():
    free, bounded = offsets(None)[0], offsets(4)[0]  # the coarsest comes first: same inputs
    assert free.abs().max() > 40
    assert 3.9 < bounded.abs().max() <= 4
    torch.testing.assert_close(bounded, 4 * torch.tanh(free / 4))
    assert max(one.abs().max() for one in offsets(4)) <= 4


def test_small_shifts_are_hardly_changed_by_a_wide_bound():
    for free, bounded in zip(offsets(None), offsets(1e5), strict=True):
        torch.testing.assert_close(free, bounded, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("bound", [0, -1, float("nan")])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(ValueError, match="align.max_offset: got"):
        module(bound)
