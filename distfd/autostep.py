"""``step="auto"``: the noise, one symmetric probe a coordinate, one more where that settles nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.bars import Probes
from distfd.noise_lines import line_points
from distfd.noise import LINE, UNKNOWN, Noise, estimate, next_spacing
from distfd.placement import place
from distfd.plan import Answer, Request
from distfd.points import Points
from distfd.stencils import SCHEMES

CAP=0.1
FAR=3.0
SPACINGS = ((0, 1e-6), (1, 3e-3))
CF=0.72
P=dict(bar='sum', redo=1.5, target=.15, redomin=2.0, zf=1.0, incon=.5, cub=1.0)

@dataclass(frozen=True, eq=False)
class AutoStep:
    x: object; scale: object; lower: object; upper: object; vector: bool = False; label: object = None

    def advance(self, waves):
        course = self._course()
        step = next(course)
        try:
            for wave in waves:
                step = course.send(wave)
        except StopIteration as stop:
            return stop.value
        return step

    def _course(self):
        x = self.x
        d = len(x)
        lines = line_points(x, self.scale, self.lower, self.upper, SPACINGS)
        points = Points(x, np.concatenate(([0], lines.indptr)), lines.indices, lines.values)
        wave = yield Request(points, 0, self.vector)
        base = wave.values[0]
        used = len(points)
        vals = [np.concatenate((base[None], wave.values[1 + i*6: 7 + i*6])) for i in range(2)]
        noise = estimate(vals)
        far = vals[1]
        hB = SPACINGS[1][1]
        if (np.array(noise.status) == UNKNOWN).mean() > .5:
            sp = [(2+i, next_spacing(v, s)) for i,(v,(l,s)) in enumerate(zip(vals, SPACINGS))]
            lines = line_points(x, self.scale, self.lower, self.upper, sp)
            wave = yield Request(lines, None, self.vector)
            used += len(lines)
            vals += [np.concatenate((base[None], wave.values[i*6: 6 + i*6])) for i in range(2)]
            noise = estimate(vals)
        sig = np.where(np.isfinite(noise.level), noise.level, np.spacing(abs(base)))
        # scale of J
        F1 = abs(far[-1]-far[0])/(6*hB); F2 = abs(np.diff(far,2,axis=0).mean(axis=0))/hB**2
        n2 = 2.45*sig/hB**2/2
        F = np.maximum(F1, np.where(F2 > 3*n2, F2, 0))
        F = np.maximum(F, sig*1.4/(6*hB))
        k = CF*np.median((sig/F)**(1/3)) 
        moving = np.flatnonzero(self.lower != self.upper)
        a = len(moving)
        xm, L, lo, hi = x[moving], self.scale[moving], self.lower[moving], self.upper[moving]
        k = np.minimum(k, CAP)*L
        values, step = place(xm, k, SCHEMES["central"], lo, hi)
        wave = yield self._req(moving[:, None]+0*values.astype(int), values)
        used += 2*a
        pr = Probes(values - xm[:, None], wave.values.reshape(a, 2, len(base)) - base)
        # model
        pair = pr.slope([0,1]); curv = pr.curvature()
        J1 = abs(pair.value); s1 = pair.noise(noise)/noise.factor
        J2 = abs(curv.value); s2 = curv.noise(noise)/noise.factor
        ksq = (abs(pr.offsets[:,0]*pr.offsets[:,1])/6)[:, None]
        Lc = L[:, None]
        pool = np.sqrt(((J1*Lc)**2).mean(axis=0)/(((J2*Lc**2)**2).mean(axis=0)+1e-300))
        pool = np.clip(pool, .1, 1)
        model = np.maximum((J2+s2)/(pool*Lc), np.maximum(J1,s1)/(pool*Lc)**2)
        Tm = model*ksq
        sd = s1
        worry = (Tm/np.maximum(sd,1e-300)).max(axis=1)
        budget = max(0, 2*d+20 - used)
        pick = np.argsort(-worry, kind='stable')[:budget] if budget < a else np.arange(a)
        fo = np.full(a, np.nan)
        def faroff(rows):
            o = pr.offsets[rows]
            want = FAR*np.abs(o[:,0])
            # same side as first if fits
            two = np.where(np.sign(o[:,0])==np.sign(o[:,1]), 4/3, 1.0)
            want = want*two
            plus = xm[rows] + want; minus = xm[rows]-want
            res = np.where(plus <= hi[rows], plus, np.where(minus>=lo[rows], minus, np.nan))
            # no room: halfway of the first
            return np.where(np.isnan(res), xm[rows]+o[:,0]/2, res)
        farv = np.full(a, np.nan)
        if len(pick):
            farv[pick] = faroff(pick)
            wave = yield self._req(moving[pick][:,None], farv[pick][:,None])
            used += len(pick)
            r = np.full((a,1,len(base)), np.nan); r[pick] = wave.values[:,None,:]-base
        else:
            r = np.full((a,1,len(base)), np.nan)
        pr = pr.with_columns((farv-xm)[:,None], r)
        def T3(pr):
            D = pr.slope([0,1])-pr.slope([0,1,2])
            return abs(D.value), D.noise(noise)/noise.factor
        T, sT = T3(pr)
        got = np.isfinite(T)
        c = np.where(got, np.maximum(T-sT,0)/np.maximum(Tm,1e-300), 0).max(axis=0) if got.any() else np.ones(len(base))
        c = np.clip(c, .3, None)
        Tm = Tm*c
        # round 4: redo for large T, far for inconclusive
        def redo_rows(T, done):
            big = (np.nan_to_num(T)/np.maximum(sd,1e-300)).max(axis=1)
            rows = np.flatnonzero((big > P['redo']) & ~done)
            room = max(0,(4*d+38-used))//2
            rows = rows[np.argsort(-big[rows], kind='stable')][:room]
            return np.sort(rows), big
        done = np.zeros(a, bool)
        o2 = np.full((a,2), np.nan); r2 = np.full((a,2,len(base)), np.nan)
        for _ in range(2):
            need = np.flatnonzero((~got).any(axis=1) & (np.isnan(farv)) & ((Tm/sd).max(axis=1) > P['incon']))
            need = need[:max(0, 4*d+38-used)]
            used_f = len(need)
            rows, big = redo_rows(np.where(got, T, 0), done)
            if not len(need) and not len(rows): break
            shrink = (P['target']/np.maximum(big[rows],1e-300))**(1/3)
            k2 = np.abs(pr.offsets[rows,0])*np.clip(shrink, 1e-3, 1)
            v2, _s = place(xm[rows], k2, SCHEMES["central"], lo[rows], hi[rows])
            fv = faroff(need)
            wave = yield self._req(np.concatenate((moving[need], np.repeat(moving[rows],2))), np.concatenate((fv, v2.ravel())))
            used += len(need)+2*len(rows)
            nn=len(need)
            off = pr.offsets.copy(); ri = pr.rises.copy()
            off[need,2] = fv - xm[need]; ri[need,2] = wave.values[:nn]-base
            farv[need]=fv
            pr = Probes(off, ri)
            o2[rows] = v2 - xm[rows][:,None]
            r2[rows] = wave.values[nn:].reshape(len(rows),2,len(base))-base
            done[rows]=True
            T, sT = T3(pr); got = np.isfinite(T)
        pr = pr.with_columns(o2, r2)
        # candidates
        cands = []
        def bar(n, t):
            return n*P['zf'] + t if P['bar']=='sum' else np.hypot(n, t)
        pair = pr.slope([0,1])
        t1 = np.where(got, T, Tm)
        cands.append((pair.value, bar(pair.noise(noise), t1)))
        cub = pr.slope([0,1,2])
        half = J2*np.sqrt(ksq*6)/2 + s1
        tc = P['cub']*np.minimum(T, 3*T**2/half)
        cands.append((cub.value, bar(cub.noise(noise), tc)))
        p2 = pr.slope([3,4]); q = pr.slope([0,1,3,4])
        cands.append((p2.value, bar(p2.noise(noise), abs((p2-q).value))))
        V = np.array([v for v,b in cands]); B = np.array([np.where(np.isfinite(b)&np.isfinite(v), b, np.inf) for v,b in cands])
        best = B.argmin(axis=0)
        val = np.take_along_axis(V, best[None], 0)[0]; err = np.take_along_axis(B, best[None], 0)[0]
        D = np.zeros((d,len(base))); E = np.zeros((d,len(base)))
        D[moving]=val; E[moving]=np.where(np.isfinite(err), err, np.nan)
        st = np.zeros(d); st[moving]=k
        a_ = Answer(D.T if self.vector else D[:,0], base, st, np.empty(0,int), E.T if self.vector else E[:,0])
        object.__setattr__(a_, 'extra', (noise, best, pr, moving))
        return a_

    def _req(self, idx, values):
        v = values.ravel()
        return Request(Points(self.x, np.arange(len(v)+1), idx.ravel(), v), None, self.vector)
