"""A planar two-joint arm in MuJoCo: how far 40 torques let its finger tip stray from a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A string, not a file beside this one: the text is then part of J's identity, and a change makes old values void.
# No contacts, limits or friction: each would put a kink into J, and a finite difference across a kink means nothing.
MODEL = """
<mujoco model="two-joint arm">
  <option timestep="0.005" gravity="0 0 -9.81" integrator="implicitfast">
    <flag contact="disable"/>
  </option>
  <worldbody>
    <body name="upper arm">
      <joint name="shoulder" axis="0 1 0" damping="0.5"/>
      <geom type="capsule" fromto="0 0 0  0 0 -0.5" size="0.03" mass="1"/>
      <body name="forearm" pos="0 0 -0.5">
        <joint name="elbow" axis="0 1 0" damping="0.5"/>
        <geom type="capsule" fromto="0 0 0  0 0 -0.4" size="0.03" mass="0.6"/>
        <site name="finger tip" pos="0 0 -0.4"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder"/>
    <motor joint="elbow"/>
  </actuator>
</mujoco>
"""
STEPS = 400  # 2 s
START = (0.0, -0.6)  # joint angles, rad: a hanging arm, elbow bent
TARGET = (0.5, 0.0, -0.3)  # m from the shoulder
TORQUE_PRICE = 1e-3  # m^2 per (N m)^2


class TwoJointArm:
    """The simulator: made once in each worker process, put back to its start before each evaluation."""

    def setup(self) -> None:
        """Compile the model; once, and not for each of the 41 evaluations."""
        self.model = mujoco.MjModel.from_xml_string(MODEL)
        self.data = mujoco.MjData(self.model)
        self.tip = self.data.site("finger tip")

    def reset(self) -> None:
        """Put the arm back to where every evaluation starts."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = START

    def evaluate(self, x: NDArray[np.float64]) -> float:
        """Mean squared distance of the finger tip to the target, plus the price of the torques.

        Parameters
        ----------
        x : ndarray, (40,)
            Torques in N m at 20 equidistant times, linear in between: 20 of the shoulder, then 20 of the elbow.
        """
        knots = x.reshape(2, -1)
        times = np.linspace(0, knots.shape[1] - 1, STEPS)
        torques = np.stack([np.interp(times, np.arange(knots.shape[1]), joint) for joint in knots], axis=1)
        distance = 0.0
        for torque in torques:
            self.data.ctrl[:] = torque
            mujoco.mj_step(self.model, self.data)
            distance += float(np.sum((self.tip.xpos - TARGET) ** 2))
        return distance / STEPS + TORQUE_PRICE * float(np.mean(torques**2))

    def close(self) -> None:
        """Free the engine's memory."""
        del self.tip, self.data, self.model
