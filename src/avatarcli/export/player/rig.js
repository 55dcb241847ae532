// Moves the avatar: expression, gaze and neck -> triangles and centres of the Gaussians.
// The same steps as head/model.py, gaussians/rig.py and gaussians/avatar.py, on typed arrays.
// Matrices of 3 x 4 are stored by rows, 12 numbers each.

class Rig {
  /** avatar: what decodeAvatar made, without the parts that only the renderer needs. */
  constructor(avatar) {
    Object.assign(this, avatar.arrays);
    this.neckShare = avatar.neckShare;
    this.blinks = avatar.blinks;
    this.vertexCount = avatar.shapes.neutral[0];
    this.triangleCount = avatar.shapes.corners[0];
    this.gaussianCount = avatar.shapes.means[0];
    [this.hiddenSize] = avatar.shapes.hiddenWeight;
    [this.coefficientCount] = avatar.shapes.outputWeight;
    // The mesh stands here twice: as the face moves it, and once more following the neck alone.
    this.vertices = new Float32Array(2 * this.vertexCount * 3);
    this.atRest = this.correctiveNetwork(new Float32Array(52));
    this.bindAtRest();
  }

  /** Inverse edges and frames of the triangles at rest, and every Gaussian relative to its triangle's centre. */
  bindAtRest() {
    this.vertices.set(this.neutral);
    this.vertices.set(this.neutral, this.neutral.length);
    this.inverseEdges = new Float32Array(this.triangleCount * 9);
    this.frames = new Float32Array(this.triangleCount * 9);
    this.offsets = new Float32Array(this.means);
    const centres = new Float32Array(this.triangleCount * 3);
    const triangle = new TriangleFrame();
    for (let t = 0; t < this.triangleCount; t++) {
      triangle.measure(this.vertices, this.corners, t);
      invert3(triangle.edges, this.inverseEdges, t * 9);
      this.frames.set(triangle.frame, t * 9);
      centres.set(triangle.centre, t * 3);
    }
    for (let g = 0; g < this.gaussianCount; g++) {
      for (let axis = 0; axis < 3; axis++) this.offsets[g * 3 + axis] -= centres[this.carrier[g] * 3 + axis];
    }
  }

  /**
   * One frame. expression [52]; gaze [4]: (left, right) x (yaw, pitch); neck [3]; translation [3].
   * triangles: 16 numbers each: columns of the affine map in xyz of the first three quadruples, the first column of the
   * turn in their w, the second column of the turn in the fourth. means: 4 numbers a Gaussian, the last unused.
   */
  pose({ expression, gaze, neck, translation }, triangles, means) {
    this.moveVertices(expression, gaze, neck, translation);
    const centres = this.moveTriangles(triangles);
    this.moveGaussians(expression, centres, triangles, means);
  }

  moveVertices(expression, gaze, neck, translation) {
    const moving = this.vertices.subarray(0, this.vertexCount * 3);
    const still = this.vertices.subarray(this.vertexCount * 3);
    moving.set(this.neutral);
    still.set(this.neutral);
    for (let e = 0; e < 52; e++) {
      const weight = expression[e];
      if (weight === 0) continue;
      for (let i = this.expressionStart[e]; i < this.expressionStart[e + 1]; i++) {
        const to = this.expressionVertex[i] * 3;
        moving[to] += weight * this.expressionDelta[i * 3];
        moving[to + 1] += weight * this.expressionDelta[i * 3 + 1];
        moving[to + 2] += weight * this.expressionDelta[i * 3 + 2];
      }
    }
    this.giveWay(moving, expression);
    this.turnEyes(moving, gaze);
    const chain = this.neckChain(neck, translation);
    carry(moving, this.skinning, chain);
    carry(still, this.coverSkinning, chain);
  }

  /** Shortens blinks by what other expressions have closed of the eyes. */
  giveWay(vertices, expression) {
    const count = this.blinkVertex.length;
    for (let side = 0; side < 2; side++) {
      const weight = expression[this.blinks.expressions[side]];
      if (weight === 0) continue;
      for (let v = 0; v < count; v++) {
        let spared = 0;
        for (let e = 0; e < 52; e++) {
          if (expression[e] !== 0) spared += expression[e] * this.blinkSpared[(side * 52 + e) * count + v];
        }
        spared = weight * Math.min(Math.max(spared, 1 - this.blinks.longest), 1);
        const to = this.blinkVertex[v] * 3, from = (side * count + v) * 3;
        for (let axis = 0; axis < 3; axis++) vertices[to + axis] -= spared * this.blinkWay[from + axis];
      }
    }
  }

  turnEyes(vertices, gaze) {
    const eyes = [0, 1].map((side) => {
      const turn = rotationMatrix([-gaze[side * 2 + 1], gaze[side * 2], 0]);
      return aboutPoint(turn, this.joints.subarray((4 + side) * 3, (5 + side) * 3));
    });
    for (let v = 0; v < this.vertexCount; v++) {
      if (this.eye[v]) transformPoint(eyes[this.eye[v] - 1], vertices, v * 3);
    }
  }

  /** Transforms of torso, neck01, neck02, neck03 and head, each after the one before; the translation moves them all. */
  neckChain(neck, translation) {
    const chain = [[1, 0, 0, translation[0], 0, 1, 0, translation[1], 0, 0, 1, translation[2]]];
    for (let joint = 0; joint < 4; joint++) {
      const turn = rotationMatrix(neck.map((angle) => angle * this.neckShare[joint]));
      const step = aboutPoint(turn, this.joints.subarray(joint * 3, joint * 3 + 3));
      chain.push(multiply34(chain[joint], step));
    }
    return chain;
  }

  moveTriangles(triangles) {
    const centres = (this.centres ??= new Float32Array(this.triangleCount * 3));
    const triangle = new TriangleFrame();
    const { inverseEdges, frames } = this;
    for (let t = 0; t < this.triangleCount; t++) {
      triangle.measure(this.vertices, this.corners, t);
      const { edges, frame } = triangle;
      const at = t * 9;
      const out = t * 16;
      for (let row = 0; row < 3; row++) {
        const e0 = edges[row * 3], e1 = edges[row * 3 + 1], e2 = edges[row * 3 + 2];
        for (let column = 0; column < 3; column++) {
          triangles[out + column * 4 + row] =
            e0 * inverseEdges[at + column] + e1 * inverseEdges[at + 3 + column] + e2 * inverseEdges[at + 6 + column];
        }
        const f0 = frame[row * 3], f1 = frame[row * 3 + 1], f2 = frame[row * 3 + 2];
        triangles[out + row * 4 + 3] = f0 * frames[at] + f1 * frames[at + 1] + f2 * frames[at + 2];
        triangles[out + 12 + row] = f0 * frames[at + 3] + f1 * frames[at + 4] + f2 * frames[at + 5];
      }
      centres[t * 3] = triangle.centre[0];
      centres[t * 3 + 1] = triangle.centre[1];
      centres[t * 3 + 2] = triangle.centre[2];
    }
    return centres;
  }

  moveGaussians(expression, centres, triangles, means) {
    const { basis, offsets, carrier } = this;
    const coefficients = this.correctiveNetwork(expression).map((value, k) => Math.tanh(value - this.atRest[k]));
    const count = this.coefficientCount;
    const corrected = coefficients.some((value) => Math.abs(value) > 1e-6);
    for (let g = 0; g < this.gaussianCount; g++) {
      let x = offsets[g * 3], y = offsets[g * 3 + 1], z = offsets[g * 3 + 2];
      if (corrected) {
        for (let k = 0, at = g * count * 3; k < count; k++, at += 3) {
          const c = coefficients[k];
          x += c * basis[at];
          y += c * basis[at + 1];
          z += c * basis[at + 2];
        }
      }
      const t = carrier[g] * 16;
      const c = carrier[g] * 3;
      means[g * 4] = centres[c] + triangles[t] * x + triangles[t + 4] * y + triangles[t + 8] * z;
      means[g * 4 + 1] = centres[c + 1] + triangles[t + 1] * x + triangles[t + 5] * y + triangles[t + 9] * z;
      means[g * 4 + 2] = centres[c + 2] + triangles[t + 2] * x + triangles[t + 6] * y + triangles[t + 10] * z;
    }
  }

  /** The correctives' network before its last tanh [k]. */
  correctiveNetwork(expression) {
    const hidden = Array.from({ length: this.hiddenSize }, (_, h) => {
      let sum = this.hiddenBias[h];
      for (let e = 0; e < 52; e++) sum += this.hiddenWeight[h * 52 + e] * expression[e];
      return Math.tanh(sum);
    });
    return Array.from({ length: this.coefficientCount }, (_, k) =>
      hidden.reduce((sum, value, h) => sum + this.outputWeight[k * this.hiddenSize + h] * value, 0));
  }
}

/** A triangle's centre, edge matrix (two edges, and a normal as long as the triangle is wide) and orthonormal frame, by rows. */
class TriangleFrame {
  centre = new Float64Array(3);
  edges = new Float64Array(9);
  frame = new Float64Array(9);

  measure(vertices, corners, t) {
    const a = corners[t * 3] * 3, b = corners[t * 3 + 1] * 3, c = corners[t * 3 + 2] * 3;
    const ux = vertices[b] - vertices[a], uy = vertices[b + 1] - vertices[a + 1], uz = vertices[b + 2] - vertices[a + 2];
    const vx = vertices[c] - vertices[a], vy = vertices[c + 1] - vertices[a + 1], vz = vertices[c + 2] - vertices[a + 2];
    const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
    // Degenerate triangles (lids pressed together) keep a tiny extent instead of none.
    const doubleArea = Math.max(Math.hypot(nx, ny, nz), 1e-10);
    const width = Math.sqrt(doubleArea);
    const length = Math.max(Math.hypot(ux, uy, uz), 1e-8);
    const zx = nx / doubleArea, zy = ny / doubleArea, zz = nz / doubleArea;
    const xx = ux / length, xy = uy / length, xz = uz / length;
    for (let axis = 0; axis < 3; axis++) {
      this.centre[axis] = (vertices[a + axis] + vertices[b + axis] + vertices[c + axis]) / 3;
    }
    const { edges, frame } = this;
    edges[0] = ux; edges[1] = vx; edges[2] = zx * width;
    edges[3] = uy; edges[4] = vy; edges[5] = zy * width;
    edges[6] = uz; edges[7] = vz; edges[8] = zz * width;
    frame[0] = xx; frame[1] = zy * xz - zz * xy; frame[2] = zx;
    frame[3] = xy; frame[4] = zz * xx - zx * xz; frame[5] = zy;
    frame[6] = xz; frame[7] = zx * xy - zy * xx; frame[8] = zz;
  }
}

/** Linear blend skinning in place. skinning: 5 weights a vertex. */
function carry(vertices, skinning, chain) {
  const blended = new Float64Array(12);
  for (let v = 0; v < vertices.length / 3; v++) {
    blended.fill(0);
    for (let joint = 0; joint < 5; joint++) {
      const weight = skinning[v * 5 + joint];
      if (weight === 0) continue;
      const matrix = chain[joint];
      for (let i = 0; i < 12; i++) blended[i] += weight * matrix[i];
    }
    transformPoint(blended, vertices, v * 3);
  }
}

function transformPoint(m, points, at) {
  const x = points[at], y = points[at + 1], z = points[at + 2];
  points[at] = m[0] * x + m[1] * y + m[2] * z + m[3];
  points[at + 1] = m[4] * x + m[5] * y + m[6] * z + m[7];
  points[at + 2] = m[8] * x + m[9] * y + m[10] * z + m[11];
}

/** Rotation matrix, 9 numbers by rows, of a rotation vector (Rodrigues). */
function rotationMatrix([x, y, z]) {
  const angle = Math.hypot(x, y, z);
  const a = angle < 1e-8 ? 1 : Math.sin(angle) / angle;
  const b = angle < 1e-8 ? 0.5 : (1 - Math.cos(angle)) / (angle * angle);
  return [
    1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y,
    b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x,
    b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y),
  ];
}

/** The rotation r about a point, 3 x 4. */
function aboutPoint(r, [x, y, z]) {
  return [
    r[0], r[1], r[2], x - r[0] * x - r[1] * y - r[2] * z,
    r[3], r[4], r[5], y - r[3] * x - r[4] * y - r[5] * z,
    r[6], r[7], r[8], z - r[6] * x - r[7] * y - r[8] * z,
  ];
}

/** first after second, both 3 x 4. */
function multiply34(first, second) {
  const product = [];
  for (let row = 0; row < 12; row += 4) {
    for (let column = 0; column < 4; column++) {
      product.push(
        first[row] * second[column] + first[row + 1] * second[4 + column] + first[row + 2] * second[8 + column] +
        (column === 3 ? first[row + 3] : 0));
    }
  }
  return product;
}

function invert3(m, out, at) {
  const [a, b, c, d, e, f, g, h, i] = m;
  const A = e * i - f * h, B = f * g - d * i, C = d * h - e * g;
  const scale = 1 / (a * A + b * B + c * C);
  const inverse = [A, c * h - b * i, b * f - c * e, B, a * i - c * g, c * d - a * f, C, b * g - a * h, a * e - b * d];
  for (let n = 0; n < 9; n++) out[at + n] = inverse[n] * scale;
}
