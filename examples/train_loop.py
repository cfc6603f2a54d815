"""A training loop of one's own, on the people, labels and teachers' targets that `pipeline prepare`, `crops` and `teach` have made.

    python examples/train_loop.py [STUDENT] [EPOCHS]

Run it in the folder of params.yaml. STUDENT is a name of params.yaml, whose input, datasets and teachers are used.
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

import pose_fusion


def small_network(keypoints: int) -> nn.Module:
    """From an input (B, 3, H, W) to scores (B, K, H / 4, W / 4), whose softmax over all pixels is a keypoint's place."""
    widths, layers = (3, 32, 64, 64), []
    for before, after, stride in zip(widths[:-1], widths[1:], (2, 2, 1), strict=True):
        layers += [nn.Conv2d(before, after, 3, stride, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(64, keypoints, 1))


def divergence(scores: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return KL(target || softmax(scores)) in nats, the mean over the known keypoints (B, K)."""
    difference = torch.xlogy(target, target) - target * scores.flatten(2).log_softmax(2).view_as(target)
    return (difference.sum((2, 3)) * known).sum() / known.sum().clamp(min=1)


def main(student: str | None = None, epochs: int = 1, batch: int = 32, workers: int = 2) -> list[float]:
    """Train, and return the mean loss of each epoch."""
    torch.manual_seed(0)
    dataset = pose_fusion.Dataset(student)
    network = small_network(len(dataset.keypoints))
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    means = []
    for epoch in range(epochs):
        losses = []
        for people in DataLoader(dataset, batch, sampler=dataset.order(epoch), num_workers=workers):
            scores = network(people.image)
            loss = divergence(scores, people.labels, people.labelled)
            for teacher in dataset.teachers:
                loss = loss + divergence(scores, people.targets[teacher], people.taught[teacher])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        means.append(sum(losses) / len(losses))
        print(f"epoch {epoch}: {means[-1]:.3f} nats")
    return means


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
