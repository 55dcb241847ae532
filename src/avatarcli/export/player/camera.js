// The camera circles the head, as multiview/framing.py places it: x right, y down, z forward.

class OrbitCamera {
  constructor(framing) {
    this.framing = framing;
    this.reset();
  }

  reset() {
    this.yaw = 0; // radians; positive sees the subject's left side
    this.pitch = 0;
    this.distance = this.framing.distance;
  }

  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.max(-1.4, Math.min(1.4, this.pitch + pitch));
  }

  zoom(factor) {
    this.distance = Math.max(0.35, Math.min(3, this.distance * factor));
  }

  /** rotation: rows right, down, forward; shift: world to camera; focal and centre in pixels. */
  view(width, height) {
    const { target, span, distance } = this.framing;
    const away = [Math.sin(this.yaw) * Math.cos(this.pitch), Math.sin(this.pitch), Math.cos(this.yaw) * Math.cos(this.pitch)];
    const eye = target.map((value, axis) => value + away[axis] * this.distance);
    const forward = away.map((value) => -value);
    const right = normalize(cross(forward, [0, 1, 0]));
    const down = cross(forward, right);
    const rotation = [right, down, forward];
    return {
      rotation,
      shift: rotation.map((row) => -(row[0] * eye[0] + row[1] * eye[1] + row[2] * eye[2])),
      focal: (Math.min(width, height) * distance) / span,
      centre: [width / 2, height / 2],
    };
  }
}

function cross(a, b) {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

function normalize(v) {
  const length = Math.hypot(...v);
  return v.map((value) => value / length);
}
