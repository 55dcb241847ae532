// Draws Gaussians with WebGL2: one quad each, from far to near, blended with premultiplied alpha.
// The projection is EWA splatting with the same limits as gaussians/rasterize_reference.py.

const VERTEX_SHADER = `#version 300 es
precision highp float;
precision highp int;
uniform highp sampler2D splats;     // 3 texels a Gaussian: rotation wxyz; scales, opacity; color, triangle
uniform highp sampler2D triangles;  // 4 texels a triangle, see rig.js
uniform highp sampler2D means;      // 1 texel a Gaussian
uniform mat3 rotation;              // world to camera
uniform vec3 shift;
uniform float focal;                // pixels
uniform vec2 centre;
uniform vec2 size;
uniform float near, eps2d, alphaMin, margin;
in vec2 corner;                     // of the quad, -1 or 1
in uint index;
out vec2 position;                  // in standard deviations
out vec4 color;

vec4 texel(sampler2D source, int number) {
  int width = textureSize(source, 0).x;
  return texelFetch(source, ivec2(number % width, number / width), 0);
}

mat3 rotationOf(vec4 q) {           // wxyz, unit length
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

void main() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);  // outside, until it is known to be seen
  int number = int(index);
  vec3 p = rotation * texel(means, number).xyz + shift;
  vec4 scaleAndOpacity = texel(splats, number * 3 + 1);
  vec4 colorAndTriangle = texel(splats, number * 3 + 2);
  float opacity = scaleAndOpacity.w;
  if (p.z < near || opacity < alphaMin) return;

  int triangle = int(colorAndTriangle.w) * 4;
  vec4 t0 = texel(triangles, triangle), t1 = texel(triangles, triangle + 1), t2 = texel(triangles, triangle + 2);
  vec3 turn0 = vec3(t0.w, t1.w, t2.w), turn1 = texel(triangles, triangle + 3).xyz;
  mat3 turn = mat3(turn0, turn1, cross(turn0, turn1));
  mat3 own = rotationOf(normalize(texel(splats, number * 3)));
  mat3 stretched = mat3(t0.xyz, t1.xyz, t2.xyz) * own;
  vec3 scales = scaleAndOpacity.xyz * vec3(length(stretched[0]), length(stretched[1]), length(stretched[2]));
  mat3 axes = rotation * turn * own;
  axes = mat3(axes[0] * scales.x, axes[1] * scales.y, axes[2] * scales.z);

  vec2 beyond = margin * 0.5 * size / focal;
  vec2 slope = clamp(p.xy / p.z, -(centre / focal + beyond), (size - centre) / focal + beyond);
  vec3 flatX = vec3(focal / p.z, 0.0, -focal * slope.x / p.z) * axes;
  vec3 flatY = vec3(0.0, focal / p.z, -focal * slope.y / p.z) * axes;
  float a = dot(flatX, flatX) + eps2d, b = dot(flatX, flatY), c = dot(flatY, flatY) + eps2d;

  float middle = 0.5 * (a + c), spread = length(vec2(0.5 * (a - c), b));
  vec2 longAxis = spread < 1e-6 ? vec2(1.0, 0.0) : a >= c ? normalize(vec2(middle + spread - c, b)) : normalize(vec2(b, middle + spread - a));
  vec2 deviations = sqrt(vec2(middle + spread, max(middle - spread, 0.0)));
  float reach = sqrt(2.0 * log(opacity / alphaMin));  // where the splat falls below one step of an 8-bit picture
  position = corner * reach;
  vec2 pixel = focal * p.xy / p.z + centre
    + position.x * deviations.x * longAxis + position.y * deviations.y * vec2(-longAxis.y, longAxis.x);
  color = vec4(colorAndTriangle.xyz, opacity);
  gl_Position = vec4(2.0 * pixel.x / size.x - 1.0, 1.0 - 2.0 * pixel.y / size.y, 0.0, 1.0);
}`;

const FRAGMENT_SHADER = `#version 300 es
precision highp float;
uniform float alphaMin, alphaMax;
in vec2 position;
in vec4 color;
out vec4 fragment;

void main() {
  float alpha = min(color.a * exp(-0.5 * dot(position, position)), alphaMax);
  if (alpha < alphaMin) discard;
  fragment = vec4(color.rgb * alpha, alpha);
}`;

const SPLAT_TEXELS = 3;
const TRIANGLE_TEXELS = 4;
const TEXTURE_WIDTH = 2048; // every WebGL2 device can do that
const UNIFORMS = [
  "splats", "triangles", "means", "rotation", "shift", "focal", "centre", "size", "near", "eps2d", "alphaMin", "alphaMax", "margin",
];

class Renderer {
  /** Throws Error when the browser has no WebGL2. */
  constructor(canvas, avatar) {
    const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, depth: false, premultipliedAlpha: true });
    if (!gl) throw new Error("This browser cannot draw the avatar: it has no WebGL2.");
    this.gl = gl;
    this.count = avatar.shapes.means[0];
    this.drawn = 0;
    this.program = link(gl, VERTEX_SHADER, FRAGMENT_SHADER);
    gl.useProgram(this.program);
    this.at = Object.fromEntries(UNIFORMS.map((name) => [name, gl.getUniformLocation(this.program, name)]));
    ["splats", "triangles", "means"].forEach((name, unit) => gl.uniform1i(this.at[name], unit));
    for (const [name, value] of Object.entries(avatar.rules)) gl.uniform1f(this.at[name], value);
    const splats = new DataTexture(gl, 0, this.count * SPLAT_TEXELS);
    splats.upload(packSplats(avatar, splats.newArray()));
    this.triangles = new DataTexture(gl, 1, avatar.shapes.corners[0] * TRIANGLE_TEXELS);
    this.means = new DataTexture(gl, 2, this.count);
    this.makeQuads();
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  makeQuads() {
    const { gl } = this;
    const corner = gl.getAttribLocation(this.program, "corner");
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    const index = gl.getAttribLocation(this.program, "index");
    this.order = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.order);
    gl.enableVertexAttribArray(index);
    gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(index, 1);
  }

  /** Arrays to hand to the worker; they come back filled. */
  newBuffers() {
    return {
      triangles: this.triangles.newArray(),
      means: this.means.newArray(),
      order: new Uint32Array(this.count),
    };
  }

  upload({ triangles, means, order }, posed) {
    const { gl } = this;
    if (posed) {
      this.triangles.upload(triangles);
      this.means.upload(means);
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.order);
    gl.bufferData(gl.ARRAY_BUFFER, order, gl.DYNAMIC_DRAW);
    this.drawn = order.length;
  }

  draw(view) {
    const { gl, at } = this;
    const { width, height } = gl.canvas;
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniformMatrix3fv(at.rotation, true, view.rotation.flat());
    gl.uniform3fv(at.shift, view.shift);
    gl.uniform1f(at.focal, view.focal);
    gl.uniform2fv(at.centre, view.centre);
    gl.uniform2f(at.size, width, height);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.drawn);
  }
}

/** An array of quadruples of floats that shaders read by number. */
class DataTexture {
  constructor(gl, unit, texels) {
    Object.assign(this, { gl, unit });
    this.width = TEXTURE_WIDTH;
    this.height = Math.max(1, Math.ceil(texels / this.width));
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, this.width, this.height);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  newArray() {
    return new Float32Array(this.width * this.height * 4);
  }

  upload(values) {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + this.unit);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, this.width, this.height, gl.RGBA, gl.FLOAT, values);
  }
}

/** What never changes of the Gaussians, 12 numbers each, into `packed`. */
function packSplats({ arrays, shapes }, packed) {
  const { quaternions, logScales, opacities, colors, carrier } = arrays;
  for (let g = 0; g < shapes.means[0]; g++) {
    const at = g * SPLAT_TEXELS * 4;
    packed.set(quaternions.subarray(g * 4, g * 4 + 4), at);
    for (let axis = 0; axis < 3; axis++) packed[at + 4 + axis] = Math.exp(logScales[g * 3 + axis]);
    packed[at + 7] = opacities[g];
    packed.set(colors.subarray(g * 3, g * 3 + 3), at + 8);
    packed[at + 11] = carrier[g];
  }
  return packed;
}

function link(gl, vertexSource, fragmentSource) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertexSource], [gl.FRAGMENT_SHADER, fragmentSource]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}
