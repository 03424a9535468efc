"""What a memory holds: elements of the stored frames, weighed by their masks."""

import torch
from conftest import sample_of, small_network


@torch.no_grad()
def test_stream_reads_what_the_training_pass_would():
    """A stored frame read by the next one: the training pass of the same frames.

    The true mask of a training sample takes the place of the stream's own logits, so a mask whose
    every value is the same makes both weigh the values alike.
    """
    network = small_network(align_kernel=None).eval()
    for block in network.fusion.squeeze:
        torch.nn.init.normal_(block.bn.weight)
    flat = 0.25
    logit = torch.logit(torch.tensor(flat))
    images = [torch.randn(1, 3, 256, 256) for _ in range(2)]
    video = network.start(every=1)
    decode = network.decoder.forward

    def flat_where_stored(pyramid):
        sides = decode(pyramid)
        return sides if video.num_frames == 1 else type(sides)(*[0 * s + logit for s in sides])

    network.decoder.forward = flat_where_stored
    got = [video.step(network.encode(image)) for image in images][-1]
    network.decoder.forward = decode
    mask = torch.full((1, 1, 256, 256), flat)
    sample = sample_of(network, mask, memory=images[0], current=images[1])
    torch.testing.assert_close(got, network(sample)[-1], atol=1e-4, rtol=1e-4)
