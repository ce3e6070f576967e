"""Pairs of probes around x at several distances, coordinate by coordinate, and the best slope they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.stencils import coefficients

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.noise import Noise

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pairs:
    offsets: Floats  # (a, g, 2) sorted by size, NaN absent last
    rises: Floats  # (a, g, 2, m)

    @property
    def size(self) -> Floats:
        return np.abs(self.offsets).max(axis=2)

    def add(self, offsets: Floats, rises: Floats) -> Pairs:
        """offsets (a, 2) NaN where none; rises (a, 2, m)"""
        bad = ~np.isfinite(rises).all(axis=(1, 2))
        offsets = np.where(bad[:, None], np.nan, offsets)
        o = np.concatenate((self.offsets, offsets[:, None]), axis=1)
        r = np.concatenate((self.rises, rises[:, None]), axis=1)
        order = np.argsort(np.abs(o).max(axis=2), axis=1, kind="stable")
        return Pairs(np.take_along_axis(o, order[:, :, None], 1), np.take_along_axis(r, order[:, :, None, None], 1))

    def weigh(self, *which: int):
        o = np.concatenate([self.offsets[:, g] for g in which], axis=1)
        r = np.concatenate([self.rises[:, g] for g in which], axis=1)
        with np.errstate(all='ignore'):
            w = coefficients(o) / o
            return w, (w[..., None] * r).sum(axis=1)

    def candidates(self, noise: Noise):
        """value, noise part sd, truncation (NaN unknown), truncation's noise sd: (g, a, m) each."""
        G = self.offsets.shape[1]
        V, N, T, S = [], [], [], []
        one = lambda w: noise.part(w, np.ones_like(w)) / noise.factor
        for i in range(G):
            w, v = self.weigh(i)
            t = np.full_like(v, np.nan); s = np.full_like(v, np.nan)
            for j in ([i + 1] if i + 1 < G else []) + ([i - 1] if i else []):
                w2, v2 = self.weigh(i, j)
                dw = w2.copy(); dw[:, :2] -= w
                use = np.isnan(t)
                t = np.where(use, np.abs(v - v2), t); s = np.where(use, one(dw), s)
            V.append(v); N.append(one(w)); T.append(t); S.append(s)
        return np.array(V), np.array(N), np.array(T), np.array(S)

    def quartics(self, noise, V, T, QF=2.0, QMIN=.1):
        G = self.offsets.shape[1]
        one = lambda w: noise.part(w, np.ones_like(w)) / noise.factor
        out = []
        for i in range(G-1):
            w, v = self.weigh(i, i+1)
            _, c = self.curvature(i)
            with np.errstate(all='ignore'):
                g = np.abs(V[i+1]-V[i])/(np.abs(v)+np.abs(c)*self.size[:, i+1][:, None])
            out.append((v, one(w), T[i]*np.clip(QF*g, QMIN, 1)))
        return out

    def curvature(self, g):
        o1, o2 = self.offsets[:, g, 0], self.offsets[:, g, 1]
        w = np.stack((2/(o1*(o1-o2)), -2/(o2*(o1-o2))), axis=1)
        return w, (w[..., None]*self.rises[:, g]).sum(axis=1)
