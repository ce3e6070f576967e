"""The pose in which a motor-driven arm comes to rest, in MuJoCo: its state is worth keeping, so it starts warm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = """
<mujoco model="two-joint arm">
  <option timestep="0.005" gravity="0 0 -9.81" integrator="implicitfast">
    <flag contact="disable"/>
  </option>
  <worldbody>
    <body name="upper arm">
      <joint name="shoulder" axis="0 1 0" damping="1"/>
      <geom type="capsule" fromto="0 0 0  0 0 -0.5" size="0.03" mass="1"/>
      <body name="forearm" pos="0 0 -0.5">
        <joint name="elbow" axis="0 1 0" damping="1"/>
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
TARGET = (0.5, 0.0, -0.3)  # m from the shoulder
AT_REST = 1e-13  # rad/s
MOST_STEPS = 20_000


class RestingArm:
    """The simulator: made once in each worker process, and put into a state before each evaluation."""

    def setup(self) -> None:
        """Compile the model."""
        self.model = mujoco.MjModel.from_xml_string(MODEL)
        self.data = mujoco.MjData(self.model)
        self.tip = self.data.site("finger tip")
        self.steps = 0

    def reset(self) -> None:
        """A hanging arm: where a cold start begins."""
        mujoco.mj_resetData(self.model, self.data)

    def snapshot(self) -> NDArray[np.float64]:
        """The state from which another evaluation can start, in this process or in any other."""
        state = np.empty(mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(self.model, self.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        return state

    def restore(self, state: NDArray[np.float64]) -> None:
        """Start from such a state."""
        mujoco.mj_setState(self.model, self.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)

    def evaluate(self, x: NDArray[np.float64]) -> float:
        """Squared distance of the finger tip to the target, m^2, once the arm is at rest.

        Parameters
        ----------
        x : ndarray, (2,)
            Constant torques of shoulder and elbow, N m.
        """
        for step in range(MOST_STEPS):
            self.data.ctrl[:] = x
            mujoco.mj_step(self.model, self.data)
            if step and np.abs(self.data.qvel).max() < AT_REST and np.abs(self.data.qacc).max() < AT_REST:
                self.steps = step
                mujoco.mj_forward(self.model, self.data)  # the tip is where the last step left the joints
                return float(np.sum((self.tip.xpos - TARGET) ** 2))
        raise RuntimeError(f"the arm still moves after {MOST_STEPS} steps")

    def close(self) -> None:
        """Free the engine's memory."""
        del self.tip, self.data, self.model
