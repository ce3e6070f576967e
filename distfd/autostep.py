"""``step="auto"``: the noise, one symmetric probe a coordinate, one more where that settles nothing."""

from __future__ import annotations

from dataclasses import dataclass
import numpy as np

from distfd.noise_lines import line_points
from distfd.noise import LINE, UNKNOWN, Noise, estimate, next_spacing
from distfd.pairs import Pairs
from distfd.placement import place
from distfd.plan import Answer, Request
from distfd.points import Points
from distfd.stencils import SCHEMES

CAP=0.1
SPACINGS = ((0, 1e-6), (1, 3e-3))
CF=0.72
P=dict(redo=1.5, target=.15, incon=.5, t=5.0, te=5.0, exp=1.3, rounds=3, expgain=1.5, minsamp=3,z=1.0,s=0.4, qf=2.0, qmin=.1)

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
        m = len(base)
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
        F1 = abs(far[-1]-far[0])/(6*hB); F2 = abs(np.diff(far,2,axis=0).mean(axis=0))/hB**2
        n2 = 2.45*sig/hB**2/2
        F = np.maximum(F1, np.where(F2 > 3*n2, F2, 0))
        F = np.maximum(F, sig*1.4/(6*hB))
        k = CF*np.median((sig/F)**(1/3))
        moving = np.flatnonzero(self.lower != self.upper)
        a = len(moving)
        xm, L, lo, hi = x[moving], self.scale[moving], self.lower[moving], self.upper[moving]
        cap = CAP*L
        pairs = Pairs(np.empty((a,0,2)), np.empty((a,0,2,m)))
        def ask(rows, k):
            v, _ = place(xm[rows], k, SCHEMES["central"], lo[rows], hi[rows])
            return v
        def take(rows, v, wave):
            o = np.full((a,2), np.nan); r = np.full((a,2,m), np.nan)
            o[rows] = v - xm[rows][:,None]; r[rows] = wave.values.reshape(len(rows),2,m)-base
            return o, r
        rows = np.arange(a)
        k0 = np.minimum(k*L, cap)
        v = ask(rows, k0)
        wave = yield self._req(np.repeat(moving,2), v)
        used += 2*a
        pairs = pairs.add(*take(rows, v, wave))
        # model
        (w, J1), (w2, J2) = pairs.weigh(0), pairs.curvature(0)
        one = lambda w: noise.part(w, np.ones_like(w))/noise.factor
        s1, s2 = one(w), one(w2)
        J1, J2 = abs(J1), abs(J2)
        ksq = (abs(pairs.offsets[:,0].prod(axis=1))/6)[:, None]
        Lc = L[:, None]
        with np.errstate(all='ignore'):
            pool = np.sqrt(((J1*Lc)**2).mean(axis=0)/(((J2*Lc**2)**2).mean(axis=0)+1e-300))
        pool = np.clip(pool, .1, 1)
        Tm = np.maximum((J2+s2)/(pool*Lc), np.maximum(J1,s1)/(pool*Lc)**2)*ksq
        worry = (Tm/s1).max(axis=1)
        first = True
        tries = np.ones(a, int)
        for rnd in range(P['rounds']):
            V,N,T,S = pairs.candidates(noise)
            size = pairs.size
            count = np.isfinite(size).sum(axis=1)
            checked = count > 1
            K = np.full(a, np.nan)
            prio = np.zeros(a)
            sm = np.nanmin(size, axis=1)
            lg = np.nanmax(size, axis=1)
            if first:
                budget = max(0, 2*d+20-used)//2
                pick = np.argsort(-worry, kind='stable')[:budget] if budget < a else np.arange(a)
                K[pick] = np.where(k0[pick]*P['t'] <= cap[pick]*1.01, k0[pick]*P['t'], np.where(k0[pick]*2<=cap[pick], cap[pick], k0[pick]/2.5))
                prio[pick] = np.inf
                first = False
            else:
                T0 = np.median(T[0]/N[0], axis=1)  # smallest
                TS = S
                # calibrate
                with np.errstate(all='ignore'):
                    Tk0 = T[0]*(k0**2/sm**2)[:,None]
                    Sk0 = S[0]*(k0**2/sm**2)[:,None]
                    c = np.nanmax(np.where(checked[:,None], np.maximum(Tk0-Sk0,0)/Tm, np.nan), axis=0) if checked.any() else np.ones(m)
                c = np.clip(c, .05, None)
                last = np.isfinite(size).sum(axis=1)-1
                Tl = T[last, np.arange(a)]; Sl=S[last,np.arange(a)]
                cons = checked & (np.median(Tl/Sl,axis=1) <= P['exp']) & (lg*P['expgain'] < cap)
                q = pairs.quartics(noise,V,T,P['qf'],P['qmin'])
                tq = np.median(q[0][2]/N[0],axis=1) if q else np.full(a,np.nan)
                shrink = checked & (np.fmin(tq,T0) > P['redo'])
                K[shrink] = (sm*np.maximum(1e-3,(P['target']/np.maximum(T0,1e-300))**(1/3)))[shrink]
                prio[shrink] = T0[shrink]+10
                ex = cons & ~shrink
                K[ex] = np.minimum(cap, lg*P['te'])[ex]; prio[ex] = 1
                un = ~checked
                tm = np.median(Tm*c/s1, axis=1)
                need = un & (tm > P['incon'])
                # if all samples consistent: expand all
                allc = checked.any() and (cons | (lg*P['expgain']>=cap))[checked].mean() > .67 and cons.any()
                if allc: need |= un & (k0*P['expgain'] < cap)
                K[need] = np.where(tm[need]>P['redo'], k0[need]*np.maximum(.01,(P['target']/np.maximum(tm[need],1e-300))**(1/3)), np.where(k0[need]*P['t']<=cap[need]*1.01, k0[need]*P['t'], np.where(k0[need]*2<=cap[need], cap[need], k0[need]/2.5)))
                prio[need] = 5+tm[need]
            rows = np.flatnonzero(prio > 0)
            room = max(0, 4*d+38-used)//2
            rows = np.sort(rows[np.argsort(-prio[rows], kind='stable')][:room])
            if not len(rows): break
            v = ask(rows, K[rows])
            wave = yield self._req(np.repeat(moving[rows],2), v)
            used += 2*len(rows)
            pairs = pairs.add(*take(rows, v, wave))
        V,N,T,S = pairs.candidates(noise)
        count = np.isfinite(pairs.size).sum(axis=1); checked=count>1; sm=np.nanmin(pairs.size,axis=1)
        with np.errstate(all='ignore'):
            Tk0 = T[0]*(k0**2/sm**2)[:,None]; Sk0=S[0]*(k0**2/sm**2)[:,None]
            c = np.nanmax(np.where(checked[:,None], np.maximum(Tk0-Sk0,0)/Tm, np.nan), axis=0) if checked.any() else np.ones(m)
        c = np.clip(c, .05, None)
        T[0] = np.where(checked[:,None], T[0], Tm*c)
        for v,n,t in pairs.quartics(noise,V,T,P['qf'],P['qmin']):
            V=np.concatenate((V,v[None])); N=np.concatenate((N,n[None])); T=np.concatenate((T,t[None])); S=np.concatenate((S,np.zeros_like(n)[None]))
        B = N*noise.factor*P['z'] + T
        B = np.where(np.isfinite(B)&np.isfinite(V), B, np.inf)
        best = B.argmin(axis=0)
        val = np.take_along_axis(V, best[None], 0)[0]; err = np.take_along_axis(B, best[None], 0)[0]
        err = err + P['s']*np.nan_to_num(np.take_along_axis(S, best[None], 0)[0])
        D = np.zeros((d,m)); E = np.zeros((d,m))
        D[moving]=val; E[moving]=np.where(np.isfinite(err), err, np.nan)
        st = np.zeros(d); st[moving]=k
        a_ = Answer(D.T if self.vector else D[:,0], base, st, np.empty(0,int), E.T if self.vector else E[:,0])
        object.__setattr__(a_, 'extra', (noise, best, pairs, moving))
        return a_

    def _req(self, idx, values):
        v = values.ravel()
        return Request(Points(self.x, np.arange(len(v)+1), idx.ravel(), v), None, self.vector)
