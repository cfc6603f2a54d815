"""The labels that SimCC networks learn from, as RTMPose is published: distributions over the bins of x and of y (torch)."""

import torch


def published_sigma(input_wh: tuple[int, int]) -> tuple[float, float]:
    """Return the standard deviations, in bins of x and of y, for an input of that width and height in pixels.

    RTMPose's configurations use (4.9, 5.66) for 192 x 256, (5.66, 5.66) for 256 x 256 and (6, 6.93) for 288 x 384: the root of an
    eighth of the side.
    """
    width, height = input_wh
    return (width / 8) ** 0.5, (height / 8) ** 0.5


def simcc_labels(
    points: torch.Tensor, bins: tuple[int, int], sigma: tuple[float, float], factor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distributions (..., K, Wx) and (..., K, Hy), each summing to 1, around points (..., K, 2) in bins: softmax(factor x g).

    g = exp(-d^2 / (2 sigma^2)) is a Gaussian of height 1 (MMPose's SimCCLabel with `normalize=False`). MMPose's KLDiscretLoss with
    `label_softmax` takes the softmax of it, as of the network's scores. Near its peak the distribution is a Gaussian of
    sigma / sqrt(factor); far from it, it is constant at exp(-factor) of the peak. At 192 pixels and factor 10 that is 1.5 bins, and
    0.4 % of the total. The scores that reproduce it are 1 at the keypoint and 0 elsewhere. The Gaussian is centred at the exact
    point; MMPose rounds the point to a bin.
    """

    def axis(centre: torch.Tensor, count: int, width: float) -> torch.Tensor:
        distance = torch.arange(count, device=points.device, dtype=points.dtype) - centre[..., None]
        return torch.softmax(factor * torch.exp(-0.5 * (distance / width) ** 2), dim=-1)

    return axis(points[..., 0], bins[0], sigma[0]), axis(points[..., 1], bins[1], sigma[1])
