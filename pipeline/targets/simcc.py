"""The labels that SimCC networks learn from, as RTMPose is published: distributions over the bins of x and of y (torch)."""

import torch


def published_sigma(input_wh: tuple[int, int]) -> tuple[float, float]:
    """Standard deviations, in bins of x and of y, for an input of width and height in pixels.

    RTMPose's configurations take (4.9, 5.66) at 192 x 256, (5.66, 5.66) at 256 x 256 and (6, 6.93) at 288 x 384: the root of an
    eighth of the side.
    """
    width, height = input_wh
    return (width / 8) ** 0.5, (height / 8) ** 0.5


def simcc_labels(
    points: torch.Tensor, bins: tuple[int, int], sigma: tuple[float, float], factor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distributions (..., K, Wx) and (..., K, Hy), each summing to 1, around points (..., K, 2) in bins: softmax(factor x g).

    g = exp(-d^2 / (2 sigma^2)) is a bell of height 1 (MMPose's SimCCLabel with `normalize=False`), of which its KLDiscretLoss with
    `label_softmax` takes the softmax as of the network's scores. Near its peak that is a Gaussian of sigma / sqrt(factor), far from
    it a floor of exp(-factor) of the peak: 1.5 bins, and 0.4 % of the whole, at 192 pixels and factor 10. Scores that meet it are
    1 at the keypoint and 0 elsewhere. The bell sits at the exact point; MMPose rounds it to a bin.
    """

    def axis(centre: torch.Tensor, count: int, width: float) -> torch.Tensor:
        distance = torch.arange(count, device=points.device, dtype=points.dtype) - centre[..., None]
        return torch.softmax(factor * torch.exp(-0.5 * (distance / width) ** 2), dim=-1)

    return axis(points[..., 0], bins[0], sigma[0]), axis(points[..., 1], bins[1], sigma[1])
