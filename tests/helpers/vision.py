"""Simulate how colors look with and without color blindness.

Matrices for linear RGB: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A
Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE TVCG
15(6), 2009, table for severity 1.0. Distances are Euclidean in Oklab (B. Ottosson,
2020, bottosson.github.io/posts/oklab), where about 0.02 can just be noticed.
"""

import numpy as np
from PySide6.QtGui import QColor

VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def perceived(colors: list[str], vision: str) -> np.ndarray:
    """Return the colors in Oklab, one per row, as they look with a vision."""
    rgb = np.array([QColor(color).getRgbF()[:3] for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    simulated = np.clip(linear @ VISIONS[vision].T, 0, 1)
    return np.cbrt(simulated @ _TO_CONES.T) @ _TO_LAB.T


def smallest_distance(colors: list[str], vision: str) -> float:
    """Return the distance of the two colors that are hardest to distinguish."""
    lab = perceived(colors, vision)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return float(distances[np.triu_indices(len(colors), 1)].min())
