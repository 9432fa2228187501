"""A Gaussian per place, from sums over batches, and how far vectors are from it.

    length²(e) = (e - μ)ᵀ Σ⁻¹ (e - μ),    Σ = (1-ρ) S + ρ tr(S)/C I

S is the covariance in one position, or in all of them together. ρ is the shrinkage of the oracle approximating
estimate (OAS; Chen, Wiesel, Eldar and Hero, IEEE Transactions on Signal Processing 58, 2010), unless it is given.

Shape suffixes: B batch, P positions, Q positions that have a Gaussian of their own (P, or 1 for all), C channels.
"""

import torch
from torch import Tensor, nn

from dynaxx.errors import ResonanceError

FLOOR = 1e-8
"""Share of the mean variance that is added to every variance: a constant channel has none."""


class Sums:
    """Numbers, sums and sums of products of vectors, added batch by batch in float64.

    >>> sums = Sums(by_position=False)
    >>> sums.add(torch.tensor([[[1.0], [3.0]]]))
    >>> mean, covariance = sums.moments()
    >>> mean.tolist(), covariance.tolist()
    ([[2.0]], [[[1.0]]])

    Args:
        by_position: whether positions are told apart.
    """

    def __init__(self, by_position: bool) -> None:
        self.by_position = by_position
        self.count_Q = self.sum_QC = self.product_QCC = torch.zeros(())

    def add(self, x_BPC: Tensor, counts_BP: Tensor | None = None) -> None:
        """Add a batch; `counts_BP` (bool) says which positions of which samples count, by default all.

        Raises:
            ResonanceError: positions are told apart, and this batch has another number of them than the last.
        """
        if self.by_position and self.sum_QC.ndim and len(self.sum_QC) != x_BPC.shape[1]:
            raise ResonanceError(
                f"covariance='position': batches of {len(self.sum_QC)} and of {x_BPC.shape[1]} positions; give inputs "
                "of one size, or covariance='shared'"
            )
        counts_BP = torch.ones_like(x_BPC[..., 0], dtype=torch.bool) if counts_BP is None else counts_BP
        x_BPC = torch.where(counts_BP[..., None], x_BPC.double(), 0.0)
        counts_BP = counts_BP.double()
        if self.by_position:
            x_QNC, count_Q = x_BPC.transpose(0, 1), counts_BP.sum(0)
        else:
            x_QNC, count_Q = x_BPC.flatten(0, 1)[None], counts_BP.sum()[None]
        self.count_Q = self.count_Q + count_Q
        self.sum_QC = self.sum_QC + x_QNC.sum(1)
        self.product_QCC = self.product_QCC + x_QNC.mT @ x_QNC

    def moments(self) -> tuple[Tensor, Tensor]:
        """μ (Q, C) and S (Q, C, C), float64."""
        count_Q1 = self.count_Q.clamp_min(1.0)[:, None]
        mean_QC = self.sum_QC / count_Q1
        return mean_QC, self.product_QCC / count_Q1[..., None] - mean_QC[:, :, None] * mean_QC[:, None, :]


def oas(covariance_QCC: Tensor, count_Q: Tensor) -> Tensor:
    """ρ of the oracle approximating estimate, without the terms in 2/C as in scikit-learn, (Q,).

    >>> oas(torch.eye(3)[None], torch.tensor([10]))
    tensor([1.])
    """
    channels = covariance_QCC.shape[1]
    squares_Q = covariance_QCC.square().sum((1, 2))
    trace_Q = covariance_QCC.diagonal(dim1=1, dim2=2).sum(1).square()
    above, below = squares_Q + trace_Q, (count_Q + 1) * (squares_Q - trace_Q / channels)
    return torch.where(below > 0, above / below, 1.0).clamp(0.0, 1.0).to(covariance_QCC.dtype)


class Gaussian(nn.Module):
    """μ and the inverse root of Σ, as buffers that are saved and moved with the model.

    >>> gaussian = Gaussian(channels=2, places=1)
    >>> gaussian(torch.tensor([[[3.0, 4.0]]]))  # before `fit` μ = 0 and Σ = I
    tensor([[25.]])

    Args:
        channels: C.
        places: Q.
    """

    mean: Tensor
    whiten: Tensor

    def __init__(self, channels: int, places: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(places, channels))
        self.register_buffer("whiten", torch.eye(channels).expand(places, -1, -1).clone())

    @torch.no_grad()
    def fit(self, sums: Sums, shrinkage: float | None = None) -> None:
        """Set μ and Σ from these sums; `shrinkage` is ρ, None its estimate."""
        mean_QC, S_QCC = sums.moments()
        rho_Q = oas(S_QCC, sums.count_Q) if shrinkage is None else torch.full_like(sums.count_Q, shrinkage)
        scale_Q = S_QCC.diagonal(dim1=1, dim2=2).mean(1)
        scale_Q = torch.where(scale_Q > 0, scale_Q, 1.0)
        eye_CC = torch.eye(S_QCC.shape[1], dtype=S_QCC.dtype, device=S_QCC.device)
        ridge_Q = scale_Q * (rho_Q + FLOOR)
        root_QCC = torch.linalg.cholesky((1 - rho_Q)[:, None, None] * S_QCC + ridge_Q[:, None, None] * eye_CC)
        self.mean.copy_(mean_QC)
        self.whiten.copy_(torch.linalg.solve_triangular(root_QCC, eye_CC.expand_as(root_QCC), upper=False))

    def forward(self, x_BPC: Tensor) -> Tensor:
        """Squared lengths (B, P), float32.

        Raises:
            ResonanceError: each position has a Gaussian of its own, and these are other positions.
        """
        if len(self.mean) not in (1, x_BPC.shape[1]):
            raise ResonanceError(
                f"inputs: {x_BPC.shape[1]} positions, while covariance='position' was fitted to {len(self.mean)}; give "
                "inputs of that size, or fit with covariance='shared'"
            )
        rest_BPC = x_BPC.float() - self.mean.float()
        if len(self.mean) == 1:
            return (rest_BPC @ self.whiten[0].float().T).square().sum(2)
        return (rest_BPC.transpose(0, 1) @ self.whiten.float().mT).square().sum(2).T
