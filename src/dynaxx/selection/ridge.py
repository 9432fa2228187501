"""Out-of-fold predictions of ridge regression, for many sets of features at the cost of few solved systems.

    W, b = argmin Σ_i ‖z_i W + b - y_i‖² + λ ‖W‖²,     z = [ z_1 / √(F_1 m), …, z_m / √(F_m m) ]

`z_1 … z_m` are the blocks of features of a set, such as a layer and the last layer, standardised per feature. All
blocks weigh the same, so that 16 channels are not drowned by 1,280. The intercept b is not penalised. λ is the penalty
of least squared error on the samples that were left out; the same few penalties are tried for every set.

With fewer samples than features the kernel K = z zᵀ is solved once for all folds. With A = λ (K + λ)⁻¹ - 1/N, K being
centred, and f the samples of a fold, the errors of a fit without the fold are exactly

    y_f - ŷ_f = A_ff⁻¹ (A y)_f

Otherwise each fold's part of zᵀz is summed once, and the sums without the fold are solved. Kernels and sums are kept
per block, and sets share them.

Shape legend: N samples, F features of a block, K outputs.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

PENALTIES = (0.003, 0.03, 0.3, 3.0, 30.0)
"""Values of λ. A sample's features have squared length 1 on average."""


class OutOfFold:
    """Ridge regression of some numbers on any set of blocks of features, cross-validated.

    >>> blocks = {"layer1": torch.randn(60, 8), "last": torch.randn(60, 32)}
    >>> fit = OutOfFold(blocks, blocks["layer1"][:, :1], torch.arange(60) % 5)
    >>> fit(["layer1", "last"]).shape
    torch.Size([60, 1])

    Args:
        blocks: name → features (N, F).
        y: numbers to predict, (N, K).
        fold: number of each sample's fold, int64 (N,).
        used: the samples that are fitted, bool (N,); all are predicted. None: all.
        penalties: values of λ to choose from.
    """

    def __init__(
        self,
        blocks: Mapping[str, Tensor],
        y: Tensor,
        fold: Tensor,
        used: Tensor | None = None,
        penalties: Sequence[float] = PENALTIES,
    ) -> None:
        self.used = torch.ones(len(y), dtype=torch.bool) if used is None else used
        self.blocks = {name: _standardised(x, self.used) for name, x in blocks.items()}
        self.y, self.penalties = y.double(), penalties
        self.folds = [fold == number for number in fold.unique().tolist()]
        self._kernels: dict[str, Tensor] = {}
        self._products: dict[tuple[str, str], list[Tensor]] = {}

    def __call__(self, names: Sequence[str]) -> Tensor:
        """Predictions of each sample by a fit without its fold, float64 (N, K)."""
        width = sum(self.blocks[name].shape[1] for name in names)
        dual = len(self.y) <= width and bool(self.used.all())
        found = self._by_kernel(names) if dual else self._by_products(names)
        return min(found, key=lambda predicted: float((predicted - self.y).square().mean()))

    def _by_kernel(self, names: Sequence[str]) -> list[Tensor]:
        count = len(self.y)
        kernel = torch.stack([self._kernel(name) for name in names]).mean(0)
        found = []
        for penalty in self.penalties:
            root = torch.linalg.cholesky(kernel + penalty * torch.eye(count, dtype=kernel.dtype))
            A = penalty * torch.cholesky_inverse(root) - 1 / count
            residual, error = A @ self.y, torch.empty_like(self.y)
            for part in self.folds:
                error[part] = torch.linalg.solve(A[part][:, part], residual[part])
            found.append(self.y - error)
        return found

    def _kernel(self, name: str) -> Tensor:
        if name not in self._kernels:
            z_NF = self.blocks[name].double()
            self._kernels[name] = z_NF @ z_NF.T / z_NF.shape[1]
        return self._kernels[name]

    def _by_products(self, names: Sequence[str]) -> list[Tensor]:
        """The same by sums of products of features, of which each fold's part is taken away."""
        scale = torch.cat([torch.full((self.blocks[n].shape[1],), self.blocks[n].shape[1] * len(names)) for n in names])
        scale = scale.double().rsqrt()
        z_NF = torch.cat([self.blocks[name] for name in names], dim=1)
        products = [
            torch.cat([torch.cat([self._product(a, b)[number] for b in names], dim=1) for a in names])
            * torch.outer(scale, scale)
            for number in range(len(self.folds))
        ]
        fitted = [part & self.used for part in self.folds]
        one_more = torch.cat([self.y, torch.ones(len(self.y), 1, dtype=self.y.dtype)], dim=1)
        # per fold: zᵀ[y, 1] and [y, 1]ᵀ1
        rights = [(z_NF[part].double() * scale).T @ one_more[part] for part in fitted]
        sums = [one_more[part].sum(0) for part in fitted]
        whole, all_rights, all_sums = sum(products), sum(rights), sum(sums)
        found = [torch.empty_like(self.y) for _ in self.penalties]
        for number, part in enumerate(self.folds):
            left, right = all_sums - sums[number], all_rights - rights[number]
            count, y_mean, z_mean = left[-1], left[:-1] / left[-1], right[:, -1] / left[-1]
            gram = whole - products[number] - count * torch.outer(z_mean, z_mean)
            with_y = right[:, :-1] - count * torch.outer(z_mean, y_mean)
            for predicted, penalty in zip(found, self.penalties, strict=True):
                root = torch.linalg.cholesky(gram + penalty * torch.eye(len(gram), dtype=gram.dtype))
                weight = torch.cholesky_solve(with_y, root)
                own = (z_NF[part] @ (weight * scale[:, None]).to(z_NF.dtype)).double()
                predicted[part] = own + (y_mean - z_mean @ weight)
        return found

    def _product(self, a: str, b: str) -> list[Tensor]:
        """zᵀz of two blocks in each fold."""
        if (b, a) in self._products:
            return [product.T for product in self._products[b, a]]
        if (a, b) not in self._products:
            x, y = self.blocks[a], self.blocks[b]
            parts = [part & self.used for part in self.folds]
            self._products[a, b] = [x[part].double().T @ y[part].double() for part in parts]
        return self._products[a, b]


def _standardised(x_NF: Tensor, used: Tensor) -> Tensor:
    """Mean 0 and deviation 1 of each feature over the fitted samples; 0 of a constant one. No label is seen."""
    fitted = x_NF[used].double()
    mean, std = fitted.mean(0), fitted.std(0, correction=0)
    still = std <= 1e-6 * mean.abs().clamp_min(1e-6)
    return ((x_NF - mean) / torch.where(still, torch.inf, std)).float()
